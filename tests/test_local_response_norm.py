"""Local response normalisation against loops over channels in float64."""

import numpy as np
import pytest
from checks import check_op

from skdeep import ops
from skdeep.graph import Tensor


def naive_local_response_norm(size, alpha, beta, k):
    def reference(x):
        y, channels = np.empty_like(x), x.shape[-1]
        for c in range(channels):
            start = c - (size - 1) // 2
            total = 0.0
            for other in range(max(0, start), min(channels, start + size)):
                total = total + x[..., other] ** 2
            y[..., c] = x[..., c] / (k + alpha / size * total) ** beta
        return y

    return reference


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((3, 1), 5),
        ((3, 2), 3),
        ((2, 2, 5), 5),
        ((2, 3, 16), 5),
        ((1, 2, 2, 17), 3),
        ((2, 33), 1),
        ((2, 40), 4),
        ((1, 2, 2, 64), 5),
        ((3, 96), 9),
        ((2, 20), 100),
        ((1100, 33), 5),
    ],
)
@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_local_response_norm(shape, size, beta):
    x = np.random.default_rng(0).normal(size=shape) * 2
    numbers = {"size": size, "alpha": 0.7, "beta": beta, "k": 1.5}
    check_op(
        lambda t: ops.local_response_norm(t, **numbers),
        [x],
        naive_local_response_norm(**numbers),
        rtol=2e-6,
        gradient_rtol=1e-4,
    )


def test_extreme_numbers():
    x = np.array([[1e-20, 1e4, -1e4, 0.0, 3e3, 1.0, 1e-3, -1.0]] * 3)
    numbers = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1e-3}
    check_op(
        lambda t: ops.local_response_norm(t, **numbers),
        [x],
        naive_local_response_norm(**numbers),
        wrt=[],
        rtol=1e-6,
    )


@pytest.mark.parametrize("numbers", [{"alpha": 0.0, "beta": 0.75}, {"alpha": 1.0, "beta": 0.0}])
def test_no_alpha_no_beta(numbers):
    x = np.random.default_rng(1).normal(size=(3, 19))
    check_op(lambda t: ops.local_response_norm(t, **numbers), [x], lambda x: x, rtol=1e-6)


def test_messages():
    x = Tensor((2, 3))
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        ops.local_response_norm(x, size=0)
    for numbers in ({"alpha": -1.0}, {"beta": -0.1}, {"k": 0.0}, {"alpha": float("nan")}):
        with pytest.raises(ValueError, match="k above zero"):
            ops.local_response_norm(x, **numbers)
    with pytest.raises(ValueError, match=r"needs a float32 tensor \(\.\.\., channels\)"):
        ops.local_response_norm(Tensor((3,)))
