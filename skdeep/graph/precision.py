"""Inference with less than float32: which operations of a graph compute on bfloat16."""

from importlib import import_module

from .op import topological
from .passes import rewrite, static_tensors


def to_bfloat16(outputs):
    """Rewrite a graph for inference so that the tensors between its layers are bfloat16.

    Products take bfloat16, whatever comes before them; pooling, sums, clamps and movements of data
    keep the type they are given; all others get float32, by conversions around them. What depends
    on weights alone stays float32, but for the packed weights of products. Sums are float32, and so
    are the results.

    Parameters
    ----------
    outputs : list of Tensor
        After :func:`~skdeep.graph.passes.optimize`.

    Returns
    -------
    list of Tensor
        What replaces ``outputs``.
    """
    ops = import_module("skdeep.ops.bfloat16")
    casts = ops.Casts()
    static = static_tensors(topological(outputs))

    def convert(op, inputs, uses):
        if id(op.output) in static:
            return None
        name = type(op).__name__
        made = ops.FORMS[name](op, casts, *inputs) if name in ops.FORMS else None
        if made is not None:
            return [made]
        return op.rebuild([casts.widen(t) for t in inputs]).outputs

    converted = [casts.widen(t) for t in rewrite(outputs, convert)]
    return rewrite(converted, _write_wide)


def _write_wide(op, inputs, uses):
    """A product that only float32 is wanted of writes float32."""
    if type(op).__name__ != "Widen" or uses(op.inputs[0]) != 1:
        return None
    source = inputs[0].op
    if not hasattr(source, "may_be_wide") or not source.may_be_wide():
        return None
    *head, residual = source.inputs
    residual = import_module("skdeep.ops.bfloat16").Casts().widen(residual)
    return source.like(*head, residual, wide=True).outputs
