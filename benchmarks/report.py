"""Write docs/performance.md from the results of the benchmarks.

python benchmarks/report.py
"""

import json
from pathlib import Path

import common

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
ORDER = [
    "mlp_digits",
    "mlp_wide",
    "grid_search",
    "lenet",
    "training",
    "networks",
    "image_features",
    "scaling",
    "layers",
    "layers_avx2",
    "depthwise_pool",
    "maths",
    "preprocessing",
    "startup",
    "build",
    "accuracy",
]

INTRODUCTION = """\
# Performance

This page is written by `benchmarks/report.py` from the files in `benchmarks/results`; no figure in
it is typed by hand. To measure on your machine:

```console
pip install ".[benchmark]"
{commands}
python benchmarks/report.py
```

Each script takes `--quick` (smaller sizes, to see that it works), `--repetitions N` and
`--only NAME` (some contenders only). They run for minutes, `grid_search.py` and `accuracy.py` for
longer; the machine should have nothing else to do.

How to read the tables:

- All contenders run in the same process or the same kind of process, in turn, in alternating
  order, with the same number of threads, the same network, data type, batch size and number of
  epochs.
- `ratio` is peer / skdeep within one repetition: the median over the repetitions, and beside it the
  smallest and the largest. More than 1 means that skdeep is faster. For scores it is the difference
  skdeep - peer.
- A *slope* is the time of a step as the difference between fits of two lengths, so that what a fit
  costs once is left out; whole fits are listed as well.
- Where a peer can be set up in several ways (implementations of Adam, memory formats), the fastest
  one counts.
- Clocks drift: ratios from one run mean something, seconds from two runs do not compare.

The column *target* is what the project asks of itself. A target that is not met stays in the table.
"""


def markdown(record):
    """One benchmark as a section: table, then machine and versions."""
    lines = [f"## {record['benchmark']}", "", record["title"], ""]
    lines.append("| " + " | ".join(common.HEADER) + " |")
    lines.append("|" + "---|" * len(common.HEADER))
    lines += ["| " + " | ".join(common.cells(row)) + " |" for row in record["rows"]]
    lines += [
        "",
        f"Measured {record['date']}; threads: {record['threads']}; "
        f"medians of {record['repetitions']} repetitions.",
        f"Machine: {common.describe(record['machine'])}.",
        f"Versions: {common.describe(record['versions'])}.",
        "",
    ]
    return "\n".join(lines)


def page(records):
    """The whole page, from records by benchmark name."""
    commands = "\n".join(f"python benchmarks/{name}.py" for name in ORDER)
    parts = [INTRODUCTION.format(commands=commands)]
    parts += [markdown(records[name]) for name in ORDER if name in records]
    missing = [f"`{name}.py`" for name in ORDER if name not in records]
    if missing:
        parts.append(f"No results of {', '.join(missing)} are recorded in this version.\n")
    return "\n".join(parts)


if __name__ == "__main__":
    results = {
        name: json.loads(path.read_text())
        for name in ORDER
        if (path := common.RESULTS / f"{name}.json").exists()
    }
    PAGE.write_text(page(results))
    print(f"{PAGE.name}: {len(results)} of {len(ORDER)} benchmarks")
