"""Every kernel: seconds to compile once, milliseconds to load in a later process.

python benchmarks/kernels.py

Writes docs/kernels.md, the list of all kernels. The kernels of a network are the same for all its
sizes: no network adds one.
"""

import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import common

PAGE = Path(__file__).parents[1] / "docs" / "kernels.md"
INTRODUCTION = """\
# The kernels

This page is written by `benchmarks/kernels.py`. skdeep computes with the {count} compiled
functions below and no others: sizes are given when they run, so that no network, layer or batch
size adds one. Each is compiled on first use and kept; `python -m skdeep warmup` compiles all.
Without AMX those of tiles, `conv_rows_tiles`, `dense_rows_tiles` and `skdeep_block_bf16`, emulate
its registers.

Together they took {total:.0f} s to compile on one core, {slowest:.2f} s the slowest, {median:.2f} s
the median. A later process loads one in {load:.1f} ms (median). Measured {date} with the
instruction set {isa} on: {machine}; {versions}.

| kernel | what it does | compiled in (s) | loaded in (ms) |
|---|---|---|---|
"""
ALL = """
import json
from skdeep.cli.warmup import compilable, compile_one
from skdeep.kernels import isa
names = list(compilable())
compile_one(names.pop(0))  # the compiler itself is loaded
compile_one("relu")
times = {name: compile_one(name)[0] for name in names}
about = {name: (k.function if getattr(k, "function", None) else k).__doc__ or ""
         for name, k in compilable().items()}
print(json.dumps([isa.current().name, times, about]))
"""


def process(cache):
    """Instruction set, seconds by kernel, and docstrings, from a new process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-c", ALL], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def first_sentence(text):
    """The first paragraph of a docstring as one line, fit for a table."""
    return " ".join(text.strip().split("\n\n")[0].split()).replace("|", "\\|")


def main():
    for variable in common.THREAD_VARIABLES:
        os.environ[variable] = "1"
    with tempfile.TemporaryDirectory() as empty:
        isa, compiled, about = process(empty)
        _, loaded, _ = process(empty)
    text = INTRODUCTION.format(
        count=len(about),
        total=sum(compiled.values()),
        slowest=max(compiled.values()),
        median=statistics.median(compiled.values()),
        load=1e3 * statistics.median(loaded.values()),
        date=datetime.date.today().isoformat(),
        isa=isa,
        machine=common.describe(common.machine()),
        versions=common.describe(common.versions()),
    )
    for name in sorted(about):
        times = (
            (f"{compiled[name]:.2f}", f"{1e3 * loaded[name]:.1f}")
            if name in compiled
            else ("-", "-")
        )
        text += f"| `{name}` | {first_sentence(about[name])} | {' | '.join(times)} |\n"
    PAGE.write_text(text)
    slow = {name: f"{t:.2f} s" for name, t in compiled.items() if t > 1}
    print(f"{PAGE.name}: {len(about)} kernels; above one second: {slow or 'none'}")


if __name__ == "__main__":
    main()
