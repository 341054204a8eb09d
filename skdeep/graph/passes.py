"""Rewrites of a graph: fuse what one kernel can do, fold what never changes."""

from collections import Counter

from .op import OPS, topological
from .tensor import Tensor


def rewrite(outputs, rule):
    """Rebuild a graph, giving ``rule`` the chance to replace each operation.

    Parameters
    ----------
    outputs : list of Tensor
    rule : callable
        ``rule(op, inputs, uses)`` returns the tensors that replace the outputs, or None to keep
        the operation. ``inputs`` are already rewritten; ``uses(tensor)`` counts the readers of an
        *original* tensor, requested outputs included.

    Returns
    -------
    list of Tensor
        What replaces ``outputs``.
    """
    order = topological(outputs)
    readers = Counter(id(t) for op in order for t in op.inputs if t is not None)
    readers.update(id(t) for t in outputs)
    new = {}

    def now(t):
        return None if t is None else new.get(id(t), t)

    for op in order:
        inputs = [now(t) for t in op.inputs]
        replacement = rule(op, inputs, lambda t: readers[id(t)])
        if replacement is None:
            if all(a is b for a, b in zip(inputs, op.inputs)):
                continue
            replacement = op.rebuild(inputs).outputs
        new.update((id(t), r) for t, r in zip(op.outputs, replacement))
    return [now(t) for t in outputs]


_INFINITY = float("inf")
# Operations with attributes low and high, and inputs (x, w, packed w, bias, residual), or
# (x, w, bias) where weights are not packed.
PACKED, PLAIN = ("Dense", "Conv2D"), ("DepthwiseConv2D",)
RESIDUAL = 4
# Activations that operations with the attribute ``after`` take, and their names there.
FOLLOWING = {"Gelu": "gelu", "QuickGelu": "quick_gelu"}
# Operations whose last input may be a mask: the result is zero where it is not positive.
MASKED = ("DenseGradX", "Conv2DGradX", "DepthwiseGradX")


def _is_unclamped(op, kinds):
    if op is None or type(op).__name__ not in kinds:
        return False
    limited = op.low > -_INFINITY or op.high < _INFINITY
    return not limited and not op.attributes.get("after")


def fuse_activation(op, inputs, uses):
    """An activation after a linear operation nobody else reads is computed in its kernel."""
    kind = type(op).__name__
    if kind not in ("Relu", "Clip", *FOLLOWING) or uses(op.inputs[0]) != 1:
        return None
    source = inputs[0].op
    if not _is_unclamped(source, PACKED + PLAIN):
        return None
    if kind in FOLLOWING:
        fits = "after" in source.attributes
        return source.like(*source.inputs, after=FOLLOWING[kind]).outputs if fits else None
    limits = {"low": 0.0} if kind == "Relu" else {"low": op.low, "high": op.high}
    return source.like(*source.inputs, **limits).outputs


def fuse_pool(op, inputs, uses):
    """Relu in front of max pooling becomes its lower bound; the gradient then needs no mask."""
    if type(op).__name__ != "MaxPool2D" or uses(op.inputs[0]) != 1:
        return None
    relu = inputs[0].op
    if type(relu).__name__ != "Relu" or op.low > -_INFINITY:
        return None
    return op.like(*relu.inputs, low=0.0).outputs


def fuse_mask(op, inputs, uses):
    """Relu's gradient after an input gradient is applied where that gradient is computed."""
    if type(op).__name__ != "ReluGrad" or uses(op.inputs[0]) != 1:
        return None
    source = inputs[0].op
    if type(source).__name__ not in MASKED or source.inputs[-1] is not None:
        return None
    return source.like(*source.inputs[:-1], inputs[1]).outputs


STATIC_ROLES = ("parameter", "state", "static")  # memories that are the same for all samples


def static_tensors(order):
    """Ids of all tensors that operations, in their order, compute with and that no data changes."""
    known = set()
    for op in order:
        known.update(id(t) for t in op.inputs if t and t.op is None and t.role in STATIC_ROLES)
        if not op.writes and all(id(t) in known for t in op.inputs if t is not None):
            known.update(map(id, op.outputs))
    return known


def split_static(outputs):
    """Part a graph into what depends on parameters alone and what depends on data.

    Returns
    -------
    outputs : list of Tensor
        The graph with every static tensor that data-dependent operations read replaced by a leaf
        in the memory "static": it needs the parameters themselves no more.
    static : dict of Tensor to (str, int)
        The static tensors to compute beforehand, and their places, as ``compile_program`` pins.
    size : int
        Words of that memory.
    """
    order = topological(outputs)
    static = static_tensors(order)
    order = [op for op in order if id(op.output) not in static]
    places, leaves, offset = {}, {}, 0
    for op in order:
        for t in op.inputs:
            if id(t) in static and id(t) not in leaves and (t.op is not None or _reads(op, t)):
                source = t
                if t.op is None or t.op.shares():
                    source = OPS["Copy"](t).output
                places[source] = ("static", offset)
                leaves[id(t)] = Tensor(t.shape, t.dtype, role="static", offset=offset)
                offset += -(-t.words // 16) * 16
    new = {}
    for op in order:
        inputs = [None if t is None else leaves.get(id(t)) or new.get(id(t), t) for t in op.inputs]
        if any(a is not b for a, b in zip(inputs, op.inputs)):
            new.update((id(t), r) for t, r in zip(op.outputs, op.rebuild(inputs).outputs))
    return [new.get(id(t), t) for t in outputs], places, offset


def _reads(op, t):
    """Whether an operation computes with an input; weights that are packed it only knows of."""
    return any(x is t for row in op.rows() for x in row.operands)


def fold_batch_norm(op, inputs, uses):
    """Batch norm (inference form) after a linear operation becomes part of its weights and bias."""
    if type(op).__name__ != "BatchNorm" or uses(op.inputs[0]) != 1:
        return None
    source = inputs[0].op
    if not _is_unclamped(source, PACKED + PLAIN):
        return None
    _, gamma, beta, mean, var = inputs
    scale = gamma / OPS["Sqrt"](var + op.eps).output

    def shift(bias):
        return (-mean if bias is None else bias - mean) * scale + beta

    if type(source).__name__ in PLAIN:
        x, w, bias = source.inputs
        return source.like(x, w * scale, shift(bias)).outputs
    x, w, packed, bias, residual = source.inputs
    if residual is not None:
        return None
    folded = type(packed.op)(w * scale, **packed.op.attributes).output
    return source.like(x, w, folded, shift(bias), None).outputs


def fold_scale(op, inputs, uses):
    """A learnt factor per channel after a linear operation becomes part of weights and bias."""
    if type(op).__name__ != "Multiply" or None in inputs:  # a number is no input
        return None
    for k in (0, 1):
        source, scale = inputs[k].op, inputs[1 - k]
        if (
            uses(op.inputs[k]) != 1
            or not _is_unclamped(source, PACKED + PLAIN)
            or scale.op is not None
            or scale.role not in STATIC_ROLES
            or scale.shape != op.output.shape[-1:]
        ):
            continue
        if type(source).__name__ in PLAIN:
            x, w, bias = source.inputs
            return source.like(x, w * scale, bias and bias * scale).outputs
        x, w, packed, bias, residual = source.inputs
        if residual is None:
            folded = type(packed.op)(w * scale, **packed.op.attributes).output
            return source.like(x, w, folded, bias and bias * scale, None).outputs
    return None


def fuse_residual(op, inputs, uses):
    """A sum with the output of a linear operation becomes the operation's residual input."""
    if type(op).__name__ != "Add" or None in inputs or inputs[0].shape != inputs[1].shape:
        return None
    for k in (1, 0):
        source = inputs[k].op
        if (
            uses(op.inputs[k]) == 1
            and _is_unclamped(source, PACKED)
            and source.inputs[RESIDUAL] is None
        ):
            head = source.inputs[:RESIDUAL]
            return source.like(*head, inputs[1 - k]).outputs
    return None


def fuse_concatenate(op, inputs, uses):
    """Convolutions whose channels are joined write them where they belong; for inference only."""
    if type(op).__name__ != "Concatenate" or op.axis != op.output.ndim - 1 or op.placed:
        return None
    channels = op.output.shape[-1]
    parts, placed = list(inputs), []
    for k, t in enumerate(inputs):
        source = t.op
        fits = type(source).__name__ in ("Conv2D", "Conv2DBfloat16") and source.may_be_part()
        if uses(op.inputs[k]) == 1 and fits:
            parts[k] = source.like(*source.inputs, within=channels).output
            placed.append(k)
    return op.like(*parts, placed=tuple(placed)).outputs if placed else None


def _norm_plans(outputs):
    """What follows batch norm in training and can be part of it.

    Returns
    -------
    plans : dict of int to (Tensor or None, float)
        Residual and lower bound by the id of the batch norm.
    gone : dict of int to Op
        The batch norm that does the work of an operation, by the id of that operation.
    """
    order = topological(outputs)
    position = {id(op): k for k, op in enumerate(order)}
    readers = {}
    for op in order:
        for t in op.inputs:
            readers.setdefault(id(t), []).append(op)
    for t in outputs:
        readers.setdefault(id(t), []).append(None)

    def only_reader(t):
        found = readers.get(id(t), [])
        return found[0] if len(found) == 1 else None

    plans, gone = {}, {}
    for norm in order:
        if (
            type(norm).__name__ != "BatchNormTrain"
            or norm.inputs[3] is not None
            or norm.low > -_INFINITY
        ):
            continue
        y, residual, low = norm.output, None, -_INFINITY
        reader = only_reader(y)
        if type(reader).__name__ == "Add" and None not in reader.inputs:
            a, b = reader.inputs
            other = a if b is y else b
            known = other.op is None or position[id(other.op)] < position[id(norm)]
            if other.shape == y.shape and known:
                residual, gone[id(reader)] = other, norm
                reader = only_reader(reader.output)
        if type(reader).__name__ == "Relu":
            low, gone[id(reader)] = 0.0, norm
        if residual is not None or low == 0:
            plans[id(norm)] = residual, low
    return plans, gone


def fuse_norm(outputs):
    """A sum and a Relu after batch norm in training, which nobody else reads, become part of it."""
    plans, gone = _norm_plans(outputs)
    new = {}

    def now(t):
        return None if t is None else new.get(id(t), t)

    for op in topological(outputs):
        if id(op) in gone:
            new[id(op.output)] = new[id(gone[id(op)].output)]
            continue
        inputs = [now(t) for t in op.inputs]
        if id(op) in plans:
            residual, low = plans[id(op)]
            made = op.like(*inputs[:3], now(residual), low=low)
        elif any(a is not b for a, b in zip(inputs, op.inputs)):
            made = op.rebuild(inputs)
        else:
            continue
        new.update((id(t), r) for t, r in zip(op.outputs, made.outputs))
    return [now(t) for t in outputs]


def optimize(outputs, training):
    """All fusing passes, in order; batch norm and scales are folded for inference only."""
    if not training:
        outputs = rewrite(rewrite(outputs, fold_batch_norm), fold_scale)
    else:
        outputs = rewrite(fuse_norm(outputs), fuse_pool)
    outputs = rewrite(outputs, fuse_residual)
    return rewrite(outputs, fuse_activation)
