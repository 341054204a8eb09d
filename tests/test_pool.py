"""Pooling against loops over windows, written from PyTorch's documentation of the shapes."""

import math

import numpy as np
import pytest
from checks import check_op, leaf, run
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep.graph.differentiate import gradients
from skdeep.graph.passes import optimize
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.ops import pool as ops
from skdeep.ops import relu, tanh

few = settings(max_examples=40, deadline=None)


def naive_starts(length, taps, step, before, after, ceil_mode):
    """First pixel of every window; a window may not start in the padding after the image."""
    rounded = math.ceil if ceil_mode else math.floor
    count = rounded((length + before + after - taps) / step) + 1
    starts = [k * step - before for k in range(count)]
    return [s for s in starts if s < length]


def naive_pool(x, size, stride, padding, ceil_mode, reduce):
    """``reduce(values in the image, taps in image and padding)`` of every window."""
    (top, bottom), (left, right) = padding
    n, h, w, c = x.shape
    down = naive_starts(h, size[0], stride[0], top, bottom, ceil_mode)
    across = naive_starts(w, size[1], stride[1], left, right, ceil_mode)
    y = np.zeros((n, len(down), len(across), c))
    for i, i0 in enumerate(down):
        for j, j0 in enumerate(across):
            values = [
                x[:, a, b]
                for a in range(i0, i0 + size[0])
                for b in range(j0, j0 + size[1])
                if 0 <= a < h and 0 <= b < w
            ]
            padded = (min(i0 + size[0], h + bottom) - i0) * (min(j0 + size[1], w + right) - j0)
            y[:, i, j] = reduce(np.stack(values), padded)
    return y


def naive_max(x, *window):
    return naive_pool(x, *window, lambda values, padded: values.max(axis=0))


def naive_mean(x, *window, padded=False):
    return naive_pool(
        x, *window, lambda values, count: values.sum(axis=0) / (count if padded else len(values))
    )


def distinct(*shape, seed=0):
    """Values no two of which are close, so that a difference quotient sees one maximum."""
    rng = np.random.default_rng(seed)
    return (rng.permutation(math.prod(shape)).reshape(shape) * 0.01 - 1).astype(np.float32)


@st.composite
def windows(draw):
    """An image shape and a window that fits it."""
    shape = [draw(st.integers(1, 3))]
    window = []
    for _ in range(2):
        taps = draw(st.integers(1, 4))
        before, after = draw(st.integers(0, taps - 1)), draw(st.integers(0, taps - 1))
        shape.append(draw(st.integers(max(1, taps - before - after), 11)))
        window.append((taps, draw(st.integers(1, 5)), (before, after)))
    shape.append(draw(st.sampled_from([1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 64, 70])))
    return tuple(shape), tuple(zip(*window)), draw(st.booleans())


class TestMaxPool:
    @few
    @given(windows())
    def test_like_the_loop(self, case):
        shape, (size, stride, padding), ceil = case
        check_op(
            lambda x: ops.max_pool2d(x, size, stride, padding, ceil),
            [distinct(*shape)],
            lambda x: naive_max(x, size, stride, padding, ceil),
            rtol=1e-6,
        )

    def test_stride_is_the_size_and_integers_are_pairs(self):
        x = distinct(2, 6, 9, 3)
        y = run(lambda t: ops.max_pool2d(t, 3), [x])
        np.testing.assert_array_equal(y, naive_max(x, (3, 3), (3, 3), ((0, 0), (0, 0)), False))

    @pytest.mark.parametrize("channels", [1, 3, 20, 64, 100])
    def test_nan_and_infinity(self, channels):
        x = distinct(1, 7, 7, channels)
        x[0, 2, 3, ::2] = np.nan
        x[0, 5, 5] = np.inf
        x[0, :2, :2] = -np.inf
        y = run(lambda t: ops.max_pool2d(t, 2, 1), [x])
        want = naive_max(x, (2, 2), (1, 1), ((0, 0), (0, 0)), False)
        np.testing.assert_array_equal(y, want)
        assert np.isnan(y[0, 1:3, 2:4, ::2]).all()

    @pytest.mark.parametrize("channels", [1, 5, 70])
    @pytest.mark.parametrize("value", [0.0, -np.inf])
    def test_ties_go_to_the_first(self, channels, value):
        x = np.full((1, 4, 6, channels), value, np.float32)
        ones = np.ones((1, 2, 3, channels), np.float32)
        t, seed = leaf(x), leaf(ones)
        (dx,) = gradients(ops.max_pool2d(t, 2), [t], seed=seed)
        (got,) = evaluate([dx], {t: x, seed: ones})
        want = np.zeros_like(x)
        want[:, ::2, ::2] = 1
        np.testing.assert_array_equal(got, want)

    def test_many_tiles(self):
        x = np.random.default_rng(0).standard_normal((5, 33, 31, 40)).astype(np.float32)
        t = leaf(x)
        y = ops.max_pool2d(t, 3, 2, 1)
        assert y.op.rows()[0].tiles > 8
        seed = Tensor(y.shape)
        (dx,) = gradients(y, [t], seed=seed)
        feeds = {t: x, seed: np.random.default_rng(1).standard_normal(y.shape)}
        one, two = (evaluate([y, dx], feeds, n_threads=n) for n in (1, 2))
        for a, b in zip(one, two):
            assert a.tobytes() == b.tobytes()
        want = naive_max(x, (3, 3), (2, 2), ((1, 1), (1, 1)), False)
        np.testing.assert_array_equal(one[0], want.astype(np.float32))

    @pytest.mark.parametrize("channels", [1, 3, 6, 15, 16, 17, 20, 50])
    @pytest.mark.parametrize("shape", [(4, 6), (5, 9), (28, 28), (2, 2), (9, 3)])
    @pytest.mark.parametrize("window", [(2, 2, 0), (3, 3, 1), (3, 2, 1), ((2, 1), (2, 1), 0)])
    def test_gradients_of_few_channels(self, window, shape, channels):
        """Vectors that cover several pixels stay within the image, its rows and its tiles."""
        size, stride, padding = window
        x = distinct(3, *shape, channels)
        t = leaf(x)
        y = ops.max_pool2d(t, size, stride, padding, True)
        dy = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
        seed = leaf(dy)
        (dx,) = gradients(y, [t], seed=seed)
        one, two = (evaluate([dx], {t: x, seed: dy}, n_threads=n)[0] for n in (1, 2))
        assert one.tobytes() == two.tobytes()
        (kh, kw), (sh, sw) = (2 * (v,) if isinstance(v, int) else v for v in (size, stride))
        want = np.zeros(x.shape)
        for n, i, j, c in np.ndindex(y.shape):
            i0, j0 = i * sh - padding, j * sw - padding
            rows, columns = slice(max(0, i0), i0 + kh), slice(max(0, j0), j0 + kw)
            window = x[n, rows, columns, c]
            p, q = np.unravel_index(window.argmax(), window.shape)
            want[n, max(0, i0) + p, max(0, j0) + q, c] += dy[n, i, j, c]
        np.testing.assert_allclose(one, want, rtol=1e-6, atol=1e-6)

    def test_prediction_stores_no_taps(self):
        x = Tensor((2, 8, 8, 3))
        y = ops.max_pool2d(x, 2)
        assert len(y.op.outputs) == 1
        gradients(y, [x], seed=Tensor(y.shape))
        assert len(y.op.outputs) == 2
        assert len(y.op.rebuild([x]).outputs) == 2

    def test_a_sample_does_not_depend_on_its_batch(self):
        x = np.random.default_rng(0).standard_normal((9, 13, 13, 6)).astype(np.float32)
        whole = run(lambda t: ops.average_pool2d(t, 3, 2, 1), [x])
        for k in range(9):
            alone = run(lambda t: ops.average_pool2d(t, 3, 2, 1), [x[k : k + 1]])
            assert alone.tobytes() == whole[k : k + 1].tobytes()

    @few
    @given(windows())
    def test_lower_bound(self, case):
        """As a clamp in front, with a gradient of its own."""
        shape, (size, stride, padding), ceil_mode = case
        x, low = distinct(*shape), 0.005
        check_op(
            lambda x: (
                ops.MaxPool2D(
                    x, low=low, **ops._windows("test", x, size, stride, padding, ceil_mode)
                ).output
            ),
            [x],
            lambda x: np.maximum(naive_max(x, size, stride, padding, ceil_mode), low),
        )

    @pytest.mark.parametrize("c", [3, 20, 70])
    def test_relu_in_front_is_fused_in_training(self, c):
        x, dy = distinct(2, 6, 6, c), distinct(2, 3, 3, c, seed=1)
        tx, seed = leaf(x), leaf(dy)
        plain = ops.max_pool2d(relu(tanh(tx)), 2)
        (fused,) = optimize([plain], training=True)
        assert fused.op.low == 0 and type(fused.op.inputs[0].op).__name__ == "Tanh"
        both = [[y, *gradients(y, [tx], seed=seed)] for y in (plain, fused)]
        for a, b in zip(*(evaluate(outputs, {tx: x, seed: dy}) for outputs in both)):
            np.testing.assert_array_equal(a, b)
        (kept,) = optimize([plain], training=False)
        assert kept.op.low < 0


class TestAveragePool:
    @few
    @given(windows(), st.booleans())
    def test_like_the_loop(self, case, padded):
        shape, (size, stride, padding), ceil = case
        check_op(
            lambda x: ops.average_pool2d(x, size, stride, padding, ceil, padded),
            [np.random.default_rng(0).standard_normal(shape)],
            lambda x: naive_mean(x, size, stride, padding, ceil, padded=padded),
        )

    def test_gradient_of_the_gradient(self):
        dy = Tensor((2, 3, 3, 4))
        grad = ops.average_pool2d(Tensor((2, 6, 6, 4)), 2).op.gradient(dy)[0].op
        check_op(
            lambda x: grad.gradient(x)[0],
            [np.random.default_rng(0).standard_normal((2, 6, 6, 4))],
            lambda x: naive_mean(x, (2, 2), (2, 2), ((0, 0), (0, 0)), False),
        )

    def test_large_windows_keep_their_precision(self):
        x = np.random.default_rng(0).uniform(1, 2, (1, 112, 112, 5)).astype(np.float32)
        y = run(ops.global_average_pool2d, [x])
        np.testing.assert_allclose(y, x.mean(axis=(1, 2), dtype=np.float64), rtol=1e-6)


class TestGlobal:
    @pytest.mark.parametrize(
        "shape", [(1, 1, 1, 1), (3, 7, 7, 70), (2, 5, 1, 3), (2, 4, 6, 16), (1, 4, 2, 1024)]
    )
    def test_over_all_pixels(self, shape):
        x = distinct(*shape)
        check_op(ops.global_max_pool2d, [x], lambda x: x.max(axis=(1, 2)), rtol=1e-6)
        check_op(ops.global_average_pool2d, [x], lambda x: x.mean(axis=(1, 2)))


class TestMessages:
    @pytest.mark.parametrize("pool", [ops.max_pool2d, ops.average_pool2d])
    def test_refuses(self, pool):
        x = Tensor((2, 5, 5, 3))
        with pytest.raises(ValueError, match="does not fit"):
            pool(x, 6)
        with pytest.raises(ValueError, match="less than pool_size"):
            pool(x, 2, padding=2)
        with pytest.raises(ValueError, match="stride"):
            pool(x, 2, stride=0)
        with pytest.raises(ValueError, match="pair"):
            pool(x, (2, 2, 2))
        with pytest.raises(ValueError, match="n, h, w, c"):
            pool(Tensor((2, 5)), 2)

    def test_global_refuses(self):
        with pytest.raises(ValueError, match="global_max_pool2d"):
            ops.global_max_pool2d(Tensor((2, 5)))
