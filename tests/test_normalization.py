"""Batch normalisation and running averages, against float64."""

import numpy as np
import pytest
from checks import assert_close, check_op, leaf
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep.graph.differentiate import gradients
from skdeep.graph.op import topological
from skdeep.graph.passes import optimize
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.ops import normalization as ops
from skdeep.ops import relu, tanh

few = settings(max_examples=30, deadline=None)
channels = st.sampled_from([1, 2, 3, 5, 8, 15, 16, 17, 33, 64, 65, 100, 130])


def naive_moments(x):
    """Mean and variance of every channel, value by value (Welford)."""
    flat = x.reshape(-1, x.shape[-1])
    mean, squares = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    for k, row in enumerate(flat, 1):
        step = row - mean
        mean = mean + step / k
        squares = squares + step * (row - mean)
    return mean, squares / len(flat)


def naive_batch_norm(x, gamma, beta, mean, var, eps=1e-3):
    y = np.zeros(x.shape)
    for c in range(x.shape[-1]):
        y[..., c] = (x[..., c] - mean[c]) / np.sqrt(var[c] + eps) * gamma[c] + beta[c]
    return y


def naive_batch_norm_train(x, gamma, beta, eps=1e-3):
    flat = x.reshape(-1, x.shape[-1])
    return naive_batch_norm(x, gamma, beta, flat.mean(axis=0), flat.var(axis=0), eps)


def draw(shape, seed=0):
    """x, gamma, beta, mean, var."""
    rng = np.random.default_rng(seed)
    c = shape[-1]
    x = rng.standard_normal(shape) * rng.uniform(0.5, 2, c) + rng.standard_normal(c)
    return (x, rng.uniform(0.5, 1.5, c), rng.standard_normal(c), rng.standard_normal(c),
            rng.uniform(0.5, 2, c))  # fmt: skip


def statistics(x, n_threads=1):
    """(y, mean, var) with gamma 1 and beta 0."""
    c = x.shape[-1]
    t, gamma, beta = leaf(x), Tensor((c,)), Tensor((c,))
    outputs = ops.batch_norm_train(t, gamma, beta, 1e-5)
    feeds = {t: x, gamma: np.ones(c), beta: np.zeros(c)}
    return evaluate(list(outputs), feeds, n_threads=n_threads)


class TestGivenStatistics:
    @few
    @given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), channels)
    def test_images(self, n, h, w, c):
        arrays = draw((n, h, w, c))
        check_op(lambda *t: ops.batch_norm(*t, 1e-3), arrays, naive_batch_norm, gradient_rtol=2e-4)

    def test_rows(self):
        check_op(lambda *t: ops.batch_norm(*t, 1e-3), draw((37, 20)), naive_batch_norm)

    def test_a_sample_does_not_depend_on_its_batch(self):
        x, *others = (np.asarray(a, np.float32) for a in draw((7, 5, 5, 3)))

        def apply(x):
            leaves = [leaf(a) for a in (x, *others)]
            return evaluate([ops.batch_norm(*leaves, 1e-3)], dict(zip(leaves, (x, *others))))[0]

        whole = apply(x)
        for k in range(7):
            assert apply(x[k : k + 1]).tobytes() == whole[k : k + 1].tobytes()


class TestBatchStatistics:
    @few
    @given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), channels)
    def test_mean_and_variance(self, n, h, w, c):
        x = draw((n, h, w, c))[0].astype(np.float32)
        y, mean, var = statistics(x)
        want_mean, want_var = naive_moments(x.astype(np.float64))
        assert_close(mean, want_mean, rtol=1e-6)
        assert_close(var, want_var, rtol=2e-6)
        assert_close(y, (x - want_mean) / np.sqrt(want_var + 1e-5), rtol=1e-5, atol=2e-5)

    @pytest.mark.parametrize("shape", [(2, 3, 3, 1), (4, 2, 2, 3), (3, 5, 1, 16), (9, 1, 1, 70),
                                       (40, 6), (150, 2), (3, 1, 1, 130)])  # fmt: skip
    def test_like_the_formula_with_gradients(self, shape):
        x, gamma, beta, *_ = draw(shape)
        check_op(
            lambda *t: ops.batch_norm_train(*t, 1e-3)[0],
            [x, gamma, beta],
            naive_batch_norm_train,
            gradient_rtol=3e-4,
        )

    @pytest.mark.parametrize("c", [1, 3, 32, 100])
    @pytest.mark.parametrize("mean", [0.0, 1e3, -1e5])
    def test_precision_far_from_zero(self, c, mean):
        rng = np.random.default_rng(0)
        x = (rng.standard_normal((32, 24, 24, c)) + mean).astype(np.float32)
        _, got_mean, got_var = statistics(x)
        flat = x.astype(np.float64).reshape(-1, c)
        np.testing.assert_allclose(got_mean, flat.mean(axis=0), rtol=3e-7, atol=1e-6)
        np.testing.assert_allclose(got_var, flat.var(axis=0), rtol=1e-6)

    @pytest.mark.parametrize("c", [1, 64])
    def test_precision_when_the_first_value_is_an_outlier(self, c):
        x = np.random.default_rng(0).standard_normal((64, 16, 16, c)).astype(np.float32)
        x[0, 0, 0] = 300
        _, mean, var = statistics(x)
        flat = x.astype(np.float64).reshape(-1, c)
        np.testing.assert_allclose(var, flat.var(axis=0), rtol=2e-6)
        np.testing.assert_allclose(mean, flat.mean(axis=0), rtol=1e-6, atol=1e-6)

    def test_constant_channels(self):
        x = np.full((8, 5, 5, 6), 0.1, np.float32)
        y, mean, var = statistics(x)
        assert (var == 0).all()
        np.testing.assert_allclose(mean, x[0, 0, 0], rtol=1e-7)
        assert np.abs(y).max() < 1e-4

    def test_nan_stays_in_its_channel(self):
        x = draw((4, 5, 5, 6))[0].astype(np.float32)
        x[2, 3, 1, 4] = np.nan
        y, mean, var = statistics(x)
        bad = np.arange(6) == 4
        np.testing.assert_array_equal(np.isnan(mean), bad)
        np.testing.assert_array_equal(np.isnan(var), bad)
        np.testing.assert_array_equal(np.isnan(y).any(axis=(0, 1, 2)), bad)

    @pytest.mark.parametrize("shape", [(16, 32, 32, 40), (50, 60, 60, 3), (300, 1024)])
    def test_many_tiles(self, shape):
        x, gamma, beta, *_ = draw(shape)
        leaves = [leaf(a) for a in (x, gamma, beta)]
        seed = Tensor(shape)
        outputs = ops.batch_norm_train(*leaves, 1e-5)
        assert outputs[0].op.rows()[0].tiles > 1
        wanted = [*outputs, *gradients(outputs[0], leaves, seed=seed)]
        cotangent = np.random.default_rng(1).standard_normal(shape)
        feeds = dict(zip((*leaves, seed), (x, gamma, beta, cotangent)))
        one, two = (evaluate(wanted, feeds, n_threads=n) for n in (1, 2))
        for a, b in zip(one, two):
            assert a.tobytes() == b.tobytes()
        x = x.astype(np.float32).astype(np.float64).reshape(-1, shape[-1])
        dy = cotangent.astype(np.float32).astype(np.float64).reshape(x.shape)
        mean, var = x.mean(axis=0), x.var(axis=0)
        hat = (x - mean) / np.sqrt(var + 1e-5)
        dx = gamma / np.sqrt(var + 1e-5) * (dy - dy.mean(axis=0) - hat * (dy * hat).mean(axis=0))
        for got, want in zip(
            one, (gamma * hat + beta, mean, var, dx, (dy * hat).sum(axis=0), dy.sum(axis=0))
        ):
            assert_close(got.reshape(want.shape), want, rtol=2e-6)

    def test_refuses_gradients_of_the_statistics(self):
        x, gamma, beta = Tensor((4, 3)), Tensor((3,)), Tensor((3,))
        _, mean, _ = ops.batch_norm_train(x, gamma, beta, 1e-5)
        with pytest.raises(ValueError, match="do not pass"):
            gradients(mean, [x], seed=Tensor((3,)))


class TestFusedWithWhatFollows:
    @pytest.mark.parametrize("shape", [(2, 3, 3, 1), (3, 5, 1, 16), (9, 1, 1, 70), (40, 6),
                                       (150, 2), (300, 192)])  # fmt: skip
    @pytest.mark.parametrize("low", [0.0, -0.5, -np.inf])
    def test_lower_bound(self, shape, low):
        x, gamma, beta, *_ = draw(shape)
        check_op(
            lambda *t: ops.BatchNormTrain(*t, eps=1e-3, low=low).output,
            [x, gamma, beta],
            lambda *a: np.maximum(naive_batch_norm_train(*a), low),
            gradient_rtol=3e-4,
        )

    @pytest.mark.parametrize("shape", [(4, 2, 2, 3), (3, 5, 1, 16), (40, 100)])
    @pytest.mark.parametrize("low", [0.0, -np.inf])
    def test_residual(self, shape, low):
        x, gamma, beta, *_ = draw(shape)
        check_op(
            lambda *t: ops.BatchNormTrain(*t, eps=1e-3, low=low).output,
            [x, gamma, beta, draw(shape, seed=1)[0]],
            lambda x, g, b, r: np.maximum(naive_batch_norm_train(x, g, b) + r, low),
            gradient_rtol=3e-4,
        )

    def test_nan_stays(self):
        x = draw((8, 6))[0].astype(np.float32)
        x[2, 4] = np.nan
        t, gamma, beta = leaf(x), Tensor((6,)), Tensor((6,))
        y = ops.BatchNormTrain(t, gamma, beta, eps=1e-3, low=0.0).output
        (y,) = evaluate([y], {t: x, gamma: np.ones(6), beta: np.zeros(6)})
        assert np.isnan(y[:, 4]).all() and (y[:, :4] >= 0).all()


class TestPass:
    """relu(a + b) of branches that end in batch norm, as in a residual network."""

    SHAPE = (3, 4, 5, 20)

    def graph(self, build):
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(self.SHAPE), *(rng.uniform(0.5, 1.5, 20) for _ in range(4))]
        leaves = [Tensor(a.shape) for a in arrays]
        tops, statistics = build(*leaves)
        return leaves, dict(zip(leaves, arrays)), [tops, *statistics]

    def results(self, outputs, leaves, feeds):
        seed = Tensor(self.SHAPE)
        cotangent = np.random.default_rng(1).standard_normal(self.SHAPE)
        wanted = [*outputs, *gradients(outputs[0], leaves, seed=seed)]
        return evaluate([t for t in wanted if t is not None], feeds | {seed: cotangent})

    def check(self, build, kinds):
        leaves, feeds, plain = self.graph(build)
        fused = optimize(plain, training=True)
        assert sorted(type(op).__name__ for op in topological(fused)) == sorted(kinds)
        for a, b in zip(*(self.results(g, leaves, feeds) for g in (plain, fused))):
            assert_close(b, a.astype(np.float64), rtol=1e-5)

    def test_relu(self):
        def build(x, g, b, *_):
            y, *statistics = ops.batch_norm_train(x, g, b, 1e-3)
            return relu(y), statistics

        self.check(build, ["BatchNormTrain"])

    def test_identity_shortcut(self):
        def build(x, g, b, *_):
            x = tanh(x)
            y, *statistics = ops.batch_norm_train(x * 2.0, g, b, 1e-3)
            return relu(y + x), statistics

        self.check(build, ["Tanh", "Multiply", "BatchNormTrain"])

    def test_two_branches(self):
        def build(x, g, b, g2, b2):
            y, *some = ops.batch_norm_train(tanh(x), g, b, 1e-3)
            z, *more = ops.batch_norm_train(x * 2.0, g2, b2, 1e-3)
            return relu(y + z), [*some, *more]

        self.check(build, ["Tanh", "BatchNormTrain", "Multiply", "BatchNormTrain"])

    def test_what_others_read_stays(self):
        def build(x, g, b, *_):
            y, *statistics = ops.batch_norm_train(x, g, b, 1e-3)
            return relu(y) * y, statistics

        self.check(build, ["BatchNormTrain", "Relu", "Multiply"])


class TestMovingAverage:
    @pytest.mark.parametrize("n", [1, 16, 37])
    def test_updates_in_place(self, n):
        rng = np.random.default_rng(0)
        state, value = (rng.standard_normal(n).astype(np.float32) for _ in range(2))
        want = 0.9 * state.astype(np.float64) + 0.1 * 1.5 * value
        s, v = leaf(state), leaf(value)
        evaluate([ops.moving_average(s, v, 0.9, scale=1.5)], {s: state, v: value})
        np.testing.assert_allclose(state, want, rtol=1e-6, atol=1e-7)

    def test_follows_the_batches(self):
        state = np.zeros(3, np.float32)
        for k in range(60):
            x = draw((16, 3), seed=k)[0].astype(np.float32) + np.float32(7)
            t, gamma, beta, s = leaf(x), Tensor((3,)), Tensor((3,)), Tensor((3,))
            _, mean, _ = ops.batch_norm_train(t, gamma, beta, 1e-5)
            feeds = {t: x, gamma: np.ones(3), beta: np.zeros(3), s: state}
            evaluate([ops.moving_average(s, mean, 0.9)], feeds)
        np.testing.assert_allclose(state, 7, atol=1)


class TestMessages:
    def test_refuses(self):
        x, c3, c4 = Tensor((2, 3)), Tensor((3,)), Tensor((4,))
        with pytest.raises(ValueError, match="one number per channel"):
            ops.batch_norm_train(x, c3, c4, 1e-5)
        with pytest.raises(ValueError, match="eps"):
            ops.batch_norm(x, c3, c3, c3, c3, -1.0)
        with pytest.raises(ValueError, match="channels"):
            ops.batch_norm_train(Tensor((3,)), c3, c3, 1e-5)
        with pytest.raises(ValueError, match="momentum"):
            ops.moving_average(c3, c3, 1.5)
        with pytest.raises(ValueError, match="state"):
            ops.moving_average(c3, c4, 0.5)


# -- relu after the form with given statistics ---------------------------------------------------


def rectified():
    """relu(batch norm(x)), its inputs as arrays by tensor, and the naive result."""
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=(7, 3, 20)), *rng.uniform(0.5, 1.5, (4, 20))]
    leaves = [leaf(a.astype(np.float32)) for a in arrays]
    feeds = dict(zip(leaves, (a.astype(np.float32) for a in arrays)))
    y = relu(ops.batch_norm(*leaves, 1e-3))
    return y, feeds, np.maximum(naive_batch_norm(*arrays), 0)


def test_relu_becomes_part_of_batch_norm():
    y, feeds, expected = rectified()
    (fused,) = optimize([y], training=False)
    assert [type(op).__name__ for op in topological([fused])] == ["BatchNorm"]
    assert_close(evaluate([fused], feeds, n_threads=2)[0], expected)
    assert (expected == 0).mean() > 0.05


def test_not_where_a_gradient_reads_its_coefficients():
    y, feeds, expected = rectified()
    x, gamma = list(feeds)[:2]
    seed = leaf(expected)
    wanted = [y, *gradients(tanh(y), [x, gamma], seed=seed)]
    feeds[seed] = expected.astype(np.float32)
    fused = optimize(wanted, training=True)
    names = [type(op).__name__ for op in topological(fused)]
    assert names.count("BatchNorm") == 1 and "Relu" in names
    for a, b in zip(evaluate(wanted, feeds), evaluate(fused, feeds)):
        np.testing.assert_array_equal(a, b)


def test_gradient_of_a_rectified_batch_norm():
    y, feeds, _ = rectified()
    (fused,) = optimize([y], training=False)
    seed = leaf(np.ones(y.shape, np.float32))
    feeds[seed] = np.random.default_rng(4).normal(size=y.shape).astype(np.float32)
    leaves = [t for t in feeds if t is not seed]
    plain, together = (
        evaluate(gradients(output, leaves, seed=seed), feeds) for output in (y, fused)
    )
    for a, b in zip(plain, together):
        assert_close(b, a, rtol=1e-5)
