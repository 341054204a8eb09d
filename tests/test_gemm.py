"""Register tiles and packed panels, at every edge of their shapes.

Small integers make every product and sum exact, so that results are compared bit by bit.
"""

import numpy as np
import pytest
from checks import leaf

from skdeep.graph.program import evaluate
from skdeep.kernels.gemm import ROWS, VECTORS
from skdeep.kernels.panels import panel_count, panel_floats
from skdeep.kernels.simd import WIDTH
from skdeep.ops.conv import PackConv, PackConvT
from skdeep.ops.dense import Dense, DenseGradW, DenseGradX, PackDense, PackDenseT

COLUMNS = sorted(
    {1, 2, WIDTH - 1, WIDTH, WIDTH + 1, VECTORS * WIDTH, VECTORS * WIDTH + 1}
    | {(v * WIDTH) - 3 for v in range(2, 2 * VECTORS + 2)}
    | {v * WIDTH + WIDTH // 2 + more for v in range(VECTORS) for more in (0, 1)}
)


def integers(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float32)


def naive_panels(matrix):
    """Columns in vectors, vectors in panels of nearly equal width, rows of each panel in order."""
    rows, n = matrix.shape
    vectors = -(-n // WIDTH)
    padded = np.zeros((rows, vectors * WIDTH), matrix.dtype)
    padded[:, :n] = matrix
    count = -(-vectors // VECTORS)
    parts, start = [], 0
    for k in range(count):
        width = (vectors // count + (k >= count - vectors % count)) * WIDTH
        parts.append(padded[:, start : start + width].ravel())
        start += width
    return np.concatenate(parts)


def used(n, rows):
    """Which elements of the panels stand for columns that exist."""
    return naive_panels(np.ones((rows, n), np.float32)) > 0


@pytest.mark.parametrize("n", COLUMNS)
def test_panels(n):
    rng = np.random.default_rng(n)
    w = rng.standard_normal((7, n)).astype(np.float32)
    t = leaf(w)
    (panels,) = evaluate([PackDense(t).output], {t: w})
    assert panels.size == panel_floats(7, n)
    np.testing.assert_array_equal(panels, naive_panels(w))


@pytest.mark.parametrize("n", COLUMNS)
@pytest.mark.parametrize("rows", [1, WIDTH, 2 * WIDTH + 3])
def test_transposed_panels(n, rows):
    rng = np.random.default_rng(n)
    w = rng.standard_normal((n, rows)).astype(np.float32)
    t = leaf(w)
    (panels,) = evaluate([PackDenseT(t).output], {t: w})
    np.testing.assert_array_equal(panels[used(n, rows)], naive_panels(w.T)[used(n, rows)])


@pytest.mark.parametrize("groups", [1, 3])
def test_panels_of_groups(groups):
    rng = np.random.default_rng(groups)
    w = rng.standard_normal((3, 2, 5, 7 * groups)).astype(np.float32)
    t = leaf(w)
    (panels,) = evaluate([PackConv(t, groups=groups).output], {t: w})
    parts = np.split(w.reshape(30, -1), groups, axis=1)
    np.testing.assert_array_equal(panels, np.concatenate([naive_panels(p) for p in parts]))


@pytest.mark.parametrize("stride, dilation, top", [(1, 1, 0), (2, 1, 1), (3, 2, 1), (4, 1, 0)])
def test_transposed_panels_come_by_phase(stride, dilation, top):
    """Taps that hit outputs r, r + stride, ... lie together, the last of them first."""
    rng = np.random.default_rng(stride)
    w = rng.standard_normal((3, 1, 4, 5)).astype(np.float32)
    t = leaf(w)
    op = PackConvT(t, stride=(stride, 1), dilation=(dilation, 1), padding=((top, 0), (0, 0)),
                   groups=1)  # fmt: skip
    (panels,) = evaluate([op.output], {t: w})
    order = [
        p
        for r in range(stride)
        for p in (2, 1, 0)
        if (r + top - p * dilation) % stride == 0
    ]  # fmt: skip
    matrix = np.concatenate([w[p, 0].T for p in order])  # (taps * f, c)
    np.testing.assert_array_equal(panels[used(4, 15)], naive_panels(matrix)[used(4, 15)])


def test_panels_cover_all_columns_evenly():
    for n in range(1, 20 * WIDTH):
        vectors, count = -(-n // WIDTH), panel_count(n)
        assert -(-vectors // count) <= VECTORS
        assert count == 1 or vectors // count >= VECTORS // 2


@pytest.mark.parametrize("f", COLUMNS)
def test_row_tiles(f):
    """Every number of rows, forward with bias, residual and clamp, backward with mask."""
    rng = np.random.default_rng(f)
    for n in range(1, 2 * ROWS + 2):
        x, w, b = integers(rng, n, 5), integers(rng, 5, f), integers(rng, f)
        residual, mask, dy = integers(rng, n, f), integers(rng, n, f), integers(rng, n, 5)
        tx, tw, tb, tr, tm, td = (leaf(a) for a in (x, w, b, residual, mask, dy))
        back = leaf(w.T)
        wanted = [
            Dense(tx, tw, PackDense(tw).output, tb, tr, low=-7.0, high=9.0).output,
            DenseGradX(td, back, PackDenseT(back).output, tm).output,
        ]
        feeds = {tx: x, tw: w, tb: b, tr: residual, tm: mask, td: dy, back: w.T.copy()}
        y, dx = evaluate(wanted, feeds)
        np.testing.assert_array_equal(y, np.clip(x @ w + b + residual, -7, 9))
        np.testing.assert_array_equal(dx, np.where(mask > 0, dy @ w, 0))


@pytest.mark.parametrize("f", COLUMNS)
def test_column_tiles(f):
    rng = np.random.default_rng(f)
    for c in range(1, 2 * ROWS + 2):
        x, dy = integers(rng, 3, c), integers(rng, 3, f)
        tx, td = leaf(x), leaf(dy)
        (dw,) = evaluate([DenseGradW(tx, td).output], {tx: x, td: dy})
        np.testing.assert_array_equal(dw, x.T @ dy)


@pytest.mark.parametrize("c", [1, 2, 3, 1023, 1024, 1025, 2500])
def test_long_products_in_slices(c):
    rng = np.random.default_rng(c)
    x, w, b = integers(rng, 11, c), integers(rng, c, 21), integers(rng, 21)
    tx, tw, tb = leaf(x), leaf(w), leaf(b)
    y = Dense(tx, tw, PackDense(tw).output, tb, low=-50.0, high=50.0).output
    (y,) = evaluate([y], {tx: x, tw: w, tb: b})
    np.testing.assert_array_equal(y, np.clip(x @ w + b, -50, 50))
