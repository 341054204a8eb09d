"""CSR rows times a dense matrix."""

import numpy as np
import pytest
from checks import assert_close, leaf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skdeep import ops
from skdeep.graph.differentiate import gradients
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.ops.sparse import Densify, SparseDense, SparseDenseGradW


def naive(x, w, b):
    """Product of a dense matrix in plain loops."""
    y = np.zeros((len(x), w.shape[1]))
    for i in range(len(x)):
        for f in range(w.shape[1]):
            y[i, f] = b[f]
            for c in range(x.shape[1]):
                y[i, f] += x[i, c] * w[c, f]
    return y


def batch(x, rows):
    """SparseRows of a CSR matrix, and what to feed."""
    arrays = [x.data.astype(np.float32), x.indices, x.indptr, np.asarray(rows, np.int32)]
    kinds = ["float32", "int32", "int32", "int32"]
    leaves = [Tensor(a.shape, k, role="data") for a, k in zip(arrays, kinds)]
    return ops.SparseRows(*leaves, x.shape[1]), dict(zip(leaves, arrays))


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(1, 40),
    columns=st.integers(1, 30),
    units=st.integers(1, 70),
    density=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    seed=st.integers(0, 99),
)
def test_product_and_gradients(n, columns, units, density, seed):
    """Forward and both gradients, for repeated rows in any order, on 1 and 2 threads."""
    rng = np.random.default_rng(seed)
    x = sparse.random(n, columns, density=density, format="csr", random_state=seed)
    rows = rng.integers(0, n, n)
    w = rng.standard_normal((columns, units)).astype(np.float32)
    b = rng.standard_normal(units).astype(np.float32)
    dy = rng.standard_normal((n, units)).astype(np.float32)
    tensor, feeds = batch(x, rows)
    tw, tb, tdy = leaf(w), leaf(b), leaf(dy)
    y = ops.sparse_dense(tensor, tw, tb)
    wanted = [y, *gradients(y, [tw, tb], seed=tdy)]
    feeds |= {tw: w, tb: b, tdy: dy}
    results = evaluate(wanted, feeds)
    for a, c in zip(results, evaluate(wanted, feeds, n_threads=2)):
        np.testing.assert_array_equal(a, c)
    dense = x.toarray().astype(np.float32).astype(np.float64)[rows]
    assert_close(results[0], naive(dense, w.astype(float), b.astype(float)), rtol=1e-5, atol=1e-5)
    assert_close(results[1], dense.T @ dy.astype(float), rtol=1e-5, atol=1e-5)
    assert_close(results[2], dy.astype(float).sum(axis=0), rtol=1e-5, atol=1e-5)


def test_duplicates_are_summed_and_dense_form():
    """Entries stored twice count twice, in the product and in the dense form."""
    x = sparse.csr_array((np.ones(3), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 3))
    tensor, feeds = batch(x, [1, 0])
    (y,) = evaluate([ops.densify(tensor)], feeds)
    np.testing.assert_array_equal(y, [[1, 0, 0], [0, 2, 0]])


def test_shapes_are_checked():
    """A message that names both sizes."""
    tensor, _ = batch(sparse.csr_array(np.eye(4)), [0])
    with pytest.raises(ValueError, match="4 columns, w has 3 rows"):
        ops.sparse_dense(tensor, Tensor((3, 2), role="data"))


def test_operations_are_registered():
    """The generic checks know these operations."""
    from skdeep.graph import OPS

    assert {SparseDense, SparseDenseGradW, Densify} <= set(OPS.values())
