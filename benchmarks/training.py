"""A training step of convolutional networks, and batch norm + ReLU alone, on both cores.

Every contender starts from the same weights and sees the same batches; a time is printed only when
its losses agree with the others'. Each trains in a process of its own, as it does for its users,
and they take turns: one works, the others sleep. PyTorch runs eagerly in both memory formats and
compiled; the fastest is named first. The cores of a virtual machine are moved about by the system
around it. Where they are is found out before and after each time: only times that met the same are
compared, and there is a line for each place. Batches of 64 images; everything is float32. Batch
norm alone is computed by all in one process, 20 times at a time, as the steps of a training are:
skdeep's threads then live as long, and PyTorch is called for each.
"""

import json
import statistics
import subprocess
import sys
import time

import common
import mlp_digits
import peers
from placement import FAR, NEAR, placement

BATCH, THREADS, BATCHES = 64, 2, 3
CHECKED = 6  # steps whose losses are compared
REST = 0.3  # seconds
AGREE = 5e-3  # how far they may be apart, relatively: rounding grows from step to step
PEER = "PyTorch"
PLACEMENTS = (NEAR, FAR, None)  # None: a machine that does not tell
ROUNDS, ENOUGH = 3, 3  # rounds for each repetition asked for; rounds that make a line
VARIANTS = ("contiguous", "channels last", "compiled")


def stage(filters, stride):
    """Two residual blocks of ResNet-18."""
    return [("block", filters, stride), ("block", filters, 1)]


# What runs, with its input, optimizer, the ratio asked for and the steps of a measurement.
NETWORKS = {
    "LeNet-5 (20, 50 filters; 500 units), Adam": (
        [("conv", 20, 5), ("pool",), ("conv", 50, 5), ("pool",), ("dense", 500)],
        (28, 28, 1), "adam", 2.0, 20,
    ),
    "VGG-like (64, 128, 256; batch norm), SGD": (
        [part for f in (64, 128, 256) for part in (("conv_bn", f), ("conv_bn", f), ("pool",))]
        + [("mean",)],
        (32, 32, 3), "sgd", 2.2, 2,
    ),
    "ResNet-18 for 32 x 32 images, SGD": (
        [("conv_bn", 64), *stage(64, 1), *stage(128, 2), *stage(256, 2), *stage(512, 2), ("mean",)],
        (32, 32, 3), "sgd", 1.8, 1,
    ),
}  # fmt: skip
NORMS = [(64, 32, 32, 64), (64, 16, 16, 128), (64, 8, 8, 256)]
STEPS = 20  # of batch norm at a time


def layers(parts):
    """skdeep's layers of a literal description."""
    from skdeep import layers as sk

    def plain(f, k=3, stride=1):
        return sk.Conv2D(f, k, stride=stride, padding=k // 2, use_bias=False)

    found, channels = [], None
    for kind, *sizes in parts:
        if kind == "conv":
            found.append(sk.Conv2D(*sizes, activation="relu"))
        elif kind == "conv_bn":
            found += [plain(*sizes), sk.BatchNorm("relu")]
        elif kind == "block":
            f, stride = sizes
            branch = [plain(f, 3, stride), sk.BatchNorm("relu"), plain(f), sk.BatchNorm()]
            changed = stride > 1 or f != channels
            shortcut = sk.Sequential([plain(f, 1, stride), sk.BatchNorm()]) if changed else None
            found.append(sk.Residual(branch, shortcut=shortcut, activation="relu"))
        elif kind == "pool":
            found.append(sk.MaxPool2D(2))
        elif kind == "mean":
            found.append(sk.GlobalAveragePool2D())
        else:
            found.append(sk.Dense(*sizes, activation="relu"))
        channels = sizes[0] if sizes else channels
    return [*found, sk.Dense(10)]


def problem(shape):
    """Random images and labels of a few batches."""
    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.standard_normal((BATCHES * BATCH, *shape), dtype=np.float32)
    return X, rng.integers(0, 10, len(X)).astype(np.int32)


def trainer(parts, shape, optimizer):
    """skdeep's trainer on :func:`problem`, and its weights at the start by name."""
    from sklearn.utils import check_random_state

    from skdeep.kernels.cpu import CPU
    from skdeep.layers.network import Network
    from skdeep.training import SGD, Adam
    from skdeep.training.data import Data
    from skdeep.training.losses import LogLoss
    from skdeep.training.trainer import Trainer

    network = Network(layers(parts), shape)
    network.probe()
    vectors = network.initialize(check_random_state(0))
    rule = Adam(1e-3) if optimizer == "adam" else SGD(1e-3, momentum=0.9)
    X, y = problem(shape)
    views = network.views(vectors)
    start = [views[s.name].copy() for s in network.parameters if s.trainable]
    return Trainer(network, LogLoss().forward, Data(X, shape, y), vectors, CPU(), rule), start


def own(parts, shape, optimizer):
    """``steps(n)`` returns the losses of the next n steps."""
    import numpy as np

    learner, _ = trainer(parts, shape, optimizer)
    rows = np.arange(BATCHES * BATCH, dtype=np.int32).reshape(BATCHES, BATCH)

    def steps(n):
        first = learner.steps_done
        values = learner.optimizer.registers(first, n, 0, 1)
        return learner.run(rows[np.arange(first, first + n) % BATCHES], values, THREADS)

    return steps


def torch_steps(parts, shape, optimizer, variant):
    """As :func:`own`, in PyTorch; ``variant`` is contiguous, channels last or compiled."""
    import numpy as np

    torch = peers.set_threads(THREADS)
    _, start = trainer(parts, shape, optimizer)
    network = peers.torch_network(parts, shape)
    peers.copy_weights(network, start)
    last = variant != "contiguous"
    format_ = torch.channels_last if last else torch.contiguous_format
    network = network.to(memory_format=format_)
    X, y = problem(shape)
    batches = [
        torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=format_)
        for x in np.split(X, BATCHES)
    ]
    labels = [torch.from_numpy(part.astype(np.int64)) for part in np.split(y, BATCHES)]
    if variant == "compiled":
        network = torch.compile(network)
    return peers.torch_stepper(network, batches, labels, optimizer)


def disagreement(losses):
    """The largest relative difference of some contenders' losses, and whose it is."""
    import numpy as np

    reference = np.median(list(losses.values()), axis=0)
    return max((float(np.max(np.abs(v / reference - 1))), name) for name, v in losses.items())


def serve(name, variant):
    """What the process of a contender does: run as many steps as each line asks for.

    It answers with their losses and with the milliseconds per step.
    """
    parts, shape, optimizer, *_ = NETWORKS[name]
    if variant == common.SKDEEP:
        run = own(parts, shape, optimizer)
    else:
        run = torch_steps(parts, shape, optimizer, variant)
    for line in sys.stdin:
        count = int(line)
        start = time.perf_counter()
        losses = run(count)
        took = 1e3 * (time.perf_counter() - start) / count
        print(json.dumps([took, [float(x) for x in losses]]), flush=True)


class Process:
    """A contender in a process of its own."""

    def __init__(self, name, variant):
        command = [sys.executable, __file__, "--contender", name, variant]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def run(self, count):
        """Milliseconds per step of the next ``count``, and their losses."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"a contender ended with {self.process.wait()}")
        return json.loads(answer)

    def settled(self, count):
        """Milliseconds per step once the contender before rests, and where the cores are.

        "cores" is "moved" if they were moved meanwhile.
        """
        time.sleep(REST)
        self.run(count)  # the caches are this contender's now
        before = placement()
        took = self.run(count)[0]
        return {"ms": took, "cores": before if placement() == before else "moved"}

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def measure_network(context, name):
    """Lines for a network, for each placement of the cores that was met often enough."""
    *_, count = NETWORKS[name]
    names = {common.SKDEEP: common.SKDEEP}
    for variant in VARIANTS[: 2 if context.quick else 3]:
        names[f"{PEER}, {variant}"] = variant
    processes = {n: Process(name, variant) for n, variant in context.wanted(names).items()}
    check(name, {n: process.run(CHECKED)[1] for n, process in processes.items()})
    contenders = {n: lambda p=process: p.settled(count) for n, process in processes.items()}
    measured = common.alternate(contenders, ROUNDS * context.repetitions)
    for process in processes.values():
        process.end()
    lines = [line for where in PLACEMENTS for line in placed_lines(name, where, measured)]
    if not lines:
        raise SystemExit(f"{name}: the cores were moved too often; ask for more --repetitions")
    return lines


def placed_lines(name, where, measured):
    """Lines from the rounds that found the cores at ``where``; none if any peer has too few.

    A peer is compared in those rounds in which skdeep and it met the same.
    """
    peers = [n for n in measured if n != common.SKDEEP]
    pairs = {}
    for peer in peers or [common.SKDEEP]:
        rounds = zip(measured.get(common.SKDEEP, measured[peer]), measured[peer])
        both = [(a["ms"], b["ms"]) for a, b in rounds if a["cores"] == b["cores"] == where]
        if len(both) < ENOUGH:
            return []
        series = dict(zip((common.SKDEEP, peer), map(list, zip(*both))))
        pairs[peer] = {n: values for n, values in series.items() if n in measured}
    order = sorted(pairs, key=lambda peer: statistics.median(pairs[peer][peer]))
    title = f"{name}, a step" + (f", {where}" if where else "")
    target = NETWORKS[name][3]
    return [
        line
        for k, peer in enumerate(order)
        for line in common.compare(title, "ms", pairs[peer], targets={} if k else {peer: target})
    ]


def check(name, losses):
    """End the program when the losses of some contenders differ."""
    apart, who = disagreement(losses)
    if not apart < AGREE:
        raise SystemExit(f"{name}: the losses of {who} are off by {apart:.2g}; no times are given")
    print(f"  {name}: losses of {CHECKED} steps agree to {apart:.1g}", flush=True)


def norm_runs(shape, backward):
    """``run()`` of every contender for relu(batch_norm(x)) or for its gradients, and the results.

    The results are y, or (dx, dgamma, dbeta), channels last.
    """
    import numpy as np

    rng = np.random.default_rng(1)
    x, dy = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    gamma, beta = (rng.uniform(0.5, 1.5, shape[-1]).astype(np.float32) for _ in range(2))
    own = peers.skdeep_norm(x, gamma, beta, dy if backward else None, THREADS)
    runs = {common.SKDEEP: own}
    for last in (False, True):
        variant = "channels last" if last else "contiguous"
        runs[f"{PEER}, {variant}"] = peers.torch_norm(
            x, gamma, beta, dy if backward else None, THREADS, last
        )
    return runs


def measure_norm(context, shape, backward):
    import numpy as np

    what = f"batch norm + ReLU of {shape}, {'backward' if backward else 'forward'}"
    runs = context.wanted(norm_runs(shape, backward))
    results = {n: run() for n, run in runs.items()}
    exact = results.get(common.SKDEEP, next(iter(results.values())))
    for n, found in results.items():
        # PyTorch's float32 sums flip the sign of a few values near zero: compare in the mean
        apart = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, exact)]
        if not max(apart) < AGREE:
            raise SystemExit(f"{what}: {n} is off by {max(apart):.2g}; no times are given")

    def best(run):
        return 1e3 / STEPS * min(common.seconds(lambda: run(STEPS)) for _ in range(10))

    contenders = {n: lambda run=run: best(run) for n, run in runs.items()}
    measured = common.best_of(common.alternate(contenders, context.repetitions), PEER)
    target = 1.3 if backward else 1.5
    return common.compare(what, "ms", measured, targets={PEER: target})


def measure(context):
    lines = []
    for name in NETWORKS:
        lines += measure_network(context, name)
    for shape in NORMS[-1:] if context.quick else NORMS:
        for backward in (False, True):
            lines += measure_norm(context, shape, backward)
    return lines + mlp_epoch(context)


def mlp_epoch(context):
    """An epoch of MLPClassifier beside scikit-learn's, batches of 32."""
    X, y = mlp_digits.digits()
    few, many = (2, 6) if context.quick else (5, 25)
    fits = mlp_digits.fitters(32, X, y)
    wanted = {n: fits[n] for n in ("scikit-learn", common.SKDEEP)}
    contenders = {
        n: lambda fit=fit: 1e-3 * common.slope(fit, few, many, 1)
        for n, fit in context.wanted(wanted).items()
    }
    measured = common.alternate(contenders, context.repetitions)
    what = "MLPClassifier 64-100-100-10, batch 32, an epoch (slope)"
    return common.compare(what, "ms", measured, targets={"scikit-learn": 12})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--contender"]:
        serve(*sys.argv[2:])
    else:
        common.main(
            "training", __doc__, measure, threads=THREADS, repetitions=5, quick_repetitions=2
        )
