"""Operations that move elements, against NumPy indexing."""

import numpy as np
import pytest
from checks import check_op, leaf, run
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep.graph.op import topological
from skdeep.graph.tensor import Tensor
from skdeep.ops import shape as ops

few = settings(max_examples=25, deadline=None)
sizes = st.integers(1, 40)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def naive_pad2d(x, padding, value):
    top, bottom, left, right = padding
    n, h, w, c = x.shape
    y = np.full((n, top + h + bottom, left + w + right, c), float(value))
    for i in range(h):
        for j in range(w):
            y[:, top + i, left + j] = x[:, i, j]
    return y


def naive_shuffle(x, groups):
    y, c = np.empty_like(x), x.shape[-1] // groups
    for i in range(groups):
        for j in range(c):
            y[..., j * groups + i] = x[..., i * c + j]
    return y


class TestShuffleChannels:
    @pytest.mark.parametrize("groups", [1, 2, 3, 6])
    @pytest.mark.parametrize("channels", [6, 12, 66, 210])
    def test_values_and_gradient(self, groups, channels):
        check_op(
            lambda x: ops.shuffle_channels(x, groups),
            [normal(2, 3, channels)],
            lambda x: naive_shuffle(x, groups),
        )

    def test_many_rows_and_integers(self):
        x = np.arange(700 * 116, dtype=np.int32).reshape(700, 116)
        y = run(lambda x: ops.shuffle_channels(x, 2), [x], n_threads=2)
        np.testing.assert_array_equal(y, naive_shuffle(x, 2))

    @pytest.mark.parametrize("groups", [0, 4, 7])
    def test_refuses(self, groups):
        with pytest.raises(ValueError, match=f"groups={groups} must divide the channels"):
            ops.shuffle_channels(Tensor((2, 6)), groups)


class TestReshape:
    def test_shares_memory_and_adds_no_row(self):
        x = Tensor((4, 6))
        y = ops.reshape(x, (2, -1, 3))
        assert y.shape == (2, 4, 3)
        assert y.op.rows() == []
        assert y.op.shares() == [(y, x, 0)]

    def test_values_and_gradient(self):
        check_op(
            lambda x: ops.slice_axis(ops.reshape(x, (3, 8)), 1, 2, 7),
            [normal(2, 3, 4)],
            lambda x: x.reshape(3, 8)[:, 2:7],
        )

    def test_same_shape_is_the_tensor_itself(self):
        x = Tensor((4, 6))
        assert ops.reshape(x, (4, -1)) is x

    def test_flatten(self):
        assert ops.flatten(Tensor((5, 2, 3, 4))).shape == (5, 24)
        assert ops.flatten(Tensor((5,))).shape == (5, 1)

    def test_keeps_the_type(self):
        assert ops.reshape(Tensor((6,), "int32"), (2, 3)).dtype == "int32"

    @pytest.mark.parametrize("shape", [(5, -1), (-1, -1), (3, 9), (-2, 12)])
    def test_refuses(self, shape):
        with pytest.raises(ValueError, match="reshape"):
            ops.reshape(Tensor((4, 6)), shape)


class TestConcatenate:
    @few
    @given(st.lists(sizes, min_size=2, max_size=4), sizes, sizes, st.integers(-3, 2))
    def test_any_axis(self, lengths, a, b, axis):
        shapes = []
        for length in lengths:
            shape = [a, b, 3]
            shape[axis] = length
            shapes.append(shape)
        arrays = [normal(*s, seed=k) for k, s in enumerate(shapes)]
        check_op(
            lambda *ts: ops.concatenate(ts, axis),
            arrays,
            lambda *xs: np.concatenate(xs, axis),
        )

    def test_long_runs_are_cut_into_tiles(self):
        arrays = [normal(1, 90_000), normal(1, 40_001, seed=1)]
        y = ops.concatenate([leaf(a) for a in arrays], 1)
        assert y.op.rows()[0].tiles > 1
        np.testing.assert_array_equal(run(lambda *t: ops.concatenate(t, 1), arrays, n_threads=2),
                                      np.concatenate(arrays, 1))  # fmt: skip

    def test_integers(self):
        arrays = [np.arange(5), np.arange(3)]
        result = run(lambda *t: ops.concatenate(t, 0), arrays)
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, np.concatenate(arrays))

    def test_bits_are_kept(self):
        odd = np.array([np.nan, -0.0, np.inf, 1e-42], np.float32)
        result = run(lambda *t: ops.concatenate(t, 0), [odd, odd])
        assert result.tobytes() == np.concatenate([odd, odd]).tobytes()

    def test_refuses(self):
        with pytest.raises(ValueError, match="only axis 1 may differ"):
            ops.concatenate([Tensor((2, 3)), Tensor((3, 3))], 1)
        with pytest.raises(ValueError, match="int32"):
            ops.concatenate([Tensor((2, 3)), Tensor((2, 3), "int32")], 0)
        with pytest.raises(ValueError, match="axis 2"):
            ops.concatenate([Tensor((2, 3)), Tensor((2, 3))], 2)
        with pytest.raises(ValueError, match="at least one"):
            ops.concatenate([])


class TestSliceAxis:
    @few
    @given(st.tuples(sizes, sizes, sizes), st.integers(-3, 2), st.data())
    def test_any_axis(self, shape, axis, data):
        start = data.draw(st.integers(0, shape[axis] - 1))
        stop = data.draw(st.integers(start + 1, shape[axis]))

        def naive(x):
            return np.take(x, range(start, stop), axis)

        check_op(lambda x: ops.slice_axis(x, axis, start, stop), [normal(*shape)], naive)

    def test_counts_from_the_end(self):
        x = normal(4, 9)
        np.testing.assert_array_equal(run(lambda t: ops.slice_axis(t, 1, -5, -1), [x]), x[:, -5:-1])

    def test_gradient_of_the_gradient(self):
        pad = ops.PadAxis(Tensor((2, 3)), axis=1, before=1, after=2)
        assert pad.output.shape == (2, 6)
        (back,) = pad.gradient(Tensor((2, 6)))
        assert back.shape == (2, 3)

    def test_refuses_nothing(self):
        with pytest.raises(ValueError, match="selects nothing"):
            ops.slice_axis(Tensor((2, 3)), 1, 2, 2)


class TestPad2D:
    @few
    @given(
        st.tuples(*[st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 20)]),
        st.tuples(*[st.integers(0, 5)] * 4),
        st.sampled_from([0.0, -1.5]),
    )
    def test_like_the_loop(self, shape, padding, value):
        check_op(
            lambda x: ops.pad2d(x, padding, value),
            [normal(*shape)],
            lambda x: naive_pad2d(x, padding, value),
        )

    def test_gradient_of_the_crop(self):
        check_op(
            lambda x: ops.Crop2D(x, padding=(1, 0, 2, 1)).output,
            [normal(2, 5, 6, 3)],
            lambda x: x[:, 1:, 2:-1],
        )

    def test_many_tiles(self):
        x = normal(4, 60, 60, 32)
        y = run(lambda t: ops.pad2d(t, (1, 2, 3, 4)), [x], n_threads=2)
        np.testing.assert_array_equal(y, naive_pad2d(x, (1, 2, 3, 4), 0))

    def test_refuses(self):
        with pytest.raises(ValueError, match="n, h, w, c"):
            ops.pad2d(Tensor((2, 3)), (1, 1, 1, 1))
        with pytest.raises(ValueError, match="none negative"):
            ops.pad2d(Tensor((2, 3, 3, 1)), (1, -1, 1, 1))


class TestTranspose2D:
    @few
    @given(st.integers(1, 70), st.integers(1, 140))
    def test_any_shape(self, rows, columns):
        check_op(ops.transpose2d, [normal(rows, columns)], lambda x: x.T)

    def test_many_tiles(self):
        x = normal(600, 300)
        np.testing.assert_array_equal(run(ops.transpose2d, [x], n_threads=2), x.T)

    def test_refuses(self):
        with pytest.raises(ValueError, match="matrix"):
            ops.transpose2d(Tensor((2, 3, 4)))


class TestTranspose:
    @few
    @given(st.tuples(*[st.integers(1, 20)] * 4), st.permutations(range(4)))
    def test_any_order(self, shape, axes):
        check_op(lambda x: ops.transpose(x, axes), [normal(*shape)], lambda x: x.transpose(axes))

    @pytest.mark.parametrize("axes", [(0, 2, 1, 3), (0, 3, 1, 2), (3, 1, 0, 2), (2, 3, 0, 1)])
    def test_many_tiles(self, axes):
        x = normal(3, 70, 66, 33)
        y = run(lambda t: ops.transpose(t, axes), [x], n_threads=2)
        np.testing.assert_array_equal(y, x.transpose(axes))

    def test_axes_that_stay_neighbours_move_at_once(self):
        y = ops.transpose(Tensor((2, 3, 4, 5, 6)), (0, 3, 4, 1, 2))
        assert y.shape == (2, 5, 6, 3, 4)
        assert [op for op in topological([y]) if op.rows()] == [y.op.inputs[0].op]

    def test_axes_of_one_element_move_for_nothing(self):
        y = ops.transpose(Tensor((4, 1, 6, 1)), (1, 0, 3, 2))
        assert y.op.rows() == [] and y.shape == (1, 4, 1, 6)

    def test_refuses(self):
        with pytest.raises(ValueError, match="each of the 3 axes"):
            ops.transpose(Tensor((2, 3, 4)), (0, 1, 1))

    def test_samples_stay_apart(self):
        swap = ops.transpose(Tensor((4, 3, 5)), (0, 2, 1)).op
        assert isinstance(swap, ops.SwapBlocks) and swap.axis == 1
