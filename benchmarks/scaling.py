"""What many cores would give: a model made of measured rows, checked on the cores that are here.

Every row of a program is timed on one thread. A row that is cut into tiles takes, on p cores, the
time of the largest share of its tiles and a fork and join of the threads, but not less than its
tensors need to come from memory; a row that is not cut takes what it takes. Training, and the
prediction of a single image, share the tiles of each row. In the prediction of many the batch is
parted, and each thread reads all weights. What the model assumes of a large machine: 300 GB/s, and
2 us for a fork and join, times the logarithm of the number of threads.
"""

import math
from functools import partial

import common

BANDWIDTH = 300.0  # bytes per ns of a machine with many cores
FORK = 2e3  # ns per doubling of the threads
CORES = (8, 64)
SWEEPS = 5
TRAINED = ["LeNet-5 (20, 50 filters; 500 units), Adam", "ResNet-18 for 32 x 32 images, SGD"]
PREDICTED = ["resnet18", "resnet50", "mobilenet_v2"]


def row_times(table):
    """Nanoseconds of every row of a bound program on one thread: the least of some sweeps."""
    import numpy as np

    from skdeep.kernels import runner

    rows = [np.ascontiguousarray(table[r : r + 1]) for r in range(len(table))]
    width = table.shape[1]
    least = np.full(len(rows), np.inf)
    for _ in range(SWEEPS):
        for r, row in enumerate(rows):
            walk = partial(runner.launch, runner.run_serial, row, 1, width)
            least[r] = min(least[r], 1e9 * common.seconds(walk))
    return least


def row_bytes(program):
    """Bytes of the tensors that each row names, each once."""
    from skdeep.graph.tensor import Tensor

    found = []
    for op in program.order:
        for row in op.rows():
            tensors = {id(t): t for t in row.operands if isinstance(t, Tensor)}
            found.append(4 * sum(t.size for t in tensors.values()))
    return found


def on_cores(program, table, times, cores):
    """Modelled nanoseconds on so many cores, and the share of what limits it, by name."""
    kinds = {"one tile, or too little work": 0.0, "fork and join": 0.0, "memory": 0.0,
             "uneven tiles": 0.0, "tiles, evenly": 0.0}  # fmt: skip
    parts = zip(times, table[:, 1], table[:, 2], row_bytes(program))
    for time, tiles, parallel, size in parts:
        if not parallel or cores == 1:
            kinds["one tile, or too little work"] += time
            continue
        even = time / cores
        largest = time * math.ceil(tiles / cores) / tiles
        kinds["tiles, evenly"] += even
        kinds["uneven tiles"] += largest - even
        kinds["memory"] += max(0.0, size / BANDWIDTH - largest)
        kinds["fork and join"] += FORK * math.log2(cores)
    return sum(kinds.values()), kinds


def line(what, speedup, target=""):
    """One modelled or measured figure as a line of the table."""
    return common.Comparison(what, "x one core", "", float("nan"), speedup, target=target)


def shared_tiles(title, program, table, run, context, threads):
    """Lines for a program whose rows are shared by the threads; ``run(n_threads)`` runs it."""
    times = row_times(table)
    total = float(times.sum())
    measured = common.alternate(
        {f"{n}": lambda n=n: common.seconds(lambda: run(n)) for n in (1, threads)},
        context.repetitions,
    )
    ratios = sorted(a / b for a, b in zip(measured["1"], measured[f"{threads}"]))
    modelled = total / on_cores(program, table, times, threads)[0]
    lines = [
        line(f"{title}: {threads} cores, measured", ratios[len(ratios) // 2], "at least 1.85x"),
        line(f"{title}: {threads} cores, by the model", modelled),
    ]
    for cores in CORES:
        time, kinds = on_cores(program, table, times, cores)
        shares = {k: v / time for k, v in kinds.items() if k != "tiles, evenly"}
        limit = max(shares, key=shares.get)
        what = f"{title}: {cores} cores, by the model; limited by {limit} ({shares[limit]:.0%})"
        lines.append(line(what, total / time))
    return lines


def learning(name, context):
    """Lines for a training step."""
    import numpy as np
    import training

    parts, shape, optimizer, _, steps = training.NETWORKS[name]
    learner, _ = training.trainer(parts, shape, optimizer)
    rows = np.arange(training.BATCH, dtype=np.int32)[None].repeat(steps, axis=0)

    def run(n_threads):
        learner.run(rows, learner.optimizer.registers(learner.steps_done, steps, 0, 1), n_threads)

    run(training.THREADS)
    program = learner.build(training.BATCH)
    table, _ = learner._table(training.BATCH)
    title = f"training, {name}, batch {training.BATCH}"
    return shared_tiles(title, program, table, run, context, training.THREADS)


def single_image(name, context, threads):
    """Lines for one image, whose tiles all threads share."""
    import networks

    from skdeep.kernels.cpu import CPU

    case = {"network": name, "batch": 1}
    run, predictor = networks.skdeep_runner(*networks.prepare(case), threads, "float32")
    run()
    table = run.tables[0]

    def walk(n_threads):
        CPU().run(table, n_threads)

    title = f"prediction, {name}, one image"
    return shared_tiles(title, predictor.program, table, walk, context, threads)


def prediction(name):
    """Lines for batches that are parted over the cores."""
    import networks

    found, rates = [], {}
    for rows in (1, 8):
        case = {"network": name, "batch": rows}
        run, predictor = networks.skdeep_runner(*networks.prepare(case), 1, "float32")
        run()
        rates[rows] = 1e9 * min(common.seconds(run) for _ in range(SWEEPS)) / rows
    packed = 4 * predictor.static.size
    for cores in CORES:
        for rows in rates:
            time = max(rows * rates[rows], cores * packed / BANDWIDTH)
            limit = "memory" if time > rows * rates[rows] else "computing"
            what = f"prediction, {name}, {rows} images per core: {cores} cores, by the model"
            found.append(line(f"{what}; limited by {limit}", cores * rows * rates[rows] / time))
    return found


def measure(context):
    import training

    found = []
    for name in TRAINED:
        found += learning(name, context)
    for name in PREDICTED[: 1 if context.quick else None]:
        found += single_image(name, context, training.THREADS) + prediction(name)
    return found


if __name__ == "__main__":
    common.main("scaling", " ".join(__doc__.split()), measure, threads=2)
