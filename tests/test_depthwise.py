"""Depthwise convolution against loops over pixels and taps."""

import numpy as np
import pytest
from checks import assert_close, leaf, run
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep.graph.differentiate import gradients
from skdeep.graph.program import evaluate
from skdeep.ops import conv2d
from skdeep.ops.depthwise import DepthwiseConv2D, DepthwiseGradX


def naive(x, w, b, stride, padding, dilation, low=-np.inf, high=np.inf):
    """Every output pixel and every tap; images and channels at once."""
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    kh, kw = w.shape[:2]
    oh, ow = (
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(x.shape[1:3], (kh, kw), stride, dilation)
    )
    y = np.zeros((x.shape[0], oh, ow, x.shape[3])) + b
    for i in range(oh):
        for j in range(ow):
            for p in range(kh):
                for q in range(kw):
                    pixel = x[:, i * stride[0] + p * dilation[0], j * stride[1] + q * dilation[1]]
                    y[:, i, j] += pixel * w[p, q, 0]
    return np.clip(y, low, high)


def naive_gradients(x, w, dy, stride, padding, dilation):
    """What every product of the forward pass gives its two factors."""
    (top, _), (left, _) = padding
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    dx, dw = np.zeros_like(padded), np.zeros_like(w)
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            for p in range(w.shape[0]):
                for q in range(w.shape[1]):
                    at = (slice(None), i * stride[0] + p * dilation[0],
                          j * stride[1] + q * dilation[1])  # fmt: skip
                    dx[at] += dy[:, i, j] * w[p, q, 0]
                    dw[p, q, 0] += (dy[:, i, j] * padded[at]).sum(axis=0)
    return dx[:, top : top + x.shape[1], left : left + x.shape[2]], dw


def check(x_shape, kernel, stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1)):
    """Values and both gradients, and the same bits for one thread and two."""
    rng = np.random.default_rng(0)
    c = x_shape[3]
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in (x_shape, (*kernel, 1, c), (c,)))
    tx, tw, tb = leaf(x), leaf(w), leaf(b)
    y = conv2d(tx, tw, tb, stride=stride, padding=padding, dilation=dilation, groups=c)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    seed = leaf(dy)
    wanted = [y, *gradients(y, [tx, tw], seed=seed)]
    feeds = {tx: x, tw: w, tb: b, seed: dy}
    one, two = (evaluate(wanted, feeds, n_threads=n) for n in (1, 2))
    for a, other in zip(one, two):
        assert a.tobytes() == other.tobytes()
    x, w, b, dy = (a.astype(float) for a in (x, w, b, dy))
    assert_close(one[0], naive(x, w, b, stride, padding, dilation), what="y")
    dx, dw = naive_gradients(x, w, dy, stride, padding, dilation)
    assert_close(one[1], dx, what="dx")
    assert_close(one[2], dw, what="dw")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [*range(1, 17), 28])
def test_every_width_of_a_row(stride, width):
    """Rows that tiles cover once, with an overlap, or pixel by pixel."""
    check((2, 5, width, 20), (3, 3), (stride, stride))


@pytest.mark.parametrize("kernel,stride", [(5, 1), (5, 2), (7, 1), (7, 2)])
@pytest.mark.parametrize("width", [*range(1, 17), 28])
def test_wider_kernels_at_every_width_of_a_row(kernel, stride, width):
    pad = kernel // 2
    check((1, 4, width, 20), (3, kernel), (1, stride), ((1, 1), (pad, pad)))


@pytest.mark.parametrize("padding", [(0, 0), (0, 3), (3, 1), (2, 2), (5, 4), (6, 9)])
@pytest.mark.parametrize("kernel", [5, 7])
@pytest.mark.parametrize("width", [7, 13, 22])
def test_wider_kernels_with_every_padding(kernel, padding, width):
    check((1, 3, width, 17), (3, kernel), padding=((1, 1), padding))


@pytest.mark.parametrize("padding", [0, (0, 1), (1, 0), (2, 2), (3, 1), (0, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_padding(stride, padding):
    pads = (padding, padding) if isinstance(padding, int) else padding
    check((2, 6, 9, 17), (3, 3), (stride, stride), (pads, pads))


@pytest.mark.parametrize("channels", [1, 3, 16, 31, 32, 70, 200, 700])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_number_of_channels(stride, channels):
    """Also more than the tiles take at a time."""
    check((1, 6, 15, channels), (3, 3), (stride, stride))


@pytest.mark.parametrize("channels", [3, 70, 700])
def test_every_number_of_channels_of_wider_kernels(channels):
    check((1, 4, 15, channels), (7, 7), padding=((3, 3), (3, 3)))


@pytest.mark.parametrize("kernel", [(1, 3), (2, 3), (5, 3), (3, 5), (5, 5), (7, 7), (3, 2), (1, 1)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2), (3, 1)])
def test_every_kernel(stride, kernel):
    check((2, 9, 10, 18), kernel, stride, tuple((k // 2, k // 2) for k in kernel))


@st.composite
def geometries(draw):
    kernel, stride, dilation, padding, shape = [], [], [], [], [draw(st.integers(1, 3))]
    for _ in range(2):
        kernel.append(draw(st.sampled_from([1, 2, 3, 3, 3, 5, 7])))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(st.sampled_from([1, 1, 2])))
        padding.append((draw(st.integers(0, 3)), draw(st.integers(0, 3))))
        least = max(1, dilation[-1] * (kernel[-1] - 1) + 1 - sum(padding[-1]))
        shape.append(least + draw(st.integers(0, 18)))
    shape.append(draw(st.sampled_from([1, 2, 7, 16, 24, 40])))
    return tuple(shape), tuple(kernel), tuple(stride), tuple(padding), tuple(dilation)


@settings(max_examples=60, deadline=None)
@given(geometries())
def test_any_geometry(case):
    check(*case)


@pytest.mark.parametrize("stride", [1, 2])
def test_clamp_and_infinity(stride):
    """Infinite pixels reach the outputs around them and no others."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 7, 9, 18)).astype(np.float32)
    x[0, 3, 0, ::2] = np.inf
    x[0, 0, 8, 1] = np.nan
    w, b = np.ones((3, 3, 1, 18), np.float32), rng.standard_normal(18).astype(np.float32)
    steps, pads = (stride, stride), ((1, 1), (1, 1))
    options = {"stride": steps, "padding": pads, "dilation": (1, 1), "groups": 18}

    def build(*leaves):
        return DepthwiseConv2D(*leaves, low=0.0, high=6.0, **options).output

    got = run(build, [x, w, b])
    np.testing.assert_allclose(got, naive(x, w, b, steps, pads, (1, 1), 0, 6), rtol=1e-5, atol=1e-5)
    assert np.isnan(got).any() and (got == 6).any()


@pytest.mark.parametrize("stride", [1, 2])
def test_the_mask_closes_the_input_gradient(stride):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 15, 20)).astype(np.float32)
    w = rng.standard_normal((3, 3, 1, 20)).astype(np.float32)
    options = {
        "stride": (stride, stride), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 20,
    }  # fmt: skip
    tx, tw = leaf(x), leaf(w)
    y = DepthwiseConv2D(tx, tw, **options).output
    dy = rng.standard_normal(y.shape).astype(np.float32)
    seed = leaf(dy)
    pair = [DepthwiseGradX(seed, tw, m, shape=x.shape, **options).output for m in (None, tx)]
    plain, masked = evaluate(pair, {tx: x, tw: w, seed: dy})
    np.testing.assert_array_equal(masked, np.where(x > 0, plain, 0))


def test_an_image_does_not_depend_on_its_batch():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((9, 13, 13, 40)), rng.standard_normal((3, 3, 1, 40))
    whole = run(lambda x, w: conv2d(x, w, padding=1, groups=40), [x, w])
    alone = run(lambda x, w: conv2d(x, w, padding=1, groups=40), [x[4:5], w])
    assert alone.tobytes() == whole[4:5].tobytes()
