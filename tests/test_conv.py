import numpy as np
import pytest
from checks import assert_close, check_op, leaf, run
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep import ops
from skdeep.graph.differentiate import gradients
from skdeep.graph.passes import fuse_concatenate, optimize, rewrite
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.ops import conv2d
from skdeep.ops.conv import Conv2D, Conv2DGradX, PackConv, PackConvT
from skdeep.ops.depthwise import DepthwiseConv2D, DepthwiseGradX


def pairs(padding):
    both = (padding, padding) if isinstance(padding, int) else padding
    return tuple((v, v) if isinstance(v, int) else v for v in both)


def both(value):
    return (value, value) if isinstance(value, int) else value


def naive_conv(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Every output pixel, every tap; images and channels at once."""
    (sh, sw), (dh, dw), (rows, columns) = both(stride), both(dilation), pairs(padding)
    x = np.pad(x, ((0, 0), rows, columns, (0, 0)))
    n, h, width, c = x.shape
    kh, kw, cg, f = w.shape
    oh, ow = (h - dh * (kh - 1) - 1) // sh + 1, (width - dw * (kw - 1) - 1) // sw + 1
    w = w.reshape(kh, kw, cg, groups, f // groups)
    y = np.zeros((n, oh, ow, f))
    for i in range(oh):
        for j in range(ow):
            for p in range(kh):
                for q in range(kw):
                    pixel = x[:, i * sh + p * dh, j * sw + q * dw].reshape(n, groups, cg)
                    y[:, i, j] += np.einsum("ngc,cgf->ngf", pixel, w[p, q]).reshape(n, f)
    return y if b is None else y + b


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def arrays_for(x_shape, w_shape, seed=0):
    rng = np.random.default_rng(seed)
    return [normal(rng, *x_shape), normal(rng, *w_shape), normal(rng, w_shape[3])]


CASES = {
    "one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "1x1": ((3, 5, 4, 7), (1, 1, 7, 18), {}),
    "1x1 stride": ((2, 6, 5, 3), (1, 1, 3, 4), {"stride": 2}),
    "valid": ((2, 6, 7, 3), (3, 3, 3, 5), {}),
    "grey": ((2, 9, 8, 1), (5, 5, 1, 20), {}),
    "same": ((3, 5, 5, 4), (3, 3, 4, 17), {"padding": 1}),
    "uneven padding": ((2, 4, 5, 2), (3, 2, 2, 3), {"padding": ((2, 0), (1, 3))}),
    "all padding": ((1, 1, 2, 2), (5, 5, 2, 3), {"padding": 4}),
    "stride": ((2, 8, 7, 3), (3, 3, 3, 4), {"stride": 2, "padding": 1}),
    "stride above kernel": ((2, 9, 9, 2), (2, 2, 2, 3), {"stride": 3}),
    "patches": ((1, 8, 8, 3), (4, 4, 3, 5), {"stride": 4}),
    "uneven stride": ((2, 7, 9, 2), (3, 4, 2, 2), {"stride": (1, 3), "padding": (2, 1)}),
    "dilation": ((2, 8, 9, 3), (3, 3, 3, 2), {"dilation": 2, "padding": 2}),
    "stride and dilation": ((2, 11, 9, 2), (3, 2, 2, 3), {"stride": (2, 3), "dilation": (3, 2)}),
    "stride divides dilation": (
        (1, 9, 9, 2),
        (3, 3, 2, 3),
        {"stride": 2, "dilation": 2, "padding": 1},
    ),
    "groups": ((2, 5, 6, 6), (3, 3, 2, 9), {"groups": 3, "padding": 1}),
    "groups, stride": ((2, 6, 6, 4), (3, 3, 2, 6), {"groups": 2, "stride": 2, "dilation": (1, 2)}),
    "taps in slices": ((2, 4, 3, 400), (3, 3, 400, 5), {"padding": 1}),
    "tap by tap": ((1, 3, 3, 1040), (2, 3, 1040, 4), {"padding": 1, "stride": 2}),
    "multiplier": ((2, 5, 5, 3), (3, 3, 1, 6), {"groups": 3}),
    "depthwise": ((2, 6, 9, 5), (3, 3, 1, 5), {"groups": 5, "padding": 1}),
    "depthwise, stride": (
        (2, 7, 8, 18),
        (3, 4, 1, 18),
        {"groups": 18, "stride": 2, "padding": (1, 2)},
    ),
    "depthwise, dilation": ((1, 9, 8, 3), (3, 2, 1, 3), {"groups": 3, "stride": 3, "dilation": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_conv2d(case):
    x_shape, w_shape, options = CASES[case]
    check_op(
        lambda x, w, b: conv2d(x, w, b, **options),
        arrays_for(x_shape, w_shape),
        lambda x, w, b: naive_conv(x, w, b, **options),
        rtol=2e-5,
    )


def test_without_bias():
    x, w, _ = arrays_for((2, 4, 4, 3), (3, 3, 3, 2))
    check_op(conv2d, [x, w], naive_conv)
    x, w, _ = arrays_for((2, 4, 4, 3), (3, 3, 1, 3))
    check_op(lambda x, w: conv2d(x, w, groups=3), [x, w], lambda x, w: naive_conv(x, w, groups=3))


@st.composite
def convolutions(draw):
    small = st.integers(1, 4)
    options = {
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "dilation": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        "padding": tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2)),
        "groups": draw(st.integers(1, 2)),
    }
    kh, kw = draw(small), draw(small)
    spans = [
        d * (k - 1) + 1 - sum(p)
        for d, k, p in zip(options["dilation"], (kh, kw), options["padding"])
    ]
    h, w = (max(1, span) + draw(st.integers(0, 7)) for span in spans)
    cg, fg = draw(st.sampled_from([1, 2, 3, 8, 17])), draw(st.sampled_from([1, 2, 7, 16, 33]))
    g = options["groups"]
    return (draw(small), h, w, cg * g), (kh, kw, cg, fg * g), options


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_any_geometry(case):
    """Forward and both gradients, these by d(sum(y * dy)) being linear in x and in w."""
    x_shape, w_shape, options = case
    x, w, b = arrays_for(x_shape, w_shape)
    tx, tw, tb = leaf(x), leaf(w), leaf(b)
    y = conv2d(tx, tw, tb, **options)
    dy = normal(np.random.default_rng(1), *y.shape)
    td = leaf(dy)
    wanted = [y, *gradients(y, [tx, tw], seed=td)]
    y, dx, dw = evaluate(wanted, {tx: x, tw: w, tb: b, td: dy})
    exact = naive_conv(x.astype(float), w.astype(float), **options)
    assert_close(y, exact + b, rtol=2e-5)
    objective = np.sum(exact * dy)
    size = np.sum(np.abs(exact * dy)) + 1
    assert abs(np.sum(dx.astype(float) * x) - objective) < 1e-5 * size
    assert abs(np.sum(dw.astype(float) * w) - objective) < 1e-5 * size


@pytest.mark.parametrize("low, high", [(0.0, np.inf), (-0.5, 1.5)])
def test_clamp_and_residual(low, high):
    geometry = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}

    def build(x, w, b, residual):
        panels = PackConv(w, groups=1).output
        return Conv2D(x, w, panels, b, residual, low=low, high=high, **geometry).output

    def naive(x, w, b, residual):
        return np.clip(naive_conv(x, w, b, padding=1) + residual, low, high)

    arrays = arrays_for((2, 4, 5, 3), (3, 3, 3, 18))
    check_op(build, [*arrays, normal(np.random.default_rng(2), 2, 4, 5, 18)], naive)


@pytest.mark.parametrize("filters", [(5, 16, 20), (64, 33, 1)])
def test_joined_channels_are_computed_in_place(filters):
    """A slice of channels is written with gaps that belong to the others, never beyond."""
    rng = np.random.default_rng(5)
    shapes = [(1, 1, 7, filters[0]), (3, 3, 7, filters[1]), (2, 2, 7, filters[2])]
    shapes += [(3, 3, 7, 40), (3, 3, 7, 17)]
    arrays = [normal(rng, 3, 9, 9, 7), *(normal(rng, *s) for s in shapes)]
    tx, *tw = leaves = [leaf(a) for a in arrays]
    parts = [
        ops.relu(conv2d(tx, tw[0])),
        ops.tanh(tx),
        conv2d(tx, tw[1], padding=1, algorithm="direct"),
        ops.relu(conv2d(tx, tw[2], padding=((1, 0), (0, 1)))),
        ops.relu(conv2d(tx, tw[3], padding=1, algorithm="winograd4")),
        conv2d(tx, tw[4], padding=1, algorithm="winograd2"),
    ]
    y = ops.concatenate(parts)
    (joined,) = rewrite(optimize([y], training=False), fuse_concatenate)
    assert joined.op.placed == (0, 2, 3, 4, 5) and len(joined.op.rows()) == 1
    feeds = dict(zip(leaves, arrays))
    for threads in (1, 2):
        got, expected = evaluate([joined, y], feeds, n_threads=threads)
        np.testing.assert_array_equal(got, expected)


def test_what_others_read_is_not_computed_in_place():
    x, w, _ = arrays_for((2, 4, 4, 3), (3, 3, 3, 5))
    tx, tw = leaf(x), leaf(w)
    y = conv2d(tx, tw, padding=1)
    outputs = [ops.concatenate([y, tx]), ops.concatenate([y, y]), ops.concatenate([y, y], 0)]
    for t, same in zip(rewrite(outputs, fuse_concatenate), outputs):
        assert t is same


def test_clamp_of_a_depthwise_convolution():
    geometry = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 3}
    check_op(
        lambda x, w, b: DepthwiseConv2D(x, w, b, low=0.0, high=1.0, **geometry).output,
        arrays_for((2, 4, 5, 3), (3, 3, 1, 3)),
        lambda x, w, b: np.clip(naive_conv(x, w, b, padding=1, groups=3), 0, 1),
    )


@pytest.mark.parametrize("groups", [1, 6])
def test_relu_gradient_is_masked(groups):
    x, w, _ = arrays_for((2, 7, 6, 6), (3, 3, 6 // groups, 6))
    options = {"stride": (2, 2), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": groups}
    tx, tw = leaf(x), leaf(w)
    y = conv2d(tx, tw, **options)
    dy = normal(np.random.default_rng(3), *y.shape)
    td = leaf(dy)
    plain = gradients(y, [tx], seed=td)[0]
    if groups == 1:
        panels = PackConvT(tw, **options).output
        masked = Conv2DGradX(td, tw, panels, tx, shape=x.shape, **options).output
    else:
        masked = DepthwiseGradX(td, tw, tx, shape=x.shape, **options).output
    plain, masked = evaluate([plain, masked], {tx: x, tw: w, td: dy})
    np.testing.assert_array_equal(masked, np.where(x > 0, plain, 0))


LARGE = {
    "small images": ((33, 8, 8, 9), (3, 3, 9, 20), {"padding": 1}),
    "large images": ((2, 40, 40, 16), (3, 3, 16, 16), {"padding": 1}),
    "one deep image": ((1, 7, 7, 96), (3, 3, 96, 200), {"padding": 1}),
    "stride": ((17, 15, 15, 12), (3, 3, 12, 40), {"stride": 2, "padding": 1}),
    "groups": ((17, 12, 12, 32), (3, 3, 16, 48), {"groups": 2}),
    "depthwise": ((9, 20, 20, 70), (3, 3, 1, 70), {"groups": 70, "padding": 1}),
}


@pytest.mark.parametrize("case", LARGE)
def test_many_tiles(case):
    """Work for several tiles: the same bits for any number of threads, and the right ones."""
    x_shape, w_shape, options = LARGE[case]
    x, w, b = arrays_for(x_shape, w_shape)
    tx, tw, tb = leaf(x), leaf(w), leaf(b)
    y = conv2d(tx, tw, tb, **options)
    dy = normal(np.random.default_rng(1), *y.shape)
    td = leaf(dy)
    wanted = [y, *gradients(y, [tx, tw, tb], seed=td)]
    feeds = {tx: x, tw: w, tb: b, td: dy}
    one, two = (evaluate(wanted, feeds, n_threads=k) for k in (1, 2))
    for a, c in zip(one, two):
        assert a.tobytes() == c.tobytes()
    exact = naive_conv(x.astype(float), w.astype(float), **options)
    assert_close(one[0], exact + b, rtol=2e-5)
    rng = np.random.default_rng(2)
    for _ in range(4):  # directional derivatives: y is linear in x and in w
        direction = rng.standard_normal(x.shape)
        change = naive_conv(direction, w.astype(float), **options) * dy
        assert abs(np.sum(one[1] * direction) - change.sum()) < 1e-6 * np.abs(change).sum()
        direction = rng.standard_normal(w.shape)
        change = naive_conv(x.astype(float), direction, **options) * dy
        assert abs(np.sum(one[2] * direction) - change.sum()) < 1e-6 * np.abs(change).sum()
    assert_close(one[3], dy.sum(axis=(0, 1, 2), dtype=float))


@pytest.mark.parametrize("case", ["same", "grey", "stride", "groups", "depthwise"])
def test_an_image_does_not_depend_on_its_batch(case):
    x_shape, w_shape, options = CASES[case]
    x, w, b = arrays_for((37, *x_shape[1:]), w_shape)

    def build(x, w, b):
        return conv2d(x, w, b, **options)

    batch = run(build, [x, w, b])
    for images in (slice(0, 1), slice(36, 37), slice(5, 10)):
        np.testing.assert_array_equal(run(build, [x[images], w, b]), batch[images])


@pytest.mark.parametrize(
    "x, w, options, message",
    [
        ((5, 8, 8), (3, 3, 1, 2), {}, "c = 1"),
        ((5, 8, 8, 3), (3, 3, 2, 2), {}, r"\(kh, kw, 3, f\)"),
        ((5, 8, 8, 3), (3, 3, 3), {}, r"\(kh, kw, 3, f\)"),
        ((5, 8, 8, 3), (3, 3, 3, 4), {"groups": 2}, "divide the 3 channels"),
        ((5, 8, 8, 4), (3, 3, 2, 3), {"groups": 2}, "multiple of groups"),
        ((5, 2, 8, 3), (3, 3, 3, 4), {}, "larger than the image"),
        ((5, 4, 4, 3), (3, 3, 3, 4), {"dilation": 2}, "larger than the image"),
        ((5, 8, 8, 3), (3, 3, 3, 4), {"stride": 0}, "stride"),
        ((5, 8, 8, 3), (3, 3, 3, 4), {"dilation": (1, 2, 3)}, "dilation"),
        ((5, 8, 8, 3), (3, 3, 3, 4), {"padding": -1}, "padding"),
        ((5, 8, 8, 3), (3, 3, 3, 4), {"padding": (1, (1, 2, 3))}, "padding"),
        ((0, 8, 8, 3), (3, 3, 3, 4), {}, "at least one"),
    ],
)
def test_bad_arguments(x, w, options, message):
    with pytest.raises(ValueError, match=message):
        conv2d(Tensor(x), Tensor(w), **options)


def test_bad_bias():
    with pytest.raises(ValueError, match=r"bias of shape \(4,\)"):
        conv2d(Tensor((1, 5, 5, 3)), Tensor((3, 3, 3, 4)), Tensor((3,)))
