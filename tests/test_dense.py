import math

import numpy as np
import pytest
from checks import assert_close, check_op, leaf, run
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.ops import batch_matmul, dense, matmul
from skdeep.ops.dense import Dense, DenseGradW, DenseGradX, PackDense, PackDenseT


def naive_dense(x, w, b=None):
    n, c = x.shape
    f = w.shape[1]
    y = np.zeros((n, f))
    for i in range(n):
        for j in range(f):
            for k in range(c):
                y[i, j] += x[i, k] * w[k, j]
            if b is not None:
                y[i, j] += b[j]
    return y


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "n, c, f", [(1, 1, 1), (1, 9, 4), (2, 3, 17), (5, 16, 16), (9, 7, 33), (3, 20, 2), (8, 5, 49)]
)
def test_dense(n, c, f):
    rng = np.random.default_rng(0)
    check_op(dense, [normal(rng, n, c), normal(rng, c, f), normal(rng, f)], naive_dense)


def test_matmul():
    rng = np.random.default_rng(1)
    check_op(matmul, [normal(rng, 4, 6), normal(rng, 6, 3)], naive_dense)


def test_many_axes():
    rng = np.random.default_rng(1)

    def naive(x, w, b):
        return naive_dense(x.reshape(-1, x.shape[-1]), w, b).reshape(*x.shape[:-1], -1)

    check_op(dense, [normal(rng, 3, 2, 5, 6), normal(rng, 6, 17), normal(rng, 17)], naive)


FOLLOWING = {
    "gelu": lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2,
    "quick_gelu": lambda v: v / (1 + math.exp(-1.702 * v)),
}


@pytest.mark.parametrize("name", FOLLOWING)
@pytest.mark.parametrize("n, f", [(1, 3), (9, 40), (40, 129)])
def test_an_activation_follows_in_the_kernel(n, f, name):
    rng = np.random.default_rng(1)

    def build(x, w, b, residual):
        return Dense(x, w, PackDense(w).output, b, residual, after=name).output

    def naive(x, w, b, residual):
        z = naive_dense(x, w, b) + residual
        return np.vectorize(FOLLOWING[name])(z)

    arrays = [normal(rng, n, 7), normal(rng, 7, f), normal(rng, f), normal(rng, n, f)]
    check_op(build, arrays, naive, wrt=[])


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), c=st.integers(1, 70), f=st.integers(1, 120), seed=st.integers(0, 99))
def test_any_shape(n, c, f, seed):
    rng = np.random.default_rng(seed)
    x, w, b = normal(rng, n, c), normal(rng, c, f), normal(rng, f)
    assert_close(run(dense, [x, w, b]), x.astype(float) @ w + b, rtol=1e-5)


@pytest.mark.parametrize("low, high", [(0.0, np.inf), (0.0, 1.5), (-1.0, 1.0), (-np.inf, 0.5)])
def test_clamp_and_residual(low, high):
    def build(x, w, b, residual):
        return Dense(x, w, PackDense(w).output, b, residual, low=low, high=high).output

    def naive(x, w, b, residual):
        return np.clip(naive_dense(x, w, b) + residual, low, high)

    rng = np.random.default_rng(2)
    arrays = [normal(rng, 6, 4), normal(rng, 4, 18), normal(rng, 18), normal(rng, 6, 18)]
    check_op(build, arrays, naive)


def test_rebuild_keeps_inputs_and_attributes():
    x, w, b = Tensor((2, 3)), Tensor((3, 4)), Tensor((4,))
    op = dense(x, w, b).op
    again = op.rebuild(op.inputs)
    assert again.inputs == op.inputs
    assert again.attributes == op.attributes


def test_relu_gradient_is_masked():
    rng = np.random.default_rng(3)
    dy, w, mask = normal(rng, 5, 9), normal(rng, 20, 9), normal(rng, 5, 20)
    mask[0, :3] = 0
    dx = run(lambda d, w, m: DenseGradX(d, w, PackDenseT(w).output, m).output, [dy, w, mask])
    assert_close(dx, np.where(mask > 0, dy.astype(float) @ w.T, 0))


def test_many_tiles():
    """Enough work for several threads, more samples than a slice holds."""
    rng = np.random.default_rng(4)
    x, w, b, dy = (
        normal(rng, 301, 210),
        normal(rng, 210, 190),
        normal(rng, 190),
        normal(rng, 301, 190),
    )
    tx, tw, tb, td = (leaf(a) for a in (x, w, b, dy))
    wanted = [
        dense(tx, tw, tb),
        DenseGradX(td, tw, PackDenseT(tw).output).output,
        DenseGradW(tx, td).output,
    ]
    feeds = {tx: x, tw: w, tb: b, td: dy}
    one, two = (evaluate(wanted, feeds, n_threads=k) for k in (1, 2))
    exact = [x.astype(float) @ w + b, dy.astype(float) @ w.T, x.T.astype(float) @ dy]
    for a, b, e in zip(one, two, exact):
        assert a.tobytes() == b.tobytes()
        assert_close(a, e)


@pytest.mark.parametrize("c, f", [(5, 3), (100, 100), (1500, 20)])
def test_a_sample_does_not_depend_on_its_batch(c, f):
    rng = np.random.default_rng(5)
    x, w, b = normal(rng, 131, c), normal(rng, c, f), normal(rng, f)
    batch = run(dense, [x, w, b])
    for rows in (slice(0, 1), slice(130, 131), slice(17, 24)):
        np.testing.assert_array_equal(run(dense, [x[rows], w, b]), batch[rows])


def test_nan_is_not_hidden_by_the_clamp():
    x = np.array([[np.nan, 1.0], [2.0, 3.0]], np.float32)
    w = np.ones((2, 5), np.float32)
    y = run(lambda x, w: Dense(x, w, PackDense(w).output, low=0.0, high=4.0).output, [x, w])
    assert np.isnan(y[0]).all()
    np.testing.assert_array_equal(y[1], np.full(5, 4.0))


@pytest.mark.parametrize(
    "shapes, message",
    [
        (((3,), (3, 5)), "two axes"),
        (((2, 3), (4, 5)), r"\(3, f\)"),
        (((2, 3), (3,)), r"\(3, f\)"),
        (((2, 3), (3, 5), (4,)), r"bias of shape \(5,\)"),
        (((0, 3), (3, 5)), "at least one"),
    ],
)
def test_bad_shapes(shapes, message):
    with pytest.raises(ValueError, match=message):
        dense(*(Tensor(s) for s in shapes))


def naive_pairs(x, y):
    out = np.zeros((x.shape[0], x.shape[1], y.shape[2]))
    for b in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                out[b, i, j] = sum(x[b, i, k] * y[b, k, j] for k in range(x.shape[2]))
    return out


@pytest.mark.parametrize(
    "pairs, m, k, n", [(1, 1, 1, 1), (3, 5, 7, 3), (2, 4, 3, 16), (2, 9, 2, 33), (1, 6, 5, 50)]
)
def test_batch_matmul(pairs, m, k, n):
    rng = np.random.default_rng(0)
    check_op(batch_matmul, [normal(rng, pairs, m, k), normal(rng, pairs, k, n)], naive_pairs)


def test_batch_matmul_in_many_tiles():
    rng = np.random.default_rng(1)
    x, y = normal(rng, 3, 197, 64), normal(rng, 3, 64, 197)
    op = batch_matmul(leaf(x), leaf(y)).op
    assert op.rows()[0].tiles > 3
    result = run(batch_matmul, [x, y], n_threads=2)
    assert_close(result, np.matmul(x, y, dtype=np.float64))
    assert result.tobytes() == run(batch_matmul, [x, y]).tobytes()


@pytest.mark.parametrize(
    "shapes", [((2, 3), (3, 2)), ((1, 2, 3), (1, 2, 3)), ((1, 0, 3), (1, 3, 2))]
)
def test_batch_matmul_refuses(shapes):
    with pytest.raises(ValueError, match="batch_matmul needs"):
        batch_matmul(*(Tensor(s) for s in shapes))
