"""Reductions and broadcasting against loops."""

import math

import numpy as np
import pytest
from checks import check_op, leaf, run
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep import ops
from skdeep.graph import OPS, Tensor
from skdeep.graph.differentiate import gradients
from skdeep.graph.program import evaluate

few = settings(max_examples=40, deadline=None, derandomize=True)


def naive(x, axes, start, combine):
    """Reduce in plain loops; reduced axes disappear."""
    kept = [a for a in range(x.ndim) if a not in axes]
    out = np.full([x.shape[a] for a in kept], start)
    for k in np.ndindex(x.shape):
        at = tuple(k[a] for a in kept)
        out[at] = combine(out[at], x[k])
    return out


def naive_sum(x, axes):
    return naive(x, axes, 0.0, lambda a, b: a + b)


def naive_max(x, axes):
    return naive(x, axes, -np.inf, max)


CASES = [
    ((7,), (0,)),
    ((1,), (0,)),
    ((3, 5), (0,)),
    ((3, 5), (1,)),
    ((3, 5), (0, 1)),
    ((3, 5), ()),
    ((2, 3, 4, 17), (0, 1, 2)),
    ((2, 3, 4, 17), (1, 2)),
    ((2, 3, 4, 17), (0, 2)),
    ((2, 3, 4, 17), (1, 3)),
    ((2, 3, 4, 17), (0, 3)),
    ((2, 300), (1,)),
    ((150, 2), (0,)),
    ((2, 6, 70), (1,)),
    ((6, 130), (0,)),
]


@pytest.mark.parametrize("shape, axes", CASES)
def test_sum_mean_max(shape, axes):
    x = np.random.default_rng(0).normal(size=shape)
    count = math.prod(shape[a] for a in axes)
    check_op(lambda t: ops.sum(t, axes), [x], lambda x: naive_sum(x, axes))
    check_op(lambda t: ops.mean(t, axes), [x], lambda x: naive_sum(x, axes) / count)
    check_op(lambda t: ops.max(t, axes), [x], lambda x: naive_max(x, axes))


@few
@given(st.data())
def test_any_axes(data):
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=5).map(tuple))
    axis = data.draw(st.sets(st.integers(0, len(shape) - 1)).map(tuple))
    keep = data.draw(st.booleans())
    x = np.random.default_rng(1).integers(-9, 9, shape).astype(np.float32)
    for build, reference in ((ops.sum, np.sum), (ops.max, np.max)):
        got = run(lambda t, build=build: build(t, axis, keepdims=keep), [x])
        np.testing.assert_array_equal(got, reference(x, axis=axis, keepdims=keep))


def test_axis_spellings():
    x = Tensor((2, 3, 4))
    assert ops.sum(x).shape == ()
    assert ops.sum(x, keepdims=True).shape == (1, 1, 1)
    assert ops.sum(x, -1).shape == (2, 3)
    assert ops.mean(x, (-1, 0), keepdims=True).shape == (1, 3, 1)


LARGE = [
    ((1_000_003,), (0,)),
    ((100_000, 10), (0,)),
    ((3_000, 64), (0,)),
    ((70, 5_000), (0,)),
    ((3, 100_001), (1,)),
    ((5_000, 30), (1,)),
    ((2, 20_000, 7), (1,)),
    ((64, 49, 96), (1,)),
]


@pytest.mark.parametrize("shape, axes", LARGE)
def test_long_sums_stay_accurate(shape, axes):
    x = np.random.default_rng(2).uniform(0, 1, shape).astype(np.float32)
    exact = np.sum(x, axis=axes, dtype=np.float64)
    one = run(lambda t: ops.sum(t, axes), [x])
    assert np.max(np.abs(one / exact - 1)) < 5e-7
    np.testing.assert_array_equal(run(lambda t: ops.sum(t, axes), [x], n_threads=2), one)
    largest = run(lambda t: ops.max(t, axes), [x], n_threads=2)
    np.testing.assert_array_equal(largest, np.max(x, axis=axes))


@pytest.mark.parametrize("shape", [(4, 40_000), (4, 33, 50), (4, 9000, 6)])
def test_a_sample_does_not_depend_on_its_batch(shape):
    x = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    many = run(lambda t: ops.mean(t, 1), [x])
    for k in range(4):
        np.testing.assert_array_equal(run(lambda t: ops.mean(t, 1), [x[k : k + 1]])[0], many[k])


def test_max_keeps_nan_wherever_it_is():
    for k in (0, 3, 15, 16, 40, 99):
        x = np.zeros((1, 100), np.float32)
        x[0, k] = np.nan
        assert np.isnan(run(lambda t: ops.max(t, 1), [x]))[0]
        assert np.isnan(run(lambda t: ops.max(t, 0), [x.T.copy()]))[0]
    assert run(lambda t: ops.max(t), [np.full(5, -np.inf)]) == -np.inf


def test_equal_maxima_share_the_gradient():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]], np.float32)
    t = leaf(x)
    (dx,) = evaluate(gradients(ops.max(t, 1), [t]), {t: x})
    np.testing.assert_array_equal(dx, [[0, 0.5, 0.5], [1, 0, 0]])


def test_bias_gradient_is_sum_rows():
    x, b = Tensor((8, 3, 3, 16), role="data"), Tensor((16,), role="data")
    (db,) = gradients(ops.add(x, b), [b])
    assert type(db.op) is OPS["SumRows"]
    assert type(db.op.rebuild(db.op.inputs).output.op) is OPS["SumRows"]


def test_empty_sum_is_zero():
    np.testing.assert_array_equal(
        run(lambda t: ops.sum(t, 1), [np.zeros((3, 0, 2))]), np.zeros((3, 2))
    )
    np.testing.assert_array_equal(run(lambda t: ops.sum(t, 1), [np.zeros((3, 0))]), np.zeros(3))


@pytest.mark.parametrize(
    "shape, target",
    [
        ((1,), (5,)),
        ((), (2, 3)),
        ((4,), (3, 4)),
        ((3, 1), (3, 20)),
        ((2, 1, 3), (2, 5, 3)),
        ((1, 2, 1, 3), (4, 2, 5, 3)),
        ((1, 2, 1, 3, 1), (4, 2, 5, 3, 2)),
        ((2, 1, 3, 1, 2), (2, 4, 3, 5, 2)),
    ],
)
def test_broadcast_to(shape, target):
    x = np.random.default_rng(4).normal(size=shape)
    check_op(lambda t: ops.broadcast_to(t, target), [x], lambda x: np.broadcast_to(x, target))


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: ops.sum(Tensor((3, 4)), 2), "sum: axis 2 does not exist"),
        (lambda: ops.max(Tensor((3, 4)), (0, -2)), "names an axis twice"),
        (lambda: ops.max(Tensor((3, 0)), 1), "no element along"),
        (lambda: ops.mean(Tensor((3, 0)), 1), "no element along"),
        (lambda: ops.sum(Tensor((3,), "int32")), "float32"),
        (lambda: ops.broadcast_to(Tensor((3,)), (4,)), "cannot become"),
        (lambda: ops.broadcast_to(Tensor((3, 4)), (4,)), "cannot become"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
