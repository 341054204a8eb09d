"""The order over the batch: which operations take how many samples at a time.

Early layers of a network have large activations and few weights: a sample at a time, its
activations stay in the cache from one layer to the next. Late layers have small activations and
many weights: all samples together read the weights once. :func:`order_batch` cuts the graph where
a single tensor goes on, gives every stretch its own number of samples, and writes it out for each
group of samples in turn.
"""

from typing import NamedTuple

from ..kernels.cpu import CPU
from .op import OPS, topological
from .passes import static_tensors

# Operations each sample of whose result depends on that sample of the inputs alone.
PER_SAMPLE = {
    "Absolute", "Attention", "AveragePool2D", "AveragePool2DBfloat16", "BatchMatMul", "BatchNorm",
    "Clip", "Conv2D", "Conv2DBfloat16", "Copy", "Dense", "DenseBfloat16", "DepthwiseConv2D",
    "DepthwiseConv2DBfloat16", "Elu", "Erf", "Exp", "ExtractPatches", "Gelu", "Hardsigmoid",
    "Hardswish", "HogBlocks", "HogCells", "LayerNorm", "LeakyRelu", "LocalResponseNorm",
    "LogSoftmax", "MaxPool2D", "MaxPool2DBfloat16", "Mish", "Narrow", "Negative", "Pad2D",
    "PadAxis", "QuickGelu", "Relu", "Reshape", "Selu", "ShuffleChannels", "Sigmoid", "Silu",
    "SliceAxis", "SoftPool", "Softmax", "Softplus", "Sqrt", "Square", "SwapBlocks", "Tanh",
    "TrianglePool", "Widen",
}  # fmt: skip
ALIGNED = {
    "Add",
    "AddBfloat16",
    "Concatenate",
    "Divide",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
}
PER_SAMPLE |= ALIGNED

BANDWIDTH = 20  # bytes per ns that come from further away than the cache
# Part of the work that fewer samples may cost by this reckoning; measured, ResNet-50 took as long.
SPARE = 0.03


class Stretch(NamedTuple):
    """Consecutive operations that take the same number of samples at a time."""

    ops: list
    samples: int


def order_batch(outputs, batch, cache=CPU.cache):
    """Rewrite a graph over a batch so that each stretch runs for a good number of samples.

    Parameters
    ----------
    outputs : list of Tensor
    batch : int
        Samples of the graph; the first axis of what is computed from data is a multiple of it.
    cache : int
        Bytes of the second-level cache that is reckoned with.

    Returns
    -------
    outputs : list of Tensor
    stretches : list of Stretch
        What was decided, with the operations of the given graph.
    """
    order = topological(outputs)
    static = static_tensors(order)
    dynamic = {id(t) for op in order for t in (*op.inputs, *op.outputs) if t is not None} - static
    stretches = _stretches(order, outputs, batch, dynamic, cache)
    if all(s.samples == batch for s in stretches):
        return outputs, stretches
    new, parts = {}, {}
    for k, stretch in enumerate(stretches):
        if stretch.samples == batch:
            for op in stretch.ops:
                inputs = [None if t is None else new.get(id(t), t) for t in op.inputs]
                if any(a is not b for a, b in zip(inputs, op.inputs)):
                    new.update(zip(map(id, op.outputs), op.rebuild(inputs).outputs))
            continue
        needed = _needed_after(stretches[k + 1 :], outputs)
        _write_out(stretch, batch, dynamic, needed, new, parts)
    return [new.get(id(t), t) for t in outputs], stretches


def _needed_after(stretches, outputs):
    needed = {id(t) for t in outputs}
    return needed.union(id(t) for s in stretches for op in s.ops for t in op.inputs)


def _write_out(stretch, batch, dynamic, needed, new, parts):
    """Add the operations of a stretch to the new graph, once for each group of samples.

    ``parts`` are those of which tensors of the new graph are joined, each for so many samples.
    """
    pieces = {}
    for start in range(0, batch, stretch.samples):
        stop = min(batch, start + stretch.samples)
        part = {}  # id of a tensor -> these samples of it
        for op in stretch.ops:
            for t in op.inputs:
                if id(t) in dynamic and id(t) not in part:
                    samples, joined = parts.get(id(t), (batch, []))
                    if id(t) not in needed and stretch.samples % samples == 0:
                        mine = joined[start // samples : -(-stop // samples)]
                        part[id(t)] = mine[0] if len(mine) == 1 else OPS["JoinRows"](*mine).output
                    else:
                        rows = t.shape[0] // batch
                        part[id(t)] = _take(new.get(id(t), t), start * rows, stop * rows)
            inputs = [part.get(id(t), new.get(id(t), t)) for t in op.inputs]
            copy = op.rebuild_part(inputs, stop - start, batch)
            for t, mine in zip(op.outputs, copy.outputs):
                part[id(t)] = mine
                if id(t) in needed and id(t) in dynamic:
                    if copy.shares():
                        mine = OPS["Copy"](mine).output
                    pieces.setdefault(id(t), []).append(mine)
    for key, joined in pieces.items():
        new[key], parts[key] = OPS["JoinRows"](*joined).output, (stretch.samples, joined)


def _take(t, start, stop):
    """Rows of a tensor; what is loaded is loaded by itself, when it is its turn."""
    kind = type(t.op).__name__
    if kind == "LoadRows":
        return t.op.like(*t.op.inputs, n=stop - start, first=start).output
    if kind == "Reshape" and t.op.inputs[0].shape[0] == t.shape[0]:
        rows = _take(t.op.inputs[0], start, stop)
        return t.op.rebuild_part([rows], stop - start, t.shape[0]).output
    return OPS["TakeRows"](t, start=start, stop=stop).output


def _stretches(order, outputs, batch, dynamic, cache):
    """Cut the operations where one tensor goes on, and choose the samples of every stretch."""
    last = {}
    for k, op in enumerate(order):
        last.update((id(t), k) for t in op.inputs if t is not None)
    requested = {id(t) for t in outputs}
    stretches, ops, alive = [], [], set()
    for k, op in enumerate(order):
        ops.append(op)
        alive.update(id(t) for t in op.outputs if id(t) in dynamic)
        alive = {t for t in alive if last.get(t, -1) > k}
        if len(alive - requested) <= 1 or k + 1 == len(order):
            samples = batch
            computes = any(not op.shares() for op in ops)
            if computes and all(_divisible(op, batch, dynamic) for op in ops):
                samples = _choose(ops, batch, dynamic, cache)
            if stretches and stretches[-1].samples == samples:
                stretches[-1].ops.extend(ops)
            else:
                stretches.append(Stretch(ops, samples))
            ops = []
    return stretches


def _divisible(op, batch, dynamic):
    """Whether an operation can run for a part of the batch."""
    name = type(op).__name__
    if name not in PER_SAMPLE or getattr(op, "axis", None) == 0:
        return False
    tensors = [t for t in (*op.inputs, op.output) if id(t) in dynamic]
    if any(t.ndim == 0 or t.shape[0] % batch for t in tensors):
        return False
    if name in ALIGNED:  # inputs meet element by element
        others = [t for t in op.inputs if t is not None and id(t) not in dynamic]
        others = [t for t in others if t.ndim == op.output.ndim]
        if len({t.ndim for t in tensors}) > 1 or any(t.shape[0] > 1 for t in others):
            return False
    return name == "Reshape" or len({t.shape[0] for t in tensors}) == 1


def _choose(ops, batch, dynamic, cache):
    """Samples at a time that move few bytes between the caches.

    Weights that do not fit the cache together are read once for each group; of the activations of
    an operation, what does not fit is read and written from further away. Of the numbers of
    samples that cost hardly more time than the best, the least is taken: it needs the least memory.
    """
    weights = [
        sum(4 * t.words for t in op.inputs if t is not None and id(t) not in dynamic) for op in ops
    ]
    activations = [
        sum(4 * t.words for t in (*op.inputs, op.output) if t is not None and id(t) in dynamic)
        / batch
        for op in ops
    ]
    reread = sum(weights) > cache // 2

    def moved(samples):
        far = sum(max(0, a - cache / samples) for a in activations)
        return far + (sum(weights) / samples if reread else 0)

    sizes = [batch]
    while sizes[-1] > 1:
        sizes.append((sizes[-1] + 1) // 2)
    work = sum(row.work for op in ops for row in op.rows()) / batch
    most = min(map(moved, sizes)) + SPARE * BANDWIDTH * work
    return min(samples for samples in sizes if moved(samples) <= most)
