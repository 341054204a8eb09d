"""The command line: ``python -m skdeep [command]``, see COMMANDS."""

import argparse
import signal
import sys
from contextlib import contextmanager
from difflib import get_close_matches

from .preparation import FIELDS, add_options, given_fields, source, takes_part

COMMANDS = {
    "digits": "search models on scikit-learn's digits, compare them, draw",
    "features": "features of the pictures in a folder, into a file: features FOLDER -o FILE.npz",
    "pictures": "classify pictures from few examples: pixels, fitted patches, your network",
    "fetch": "get the weights of a network (fetch NAME), or list them (fetch --list)",
    "versions": "print versions, the CPU and the code paths in use",
    "warmup": "compile all kernels ahead of time, once for this machine",
}
OPTIONS = {
    "output": "digits, features",
    "quick": "digits",
    "seed": "digits, pictures",
    "n_jobs": "digits, warmup",
    "name": "features, fetch",
    "list": "fetch",
    "weights": "features, fetch, pictures",
    "model": "features, pictures",
    "layer": "features",
    "precision": "features",
    "home": "fetch",
    **dict.fromkeys(FIELDS, "features, pictures"),
}


class Stopped(BaseException):
    """Ctrl-C. No KeyboardInterrupt, which would end one fit of a search and let the rest go on."""


def main(argv=None):
    """Run a command.

    Parameters
    ----------
    argv : list of str or None
        Without the program's name; None: ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit status: 0, 1 when kernels could not be compiled or kept, or weights not be had, 2 for a
        wrong command line or an output folder that cannot be written to, 130 after Ctrl-C.
    """
    options = _parse(argv)
    try:
        with _stop_on_interrupt():
            return _run(options)
    except Stopped:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def _run(options):
    if options.command == "versions":
        from .._versions import show_versions

        show_versions()
        return 0
    if options.command == "warmup":
        from .warmup import warmup

        return warmup(options.n_jobs)
    if options.command == "fetch":
        from .fetch import fetch_weights

        return fetch_weights(options.name, options.weights, options.home)
    if options.command == "features":
        from .features import extract

        return extract(
            options.name, options.output or "features.npz",
            *source(options.model, options.weights), options.layer or ["pool"],
            options.precision, options.preprocessing,
        )  # fmt: skip
    if options.command == "pictures":
        from .pictures import run

        return run(options.model, options.weights, options.seed or 0, options.preprocessing)
    from .digits import run, writable_folder

    try:
        folder = writable_folder(options.output or ".")
    except OSError as error:
        print(
            f"python -m skdeep: cannot write pictures to {options.output or '.'!r}: "
            f"{error.strerror}; pass --output FOLDER.",
            file=sys.stderr,
        )
        return 2
    run(folder, quick=bool(options.quick), seed=options.seed or 0, n_jobs=options.n_jobs)
    if options.also_pictures:
        from .pictures import run as run_pictures

        return run_pictures(seed=options.seed or 0)
    return 0


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m skdeep",
        description="Neural networks that are scikit-learn estimators.",
        epilog="Without a command: digits, then pictures.\n\ncommands:\n"
        + "\n".join(f"  {k:10s}{v}" for k, v in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs="?", metavar="command", help="see below")
    parser.add_argument(
        "name", nargs="?", help="of a network, after fetch; of a folder, after features"
    )
    parser.add_argument(
        "-o", "--output", metavar="PATH",
        help="folder for the pictures of digits (.), or file of features (features.npz)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", default=None, help="a smaller digits search"
    )
    parser.add_argument("--seed", type=_seed, help="of everything random in digits (0)")
    parser.add_argument(
        "--n-jobs", type=_n_jobs, help="processes of digits and warmup (one per core, at most 4)"
    )
    parser.add_argument("--list", action="store_true", default=None, help="of weights to fetch")
    parser.add_argument(
        "--weights", metavar="TAG", help="which to fetch, or to use; then also a file (default)"
    )
    parser.add_argument(
        "--model", metavar="NAME",
        help="network for features and pictures (resnet50), or an .onnx or .caffemodel file",
    )  # fmt: skip
    parser.add_argument(
        "--layer",
        action="append",
        metavar="NAME",
        help="layer for features (pool); for several say --layer before each",
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="of features (float32)"
    )
    parser.add_argument(
        "--home", metavar="DIR", help="where to fetch to (SKDEEP_HOME, else ~/skdeep_data)"
    )
    add_options(parser)
    options = parser.parse_args(argv)
    options.also_pictures = options.command is None and not options.quick
    options.command = options.command or "digits"
    if options.command not in COMMANDS:
        close = get_close_matches(options.command, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        parser.error(f"unknown command {options.command!r}; {hint}There are {', '.join(COMMANDS)}.")
    for name, commands in OPTIONS.items():
        if getattr(options, name) is not None and options.command not in commands:
            flag = repr(options.name) if name == "name" else "--" + name.replace("_", "-")
            parser.error(f"{flag} does not go with {options.command!r}, only with {commands}.")
    if options.command == "features" and not options.name:
        parser.error("features needs the FOLDER of the pictures.")
    if options.command == "fetch" and bool(options.name) == bool(options.list):
        parser.error("fetch needs either the NAME of a network or --list.")
    try:
        options.preprocessing = given_fields(options)
    except ValueError as error:
        parser.error(str(error))
    alone = options.command == "pictures" and not takes_part(options.model, options.weights)
    if options.preprocessing and alone:
        parser.error("pictures are prepared for a network: name its --weights, or a graph's file.")
    return options


def _seed(text):
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not in 0 .. 2**32 - 1")
    return value


def _n_jobs(text):
    value = int(text)
    if value < 1 and value != -1:
        raise argparse.ArgumentTypeError(f"{text} is neither positive nor -1 (all cores)")
    return value


def default_jobs(n_jobs):
    """Number of processes to use: as asked, else one per core, at most 4."""
    from joblib import cpu_count, effective_n_jobs

    return min(cpu_count(), 4) if n_jobs is None else effective_n_jobs(n_jobs)


@contextmanager
def _stop_on_interrupt():
    def stop(signum, frame):
        raise Stopped

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread, where Ctrl-C never arrives
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def children_ignore_interrupt():
    """Processes started meanwhile never see Ctrl-C.

    The terminal sends it to all processes at once, and only this one is to act on it. Children
    inherit the mask of the thread that starts them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
