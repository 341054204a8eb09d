"""The counter-based generator, its statistics, and dropout."""

import numpy as np
import pytest
from checks import check_op, leaf
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep.graph.differentiate import gradients
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.kernels.random import mix, threshold
from skdeep.ops import random as ops

few = settings(max_examples=40, deadline=None)
int32 = st.integers(-(2**31), 2**31 - 1)

# ---- the naive twin: native 32-bit arithmetic ----------------------------------------------------


def naive_stir(x, key):
    x = np.asarray(x, np.uint32)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x35F7D389)
    x = x ^ np.uint32(key)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x3A3E71D7)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x6DB0C1F7)
    return x ^ (x >> np.uint32(15))


def naive_mix(seed, step, stream, elements):
    """Bits of many elements at once; NumPy's uint32 arrays wrap around."""

    def word(salt):
        x = np.array([(seed + salt) % 2**32], np.uint32)
        x = naive_stir(x, 0) + np.array([step % 2**32], np.uint32)
        x = naive_stir(x, 0) + np.array([stream % 2**32], np.uint32)
        return naive_stir(x, 0)

    return naive_stir(np.asarray(elements, np.uint32) + word(0x2545F491), word(0x6C8E9CF5)[0])


def bits_of(seed=1, step=2, stream=3, n=1 << 16):
    return naive_mix(seed, step, stream, np.arange(n))


def correlation(a, b):
    """Largest |correlation| between any bit of one sequence and any bit of another."""
    one = ((a[:, None] >> np.arange(32, dtype=np.uint32)) & 1).astype(np.float64) - 0.5
    two = ((b[:, None] >> np.arange(32, dtype=np.uint32)) & 1).astype(np.float64) - 0.5
    return np.abs(one.T @ two).max() * 4 / len(a)


class TestMix:
    @few
    @given(int32, int32, int32, st.integers(0, 2**32 - 1))
    def test_is_the_twin(self, seed, step, stream, element):
        want = naive_mix(seed, step, stream, [element])[0]
        assert mix(seed, step, stream, element) == want

    def test_stays_within_int64(self):
        with np.errstate(over="raise"):
            value = mix(np.int64(-1), np.int64(-1), np.int64(-1), np.int64(2**32 - 1))
        assert value == mix(-1, -1, -1, 2**32 - 1)

    def test_recorded_values(self):
        found = [mix(0, 0, 0, 0), mix(0, 0, 0, 1), mix(1, 2, 3, 4), mix(-5, 7, 1, 1000)]
        assert found == RECORDED

    def test_no_two_elements_share_their_bits(self):
        assert len(np.unique(bits_of())) == 1 << 16

    def test_bits_are_fair(self):
        bits = bits_of(n=1 << 18)
        for k in range(32):
            ones = ((bits >> np.uint32(k)) & 1).mean()
            assert abs(ones - 0.5) < 5 * 0.5 / np.sqrt(len(bits))

    def test_values_are_uniform(self):
        counts = np.bincount(bits_of(n=1 << 18) >> np.uint32(24), minlength=256)
        chi2 = ((counts - 1024.0) ** 2 / 1024).sum()
        assert 255 - 5 * np.sqrt(510) < chi2 < 255 + 5 * np.sqrt(510)

    @pytest.mark.parametrize(
        "other",
        [{"seed": 2}, {"step": 3}, {"stream": 4}, {"step": 3, "stream": 2}, {"seed": 0, "step": 3}],
    )
    def test_keys_are_independent(self, other):
        assert correlation(bits_of(), bits_of(**other)) < 6 / np.sqrt(1 << 16)

    @pytest.mark.parametrize("lag", [1, 2, 3, 16, 64, 100, 1024])
    def test_elements_are_independent(self, lag):
        bits = bits_of()
        assert correlation(bits[lag:], bits[:-lag]) < 6 / np.sqrt(len(bits) - lag)

    def test_steps_and_streams_are_independent_for_one_element(self):
        steps = np.array([mix(1, k, 1, 7) for k in range(4096)], np.uint32)
        streams = np.array([mix(1, 1, k, 7) for k in range(4096)], np.uint32)
        assert len(np.unique(steps)) == len(np.unique(streams)) == 4096
        for bits in (steps, streams):
            assert correlation(bits[1:], bits[:-1]) < 6 / np.sqrt(4095)
        assert correlation(steps, streams) < 6 / np.sqrt(4096)

    def test_avalanche(self):
        rng = np.random.default_rng(0)
        elements = rng.integers(0, 2**32, 1 << 14, dtype=np.uint32)
        bits = naive_mix(1, 2, 3, elements)
        for k in range(32):
            flipped = bits ^ naive_mix(1, 2, 3, elements ^ np.uint32(1 << k))
            rates = ((flipped[:, None] >> np.arange(32, dtype=np.uint32)) & 1).mean(axis=0)
            assert np.abs(rates - 0.5).max() < 5.5 * 0.5 / np.sqrt(len(elements))

    @pytest.mark.parametrize("word", ["seed", "step", "stream"])
    def test_avalanche_of_the_key(self, word):
        bits = bits_of()
        for k in range(0, 32, 3):
            key = {"seed": 1, "step": 2, "stream": 3}
            key[word] ^= 1 << k
            flipped = bits ^ bits_of(**key)
            rates = ((flipped[:, None] >> np.arange(32, dtype=np.uint32)) & 1).mean(axis=0)
            assert np.abs(rates - 0.5).max() < 5.5 * 0.5 / np.sqrt(len(bits))


RECORDED = [3182473079, 3966829748, 643567490, 3986497608]


# ---- dropout -------------------------------------------------------------------------------------


def naive_dropout(x, rate, registers, stream):
    bits = naive_mix(int(registers[0]), int(registers[1]), stream, np.arange(x.size))
    keep = bits >= np.uint32(round(rate * 2**32))
    return np.where(keep.reshape(x.shape), x / (1 - rate), 0)


def ones_through(rate, n=100_000, seed=1, step=1, stream=1, n_threads=1):
    x = np.ones(n, np.float32)
    registers = np.array([seed, step], np.int32)
    t, r = leaf(x), leaf(registers)
    y = ops.dropout(t, rate, r, stream)
    return evaluate([y], {t: x, r: registers}, n_threads=n_threads)[0]


class TestDropout:
    @few
    @given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.floats(0.01, 0.99), int32, int32,
           st.integers(0, 1000))  # fmt: skip
    def test_the_same_bits_as_the_twin(self, shape, rate, seed, step, stream):
        x = np.random.default_rng(0).standard_normal(shape)
        registers = np.array([seed, step], np.int32)
        check_op(
            lambda t, r: ops.dropout(t, rate, r, stream),
            [x, registers],
            lambda x, r: naive_dropout(x, rate, r, stream),
            wrt=[0],
            rtol=1e-6,
        )

    def test_across_tiles_and_threads(self):
        x = np.ones(100_000)
        want = naive_dropout(x, 0.25, [1, 1], 1).astype(np.float32)
        np.testing.assert_array_equal(ones_through(0.25), want)
        np.testing.assert_array_equal(ones_through(0.25, n_threads=2), want)

    @pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
    def test_mean_rate(self, rate):
        y = ones_through(rate)
        assert set(np.unique(y)) == {0, np.float32(1 / (1 - rate))}
        bound = 5 * np.sqrt(rate * (1 - rate) / y.size)
        assert abs((y == 0).mean() - rate) < bound

    def test_steps_streams_and_seeds_draw_other_masks(self):
        masks = [ones_through(0.5), ones_through(0.5, step=2), ones_through(0.5, stream=2),
                 ones_through(0.5, seed=2)]  # fmt: skip
        for k, a in enumerate(masks):
            for b in masks[:k]:
                assert abs(((a > 0) == (b > 0)).mean() - 0.5) < 5 * 0.5 / np.sqrt(a.size)

    def test_gradient_has_the_same_mask(self):
        x = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
        registers = np.array([3, 4], np.int32)
        t, r, seed = leaf(x), leaf(registers), Tensor((5000,))
        y = ops.dropout(t, 0.3, r, 5)
        (dx,) = gradients(y, [t], seed=seed)
        value, slope = evaluate([y, dx], {t: x, r: registers, seed: np.ones(5000)})
        np.testing.assert_array_equal(value == 0, slope == 0)

    def test_dropped_infinities_become_zero(self):
        x = np.full(64, np.inf, np.float32)
        registers = np.array([0, 0], np.int32)
        t, r = leaf(x), leaf(registers)
        (y,) = evaluate([ops.dropout(t, 0.5, r, 1)], {t: x, r: registers})
        assert set(np.unique(y)) == {0, np.inf}

    def test_rate_zero_is_the_tensor_itself(self):
        x = Tensor((3, 4))
        assert ops.dropout(x, 0, Tensor((2,), "int32"), 1) is x

    def test_thresholds(self):
        assert threshold(0.5) == 2**31
        assert threshold(1 - 2**-40) == 2**32 - 1

    @pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
    def test_refuses_rates(self, rate):
        with pytest.raises(ValueError, match="rate"):
            ops.dropout(Tensor((3,)), rate, Tensor((2,), "int32"), 1)

    def test_refuses_short_registers(self):
        with pytest.raises(ValueError, match="registers"):
            ops.dropout(Tensor((3,)), 0.5, Tensor((1,), "int32"), 1)
