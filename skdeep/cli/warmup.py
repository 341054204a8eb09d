"""Compiling every kernel ahead of time."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from . import default_jobs


def names():
    """Names of everything that can be compiled for the CPU, the slowest first."""
    from ..kernels.compiler import KERNELS

    return sorted(_functions()) + sorted(KERNELS)


def _functions():
    """The runner's loops, by name."""
    from .. import estimators  # noqa: F401  (imports every room, and so registers every kernel)
    from ..kernels import runner
    from ..kernels.compiler import _LazyFunction

    return {k: f for k, f in vars(runner).items() if isinstance(f, _LazyFunction)}


def compile_one(name):
    """Compile one kernel, or load it when it is kept already.

    Returns
    -------
    name : str
    seconds : float
    compiled : bool
        False when it was only loaded.
    """
    functions = _functions()
    from ..kernels.compiler import KERNELS, compiled_in_this_process

    begin = time.perf_counter()
    if name in functions:
        functions[name].compiled  # noqa: B018  (a cached property that compiles)
    else:
        KERNELS[name].address  # noqa: B018
    return name, time.perf_counter() - begin, name in compiled_in_this_process()


def _missing():
    from ..kernels.compiler import KERNELS, cache_directory

    folder = cache_directory()
    return [
        name
        for name in names()
        if not (KERNELS[name].on_disk if name in KERNELS else (folder / f"{name}.nbi").exists())
    ]


def warmup(n_jobs=None, only=None):
    """Compile what is missing, with a line for each kernel.

    Parameters
    ----------
    n_jobs : int or None
        Processes; None: one per core, at most 4.
    only : set of str or None
        Names to compile; None: all.

    Returns
    -------
    int
        Exit status: 0, or 1 when a kernel does not compile or there is nowhere to keep it.
    """
    from ..kernels import isa
    from ..kernels.compiler import cache_directory

    total = len(names())
    if cache_directory() is None:
        print(
            "Nothing to warm up: no folder for compiled kernels can be written to, so that every "
            "process compiles its own. Set NUMBA_CACHE_DIR to a folder that can be.",
            file=sys.stderr,
        )
        return 1
    missing = [name for name in _missing() if only is None or name in only]
    print(f"{total} kernels for {isa.current().name}, kept in {cache_directory()}")
    if not missing:
        print("All of them are compiled already.")
        return 0
    jobs = min(default_jobs(n_jobs), len(missing))
    print(f"Compiling {len(missing)} of them with {jobs} process{'es' * (jobs > 1)}:", flush=True)
    begin = time.perf_counter()
    failed = _compile(missing, jobs)
    took = time.perf_counter() - begin
    print(f"Compiled {len(missing) - len(failed)} kernels in {took:.1f} s.")
    if failed:
        print(f"{len(failed)} did not compile: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _compile(missing, jobs):
    """Compile in ``jobs`` processes, printing progress; returns the names that failed."""
    if jobs == 1:
        return _report(missing, lambda: ((name, lambda n=name: compile_one(n)) for name in missing))
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_ignore_interrupt)
    try:
        futures = {pool.submit(compile_one, name): name for name in missing}
        return _report(missing, lambda: ((futures[f], f.result) for f in as_completed(futures)))
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt():
    """Ctrl-C reaches every process of a terminal; only the first is to act on it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _report(missing, results):
    failed = []
    for done, (name, result) in enumerate(results(), 1):
        try:
            _, seconds, compiled = result()
            text = f"{seconds:5.2f} s" if compiled else "was there"
        except Exception as error:
            failed.append(name)
            text = f"failed: {type(error).__name__}: {error}".splitlines()[0]
        print(f"  [{done:{len(str(len(missing)))}d}/{len(missing)}] {name:28s} {text}", flush=True)
    return failed
