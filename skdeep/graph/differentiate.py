"""Reverse-mode differentiation: every operation says how its inputs' gradients are built."""

from importlib import import_module

from .op import topological


def gradients(loss, wanted, seed=None):
    """d loss / d tensor for each wanted tensor, as tensors of the same graph.

    Parameters
    ----------
    loss : Tensor
        What is differentiated; summed over its elements unless ``seed`` is given.
    wanted : list of Tensor
        Leaves or intermediate values.
    seed : Tensor or None
        d objective / d loss, of the shape of ``loss``; ones when None.

    Returns
    -------
    list of Tensor or None
        None where the loss does not depend on the tensor.
    """
    ops = import_module("skdeep.ops")
    order = topological([loss])
    live = {id(t) for t in wanted}  # tensors whose gradient matters
    for op in order:
        if any(id(t) in live for t in op.inputs if t is not None):
            live.update(id(t) for t in op.outputs)
    parts = {id(loss): [seed if seed is not None else ops.full(loss.shape, 1.0)]}
    total = {}

    def collect(tensor):
        if id(tensor) not in total:
            found = parts.get(id(tensor))
            if found is None:
                return None
            value = found[0]
            for more in found[1:]:
                value = ops.add(value, more)
            total[id(tensor)] = value
        return total[id(tensor)]

    for op in reversed(order):
        if not op.differentiable or not any(id(t) in live for t in op.outputs):
            continue
        dys = [collect(t) for t in op.outputs]
        if all(dy is None for dy in dys):
            continue
        for tensor, gradient in zip(op.inputs, op.gradient(*dys)):
            if gradient is not None and tensor is not None and id(tensor) in live:
                if gradient.shape != tensor.shape:
                    raise ValueError(
                        f"{type(op).__name__}: gradient of shape {gradient.shape} "
                        f"for an input of shape {tensor.shape}"
                    )
                parts.setdefault(id(tensor), []).append(gradient)
    return [collect(t) for t in wanted]
