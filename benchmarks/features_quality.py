"""How good are features that need no download: few-shot accuracy on four tasks, five seeds."""

import argparse
import datetime
import json
import os
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import common
import feature_tasks

NAME = "features_quality"
REGIMES = (5, 20, 100, None)  # training pictures of each class; None: all
SEEDS = 5
WORDS = 400  # of PatchFeatures
LAYERS = ("stage2", "stage3", "stage4")
FORMULA = "formula"


# ---- features: (pictures to fit to, sets of pictures, seed) -> {variant: features of each set} ---


def resized(X, side):
    """Pictures (n, h, w, 3) with another side: means of areas, or between pixels."""
    import numpy as np
    from PIL import Image

    if X.shape[1] == side:
        return X
    how = Image.Resampling.BOX if side < X.shape[1] else Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(x).resize((side, side), how)) for x in X])


def rows(pictures):
    return pictures.reshape(len(pictures), -1).astype("float32")


def each(made, sets):
    """{variant: [features of each set]}, from what makes {variant: features} of one."""
    found = [made(X) for X in sets]
    return {variant: [part[variant] for part in found] for variant in found[0]}


def raw_pixels(_, sets, seed):
    return each(lambda X: {f"{side} px": rows(resized(X, side)) for side in (8, 16, 32)}, sets)


def mean_colour(_, sets, seed):
    return {"mean": [X.mean(axis=(1, 2), dtype="float32") for X in sets]}


def hog(_, sets, seed):
    from skdeep.features import HOGFeatures

    sets = [resized(X, feature_tasks.SIDE) for X in sets]
    return {
        f"cells of {cell}": [HOGFeatures(cell_size=cell).fit_transform(X) for X in sets]
        for cell in (8, 16)
    }


def patches(trained, sets, seed):
    from skdeep.features import PatchFeatures

    found = {}
    for side, patch, stride in [(32, 6, 1), (64, 8, 2)]:
        model = PatchFeatures(WORDS, patch, stride=stride, n_samples=50_000, random_state=seed)
        model.fit(resized(trained, side))
        found[f"{patch} of {side} px"] = [model.transform(resized(X, side)) for X in sets]
    return found


def random_weights(_, sets, seed):
    features = untrained(seed)
    return each(lambda X: of_layers(features, X), sets)


def untrained(seed):
    """The network before training, which does not know yet how its pictures are prepared."""
    from skdeep.features import Preprocessing, RandomFeatures

    recipe = Preprocessing(feature_tasks.SIDE, feature_tasks.SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)
    return RandomFeatures(FORMULA, preprocessing=recipe, random_state=seed)


def formula(_, sets, seed):
    from skdeep.features import ImageFeatures

    features = ImageFeatures(FORMULA)
    return each(lambda X: of_layers(features, X), sets)


def of_layers(features, X):
    """Places of a layer side by side, or means over places; one run of the network for all."""
    import numpy as np

    features.set_params(layer=list(LAYERS), pool="flatten", batch_size=128)
    out = features.fit_transform(X)
    shapes = {p.canonical: p.shape for p in features.layers_}
    ends = np.cumsum([np.prod(shapes[layer]) for layer in LAYERS])[:-1]
    maps = dict(zip(LAYERS, np.split(out, ends, axis=1), strict=True))
    means = {
        layer: part.reshape(len(X), -1, shapes[layer][-1]).mean(axis=1)
        for layer, part in maps.items()
    }
    return {
        "stage3, places": maps["stage3"],
        "stage4, places": maps["stage4"],
        "stage4, mean": means["stage4"],
        "stages 2 to 4, means": np.concatenate(list(means.values()), axis=1),
    }


FEATURES = {
    "raw pixels": raw_pixels,
    "mean colour": mean_colour,
    "HOGFeatures": hog,
    "random weights": random_weights,
    "PatchFeatures": patches,
    "formula": formula,
}
FITTED = {"PatchFeatures"}  # to the training pictures, anew for each regime


# ---- quality -------------------------------------------------------------------------------------


def few(y, per_class, seed):
    """Numbers of so many training pictures of each class, the first of the longer rows."""
    import numpy as np

    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]
    return np.concatenate([numbers[:per_class] for numbers in by_class])


def one_seed(task, seed, names, regimes):
    """Results of all features, regimes and probes of a task for a seed, and facts about it."""
    import feature_probes
    from threadpoolctl import threadpool_limits

    import skdeep

    # Where a large C of the grid ends without convergence the training pictures are long separated.
    warnings.filterwarnings("ignore", message="lbfgs failed to converge")
    results = []
    with threadpool_limits(1), skdeep.config_context(n_threads=1):
        split = feature_tasks.TASKS[task](seed)
        for name in names:
            start, make, known = time.perf_counter(), FEATURES[name], None
            for per_class in regimes:
                chosen = few(split.y, per_class, seed)
                if name in FITTED:
                    pairs = make(split.X[chosen], [split.X[chosen], split.X_test], seed)
                else:
                    known = known or make(None, [split.X, split.X_test], seed)
                    pairs = {v: (Z[chosen], Z_test) for v, (Z, Z_test) in known.items()}
                found = feature_probes.measure(pairs, split.y[chosen], split.y_test, per_class)
                results.append(
                    {"features": name, "per_class": per_class, "seed": seed, "probes": found}
                )
            taken = time.perf_counter() - start
            print(f"  {task}, seed {seed}, {name}: {taken:.0f} s", file=sys.stderr, flush=True)
    facts = {
        "classes": len(set(split.y.tolist())),
        "training": len(split.X),
        "test": len(split.X_test),
        **split.facts,
    }
    return results, facts


def quality(options):
    """Measure tasks, and yield what is known after each: {task: {"facts", "results"}}."""
    from joblib import Parallel, delayed

    regimes = REGIMES[:1] if options.quick else REGIMES
    for task in options.tasks:
        done = Parallel(n_jobs=options.jobs)(
            delayed(one_seed)(task, seed, options.features, regimes)
            for seed in range(options.seeds)
        )
        results = [result for found, _ in done for result in found]
        facts = dict(done[0][1])
        for key in ("designs of the test",):
            if key in facts:
                facts[key] = [of_seed[key] for _, of_seed in done]
        yield task, {"facts": facts, "results": results}


def joined(old, new):
    """A task's record with new results; features that were not measured now stay as they were."""
    measured = {result["features"] for result in new["results"]}
    kept = [r for r in old.get("results", []) if r["features"] not in measured]
    order = list(FEATURES)
    new["results"] = sorted(kept + new["results"], key=lambda r: order.index(r["features"]))
    return new


# ---- speed ---------------------------------------------------------------------------------------

PICTURES, EXTRACTED = 50_000, 4096
AT_ONCE = 5000  # pictures whose features are in memory together
SPEED_THREADS = 2


def speed(options):
    """Pictures a second of the network, and PatchFeatures on many small pictures."""
    import resource
    import statistics

    import numpy as np

    from skdeep.features import ImageFeatures, PatchFeatures

    rng = np.random.default_rng(0)
    found = {}
    n = EXTRACTED // 8 if options.quick else EXTRACTED
    X = rng.integers(0, 256, (n, feature_tasks.SIDE, feature_tasks.SIDE, 3), np.uint8)
    kinds = {"formula": ImageFeatures(FORMULA), "random weights": untrained(0)}
    for name in [name for name in kinds if name in options.features]:
        features = kinds[name].set_params(layer="pool", batch_size=128).fit(X)
        features.transform(X)
        times = [common.seconds(partial(features.transform, X)) for _ in range(5)]
        found[name] = {
            "pictures": n,
            "threads": SPEED_THREADS,
            "per second": n / statistics.median(times),
            "lowest": n / max(times),
            "highest": n / min(times),
        }
    if "PatchFeatures" in options.features:
        n = PICTURES // 50 if options.quick else PICTURES
        X = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
        model, held = PatchFeatures(2000, random_state=0), _peak(resource)
        columns = set()

        def fit_and_transform():
            model.fit(X)
            for first in range(0, n, AT_ONCE):
                columns.add(model.transform(X[first : first + AT_ONCE]).shape[1])

        taken = common.seconds(fit_and_transform)
        found["PatchFeatures"] = {
            "pictures": n,
            "words": 2000,
            "threads": SPEED_THREADS,
            "seconds": taken,
            "peak (MiB)": _peak(resource),
            "peak before (MiB)": held,
            "at once": AT_ONCE,
            "pictures (MiB)": X.nbytes / 2**20,
            "all features (MiB)": 4 * n * columns.pop() / 2**20,
        }
    return found


def _peak(resource):
    """MiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- command line --------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("quality", "speed"), default="quality")
    tasks, features = list(feature_tasks.TASKS), list(FEATURES)
    parser.add_argument("--tasks", nargs="+", default=tasks, choices=tasks)
    parser.add_argument("--features", nargs="+", default=features, choices=features)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="one seed, five pictures per class")
    parser.add_argument("--output", type=Path, help="file for the results")
    options = parser.parse_args()
    if options.quick:
        options.seeds = 1
    return options


def main():
    """Measure a part; tasks and features that are not measured now stay in the file as they are."""
    options = arguments()
    threads = 1 if options.part == "quality" else SPEED_THREADS
    for variable in common.THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    path = options.output or common.RESULTS / f"{NAME}{'-quick' if options.quick else ''}.json"
    path.parent.mkdir(exist_ok=True)
    record = json.loads(path.read_text()) if path.exists() else {"tasks": {}, "speed": {}}
    if options.part == "speed":
        record["speed"] = record["speed"] | speed(options)
        save(record, path, options.part)
        print(json.dumps(record["speed"], indent=1))
        return
    from feature_probes import C_GRID, K_GRID

    start = time.perf_counter()
    for task, new in quality(options):
        record["tasks"][task] = joined(record["tasks"].get(task, {}), new)
        record["protocol"] = {"C": C_GRID, "k": K_GRID, "words": WORDS}
        save(record, path, options.part)
    print(f"written to {os.path.relpath(path)} in {time.perf_counter() - start:.0f} s")


def save(record, path, part):
    facts = {
        "date": datetime.date.today().isoformat(),
        "machine": common.machine(),
        "versions": common.versions(),
    }
    record["benchmark"], record["title"] = NAME, __doc__
    record.setdefault("measured", {})[part] = facts
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
