"""Element-by-element operations against loops over Python floats, broadcasting against NumPy."""

import math

import numpy as np
import pytest
from checks import check_op, leaf, run
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from skdeep import ops
from skdeep.graph import OPS, Tensor
from skdeep.graph.program import evaluate
from skdeep.kernels.elementwise import CHUNK

few = settings(max_examples=30, deadline=None, derandomize=True)


def looped(function):
    """A function of Python floats over every element."""

    def reference(*arrays):
        arrays = np.broadcast_arrays(*arrays)
        out = np.empty(arrays[0].shape)
        for k in np.ndindex(out.shape):
            out[k] = function(*(float(a[k]) for a in arrays))
        return out

    return reference


def naive_selu(x):
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return scale * (x if x > 0 else alpha * math.expm1(x))


def naive_power(exponent):
    return lambda x: x**exponent


# name: (graph, function of a float, lowest and highest argument)
UNARY = {
    "absolute": (ops.absolute, abs, -2, 2),
    "clip": (lambda x: ops.clip(x, -0.5, 1.0), lambda x: min(max(x, -0.5), 1.0), -2, 2),
    "clip below": (lambda x: ops.clip(x, low=0.3), lambda x: max(x, 0.3), -2, 2),
    "clip above": (lambda x: ops.clip(x, high=0.3), lambda x: min(x, 0.3), -2, 2),
    "copy": (ops.copy, lambda x: x, -2, 2),
    "elu": (ops.elu, lambda x: x if x > 0 else math.expm1(x), -3, 2),
    "elu 0.5": (lambda x: ops.elu(x, 0.5), lambda x: x if x > 0 else 0.5 * math.expm1(x), -3, 2),
    "erf": (ops.erf, math.erf, -3, 3),
    "exp": (ops.exp, math.exp, -3, 3),
    "expm1": (ops.expm1, math.expm1, -3, 3),
    "hardsigmoid": (ops.hardsigmoid, lambda x: min(max(x / 6 + 0.5, 0.0), 1.0), -5, 5),
    "hardswish": (ops.hardswish, lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0), -5, 5),
    "gelu": (ops.gelu, lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)), -4, 4),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.1), lambda x: x if x > 0 else 0.1 * x, -2, 2),
    "leaky_relu -1": (lambda x: ops.leaky_relu(x, -1.0), abs, -2, 2),
    "log": (ops.log, math.log, 0.1, 5),
    "log1p": (ops.log1p, math.log1p, -0.8, 5),
    "mish": (ops.mish, lambda x: x * math.tanh(math.log1p(math.exp(x))), -5, 5),
    "negative": (ops.negative, lambda x: -x, -2, 2),
    "power 0": (lambda x: ops.power(x, 0), lambda x: 1.0, -2, 2),
    "power 1": (lambda x: ops.power(x, 1), lambda x: x, -2, 2),
    "power 2": (lambda x: ops.power(x, 2), naive_power(2), -2, 2),
    "power 3": (lambda x: x**3, naive_power(3), -2, 2),
    "power 7": (lambda x: ops.power(x, 7), naive_power(7), -2, 2),
    "power -2": (lambda x: ops.power(x, -2), naive_power(-2), 0.5, 2),
    "power 0.5": (lambda x: ops.power(x, 0.5), math.sqrt, 0.1, 2),
    "power -0.5": (lambda x: ops.power(x, -0.5), naive_power(-0.5), 0.3, 2),
    "power -0.75": (lambda x: ops.power(x, -0.75), naive_power(-0.75), 0.3, 2),
    "power 1.7": (lambda x: ops.power(x, 1.7), naive_power(1.7), 0.1, 3),
    "quick_gelu": (ops.quick_gelu, lambda x: x / (1 + math.exp(-1.702 * x)), -4, 4),
    "relu": (ops.relu, lambda x: max(x, 0.0), -2, 2),
    "selu": (ops.selu, naive_selu, -3, 2),
    "sigmoid": (ops.sigmoid, lambda x: 1 / (1 + math.exp(-x)), -5, 5),
    "sign": (ops.sign, lambda x: math.copysign(1, x), -2, 2),
    "silu": (ops.silu, lambda x: x / (1 + math.exp(-x)), -5, 5),
    "softplus": (ops.softplus, lambda x: math.log1p(math.exp(x)), -5, 5),
    "sqrt": (ops.sqrt, math.sqrt, 0.1, 5),
    "square": (ops.square, lambda x: x * x, -2, 2),
    "tanh": (ops.tanh, math.tanh, -3, 3),
}

BINARY = {
    "add": (ops.add, lambda a, b: a + b),
    "subtract": (ops.subtract, lambda a, b: a - b),
    "multiply": (ops.multiply, lambda a, b: a * b),
    "divide": (ops.divide, lambda a, b: a / b),
    "maximum": (ops.maximum, max),
    "minimum": (ops.minimum, min),
    "greater": (ops.greater, lambda a, b: float(a > b)),
}


def away_from(rng, shape, low, high, kinks=(-3.0, -0.5, 0.0, 0.3, 1.0, 3.0), distance=1e-3):
    """Uniform numbers that central differences do not carry over a kink."""
    x = rng.uniform(low, high, shape)
    for kink in kinks:
        near = np.abs(x - kink) < distance
        x[near] = kink + 2 * distance
    return x


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 4, 11)])
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, shape):
    build, function, low, high = UNARY[name]
    x = away_from(np.random.default_rng(0), shape, low, high)
    check_op(build, [x], looped(function))


def test_every_activation_has_its_case():
    families = ops.elementwise, ops.activation, ops.arithmetic
    public = {n for family in families for n in family.__all__} - {*BINARY, "full", "where"}
    assert public <= {name.split()[0] for name in UNARY}


@pytest.mark.parametrize("n", [1, 15, 16, 17, 100, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_sizes(n):
    x = np.random.default_rng(1).normal(size=n).astype(np.float32)
    np.testing.assert_array_equal(run(ops.square, [x], n_threads=2), x * x)
    np.testing.assert_array_equal(run(lambda t: ops.add(t, 1.0), [x], n_threads=2), x + 1)


def test_relu_is_found_by_its_class():
    x = Tensor((3,), role="data")
    y = ops.relu(x)
    assert type(y.op) is OPS["Relu"]
    (dx,) = y.op.gradient(Tensor((3,), role="data"))
    assert type(dx.op) is OPS["ReluGrad"]
    assert dx.op.inputs[1] is y


def test_nan_stays():
    x = np.array([np.nan, 1.0, -1.0], np.float32)
    for build in (ops.relu, ops.sign, ops.absolute, ops.gelu, ops.elu, ops.tanh,
                  lambda t: ops.clip(t, 0, 1), lambda t: ops.maximum(t, 0.0),
                  lambda t: ops.maximum(0.0, t), lambda t: ops.minimum(0.0, t)):  # fmt: skip
        np.testing.assert_array_equal(np.isnan(run(build, [x])), [True, False, False])


def test_gradients_at_kinks():
    from skdeep.graph.differentiate import gradients

    x = np.array([0.0, -0.0], np.float32)
    for build, expected in ((ops.relu, 0), (ops.absolute, 0), (lambda t: ops.clip(t, 0, 1), 1)):
        t = leaf(x)
        (dx,) = evaluate(gradients(build(t), [t]), {t: x})
        np.testing.assert_array_equal(dx, expected)


# ---- broadcasting --------------------------------------------------------------------------------

SHAPES = [
    ((3, 5), (3, 5)),
    ((4, 20), (20,)),
    ((20,), (4, 20)),
    ((4, 20), (4, 1)),
    ((4, 20), (1,)),
    ((1, 1), (1,)),
    ((2, 3, 4, 5), (2, 1, 1, 5)),
    ((2, 1, 4, 1), (1, 3, 1, 5)),
    ((2, 1, 3, 1, 2), (1, 4, 1, 5, 1)),
    ((6, 1), (1, 7)),
    ((3, 40), (1, 1)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_binary(name, shapes):
    build, function = BINARY[name]
    rng = np.random.default_rng(4)
    arrays = [rng.uniform(0.5, 2, s) * rng.choice([-1, 1], s) for s in shapes]
    check_op(build, arrays, looped(function))


@pytest.mark.parametrize("name", BINARY)
def test_binary_with_a_number(name):
    build, function = BINARY[name]
    rng = np.random.default_rng(5)
    x = rng.uniform(4, 9, (3, 21)) * rng.choice([-1, 1], (3, 21))
    check_op(lambda t: build(t, 1.25), [x], looped(lambda a: function(a, 1.25)))
    check_op(lambda t: build(-3, t), [x], looped(lambda a: function(-3.0, a)))


@few
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=5, max_side=4), st.booleans())
def test_any_broadcast(drawn, swap):
    rng = np.random.default_rng(6)
    a, b = (rng.integers(-9, 9, s).astype(np.float32) for s in drawn.input_shapes)
    np.testing.assert_array_equal(run(ops.subtract, [a, b]), a - b)


@pytest.mark.parametrize(
    "shapes", [((5000, 10), (10,)), ((3, 40_000), (3, 1)), ((3, 40_000), (40_000,))]
)
def test_many_tiles(shapes):
    rng = np.random.default_rng(7)
    a, b = (rng.normal(size=s).astype(np.float32) for s in shapes)
    np.testing.assert_array_equal(run(ops.multiply, [a, b], n_threads=2), a * b)
    np.testing.assert_array_equal(run(ops.multiply, [b, a], n_threads=2), a * b)


def test_operators():
    rng = np.random.default_rng(8)
    x, y = rng.uniform(1, 2, (2, 3, 4))
    check_op(lambda x, y: (1 - x) * y / 2 + 3 / (x + y) - (-x) ** 2, [x, y],
             lambda x, y: (1 - x) * y / 2 + 3 / (x + y) - x**2, rtol=1e-5)  # fmt: skip


def test_where():
    rng = np.random.default_rng(9)
    c = rng.choice([0.0, 1.0, -2.0], (4, 1))
    x, y = rng.normal(size=(4, 20)), rng.normal(size=20)
    check_op(ops.where, [c, x, y], lambda c, x, y: np.where(c != 0, x, y), wrt=[1, 2])
    check_op(
        lambda c, x: ops.where(c, x, -1), [c, x], lambda c, x: np.where(c != 0, x, -1), wrt=[1]
    )
    blocked = np.where(c != 0, np.nan, 1.0) * np.ones((4, 20))
    assert np.isfinite(run(lambda c, x: ops.where(c, 0.0, x), [c, blocked])).all()


def test_full_and_copy():
    np.testing.assert_array_equal(evaluate([ops.full((3, 50), 2.5)], {})[0], np.full((3, 50), 2.5))
    np.testing.assert_array_equal(evaluate([ops.full((), -1)], {})[0], -1)
    whole = np.arange(-40, 60, dtype=np.int32)
    np.testing.assert_array_equal(run(ops.copy, [whole]), whole)


def test_a_sample_does_not_depend_on_its_batch():
    x = np.random.default_rng(10).normal(size=(9, 37)).astype(np.float32)
    scale = np.random.default_rng(11).normal(size=37).astype(np.float32)
    for build, *_ in UNARY.values():

        def scaled(t, s, build=build):
            return ops.multiply(build(ops.absolute(t)), s)

        many = run(scaled, [x, scale])
        for k in (0, 4, 8):
            np.testing.assert_array_equal(run(scaled, [x[k : k + 1], scale])[0], many[k])


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: ops.add(Tensor((3, 4)), Tensor((3,))), "add: shapes .* do not broadcast"),
        (lambda: ops.add(1, 2), "both numbers"),
        (lambda: ops.multiply(Tensor((3,)), "2"), "Tensors or numbers, got '2'"),
        (lambda: ops.add(Tensor((3,), "int32"), 1), "float32"),
        (lambda: ops.exp(Tensor((3,), "int32")), "exp: every input must be a float32 Tensor"),
        (lambda: ops.exp(1.0), "exp: every input must be a float32 Tensor, got 1.0"),
        (lambda: ops.elu(Tensor((3,)), -1), "alpha must not be negative"),
        (lambda: ops.clip(Tensor((3,)), 2, 1), "low must not exceed high"),
        (lambda: ops.power(Tensor((3,)), Tensor((3,))), "exponent must be a number"),
        (lambda: ops.where(Tensor((3,)), Tensor((2,)), 0), "where: shapes .* do not broadcast"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
