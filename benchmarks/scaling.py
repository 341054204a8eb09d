"""One thread against two, and what a model says of many.

Prediction of whole networks, batch 8 (the threads share the images) and batch 1 (they share the
tiles of each layer). The lines "model" are no measurements: a row of T tiles, timed on one thread,
is given ceil(T / t) / T of its time on t threads and 2 us for a fork and join, a row that runs on
one thread all of its time; images are given to whole threads. That memory is shared is left out.
"""

import math

import common

THREADS, MANY = 2, 64
FORK = 2e-3  # milliseconds
BATCHES = (8, 1)
NETWORKS = [
    "vgg16",
    "resnet18",
    "resnet50",
    "googlenet",
    "squeezenet1_1",
    "alexnet",
    "mobilenet_v2",
    "vit_b_16",
]


def row_times(run, repetitions):
    """Milliseconds of every row of a bound program on one thread, the least of some."""
    from skdeep.kernels.cpu import CPU

    device, (table, *_) = CPU(), run.tables
    rows = [table[k : k + 1].copy() for k in range(len(table))]
    times = [[common.seconds(lambda r=r: device.run(r)) for r in rows] for _ in range(repetitions)]
    return [1e3 * min(column) for column in zip(*times)]


def modelled(run, times, threads):
    """Milliseconds of one block of work whose tiles ``threads`` threads share."""
    total = 0
    for (_, tiles, parallel, *_), time in zip(run.tables[0], times):
        total += time * math.ceil(tiles / threads) / tiles + FORK if parallel else time
    return total


def predicting(name, batch, repetitions):
    """Lines for one network and batch."""
    import networks
    import numpy as np

    from skdeep.features import find_network, random_weights

    architecture = find_network(name)
    weights = random_weights(architecture.network())
    shape = (batch, *architecture.input_shape)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    runs = {
        t: networks.skdeep_runner(architecture, weights, images, t, "float32")[0]
        for t in (1, THREADS)
    }
    if not np.array_equal(*(run()[0].copy() for run in runs.values())):
        raise SystemExit(f"{name}: the number of threads changes the result")
    contenders = {
        "1 thread": lambda: 1e3 * common.seconds(runs[1]),
        common.SKDEEP: lambda: 1e3 * common.seconds(runs[THREADS]),
    }
    measured = common.alternate(contenders, repetitions)
    targets = {"1 thread": 1.85} if batch > 1 else None
    lines = common.compare(
        f"{name}, batch {batch}, {THREADS} threads", "ms", measured, targets=targets
    )
    alone = lines[0].peer_value
    if batch > 1:
        images_each = {t: math.ceil(batch / min(t, batch)) / batch for t in (THREADS, MANY)}
        expected = {t: alone * share for t, share in images_each.items()}
    else:
        times = row_times(runs[THREADS], repetitions)
        expected = {t: modelled(runs[THREADS], times, t) for t in (THREADS, MANY)}
    for threads, value in expected.items():
        lines.append(
            common.Comparison(
                f"model: {name}, batch {batch}, {threads} threads",
                "ms",
                "1 thread",
                alone,
                value,
                alone / value,
            )
        )
    return lines


def measure(context):
    from skdeep.features.networks import NETWORKS as known

    names = [n for n in NETWORKS if n in known]
    names = ["resnet18", "mobilenet_v2"] if context.quick else names
    names = [n for n in names if not context.only or n in context.only]
    cases = [(name, batch) for name in names for batch in BATCHES]
    return [line for case in cases for line in predicting(*case, context.repetitions)]


if __name__ == "__main__":
    common.main("scaling", __doc__, measure, threads=THREADS)
