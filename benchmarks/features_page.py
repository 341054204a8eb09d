"""Write docs/features_quality.md and its figure from the results of features_quality.py.

python benchmarks/features_page.py
"""

import json
import statistics
from pathlib import Path

import common

RECORD = common.RESULTS / "features_quality.json"
PAGE = Path(__file__).parents[1] / "docs" / "features_quality.md"
FIGURE = PAGE.with_suffix(".svg")
FORMULA, RAW, PATCHES = "formula", "raw pixels", "PatchFeatures"
RIVALS = (RAW, "HOGFeatures", "random weights")  # that the network is meant to beat
CLEAR = 3  # spreads of the paired difference
FEW = (5, 20, 100)
TITLES = {"logistic": "Logistic regression", "neighbours": "Nearest neighbours"}
NAMES = {
    "formula": '`ImageFeatures("formula")`',
    "random weights": "the same network, random weights",
    "HOGFeatures": "`HOGFeatures`",
    "PatchFeatures": "`PatchFeatures`",
}
SHORT = NAMES | {"formula": "formula", "random weights": "random weights"}

TASKS = {
    "digits": """\
The {training} handwritten digits of `sklearn.datasets.load_digits` that a seed draws, and {test}
for the test: 8 x 8 pixels, which features other than raw pixels see enlarged.""",
    "glyphs": """\
Capital letters, {classes} classes, in fonts that Debian packages. Fonts of {fonts} designs are in
it; a seed draws {tested} of them for the test, of which no font is in the training pictures
(fonts that follow the same model, such as Helvetica, or descend from each other count as one
design). Letters are dark on light, centred up to 3 pixels, 22 to 44 pixels high. {training}
pictures for training, {test} for the test.""",
    "textures": """\
{classes} classes of `skdeep.datasets.make_textures`, which a seed draws: Gabor functions, spots,
weaves, cells, grain; none of these families is among the pictures that the network was trained on.
Colours and light say nothing about the class. {training} pictures for training, {test} for the
test.""",
    "patches": """\
Which of {classes} photographs is this patch of 64 x 64 pixels from? A photograph is cut into four
quarters with a gap of 32 pixels between them; two on a diagonal, which a seed draws, are for
training and the other two for the test. They are the two sample photographs of scikit-learn, and
{bundled} that scikit-image's package holds. {training} patches for training, {test} for the
test.""",
}

INTRODUCTION = """\
# How good are features without a download?

This page and its figure are written by `benchmarks/features_page.py` from what
`benchmarks/features_quality.py` measured; no figure in it is typed by hand. To measure on your
machine:

```console
pip install ".[benchmark]"
python benchmarks/features_quality.py
python benchmarks/features_quality.py --part speed
python benchmarks/features_page.py
```

`ImageFeatures("formula")` is a small network that was trained on pictures made by formulas and
nothing else; its weights are in the package. It has not seen ImageNet nor any photograph, and it
does not replace a network that has. Here it is beside features that nothing was learnt for, on four
tasks that need no download either.
"""

PROTOCOL = """\
## What was measured

- A classifier gets 5, 20 or 100 training pictures of each class, or all of them, and is tested on
  pictures that it has not seen. {seeds} seeds draw the pictures and, where the task leaves it free,
  what is for training and what for the test.
- *Logistic regression* of scikit-learn with an L2 penalty, on standardised features; C is one of
  {c_grid}, larger ones only while they help
  where there are more than 1000 pictures.
- *Nearest neighbours* by the cosine of standardised features; k is one of {k_grid}.
- C and k are chosen on training pictures that are held out: three times a third with up to 20
  pictures per class, a fifth once with more. So is the variant of a feature, where there are
  several: raw pixels at 8, 16 or 32 pixels; histograms in cells of 8 or 16 pixels; patches of 6
  pixels in pictures of 32 or of 8 pixels in pictures of 64; for the network, trained or not, the
  places of its stage 3, of its stage 4, the mean of stage 4, or the means of stages 2 to 4 side by
  side.
- `PatchFeatures` ({words} words) is fitted to the training pictures that the classifier has, to no
  others. Random weights are drawn anew by each seed.
- Tables hold per cent of the test pictures, mean ± standard deviation over the seeds. Two features
  are compared within each seed: *difference* is the mean over seeds and its standard deviation. A
  margin is called *clear* when the mean is more than {clear} times that deviation.
"""


# ---- numbers -------------------------------------------------------------------------------------


class Accuracies:
    """What is known of a task: accuracies by features, regime and seed."""

    def __init__(self, task):
        self.facts = task["facts"]
        self.found = {}
        for r in task["results"]:
            key = r["features"], r["per_class"]
            self.found.setdefault(key, {})[r["seed"]] = r["probes"]

    @property
    def features(self):
        return list(dict.fromkeys(name for name, _ in self.found))

    @property
    def regimes(self):
        return list(dict.fromkeys(regime for _, regime in self.found))

    def of(self, name, regime, probe="logistic"):
        """Accuracies in per cent by seed."""
        seeds = self.found.get((name, regime), {})
        return {seed: 100 * probes[probe]["accuracy"] for seed, probes in sorted(seeds.items())}

    def difference(self, one, two, regime, probe="logistic"):
        """Mean and standard deviation of ``one - two`` over the seeds both have; None without."""
        a, b = self.of(one, regime, probe), self.of(two, regime, probe)
        gains = [a[seed] - b[seed] for seed in a if seed in b]
        if len(gains) < 2:
            return None
        return statistics.mean(gains), statistics.stdev(gains)

    def clear(self, one, two, regime, probe="logistic"):
        """1 where ``one`` is clearly better than ``two``, -1 where clearly worse, else 0."""
        mean, spread = self.difference(one, two, regime, probe)
        return (abs(mean) > CLEAR * spread) * (1 if mean > 0 else -1)

    def chosen(self, name, regime, probe="logistic"):
        """The variants that seeds chose, the most frequent first."""
        seeds = self.found.get((name, regime), {}).values()
        variants = [probes[probe]["variant"] for probes in seeds]
        return sorted(set(variants), key=lambda v: (-variants.count(v), v))


def shown(values):
    """Mean and standard deviation of numbers."""
    values = list(values)
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else "-"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def regime_name(regime):
    return "all" if regime is None else str(regime)


def table(head, lines):
    """Markdown of a table."""
    return "\n".join(
        ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        + ["| " + " | ".join(line) + " |" for line in lines]
    )


# ---- sections ------------------------------------------------------------------------------------


def task_section(name, known):
    """What the task is, both tables, what the network gains, what was chosen."""
    facts = known.facts
    described = dict(facts, bundled=len(facts.get("photographs", [])) - 2)
    if "designs" in facts:
        described |= {
            "fonts": len(facts["designs"]),
            "tested": len(facts["designs of the test"][0]),
        }
    parts = [f"### {name.capitalize()}", "", TASKS[name].format(**described), ""]
    head = [regime_name(r) for r in known.regimes]
    for probe, title in TITLES.items():
        lines = [
            [NAMES.get(f, f), *(shown(known.of(f, r, probe).values()) for r in known.regimes)]
            for f in known.features
        ]
        parts += [table([f"{title}: per class", *head], lines), ""]
    if FORMULA in known.features:
        lines = [
            [NAMES.get(f, f), *(gain(known, FORMULA, f, r) for r in known.regimes)]
            for f in known.features
            if f != FORMULA
        ]
        parts += [table(["Formula network minus", *head], lines), ""]
    lines = [
        [NAMES.get(f, f), *(", or ".join(known.chosen(f, r)) for r in known.regimes)]
        for f in known.features
        if len({v for r in known.regimes for v in known.chosen(f, r)}) > 1
    ]
    if lines:
        parts += [table(["Variants chosen for the regression", *head], lines), ""]
    if "designs" in facts:
        parts += [f"Designs: {'; '.join(facts['designs'])}.", ""]
    if "photographs" in facts:
        parts += [f"Photographs: {', '.join(f'`{p}`' for p in facts['photographs'])}.", ""]
    return "\n".join(parts)


def gain(known, one, two, regime):
    """A difference as a cell: bold where it is clear."""
    found = known.difference(one, two, regime)
    if found is None:
        return "-"
    text = f"{found[0]:+.1f} ± {found[1]:.1f}"
    return f"**{text}**" if known.clear(one, two, regime) else text


def margins(tasks, one, two):
    """A sentence: where ``one`` is clearly better than ``two``, where not, from 5 to 100."""
    cases = {
        (task, regime): known.clear(one, two, regime)
        for task, known in tasks.items()
        for regime in FEW
        if known.difference(one, two, regime) is not None
    }
    if not cases:
        return ""
    better = [case for case, sign in cases.items() if sign > 0]
    text = (
        f"{SHORT.get(one, one)} against {SHORT.get(two, two)}: clearly better in {len(better)} of "
        f"{len(cases)} cases"
    )
    for sign, words in [(0, "no clear margin"), (-1, "clearly worse")]:
        missed = [case for case, s in cases.items() if s == sign]
        if missed:
            means = (
                f"{task} with {regime} ({tasks[task].difference(one, two, regime)[0]:+.1f})"
                for task, regime in missed
            )
            text += f"; {words} on {', '.join(means)}"
    return f"- {text[0].upper()}{text[1:]}."


def won_tasks(tasks, regimes):
    """Tasks on which the network is clearly better than all its rivals in all regimes."""
    return [
        task
        for task, known in tasks.items()
        if all(known.clear(FORMULA, rival, regime) > 0 for rival in RIVALS for regime in regimes)
    ]


def counted(names, of):
    """``2 of 4 (digits, glyphs)``."""
    return f"{len(names)} of {len(of)}" + (f" ({', '.join(names)})" if names else "")


def verdict(tasks):
    """Sentences about who wins where."""
    parts = ["## Who wins where", ""]
    measured = {task: known for task, known in tasks.items() if FORMULA in known.features}
    if measured:
        won = {regime: won_tasks(measured, [regime]) for regime in FEW}
        always = won_tasks(measured, FEW)
        one_by_one = "; ".join(
            f"with {r} on {counted(names, measured)}" for r, names in won.items()
        )
        parts += [
            "Asked for: with few examples (5, 20, 100 per class) and logistic regression, the "
            "formula network is clearly better than raw pixels, `HOGFeatures` and its own random "
            "weights on at least three of the four tasks. It is on "
            f"{counted(always, measured)}{': reached' if len(always) >= 3 else ': **missed**'}. "
            f"One by one: {one_by_one}.",
            "",
        ]
        others = dict.fromkeys(f for known in measured.values() for f in known.features)
        parts += [*(margins(measured, FORMULA, f) for f in others if f != FORMULA), ""]
    else:
        parts += ["The formula network is not among these results.", ""]
    parts += [patches_verdict(tasks), "", best(tasks), ""]
    return "\n".join(parts)


def patches_verdict(tasks):
    """Whether PatchFeatures beats raw pixels on every task."""
    means = {
        (task, regime): known.difference(PATCHES, RAW, regime)
        for task, known in tasks.items()
        for regime in FEW
    }
    means = {case: found[0] for case, found in means.items() if found}
    if not means:
        return ""
    worse = [f"{task} with {regime}" for (task, regime), gained in means.items() if gained <= 0]
    text = "Asked for: `PatchFeatures` beats raw pixels on all tasks. "
    text += f"**Missed** on {', '.join(worse)}." if worse else "It does, with 5, 20 and 100."
    return f"{text}\n\n{margins(tasks, PATCHES, RAW)}"


def best(tasks):
    """The best feature of each task and regime by the mean."""
    lines = []
    for task, known in tasks.items():
        cells = []
        for regime in known.regimes:
            means = {
                f: statistics.mean(known.of(f, regime).values())
                for f in known.features
                if known.of(f, regime)
            }
            first = max(means, key=means.get)
            cells.append(f"{SHORT.get(first, first)} ({means[first]:.1f})")
        lines.append([task, *cells])
    head = [regime_name(r) for r in next(iter(tasks.values())).regimes]
    return table(["Best, logistic regression", *head], lines)


def speed_section(speed):
    """Sentences about times; the figures that were asked for beside those measured."""
    if not speed:
        return "## Speed\n\nNo speeds are recorded in this version.\n"
    parts = ["## Speed"]
    if FORMULA in speed:
        s = speed[FORMULA]
        parts.append(
            f"The formula network takes {s['per second']:.0f} pictures of 64 x 64 pixels a second "
            f"({s['lowest']:.0f} to {s['highest']:.0f}) on {s['threads']} threads; asked for: more "
            f"than 2 000{_missed(s['per second'] > 2000)}."
        )
    if PATCHES in speed:
        s = speed[PATCHES]
        parts.append(
            f"`PatchFeatures` with {s['words']} words is fitted to {s['pictures']} pictures of "
            f"32 x 32 x 3 levels and transforms them, {s['at once']} at a time, in "
            f"{s['seconds']:.0f} s on {s['threads']} threads; asked for: under "
            f"120{_missed(s['seconds'] < 120)}. The process holds {s['peak (MiB)']:.0f} MiB at "
            f"most, of which {s['pictures (MiB)']:.0f} are the pictures; asked for: under 1 GB"
            f"{_missed(s['peak (MiB)'] * 2**20 < 1e9)}. The features of all pictures would take "
            f"{s['all features (MiB)']:.0f} MiB more if they were kept together."
        )
    return "\n\n".join(parts) + "\n"


def _missed(reached):
    return "" if reached else " (**missed**)"


def page(record):
    """The whole page."""
    tasks = {name: Accuracies(record["tasks"][name]) for name in TASKS if name in record["tasks"]}
    grids = {name: ", ".join(f"{v:g}" for v in record["protocol"][name]) for name in ("C", "k")}
    seeds = max(len(s) for known in tasks.values() for s in known.found.values())
    parts = [
        INTRODUCTION,
        PROTOCOL.format(
            seeds=seeds,
            c_grid=grids["C"],
            k_grid=grids["k"],
            words=record["protocol"]["words"],
            clear=CLEAR,
        ),
        verdict(tasks),
        f"![Accuracy against pictures per class, four tasks]({FIGURE.name})\n",
        "## The tasks\n\nDifferences in bold are clear, either way.\n",
        *(task_section(name, known) for name, known in tasks.items()),
        speed_section(record.get("speed")),
        "## Measured with\n",
        *(
            f"- {part}: {facts['date']}. Machine: {common.describe(facts['machine'])}. Versions: "
            f"{common.describe(facts['versions'])}."
            for part, facts in record["measured"].items()
        ),
    ]
    return "\n".join(parts) + "\n"


# ---- figure --------------------------------------------------------------------------------------


def figure(record, path):
    """Accuracy against pictures per class: a panel for each task, a line for each feature."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = {name: Accuracies(record["tasks"][name]) for name in TASKS if name in record["tasks"]}
    markers = dict(zip(NAMES | dict.fromkeys((RAW, "mean colour")), "o^sDvx", strict=True))
    style = {"svg.hashsalt": "skdeep", "svg.fonttype": "none", "font.size": 10}
    with matplotlib.rc_context(style):
        drawing, axes = plt.subplots(2, 2, figsize=(9, 7.2), layout="constrained")
        for axis, (name, known) in zip(axes.flat, tasks.items(), strict=False):
            places = range(len(known.regimes))
            for k, feature in enumerate(known.features):
                values = [list(known.of(feature, r).values()) for r in known.regimes]
                axis.errorbar(
                    places,
                    [statistics.mean(v) for v in values],
                    [statistics.stdev(v) if len(v) > 1 else 0 for v in values],
                    label=feature,
                    marker=markers[feature],
                    color=f"C{list(markers).index(feature)}",
                    linewidth=2.4 if feature == FORMULA else 1.2,
                    zorder=10 - k,
                )
            axis.set_xticks(places, [regime_name(r) for r in known.regimes])
            axis.set(title=name, xlabel="pictures per class", ylabel="accuracy (%)", ylim=(0, 101))
            axis.grid(alpha=0.3)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=3)
        drawing.savefig(path, metadata={"Date": None})
        plt.close(drawing)


if __name__ == "__main__":
    found = json.loads(RECORD.read_text())
    PAGE.write_text(page(found), encoding="utf-8")
    figure(found, FIGURE)
    print(f"{PAGE.name}: {len(found['tasks'])} of {len(TASKS)} tasks")
