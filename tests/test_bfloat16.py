"""bfloat16: conversions, every operation on it, and whole networks.

Naive twins compute in float64 and round to bfloat16 where the network stores it.
"""

import numpy as np
import pytest
from checks import leaf

from skdeep import ops
from skdeep.graph import Tensor
from skdeep.graph.op import topological
from skdeep.graph.passes import optimize
from skdeep.graph.precision import to_bfloat16
from skdeep.graph.program import evaluate
from skdeep.kernels.simd import WIDTH
from skdeep.ops.bfloat16 import (
    AddBfloat16,
    AveragePool2DBfloat16,
    Conv2DBfloat16,
    DenseBfloat16,
    DepthwiseConv2DBfloat16,
    MaxPool2DBfloat16,
    Narrow,
    PackPairs,
    Widen,
)
from skdeep.ops.winograd import PackWinograd


def rounded(x):
    """float64 rounded to the nearest bfloat16, ties to even, by the definition."""
    x = np.asarray(x, np.float64)
    with np.errstate(invalid="ignore"):
        mantissa, exponent = np.frexp(x)
        return np.where(np.isfinite(x), np.ldexp(np.rint(mantissa * 256), exponent - 8), x)


def bits(x):
    """Bit patterns of bfloat16 values."""
    return (np.asarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def values(patterns):
    """What bit patterns of bfloat16 mean."""
    return (patterns.astype(np.uint32) << 16).view(np.float32)


def normal(seed, *shape):
    """Random values that are bfloat16."""
    return rounded(np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def both(outputs, feeds):
    """Evaluated on one thread, after a look whether two give the same bits."""
    one, two = (evaluate(outputs, feeds, n_threads=n) for n in (1, 2))
    for a, b in zip(one, two):
        np.testing.assert_array_equal(a, b)
    return one


def images(x):
    """A bfloat16 leaf and its feed."""
    t = Tensor(x.shape, "bfloat16", role="data")
    return t, {t: bits(x)}


def close(patterns, expected, steps=1):
    """Equal to within roundings of a bfloat16: a sum in float32 may fall to either side."""
    found = values(patterns) if patterns.dtype == np.uint16 else patterns
    scale = np.maximum(np.abs(expected), 1e-2 * np.abs(expected).max())
    np.testing.assert_array_less(np.abs(found - expected), steps * 2.0**-8 * scale + 1e-30)
    # and most are the very same
    if patterns.dtype == np.uint16:
        assert np.mean(found == rounded(expected)) > 0.95


@pytest.mark.parametrize("n", [2, 2 * WIDTH, 2 * WIDTH + 6, 40000])
def test_conversion_rounds_to_even(n):
    rng = np.random.default_rng(n)
    x = rng.standard_normal(n).astype(np.float32) * 10.0 ** rng.uniform(-30, 30, n)
    x = x.astype(np.float32)
    halfway = x.view(np.uint32)
    halfway[::3] = halfway[::3] & 0xFFFF0000 | 0x8000
    t = leaf(x)
    narrow, back = both([Narrow(t).output, Widen(Narrow(t).output).output], {t: x})
    np.testing.assert_array_equal(values(narrow), rounded(x))
    np.testing.assert_array_equal(back, rounded(x))


def test_conversion_keeps_what_is_not_a_number():
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3.4e38, -3.4e38, 1.0], np.float32)
    x = np.append(x, np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32))
    t = leaf(x)
    (found,) = both([Narrow(t).output], {t: x})
    expected = x.copy()
    expected[5:7] = np.inf, -np.inf  # the nearest
    np.testing.assert_array_equal(values(found), expected)
    np.testing.assert_array_equal(np.signbit(values(found)[3:5]), [False, True])


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (3, 1), (2, 37, 3), (5, 2 * WIDTH + 1)])
def test_odd_rows_get_a_zero(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    t = leaf(x)
    (found,) = both([Narrow(t).output], {t: x})
    assert found.shape == (*shape[:-1], shape[-1] + 1)
    np.testing.assert_array_equal(values(found[..., :-1]), rounded(x))
    np.testing.assert_array_equal(found[..., -1], 0)


def naive_convolution(x, w, b, stride, padding, dilation=(1, 1), groups=1):
    """Loops over taps in float64."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    (top, bottom), (left, right) = padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    kh, kw, cg, f = w.shape
    oh = (x.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (x.shape[2] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    fg = f // groups
    y = np.zeros((x.shape[0], oh, ow, f))
    for p in range(kh):
        for q in range(kw):
            part = x[:, p * dilation[0] :, q * dilation[1] :]
            part = part[:, : oh * stride[0] : stride[0], : ow * stride[1] : stride[1]]
            for g in range(groups):
                columns = slice(g * fg, (g + 1) * fg)
                y[..., columns] += part[..., g * cg : (g + 1) * cg] @ w[p, q][:, columns]
    return y + (0 if b is None else b)


CONVOLUTIONS = [  # n, h, w, c, f, kernel, stride, padding, dilation, groups
    (2, 9, 8, 6, 10, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (1, 9, 11, 3, 16, (3, 3), (2, 2), ((1, 0), (0, 1)), (1, 1), 1),
    (3, 7, 7, 2, 2 * WIDTH + 3, (2, 3), (1, 2), ((0, 2), (1, 1)), (1, 2), 1),
    (2, 5, 6, 12, 4 * WIDTH + 2, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    (2, 5, 6, 12, 18, (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    (2, 6, 6, 12, 9, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    (2, 6, 6, 8, 12, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
    (17, 2, 2, 40, 24, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (1, 3, 3, 1100, 6, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case, wide):
    n, h, w, c, f, kernel, stride, padding, dilation, groups = case
    wide = wide or f % 2 == 1
    x, weights = normal(1, n, h, w, c), normal(2, *kernel, c // groups, f)
    weights += np.float32(2**-12)  # rounded away when they are packed
    b = np.random.default_rng(3).standard_normal(f).astype(np.float32)
    expected = naive_convolution(x, rounded(weights), b, stride, padding, dilation, groups)
    residual = normal(4, *expected.shape)
    expected = np.clip(expected + residual, -0.5, 6.0)
    fed, tw, tb = leaf(x), leaf(weights), leaf(b)
    r = leaf(residual) if wide else Tensor(residual.shape, "bfloat16", role="data")
    made = Conv2DBfloat16(
        Narrow(fed).output, PackPairs(tw, groups=groups).output, tb, r, kernel=weights.shape,
        stride=stride, padding=padding, dilation=dilation, groups=groups, wide=wide, low=-0.5,
        high=6.0, algorithm="direct",
    )  # fmt: skip
    feeds = {fed: x, tw: weights, tb: b, r: residual if wide else bits(residual)}
    (found,) = both([made.output], feeds)
    if wide:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-5 * np.sqrt(c))
    else:
        close(found, expected)


@pytest.mark.parametrize("algorithm", ["winograd2", "winograd4"])
@pytest.mark.parametrize("n, h, w, c, f, padding", [
    (2, 9, 7, 6, 4 * WIDTH + 2, ((1, 1), (1, 1))), (1, 30, 34, 2 * WIDTH, 10, ((1, 1), (0, 2))),
    (3, 4, 4, 2 * WIDTH + 2, 2 * WIDTH, ((0, 0), (0, 0))),
])  # fmt: skip
def test_winograd(n, h, w, c, f, padding, algorithm):
    """Images are bfloat16; weights, transforms and products float32."""
    x = normal(1, n, h, w, c)
    weights = np.random.default_rng(2).standard_normal((3, 3, c, f)).astype(np.float32)
    b = np.random.default_rng(3).standard_normal(f).astype(np.float32)
    expected = naive_convolution(x, weights, b, (1, 1), padding)
    residual = normal(4, *expected.shape)
    tx, feeds = images(x)
    tr, more = images(residual)
    tw, tb = leaf(weights), leaf(b)
    made = Conv2DBfloat16(
        tx, PackWinograd(tw, algorithm=algorithm).output, tb, tr, kernel=weights.shape,
        stride=(1, 1), padding=padding, dilation=(1, 1), groups=1, wide=False, low=0.0,
        high=np.inf, algorithm=algorithm,
    )  # fmt: skip
    (found,) = both([made.output], feeds | more | {tw: weights, tb: b})
    close(found, np.maximum(expected + residual, 0), steps=2)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n, c, f", [(1, 7, 4), (3, 64, 2 * WIDTH), (9, 30, 4 * WIDTH + 2),
                                     (50, 2600, 6)])  # fmt: skip
def test_dense(n, c, f, wide):
    x, w = normal(1, n, c), normal(2, c, f)
    b = np.random.default_rng(3).standard_normal(f).astype(np.float32)
    expected = np.maximum(x.astype(np.float64) @ w + b, 0)
    tx, tw, tb = leaf(x), leaf(w), leaf(b)
    made = DenseBfloat16(Narrow(tx).output, PackPairs(tw, groups=1).output, tb, None, filters=f,
                         after=None, wide=wide, low=0.0, high=np.inf,
                         algorithm="direct")  # fmt: skip
    (found,) = both([made.output], {tx: x, tw: w, tb: b})
    if wide:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-5 * np.sqrt(c))
    else:
        close(found, expected)


@pytest.mark.parametrize("c", [2, WIDTH + 2, 3 * WIDTH])
@pytest.mark.parametrize("stride, dilation, kernel", [(1, 1, 3), (2, 1, 3), (1, 2, 3), (2, 1, 5)])
def test_depthwise(c, stride, dilation, kernel):
    x = normal(1, 2, 11, 13, c)
    w = np.random.default_rng(2).standard_normal((kernel, kernel, 1, c)).astype(np.float32)
    b = np.random.default_rng(3).standard_normal(c).astype(np.float32)
    padding = ((1, 2), (2, 1))
    expected = naive_convolution(x, w, b, (stride,) * 2, padding, (dilation,) * 2, c)
    t, feeds = images(x)
    tw, tb = leaf(w), leaf(b)
    made = DepthwiseConv2DBfloat16(
        t, tw, tb, stride=(stride,) * 2, padding=padding, dilation=(dilation,) * 2, groups=c,
        low=-1.0, high=2.0,
    )  # fmt: skip
    (found,) = both([made.output], feeds | {tw: w, tb: b})
    close(found, np.clip(expected, -1, 2))


@pytest.mark.parametrize("c", [2, WIDTH + 2, 2 * WIDTH, 3 * WIDTH + 4])
@pytest.mark.parametrize("size, stride, padding", [(3, 2, 1), (2, 2, 0), (3, 1, 1), (7, 7, 0)])
def test_pooling(c, size, stride, padding):
    x = normal(1, 2, 9, 8, c)
    windows = {
        "size": (size, size), "stride": (stride, stride), "padding": ((padding, padding),) * 2,
        "counts": tuple((k + 2 * padding - size) // stride + 1 for k in (9, 8)),
    }  # fmt: skip
    t, feeds = images(x)
    top = MaxPool2DBfloat16(t, **windows).output
    mean = AveragePool2DBfloat16(t, **windows, padded=False).output
    found_top, found_mean = both([top, mean], feeds)
    spaced = np.full((2, 9 + 2 * padding, 8 + 2 * padding, c), np.nan)
    spaced[:, padding : 9 + padding, padding : 8 + padding] = x
    for i in range(windows["counts"][0]):
        for j in range(windows["counts"][1]):
            window = spaced[:, i * stride :, j * stride :][:, :size, :size]
            np.testing.assert_array_equal(values(found_top[:, i, j]), np.nanmax(window, (1, 2)))
            close(found_mean[:, i, j], np.nanmean(window, (1, 2)), steps=2)


def test_pooling_keeps_nan_and_infinity():
    x = normal(1, 1, 2, 2, 6)
    x[0, 0, 1, 2], x[0, 1, 1, 3], x[0, 1, 0, 4], x[0, 1, 0, 5] = np.nan, np.inf, -np.inf, -np.nan
    x[0, :, :, 0] = -np.abs(x[0, :, :, 0])
    x[0, :, :, 1] = -np.inf
    windows = {"size": (2, 2), "stride": (2, 2), "padding": ((0, 0),) * 2, "counts": (1, 1)}
    t, feeds = images(x)
    (found,) = both([MaxPool2DBfloat16(t, **windows).output], feeds)
    np.testing.assert_array_equal(values(found)[0, 0, 0], x.max(axis=(0, 1, 2)))


@pytest.mark.parametrize("n", [2, 4 * WIDTH + 2, 70_000])
def test_sums_and_clamps(n):
    x, y = normal(1, n), normal(2, n)
    x[0] = np.nan
    tx, ty = (Tensor((n,), "bfloat16", role="data") for _ in "xy")
    feeds = {tx: bits(x), ty: bits(y)}
    both_, one = both([AddBfloat16(tx, ty, low=-1.0, high=1.5).output,
                       AddBfloat16(tx, low=0.0).output], feeds)  # fmt: skip
    total = x.astype(np.float64) + y
    np.testing.assert_array_equal(values(both_), rounded(np.clip(total, -1, 1.5)))
    np.testing.assert_array_equal(values(one), np.maximum(x, 0))


def residual_network(c=8):
    """A graph of every kind of operation with a form for bfloat16, its leaves, and a naive twin."""
    rng = np.random.default_rng(7)
    shapes = {
        "x": (3, 17, 15, 3), "stem": (7, 7, 3, 2 * c), "one": (1, 1, 2 * c, c),
        "three": (3, 3, c, c), "back": (1, 1, c, 2 * c), "across": (1, 1, 2 * c, 2 * c),
        "deep": (3, 3, 1, 2 * c), "grouped": (3, 3, c, 2 * c), "wide": (3, 3, 2 * c, 5),
        "dense": (4 * c + 5, 11), "b": (11,),
        "gamma": (2 * c,), "beta": (2 * c,), "mean": (2 * c,), "var": (2 * c,),
    }  # fmt: skip
    arrays = {}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 and name != "x" else 1.0
        if name == "deep":
            scale = 0.4
        arrays[name] = (rng.standard_normal(shape) * scale).astype(np.float32)
    arrays["var"] = np.abs(arrays["var"]) + np.float32(0.5)
    t = {name: leaf(a) for name, a in arrays.items()}
    for name in arrays:
        t[name].role = "data" if name == "x" else "parameter"
    conv = ops.conv2d
    y = ops.relu(conv(t["x"], t["stem"], stride=2, padding=3))
    y = ops.max_pool2d(y, 3, stride=2, padding=1)
    z = ops.relu(conv(y, t["one"]))
    z = ops.relu(conv(z, t["three"], padding=1, algorithm="direct"))
    norm = [t[k] for k in ("gamma", "beta", "mean", "var")]
    y = ops.relu(ops.batch_norm(conv(z, t["back"]), *norm, 1e-3) + conv(y, t["across"]))
    y = ops.clip(conv(y, t["deep"], padding=1, groups=2 * c), 0.0, 6.0)
    y = ops.clip(conv(y, t["grouped"], padding=1, groups=2), 0.0, 6.0) + y
    odd = ops.gelu(conv(y, t["wide"], padding=1))
    y = ops.concatenate([ops.relu(y), ops.average_pool2d(y, 3, stride=1, padding=1)], axis=3)
    pooled = ops.concatenate([ops.global_average_pool2d(y), ops.global_max_pool2d(odd)], axis=1)
    return t, arrays, ops.dense(pooled, t["dense"], t["b"])


def naive_network(a, r):
    """The same in float64, with ``r`` applied where bfloat16 is stored."""
    from math import erf

    def pooled(x, reduce, fill):
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=fill)
        h, w = x.shape[1] - 2, x.shape[2] - 2
        return reduce([x[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=0)

    def conv(x, name, stride=1, pad=0, groups=1, weights=r):
        w = weights(a[name])
        return naive_convolution(x, w, None, (stride,) * 2, ((pad, pad),) * 2, groups=groups)

    c = a["one"].shape[3]
    y = r(np.maximum(conv(r(a["x"]), "stem", 2, 3), 0))
    y = pooled(y, np.max, -np.inf)[:, ::2, ::2]
    z = r(np.maximum(conv(y, "one"), 0))
    z = r(np.maximum(conv(z, "three", 1, 1), 0))
    scale = a["gamma"] / np.sqrt(a["var"] + 1e-3)
    back = conv(z, "back", weights=lambda w: r(w * scale)) + a["beta"] - a["mean"] * scale
    y = r(np.maximum(r(back) + conv(y, "across"), 0))
    y = r(np.clip(conv(y, "deep", 1, 1, 2 * c, lambda w: w), 0, 6))
    y = r(r(np.clip(conv(y, "grouped", 1, 1, 2), 0, 6)) + y)
    odd = conv(y, "wide", 1, 1)
    odd = odd * 0.5 * (1 + np.vectorize(erf)(odd / np.sqrt(2)))
    y = np.concatenate([y, r(pooled(y, np.nanmean, np.nan))], axis=3)
    pooled = np.concatenate([r(y.mean((1, 2))), odd.max((1, 2))], axis=1)
    return r(pooled) @ r(a["dense"]) + a["b"]


def error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_networks_keep_their_results():
    t, arrays, output = residual_network()
    feeds = {t[name]: array for name, array in arrays.items()}
    (converted,) = to_bfloat16(optimize([output], training=False))
    assert converted.dtype == "float32"
    (found,) = both([converted], feeds)
    exact = {name: a.astype(np.float64) for name, a in arrays.items()}
    assert error(found, naive_network(exact, rounded)) < 1e-3
    assert 1e-4 < error(found, naive_network(exact, lambda x: x)) < 1e-2


def operations(outputs):
    """Names of the operations of a graph that do not depend on weights alone."""
    from skdeep.graph.passes import split_static

    outputs, _, _ = split_static(outputs)
    return [type(op).__name__ for op in topological(outputs)]


@pytest.mark.parametrize("algorithm", ["direct", "winograd2", "winograd4"])
def test_an_algorithm_that_was_asked_for_is_kept(algorithm):
    """Whatever would be chosen: these layers are too small for some, and too large for others."""
    for size, c in [(4, 16), (28, 64)]:
        x, w = leaf(np.zeros((1, size, size, c))), leaf(np.zeros((3, 3, c, c)))
        w.role = "parameter"
        y = ops.conv2d(x, w, padding=1, algorithm=algorithm)
        (converted,) = to_bfloat16(optimize([y], training=False))
        ran = [op for op in topological([converted]) if type(op).__name__ == "Conv2DBfloat16"]
        assert [op.algorithm.replace("tiles", "direct") for op in ran] == [algorithm]


def test_casts_are_at_the_edges_alone():
    x, w, v = leaf(np.zeros((2, 6, 6, 4))), leaf(np.zeros((1, 1, 4, 4))), leaf(np.zeros((4, 3)))
    w.role = v.role = "parameter"
    y = ops.relu(ops.conv2d(x, w))
    y = ops.relu(ops.conv2d(y, w) + y)
    y = ops.dense(ops.reshape(ops.max_pool2d(y, 6), (2, 4)), v)
    assert operations(to_bfloat16(optimize([y], training=False))) == [
        "Narrow", "Conv2DBfloat16", "Conv2DBfloat16", "MaxPool2DBfloat16", "Reshape",
        "DenseBfloat16",
    ]  # fmt: skip


def test_a_float32_operation_gets_float32():
    x, w = leaf(np.zeros((2, 4))), leaf(np.zeros((4, 4)))
    w.role = "parameter"
    y = ops.dense(ops.tanh(ops.dense(x, w)), w)
    graph = to_bfloat16(optimize([y, ops.softmax(y)], training=False))
    assert operations(graph) == [
        "Narrow", "DenseBfloat16", "Tanh", "Narrow", "DenseBfloat16", "Softmax",
    ]  # fmt: skip
    assert [t.dtype for t in graph] == ["float32", "float32"]
