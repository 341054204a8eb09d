"""Layer normalisation against loops over rows in float64."""

import numpy as np
import pytest
from checks import check_op

from skdeep import ops
from skdeep.graph import Tensor


def naive_layer_norm(eps):
    def reference(x, gamma, beta):
        y = np.empty_like(x)
        for at in np.ndindex(x.shape[:-1]):
            row = x[at]
            mean = sum(row) / len(row)
            variance = sum((value - mean) ** 2 for value in row) / len(row)
            y[at] = (row - mean) / np.sqrt(variance + eps) * gamma + beta
        return y

    return reference


@pytest.mark.parametrize(
    "shape", [(3, 2), (1, 16), (5, 17), (2, 3, 64), (2, 5, 100), (4, 7, 3, 5), (700, 40)]
)
def test_layer_norm(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape) * 2 + rng.normal(size=(*shape[:-1], 1))
    gamma, beta = rng.uniform(0.5, 1.5, shape[-1]), rng.normal(size=shape[-1])
    eps = 1e-2
    check_op(
        lambda *t: ops.layer_norm(*t, eps=eps),
        [x, gamma, beta],
        naive_layer_norm(eps),
        rtol=2e-6,
        gradient_rtol=1e-4,
    )


def test_large_mean_keeps_the_deviation():
    x = np.random.default_rng(1).normal(size=(4, 256)).astype(np.float32) + 1000
    ones = np.ones(256)
    check_op(
        lambda *t: ops.layer_norm(*t, eps=1e-6),
        [x, ones, 0 * ones],
        naive_layer_norm(1e-6),
        wrt=[],
        rtol=1e-4,
    )


def test_messages():
    x, c, d = Tensor((2, 3)), Tensor((3,)), Tensor((4,))
    with pytest.raises(ValueError, match="eps must not be negative"):
        ops.layer_norm(x, c, c, eps=-1.0)
    with pytest.raises(ValueError, match="one number per channel"):
        ops.layer_norm(x, c, d)
    with pytest.raises(ValueError, match=r"needs a float32 tensor \(\.\.\., channels\)"):
        ops.layer_norm(c, c, c)
