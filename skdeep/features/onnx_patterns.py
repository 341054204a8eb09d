"""Operators that exporters write out in many nodes, and that are one operation here.

:data:`PATTERNS` maps the last operator of such a chain to functions ``find(t, node, inputs)`` that
look backwards and give the value, or None where the chain is not there.
"""

import math

import numpy as np

from . import onnx_constants as constants
from .axes import Value, flat, sizes_product
from .onnx_operators import dense, layer_norm

__all__ = []


def made_by(t, name, *operators):
    """The node that computes a name, if it is of such a kind."""
    node = t.producers.get(name)
    return node if node is not None and node.op in operators else None


def number(t, name):
    """The one number that a name stands for, or None."""
    array = t.values.get(name)
    return float(array.reshape(())) if isinstance(array, np.ndarray) and array.size == 1 else None


def about(value, wanted):
    """Whether a number is there and is a certain one, up to rounding."""
    return value is not None and math.isclose(value, wanted, rel_tol=1e-4)


def either(pair):
    """A pair in both orders."""
    first, second = pair
    return (first, second), (second, first)


def silu(t, node, inputs):
    """x sigmoid(x)."""
    for x, other in either(node.inputs):
        sigmoid = made_by(t, other, "Sigmoid")
        if sigmoid is not None and sigmoid.inputs[0] == x:
            return t.unary("silu", t.values[x])
    return None


def factors(t, name, depth=3):
    """(constant, names) whose product a name stands for."""
    value = number(t, name)
    if value is not None:
        return value, []
    node = made_by(t, name, "Mul") if depth else None
    if node is None:
        return 1.0, [name]
    parts = [factors(t, i, depth - 1) for i in node.inputs]
    return math.prod(p[0] for p in parts), [n for p in parts for n in p[1]]


def gelu(t, node, inputs):
    """x (1 + erf(x / sqrt(2))) / 2."""
    parts = [factors(t, i, 2) for i in node.inputs]
    names = [n for p in parts for n in p[1]]
    if len(names) != 2 or not about(math.prod(p[0] for p in parts), 0.5):
        return None
    for x, other in either(names):
        add = made_by(t, other, "Add")
        for one, name in either(add.inputs) if add is not None else ():
            erf = made_by(t, name, "Erf")
            if erf is None or number(t, one) != 1:
                continue
            source = made_by(t, erf.inputs[0], "Div", "Mul")
            if source is None:
                continue
            for a, b in either(source.inputs):
                root = math.sqrt(2) if source.op == "Div" else math.sqrt(0.5)
                if a == x and about(number(t, b), root):
                    return t.unary("gelu", t.values[x])
    return None


def dense_bias(t, node, inputs):
    """x w + b, by one operation."""
    for product, bias in either(node.inputs):
        matmul = made_by(t, product, "MatMul")
        b = t.values[bias]
        if matmul is None or isinstance(b, Value):
            continue
        x, w = (t.values[i] for i in matmul.inputs)
        fixed = isinstance(x, Value) and not isinstance(w, Value) and w.ndim == 2 <= x.ndim
        if fixed and b.shape[-1:] == w.shape[1:] and b.size == w.shape[1] and b.ndim <= x.ndim:
            return dense(t, x, x.ndim - 1, w, b.reshape(-1))
    return None


def normalised(t, name):
    """(x, axes, epsilon) of (x - mean) / sqrt(variance + epsilon), or None."""
    quotient = made_by(t, name, "Div")
    if quotient is None:
        return None
    away, root = (made_by(t, i, op) for i, op in zip(quotient.inputs, ("Sub", "Sqrt")))
    plus = made_by(t, root.inputs[0], "Add") if root is not None else None
    if away is None or plus is None:
        return None
    mean = made_by(t, away.inputs[1], "ReduceMean")
    for variance, eps in either(plus.inputs):
        variance, eps = made_by(t, variance, "ReduceMean"), number(t, eps)
        if variance is None or eps is None or mean is None or mean.inputs[0] != away.inputs[0]:
            continue
        square = made_by(t, variance.inputs[0], "Pow", "Mul")
        if square is None or square.inputs[0] != quotient.inputs[0]:
            continue
        if square.op == "Pow" and number(t, square.inputs[1]) != 2:
            continue
        if square.op == "Mul" and square.inputs[1] != square.inputs[0]:
            continue
        x = t.values[away.inputs[0]]
        axes = [constants.reduced_axes(x.ndim, n.attributes, [t.values.get(i) for i in n.inputs])
                for n in (mean, variance)]  # fmt: skip
        if axes[0] == axes[1]:
            return x, axes[0], eps
    return None


def decomposed_layer_norm(t, node, inputs):
    """(x - mean) / sqrt(variance + eps) * scale + shift."""
    for product, shift in either(node.inputs):
        multiply = made_by(t, product, "Mul")
        if multiply is None or isinstance(t.values[shift], Value):
            continue
        for name, scale in either(multiply.inputs):
            found, scale = normalised(t, name), t.values[scale]
            if found is None or isinstance(scale, Value):
                continue
            x, axes, eps = found
            last = axes == list(range(x.ndim - len(axes), x.ndim))
            if last and max(scale.ndim, t.values[shift].ndim) <= len(axes):
                return layer_norm(t, x, axes, scale, t.values[shift], eps)
    return None


def attention(t, node, inputs):
    """softmax(scale q k) v, without keeping the scores."""
    softmax = made_by(t, node.inputs[0], "Softmax")
    v = inputs[1]
    if softmax is None or not isinstance(v, Value) or v.ndim < 3:
        return None
    if softmax.attributes.get("axis", -1 if t.opset >= 13 else 1) not in (-1, v.ndim - 1):
        return None
    scale, name = scaled(t, softmax.inputs[0])
    product = made_by(t, name, "MatMul")
    if product is None:
        return None
    of_q, q = scaled(t, product.inputs[0])
    of_k, k = scaled(t, product.inputs[1])
    q, k, scale = t.values[q], t.values[k], scale * of_q * of_k
    if not (isinstance(q, Value) and isinstance(k, Value)) or not q.ndim == k.ndim == v.ndim:
        return None
    k = Value(k.name, (*k.axes[:-2], k.axes[-1], k.axes[-2]), k.stored)
    if k.shape != v.shape or (*q.shape[:-2], q.shape[-1]) != (*k.shape[:-2], k.shape[-1]):
        return None
    heads = q.shape[-3]
    q, k, v = (_packed(t, x) for x in (q, k, v))
    together = _together(t, [q, k, v])
    if together is not None:
        name = t.apply("self_attention", together, heads=heads, scale=scale)
    else:
        name = t.apply("attention", q.name, k.name, v.name, heads=heads, scale=scale)
    return Value(name, q.axes, q.stored)


def scaled(t, name):
    """(factor, name) that a name stands for, numbers that it is multiplied with taken out."""
    scale = 1.0
    while (step := made_by(t, name, "Mul", "Div")) is not None:
        first, second = (number(t, i) for i in step.inputs)
        if second is not None and (step.op == "Mul" or second):
            scale *= second if step.op == "Mul" else 1 / second
            name = step.inputs[0]
        elif first is not None and step.op == "Mul":
            scale, name = scale * first, step.inputs[1]
        else:
            break
    return scale, name


def _together(t, values):
    """The tensor of queries, keys and values side by side that these are slices of, or None."""
    steps = {s.output: s for s in t.steps}
    source, found = set(), []
    n, tokens, width = t.shape(values[0].name)
    for value in values:
        step = steps.get(value.name)
        while step is not None and step.function == "reshape":
            step = steps.get(step.inputs[0])
        if step is None or step.function != "slice_axis":
            return None
        shape, axis = t.shape(step.inputs[0]), step.attributes["axis"]
        after = math.prod(shape[axis + 1 :])
        source.add((step.inputs[0], axis))
        found.append((step.attributes["start"] * after, math.prod(shape[axis:])))
    if len(source) > 1 or found != [(k * width, 3 * width) for k in range(3)]:
        return None
    return t.apply("reshape", source.pop()[0], shape=(n, tokens, 3 * width))


def _packed(t, x):
    """A value (..., heads, tokens, width), stored as (..., tokens, heads, width)."""
    *front, heads, tokens, width = x.axes
    front = flat(front)
    x = t.arrange(x, (*front, *tokens, *heads, *width))
    sizes = sizes_product(front), sizes_product(tokens), sizes_product((*heads, *width))
    return Value(t.apply("reshape", x.name, shape=sizes), x.axes, x.stored)


PATTERNS = {
    "Mul": (silu, gelu),
    "Add": (dense_bias, decomposed_layer_norm),
    "MatMul": (attention,),
}
