"""Softmax and its losses against loops over samples and classes."""

import math

import numpy as np
import pytest
from checks import check_op, leaf, run

from skdeep import ops
from skdeep.graph import Tensor
from skdeep.graph.differentiate import gradients
from skdeep.graph.program import evaluate

CLASSES = [1, 2, 3, 8, 10, 16, 17, 35, 100]


def naive_log_softmax(x):
    out = np.empty_like(x)
    for n in np.ndindex(x.shape[:-1]):
        m = max(x[n])
        total = math.log(math.fsum(math.exp(v - m) for v in x[n]))
        out[n] = [v - m - total for v in x[n]]
    return out


def naive_softmax(x):
    return np.exp(naive_log_softmax(x))


def naive_loss(z, t):
    return np.array([-row[c] for row, c in zip(naive_log_softmax(z), t)])


def naive_soft_loss(z, t):
    return np.array(
        [-math.fsum(w * v for w, v in zip(*rows)) for rows in zip(t, naive_log_softmax(z))]
    )


def naive_sigmoid_loss(z, t):
    out = np.empty_like(z)
    for k in np.ndindex(z.shape):
        p = 1 / (1 + math.exp(-z[k]))
        out[k] = -t[k] * math.log(p) - (1 - t[k]) * math.log(1 - p)
    return out


@pytest.mark.parametrize("k", CLASSES)
def test_softmax(k):
    x = np.random.default_rng(0).normal(0, 2, (5, k))
    check_op(ops.softmax, [x], naive_softmax)
    check_op(ops.log_softmax, [x], naive_log_softmax)


def test_softmax_over_the_last_of_three_axes():
    x = np.random.default_rng(1).normal(size=(2, 3, 7))
    check_op(ops.softmax, [x], naive_softmax)
    check_op(ops.log_softmax, [x], naive_log_softmax)


@pytest.mark.parametrize("k", CLASSES)
def test_softmax_log_loss(k):
    rng = np.random.default_rng(2)
    z, t = rng.normal(0, 2, (6, k)), rng.integers(0, k, 6)
    check_op(ops.softmax_log_loss, [z, t], naive_loss)
    weights = rng.uniform(0, 1, (6, k))
    weights[0] = 0
    check_op(ops.softmax_log_loss, [z, weights], naive_soft_loss)


def test_probabilities_are_an_output_with_a_gradient():
    z = np.random.default_rng(3).normal(size=(4, 9))
    t = np.array([0, 8, 3, 3], np.int32)

    def build(z, soft):
        loss = ops.softmax_log_loss(z, soft if soft.ndim == 2 else leaf(t))
        return ops.sum(ops.square(loss.op.outputs[1]), 1) + loss

    soft = np.random.default_rng(4).uniform(size=(4, 9))
    check_op(build, [z, soft],
             lambda z, s: (naive_softmax(z) ** 2).sum(1) + naive_soft_loss(z, s))  # fmt: skip


def test_hard_targets_with_a_gradient_through_the_probabilities():
    z = np.random.default_rng(5).normal(size=(4, 9))
    t = np.array([0, 8, 3, 3], np.int32)

    def build(z, t):
        loss = ops.softmax_log_loss(z, t)
        return ops.sum(ops.square(loss.op.outputs[1]), 1) + loss

    check_op(build, [z, t], lambda z, t: (naive_softmax(z) ** 2).sum(1) + naive_loss(z, t))


@pytest.mark.parametrize("n, k", [(4000, 10), (100, 1000)])
def test_many_tiles(n, k):
    rng = np.random.default_rng(6)
    x, t = rng.normal(0, 3, (n, k)).astype(np.float32), rng.integers(0, k, n).astype(np.int32)
    exact = x - np.log(np.exp(x.astype(np.float64)).sum(1, keepdims=True))
    for build, expected in ((ops.softmax, np.exp(exact)), (ops.log_softmax, exact)):
        y = run(build, [x], n_threads=2)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(y, run(build, [x]))
        np.testing.assert_array_equal(y[7:8], run(build, [x[7:8]]))
    loss = run(ops.softmax_log_loss, [x, t], n_threads=2)
    np.testing.assert_allclose(loss, -exact[np.arange(n), t], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run(ops.softmax, [x]).sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("k", [5, 40])
def test_extreme_logits(k):
    z = np.zeros((3, k), np.float32)
    z[0, 0], z[1, 0], z[2, 1:] = 1e4, -1e4, -np.inf
    p = run(ops.softmax, [z])
    np.testing.assert_allclose(p[:, 0], [1, 0, 1])
    np.testing.assert_allclose(p[1, 1:], 1 / (k - 1), rtol=1e-6)
    t = np.array([1, 0, 0], np.int32)
    loss = run(ops.softmax_log_loss, [z, t])
    np.testing.assert_allclose(loss, [1e4, 1e4 + math.log(k - 1), 0], rtol=1e-6)
    np.testing.assert_allclose(run(ops.softmax_log_loss, [z, np.eye(k)[t]]), loss, rtol=1e-6)


@pytest.mark.parametrize("k", [5, 40])
def test_nan_stays_in_its_sample(k):
    z = np.zeros((3, k), np.float32)
    z[1, k - 1] = np.nan
    for build in (ops.softmax, ops.log_softmax):
        np.testing.assert_array_equal(np.isnan(run(build, [z])).all(1), [False, True, False])
    loss = run(ops.softmax_log_loss, [z, np.zeros(3, np.int32)])
    np.testing.assert_array_equal(np.isnan(loss), [False, True, False])


def test_sigmoid_log_loss():
    rng = np.random.default_rng(7)
    z, t = rng.normal(0, 3, (2, 5, 13))
    check_op(ops.sigmoid_log_loss, [z, np.clip(t, 0, 1)], naive_sigmoid_loss)
    z = np.array([-200.0, 200.0, 200.0, 0.0], np.float32)
    t = np.array([0.0, 1.0, 0.0, 1.0], np.float32)
    np.testing.assert_allclose(
        run(ops.sigmoid_log_loss, [z, t]), [0, 0, 200, math.log(2)], rtol=1e-6
    )
    a, b = leaf(z), leaf(t)
    (dz,) = evaluate(gradients(ops.sigmoid_log_loss(a, b), [a]), {a: z, b: t})
    np.testing.assert_array_equal(dz, [0, 0, 1, -0.5])


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: ops.softmax(Tensor((3, 0))), "k > 0"),
        (lambda: ops.softmax_log_loss(Tensor((3,)), Tensor((3,), "int32")), "logits .n, k."),
        (lambda: ops.softmax_log_loss(Tensor((3, 2)), Tensor((2,), "int32")), "targets must be"),
        (lambda: ops.softmax_log_loss(Tensor((3, 2)), Tensor((3,))), "targets must be"),
        (lambda: ops.softmax_log_loss(Tensor((3, 2)), Tensor((3, 4))), "float32 .n, k. twice"),
        (lambda: ops.sigmoid_log_loss(Tensor((3, 2)), Tensor((3,))), "must have one shape"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
