"""What every benchmark shares: threads, alternating repetitions, ratios, machine and output.

A benchmark imports nothing but this module and the standard library at its top; peers and skdeep
are imported inside functions, after :func:`main` has set the number of threads in the environment
(BLAS and OpenMP read it once, when they are loaded).
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = [
    "numpy", "scipy", "scikit-learn", "numba", "joblib", "skorch", "torch", "torchvision",
    "onnxruntime", "openvino", "pillow", "opencv-python-headless", "scikit-image", "skdeep",
]  # fmt: skip
THREAD_VARIABLES = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
]
VECTOR_FLAGS = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"]
SKDEEP = "skdeep"


@dataclass
class Comparison:
    """One line of a table: skdeep beside one peer.

    ``ratio`` is the median over repetitions of peer / skdeep (for times, so more is better), taken
    within each repetition, with the smallest and the largest in ``low`` and ``high``. Without a
    skdeep figure they are None. ``target`` is what the project asks for, in words.
    """

    what: str
    unit: str
    peer: str
    peer_value: float
    value: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    target: str = ""


@dataclass
class Context:
    """What a benchmark's ``measure(context)`` gets from the command line."""

    quick: bool
    repetitions: int
    only: list[str] = field(default_factory=list)

    def wanted(self, contenders):
        """The part of the dict ``contenders`` that ``--only`` lets through."""
        if not self.only:
            return contenders
        return {k: v for k, v in contenders.items() if any(name in k for name in self.only)}


def alternate(contenders, repetitions, warm_up=True):
    """Run every contender in turn, ``repetitions`` times, every other time in reverse order.

    Parameters
    ----------
    contenders : dict of str to callable
        Each returns a number (seconds, microseconds per step, ...) or a dict of them.
    repetitions : int
        Number of paired runs that count.
    warm_up : bool
        One more run of each before, which does not count.

    Returns
    -------
    dict of str to list
        What each contender returned, one entry per repetition.
    """
    if warm_up:
        for run in contenders.values():
            run()
    measured = {name: [] for name in contenders}
    for repetition in range(repetitions):
        order = list(contenders)
        for name in order[:: 1 if repetition % 2 == 0 else -1]:
            measured[name].append(contenders[name]())
            print(
                f"  {repetition + 1}/{repetitions} {name}: {_show(measured[name][-1])}",
                file=sys.stderr,
                flush=True,
            )
    return measured


def seconds(action):
    """Wall-clock seconds that ``action()`` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def slope(fit, few, many, steps_per_epoch):
    """Microseconds per step of ``fit(epochs)``, from the difference between two epoch counts."""
    short, long = seconds(lambda: fit(few)), seconds(lambda: fit(many))
    return 1e6 * (long - short) / ((many - few) * steps_per_epoch)


def compare(what, unit, measured, *, key=None, targets=None):
    """Comparisons of skdeep with every other contender in ``measured`` (from :func:`alternate`).

    Parameters
    ----------
    what, unit : str
        Title of the line and unit of the numbers.
    measured : dict of str to list
        Numbers per repetition, the smaller the better.
    key : str or None
        Which entry to take where the contenders returned dicts.
    targets : dict of str to float or None
        Ratio asked for, by peer.
    """
    series = {n: [r[key] if key else r for r in runs] for n, runs in measured.items()}
    own = series.get(SKDEEP)
    lines = []
    for peer, values in series.items():
        if peer == SKDEEP:
            continue
        target = (targets or {}).get(peer)
        line = Comparison(
            what,
            unit,
            peer,
            statistics.median(values),
            target=f"at least {target:g}x" if target else "",
        )
        if own:
            ratios = [p / o for p, o in zip(values, own)]
            line.value = statistics.median(own)
            line.ratio, line.low, line.high = statistics.median(ratios), min(ratios), max(ratios)
        lines.append(line)
    if own and not lines:
        lines.append(Comparison(what, unit, "", float("nan"), statistics.median(own)))
    return lines


def best_of(measured, prefix):
    """``measured`` with only the fastest contender (by median) whose name begins with ``prefix``.

    It is renamed to ``prefix``; which one it was goes to the error stream.
    """
    variants = [name for name in measured if name.startswith(prefix)]
    if not variants:
        return measured
    best = min(variants, key=lambda name: statistics.median(measured[name]))
    print(f"  {prefix}: fastest is {best!r}", file=sys.stderr)
    return {
        prefix if n == best else n: m for n, m in measured.items() if n == best or n not in variants
    }


def machine():
    """Processor, cores, memory and system, without anything that names this computer."""
    name, flags = platform.processor() or platform.machine(), []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            label, _, value = line.partition(":")
            if label.strip() == "model name":
                name = value.strip()
            elif label.strip() == "flags":
                flags = [f for f in VECTOR_FLAGS if f in value.split()]
    described = {
        "processor": name,
        "vector units": flags,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        described["memory (GiB)"] = round(memory / 2**30)
    return described


def versions():
    """Versions of Python and of the packages that take part."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def main(name, title, measure, *, threads=1, repetitions=7, quick_repetitions=3):
    """Command line of a benchmark: set threads, measure, print, write ``results/<name>.json``.

    Parameters
    ----------
    name, title : str
        File name of the results, and what the table says above them.
    measure : callable
        ``measure(context)`` returns a list of :class:`Comparison`.
    threads : int
        Threads for every contender.
    repetitions, quick_repetitions : int
        Paired runs that count, by default and with ``--quick``.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes and fewer runs, to see that it works"
    )
    parser.add_argument("--repetitions", type=int, help="paired runs that count")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="only contenders whose name holds NAME (may be repeated)",
    )
    title = " ".join(title.split())
    options = parser.parse_args()
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    # Nets are trained for a fixed number of epochs here, so every fit ends "not converged".
    warnings.filterwarnings("ignore", message=".*(?:Maximum iterations|not converge)")
    count = options.repetitions or (quick_repetitions if options.quick else repetitions)

    rows = measure(Context(options.quick, count, options.only))

    record = {
        "benchmark": name,
        "title": title,
        "date": datetime.date.today().isoformat(),
        "threads": threads,
        "repetitions": count,
        "quick": options.quick,
        "machine": machine(),
        "versions": versions(),
        "rows": [asdict(row) for row in rows],
    }
    print(text_table(record))
    if not options.only:
        path = RESULTS / f"{name}{'-quick' if options.quick else ''}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"written to {os.path.relpath(path)}")


def cells(row):
    """The texts of one line of a table, from a row of a record."""
    spread = "" if row["low"] is None else f"{row['low']:.2f} .. {row['high']:.2f}"
    return [
        row["what"],
        row["peer"] or "-",
        _show(row["peer_value"]),
        _show(row["value"]),
        row["unit"],
        _show(row["ratio"]),
        spread,
        row["target"],
    ]


HEADER = ["what", "peer", "peer", "skdeep", "unit", "ratio", "min .. max", "target"]


def text_table(record):
    """A record as plain text: table, machine, versions."""
    lines = [HEADER] + [cells(row) for row in record["rows"]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    body = ["  ".join(c.ljust(w) for c, w in zip(line, widths)) for line in lines]
    body.insert(1, "  ".join("-" * w for w in widths))
    facts = [
        "",
        "machine: " + describe(record["machine"]),
        "versions: " + describe(record["versions"]),
        f"threads: {record['threads']}, medians of {record['repetitions']} alternating repetitions",
    ]
    return "\n".join([record["title"], "", *body, *facts])


def describe(facts):
    """``key value, key value`` of a dict; lists are joined by blanks."""
    texts = {k: " ".join(v) if isinstance(v, list) else v for k, v in facts.items()}
    return ", ".join(f"{k} {v}" for k, v in texts.items())


def _show(value):
    if isinstance(value, dict):
        return ", ".join(f"{k} {_show(v)}" for k, v in value.items())
    if isinstance(value, str):
        return value
    return "-" if value is None or value != value else f"{value:.4g}"
