"""Rows by number, against NumPy indexing."""

import numpy as np
import pytest
from checks import check_op, leaf, run
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.ops import rows as ops

few = settings(max_examples=25, deadline=None)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class TestGatherRows:
    @few
    @given(st.integers(1, 30), st.integers(1, 50), st.integers(1, 9), st.integers(1, 9))
    def test_like_indexing(self, n_samples, n, a, b):
        data = normal(n_samples, a, b)
        rows = np.random.default_rng(1).integers(0, n_samples, n)
        check_op(ops.gather_rows, [data, rows], lambda x, k: x[k], wrt=[])

    def test_integers(self):
        data, rows = np.arange(7) ** 2, np.array([6, 0, 3])
        result = run(ops.gather_rows, [data, rows])
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, data[rows])

    def test_many_tiles(self):
        data = normal(50, 3000)
        rows = np.random.default_rng(1).integers(0, 50, 90)
        result = run(ops.gather_rows, [data, rows], n_threads=2)
        np.testing.assert_array_equal(result, data[rows])

    def test_reads_only_what_is_asked_for(self):
        data, rows = leaf(normal(3, 4)), leaf(np.array([2, 2]))
        y = ops.gather_rows(data, rows)
        (result,) = evaluate([y], {data: normal(3, 4), rows: np.array([2, 2])})
        np.testing.assert_array_equal(result, normal(3, 4)[[2, 2]])

    def test_refuses_float_numbers(self):
        with pytest.raises(ValueError, match="int32"):
            ops.gather_rows(Tensor((3, 4)), Tensor((2,)))
