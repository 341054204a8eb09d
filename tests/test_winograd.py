"""Winograd's algorithm against plain loops in float64."""

import numpy as np
import pytest
from checks import assert_close, check_op, leaf, run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv import arrays_for, naive_conv, normal

from skdeep.graph.differentiate import gradients
from skdeep.graph.passes import optimize
from skdeep.graph.program import compile_program, evaluate
from skdeep.graph.tensor import Tensor
from skdeep.ops import batch_norm, conv2d, relu, winograd
from skdeep.ops.conv import Conv2D, Conv2DGradX
from skdeep.ops.winograd import PackWinograd, choose, choose_all

FAST = ("winograd2", "winograd4")
KINDS = {"F(2x2, 3x3)": (3, "winograd2"), "F(4x4, 3x3)": (3, "winograd4"),
         "F(2x2, 5x5)": (5, "winograd2")}  # fmt: skip
SAME = ((1, 1), (1, 1))
PLAIN = {"stride": (1, 1), "padding": SAME, "dilation": (1, 1), "groups": 1}

CASES = {
    "one pixel": ((1, 1, 1, 1), 1, 1),
    "one square": ((1, 6, 6, 3), 5, 0),
    "valid": ((3, 9, 7, 4), 18, 0),
    "same": ((2, 8, 8, 16), 16, 1),
    "odd": ((3, 7, 13, 17), 33, 1),
    "uneven padding": ((2, 6, 5, 20), 9, ((2, 0), (1, 3))),
    "all padding": ((1, 1, 2, 3), 4, 4),
    "wide": ((1, 3, 30, 31), 49, 1),
    "deep": ((1, 5, 4, 100), 70, 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_winograd(case, kind):
    shape, f, padding = CASES[case]
    r, algorithm = KINDS[kind]
    if r == 5 and padding == 1 and case != "same":
        padding = 2
    check_op(
        lambda x, w, b: conv2d(x, w, b, padding=padding, algorithm=algorithm),
        arrays_for(shape, (r, r, shape[3], f)),
        lambda x, w, b: naive_conv(x, w, b, padding=padding),
    )


def everything(x, w, b, dy, padding, algorithm, n_threads=1):
    """Output and gradients with respect to x and w."""
    tx, tw, tb, td = (leaf(a) for a in (x, w, b, dy))
    y = conv2d(tx, tw, tb, padding=padding, algorithm=algorithm)
    wanted = [y, *gradients(y, [tx, tw], seed=td)]
    return evaluate(wanted, {tx: x, tw: w, tb: b, td: dy}, n_threads=n_threads)


def check_everything(results, x, w, b, dy, padding):
    """Against the plain loops; the gradients by y being linear in x and in w."""
    y, dx, dw = results
    assert_close(y, naive_conv(x.astype(float), w.astype(float), b, padding=padding))
    rng = np.random.default_rng(2)
    for _ in range(3):
        direction = rng.standard_normal(x.shape)
        change = naive_conv(direction, w.astype(float), padding=padding) * dy
        assert abs(np.sum(dx * direction) - change.sum()) < 2e-6 * np.abs(change).sum() + 1e-6
        direction = rng.standard_normal(w.shape)
        change = naive_conv(x.astype(float), direction, padding=padding) * dy
        assert abs(np.sum(dw * direction) - change.sum()) < 2e-6 * np.abs(change).sum() + 1e-6


@st.composite
def convolutions(draw):
    r, algorithm = draw(st.sampled_from(list(KINDS.values())))
    padding = tuple((draw(st.integers(0, r)), draw(st.integers(0, r))) for _ in range(2))
    h, w = (max(1, r - sum(pads)) + draw(st.integers(0, 10)) for pads in padding)
    c, f = draw(st.sampled_from([1, 2, 8, 17, 33, 50])), draw(st.sampled_from([1, 7, 16, 33, 98]))
    return (draw(st.integers(1, 4)), h, w, c), f, padding, r, algorithm


@settings(max_examples=30, deadline=None)
@given(convolutions())
def test_any_geometry(case):
    shape, f, padding, r, algorithm = case
    x, w, b = arrays_for(shape, (r, r, shape[3], f))
    y_shape = conv2d(Tensor(shape), Tensor(w.shape), padding=padding).shape
    dy = normal(np.random.default_rng(1), *y_shape)
    check_everything(everything(x, w, b, dy, padding, algorithm), x, w, b, dy, padding)


LARGE = {
    "a share of the blocks each": ((9, 20, 20, 32), 32, 1),
    "a panel each, in two stages": ((2, 14, 14, 96), 112, 1),
    "one deep image": ((1, 7, 7, 200), 150, ((2, 1), (0, 1))),
    "few channels, many filters": ((5, 17, 18, 16), 100, 0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", LARGE)
def test_many_tiles(case, kind, monkeypatch):
    """Work for several tiles and waves: the same bits for any number of threads."""
    monkeypatch.setattr(winograd, "WAVE", 100_000)
    monkeypatch.setattr(winograd, "WORK", 400_000)
    shape, f, padding = LARGE[case]
    r, algorithm = KINDS[kind]
    x, w, b = arrays_for(shape, (r, r, shape[3], f))
    y_shape = conv2d(Tensor(shape), Tensor(w.shape), padding=padding).shape
    dy = normal(np.random.default_rng(1), *y_shape)
    one, two = (everything(x, w, b, dy, padding, algorithm, n_threads=k) for k in (1, 2))
    for a, c in zip(one, two):
        assert a.tobytes() == c.tobytes()
    check_everything(one, x, w, b, dy, padding)


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize("shape, f", [((37, 9, 10, 20), 24), ((21, 7, 7, 64), 128)])
def test_an_image_does_not_depend_on_its_batch(shape, f, algorithm):
    x, w, b = arrays_for(shape, (3, 3, shape[3], f))

    def build(x, w, b):
        return conv2d(x, w, b, padding=1, algorithm=algorithm)

    batch = run(build, [x, w, b])
    for images in (slice(0, 1), slice(20, 21), slice(5, 10)):
        np.testing.assert_array_equal(run(build, [x[images], w, b]), batch[images])


@pytest.mark.parametrize("low, high", [(0.0, np.inf), (-0.5, 1.5)])
@pytest.mark.parametrize("algorithm", FAST)
def test_clamp_and_residual(low, high, algorithm):
    def build(x, w, b, residual):
        panels = PackWinograd(w, algorithm=algorithm).output
        return Conv2D(x, w, panels, b, residual, low=low, high=high, algorithms=(algorithm,) * 3,
                      **PLAIN).output  # fmt: skip

    def naive(x, w, b, residual):
        return np.clip(naive_conv(x, w, b, padding=1) + residual, low, high)

    arrays = arrays_for((2, 6, 5, 3), (3, 3, 3, 18))
    check_op(build, [*arrays, normal(np.random.default_rng(2), 2, 6, 5, 18)], naive)


@pytest.mark.parametrize("algorithm", FAST)
def test_input_gradient_is_masked(algorithm):
    x, w, _ = arrays_for((2, 7, 6, 20), (3, 3, 20, 12))
    dy = normal(np.random.default_rng(3), 2, 7, 6, 12)
    tx, tw, td = leaf(x), leaf(w), leaf(dy)
    panels = PackWinograd(tw, algorithm=algorithm, transposed=True).output
    plain, masked = (
        Conv2DGradX(td, tw, panels, mask, shape=x.shape, algorithm=algorithm, **PLAIN).output
        for mask in (None, tx)
    )
    plain, masked = evaluate([plain, masked], {tx: x, tw: w, td: dy})
    np.testing.assert_array_equal(masked, np.where(x > 0, plain, 0))


@pytest.mark.parametrize("r", [3, 5])
@pytest.mark.parametrize("case", [*CASES, *LARGE][1:])
def test_scattered_input_gradient(case, r, monkeypatch):
    shape, f, padding = (CASES | LARGE)[case]
    if r == 5 and padding == 1:
        padding = 2
    monkeypatch.setattr(winograd, "SCATTER_GAIN", 0.0)
    x, w, b = arrays_for(shape, (r, r, shape[3], f))
    y = conv2d(Tensor(shape), Tensor(w.shape), padding=padding)
    assert y.op.algorithms[1] == "scatter"
    dy = normal(np.random.default_rng(1), *y.shape)
    one, two = (everything(x, w, b, dy, padding, "auto", n_threads=k) for k in (1, 2))
    for a, c in zip(one, two):
        assert a.tobytes() == c.tobytes()
    check_everything(one, x, w, b, dy, padding)


def test_scattered_input_gradient_is_masked():
    x, w, _ = arrays_for((3, 9, 8, 21), (5, 5, 21, 12))
    dy = normal(np.random.default_rng(3), 3, 5, 4, 12)
    tx, tw, td = leaf(x), leaf(w), leaf(dy)
    panels = PackWinograd(tw, algorithm="scatter", transposed=True).output
    geometry = PLAIN | {"padding": ((0, 0), (0, 0))}
    plain, masked = (
        Conv2DGradX(td, tw, panels, mask, shape=x.shape, algorithm="scatter", **geometry).output
        for mask in (None, tx)
    )
    plain, masked = evaluate([plain, masked], {tx: x, tw: w, td: dy})
    np.testing.assert_array_equal(masked, np.where(x > 0, plain, 0))


def test_an_input_gradient_is_scattered_where_images_shrink():
    def for_x(shape, out, r, pad):
        return choose_all(shape, out, ((pad, pad),) * 2, r)[1]

    assert for_x((64, 12, 12, 20), (64, 8, 8, 50), 5, 0) == "scatter"
    assert for_x((64, 28, 28, 32), (64, 28, 28, 64), 5, 2) == "winograd2"
    assert for_x((64, 32, 32, 64), (64, 32, 32, 64), 3, 1) == "winograd4"


def test_not_a_number_stays_in_its_square():
    x, w, b = arrays_for((2, 12, 12, 16), (3, 3, 16, 16))
    x[0, 1, 1, 3] = np.nan

    def build(x, w, b):
        return conv2d(x, w, b, padding=1, algorithm="winograd4")

    y = run(build, [x, w, b])
    assert np.isnan(y[0, :3, :3]).all()
    assert np.isfinite(y[1]).all() and np.isfinite(y[0, 4:]).all()


@pytest.mark.parametrize("r, algorithm, error", [(3, "direct", 2e-6), (3, "winograd2", 2e-6),
                         (3, "winograd4", 3e-6), (5, "winograd2", 3e-6)])  # fmt: skip
def test_accuracy(r, algorithm, error):
    """Relative error of many channels in the mean square: Winograd's is of the same kind."""
    rng = np.random.default_rng(0)
    x = np.maximum(normal(rng, 1, 12, 12, 256), 0)
    w = normal(rng, r, r, 256, 32) * np.float32(0.03)
    y = run(lambda x, w: conv2d(x, w, padding=r // 2, algorithm=algorithm), [x, w])
    exact = naive_conv(x.astype(float), w.astype(float), padding=r // 2)
    assert np.linalg.norm(y - exact) < error * np.linalg.norm(exact)


@pytest.mark.parametrize(
    "c, f, size, expected",
    [
        (64, 64, 56, "winograd4"),
        (512, 512, 7, "winograd4"),
        (256, 256, 6, "winograd2"),
        (3, 64, 224, "direct"),  # too few channels for the transforms to pay
        (64, 64, 2, "direct"),  # most of a square would be thrown away
        (4, 4, 64, "direct"),
    ],
)
def test_choice(c, f, size, expected):
    assert choose(c, f, size, size, SAME) == expected
    x, w = Tensor((5, size, size, c)), Tensor((3, 3, c, f))
    assert conv2d(x, w, padding=1).op.algorithms[0] == expected


def test_choice_of_the_forward_pass_does_not_depend_on_the_batch():
    for size in range(1, 20):
        chosen = {choose_all((n, size, size, 48), (n, size, size, 64), SAME)[0] for n in (1, 7, 64)}
        assert len(chosen) == 1


def test_gradients_of_few_images_do_not_pay_for_transformed_weights():
    _, *alone = choose_all((1, 4, 4, 512), (1, 4, 4, 512), SAME)
    _, *many = choose_all((64, 4, 4, 512), (64, 4, 4, 512), SAME)
    assert alone == ["direct", "direct"] and many == ["winograd4", "winograd4"]


@pytest.mark.parametrize(
    "kernel, options",
    [
        ((3, 3, 64, 64), {"stride": 2}),
        ((3, 3, 64, 64), {"dilation": 2}),
        ((3, 3, 32, 64), {"groups": 2}),
        ((5, 5, 64, 64), {"stride": 2}),
        ((7, 7, 64, 64), {}),
        ((3, 1, 64, 64), {}),
    ],
)
def test_direct_elsewhere(kernel, options):
    x, w = Tensor((2, 32, 32, 64)), Tensor(kernel)
    assert conv2d(x, w, **options).op.algorithms == ("direct",) * 3
    with pytest.raises(ValueError, match="'winograd4' is for 3x3 kernels"):
        conv2d(x, w, algorithm="winograd4", **options)


def test_unknown_algorithm():
    with pytest.raises(ValueError, match=r"one of \('auto', 'direct', .*got 'fft'"):
        conv2d(Tensor((1, 8, 8, 4)), Tensor((3, 3, 4, 4)), algorithm="fft")


def test_batch_norm_sum_and_relu_are_fused():
    rng = np.random.default_rng(4)
    shapes = [(2, 9, 9, 32), (3, 3, 32, 32), *[(32,)] * 4]
    arrays = [normal(rng, *s) for s in shapes]
    arrays[-1] = np.abs(arrays[-1]) + 1
    leaves = [Tensor(s, role="parameter") for s in shapes]

    def build(x, w, gamma, beta, mean, var):
        y = conv2d(x, w, padding=1, algorithm="winograd4")
        return relu(batch_norm(y, gamma, beta, mean, var, eps=1e-3) + x)

    plain = build(*leaves)
    (fused,) = optimize([plain], training=False)
    assert type(fused.op).__name__ == "Conv2D" and fused.op.algorithms == ("winograd4",) * 3
    assert isinstance(fused.op.inputs[2].op, PackWinograd)
    expected, actual = (evaluate([y], dict(zip(leaves, arrays)))[0] for y in (plain, fused))
    assert_close(actual, expected.astype(float), rtol=1e-5)


@pytest.mark.parametrize("shape, f", [((8, 56, 56, 64), 64), ((8, 28, 28, 512), 512),
                                      ((64, 32, 32, 64), 64), ((1, 224, 224, 64), 64)])  # fmt: skip
def test_working_memory_is_bounded(shape, f):
    """The images are never transformed as a whole: that would take 2.25 times their memory."""
    y = conv2d(Tensor(shape), Tensor((3, 3, shape[3], f)), padding=1)
    assert y.op.algorithms[0] == "winograd4"
    assert y.op.outputs[1].size < 0.6 * (y.size + y.op.inputs[0].size)
    dy = Tensor(y.shape)
    for t in gradients(y, y.op.inputs[:2], seed=dy):
        assert t.op.outputs[1].size < 10_000_000
    assert compile_program([y]).arena_size > y.size
