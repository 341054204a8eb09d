"""Attention against loops over samples, heads and queries in float64."""

import numpy as np
import pytest
from checks import check_op

from skdeep import ops
from skdeep.graph import Tensor


def naive_attention(heads, scale=None):
    def reference(q, k, v):
        h = q.shape[2] // heads
        factor = h**-0.5 if scale is None else scale
        y = np.empty_like(q)
        for n in range(q.shape[0]):
            for head in range(heads):
                columns = slice(head * h, (head + 1) * h)
                for i in range(q.shape[1]):
                    scores = [factor * (q[n, i, columns] @ key) for key in k[n, :, columns]]
                    weights = np.exp(np.array(scores) - max(scores))
                    y[n, i, columns] = weights @ v[n, :, columns] / weights.sum()
        return y

    return reference


def naive_self_attention(heads):
    return lambda qkv: naive_attention(heads)(*np.split(qkv, 3, axis=2))


@pytest.mark.parametrize(
    "n, t, s, heads, h",
    [
        (1, 1, 1, 1, 1),
        (2, 7, 5, 2, 3),
        (1, 20, 33, 1, 16),
        (2, 9, 16, 3, 20),
        (1, 70, 50, 2, 48),
        (1, 3, 100, 1, 64),
        (1, 1, 8, 2, 33),
    ],
)
def test_attention(n, t, s, heads, h):
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(n, length, heads * h)) for length in (t, s, s))
    check_op(
        lambda *x: ops.attention(*x, heads=heads),
        [q, k, v],
        naive_attention(heads),
        rtol=3e-6,
        gradient_rtol=1e-4,
    )


@pytest.mark.parametrize("n, t, heads, h", [(2, 6, 2, 4), (1, 37, 3, 16), (2, 11, 2, 25)])
def test_self_attention(n, t, heads, h):
    qkv = np.random.default_rng(1).normal(size=(n, t, 3 * heads * h))
    check_op(
        lambda x: ops.self_attention(x, heads=heads),
        [qkv],
        naive_self_attention(heads),
        rtol=3e-6,
        gradient_rtol=1e-4,
    )


def test_many_keys_have_their_own_memory():
    """More than the stack holds."""
    rng = np.random.default_rng(2)
    q, k, v = (rng.normal(size=(2, length, 32)) for length in (11, 1400, 1400))
    build = lambda *x: ops.attention(*x, heads=2, scale=0.5)  # noqa: E731
    assert build(*(Tensor(a.shape) for a in (q, k, v))).op.outputs[1].size > 1
    check_op(build, [q, k, v], naive_attention(2, 0.5), wrt=[], rtol=3e-6)


def test_large_scores_do_not_overflow():
    rng = np.random.default_rng(3)
    q, k, v = (rng.normal(size=(1, 9, 8)) for _ in range(3))
    arrays = [30 * q, 30 * k, v]
    check_op(ops.attention, arrays, naive_attention(1), wrt=[], rtol=2e-4)


def test_messages():
    x = Tensor((2, 3, 6))
    with pytest.raises(ValueError, match="does not part into 4 heads"):
        ops.attention(x, x, x, heads=4)
    with pytest.raises(ValueError, match="as many keys as values"):
        ops.attention(x, x, Tensor((2, 4, 6)))
    with pytest.raises(ValueError, match="one width"):
        ops.attention(Tensor((2, 3, 4)), x, x)
    with pytest.raises(ValueError, match="needs float32 tensors"):
        ops.self_attention(Tensor((3, 6)))
    with pytest.raises(ValueError, match="do not fit into a width of 6"):
        ops.self_attention(x, heads=4)
