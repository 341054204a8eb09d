"""Compiling every kernel ahead of time."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from . import children_ignore_interrupt, default_jobs


def compilable():
    """Everything that is compiled for the CPU, by name: what kernels call, loops, kernels."""
    from .. import datasets, estimators, features  # noqa: F401  (with them come all kernels)
    from ..kernels.compiler import KERNELS, SHARED

    return SHARED | dict(sorted(KERNELS.items()))


def compile_one(name):
    """Compile one of them, or load it when it is kept already.

    Returns
    -------
    seconds : float
    compiled : bool
        False when it was only loaded.
    """
    from ..kernels.compiler import Native, compiled_in_this_process

    found = compilable()[name]
    begin = time.perf_counter()
    # Both are cached properties that compile.
    found.address if isinstance(found, Native) else found.compiled
    return time.perf_counter() - begin, name in compiled_in_this_process()


def _missing(names):
    known = compilable()
    return [name for name in names if name not in known or not known[name].on_disk]


def warmup(n_jobs=None, names=None):
    """Compile what is missing, with a line for each kernel.

    Parameters
    ----------
    n_jobs : int or None
        Processes; None: one per core, at most 4.
    names : list of str or None
        What to compile; None: everything.

    Returns
    -------
    int
        Exit status: 0, or 1 when a kernel does not compile or there is nowhere to keep it.
    """
    from ..kernels import isa
    from ..kernels.compiler import cache_directory

    if cache_directory() is None:
        print(
            "Nothing to warm up: no folder for compiled kernels can be written to, so that every "
            "process compiles its own. Set NUMBA_CACHE_DIR to a folder that can be.",
            file=sys.stderr,
        )
        return 1
    every = list(compilable())
    missing = _missing(every if names is None else names)
    print(f"{len(every)} kernels for {isa.current().name}, kept in {cache_directory()}")
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
        return _report(missing, ((name, lambda n=name: compile_one(n)) for name in missing))
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        with children_ignore_interrupt():  # submitting starts the processes
            futures = {pool.submit(compile_one, name): name for name in missing}
        return _report(missing, ((futures[f], f.result) for f in as_completed(futures)))
    finally:
        pool.shutdown(cancel_futures=True)


def _report(missing, results):
    """Print a line for each (name, function that returns or raises what came of it)."""
    failed, width = [], len(str(len(missing)))
    for done, (name, result) in enumerate(results, 1):
        try:
            seconds, compiled = result()
            text = f"{seconds:5.2f} s" if compiled else "was there"
        except Exception as error:
            failed.append(name)
            text = f"failed: {type(error).__name__}: {error}".splitlines()[0]
        print(f"  [{done:{width}d}/{len(missing)}] {name:28s} {text}", flush=True)
    return failed
