"""A bank of iterated function systems whose attractors fill enough of a picture."""

import numpy as np

from ..kernels.pictures import MAPS, RECORD, SLOTS
from .seeds import uniform

SYSTEMS = 256
LEAST_FILL = 0.25  # share of the cells of a grid that an attractor must touch
GRID = 32  # cells of a side
CANDIDATES, CHAINS, SKIPPED, STEPS = 384, 64, 16, 48
STREAM = 1 << 20
LARGEST = 0.95  # singular value of a map


def random_systems(seed, round_, n):
    """Affine maps by their singular values, neither dust nor blobs.

    The sum of s1 + 2 s2 over the N maps of a system lies from (5 + N) / 2 to (6 + N) / 2.

    Parameters
    ----------
    seed, round_, n : int

    Returns
    -------
    maps : ndarray of shape (n, MAPS, 6)
        x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5.
    count : ndarray of shape (n,)
        Maps of each system, from 2; the others are zero.
    """
    u = uniform(seed, STREAM + 2 * round_, (n, MAPS + 1, 8))
    count = 2 + (u[:, MAPS, 0] * (MAPS - 1)).astype(int)
    used = np.arange(MAPS) < count[:, None]
    u, target = u[:, :MAPS], (5 + count + u[:, MAPS, 1]) / 2
    large = u[..., 0] * used
    small = large * u[..., 1]
    for _ in range(8):  # what the limit cuts off, the others get
        factor = target / (large + 2 * small).sum(1)
        large = np.minimum(large * factor[:, None], LARGEST)
        small = np.minimum(small * factor[:, None], large)
    turn, lean = 2 * np.pi * u[..., 2], 2 * np.pi * u[..., 3]
    small = np.where(u[..., 4] < 0.5, small, -small)
    c, s, k, t = np.cos(turn), np.sin(turn), np.cos(lean), np.sin(lean)
    maps = np.stack(
        [
            c * large * k - s * small * t, -c * large * t - s * small * k, 2 * u[..., 5] - 1,
            s * large * k + c * small * t, -s * large * t + c * small * k, 2 * u[..., 6] - 1,
        ],
        axis=-1,
    )  # fmt: skip
    return np.where(used[..., None], maps, 0), count


def choices(maps, count):
    """Which map each of ``SLOTS`` equally likely numbers takes.

    As many choose a map as it covers area, and one at least.

    Parameters
    ----------
    maps : ndarray of shape (n, MAPS, 6)
    count : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (n, SLOTS), int32
    """
    area = np.abs(maps[..., 0] * maps[..., 4] - maps[..., 1] * maps[..., 3])
    used = np.arange(MAPS) < count[:, None]
    share = np.where(used, area, 0) / area.sum(1, keepdims=True)
    ends = np.cumsum(share, 1) * (SLOTS - count[:, None]) + np.arange(1, MAPS + 1)
    middle = np.arange(SLOTS) + 0.5
    slots = (middle[None, :, None] > ends[:, None, :]).sum(-1)
    return np.minimum(slots, count[:, None] - 1).astype(np.int32)


def filling(maps, slots, u):
    """Play the chaos game from several points at once.

    Parameters
    ----------
    maps : ndarray of shape (n, MAPS, 6)
    slots : ndarray of shape (n, SLOTS)
    u : ndarray of shape (steps, n, chains)
        Numbers from 0 to 1.

    Returns
    -------
    place : ndarray of shape (n, 3)
        Mean of the points, and twice their larger deviation.
    rate : ndarray of shape (n,)
        Share of the cells around it that a point fell into.
    """
    n = len(maps)
    system = np.arange(n)[:, None]
    x = y = np.zeros(u.shape[1:])
    points = []
    for step in u:
        m = maps[system, slots[system, (step * SLOTS).astype(int)]]
        x, y = (m[..., 0] * x + m[..., 1] * y + m[..., 2],
                m[..., 3] * x + m[..., 4] * y + m[..., 5])  # fmt: skip
        points.append((x, y))
    points = np.array(points[SKIPPED:]).transpose(2, 1, 0, 3).reshape(n, 2, -1)
    centre = points.mean(-1)
    extent = np.maximum(2 * points.std(-1).max(-1), 1e-6)
    cell = ((points - centre[..., None]) / extent[:, None, None] + 1) * (GRID / 2)
    cell = np.floor(cell).astype(int)
    valid = ((cell >= 0) & (cell < GRID)).all(1)
    hit = np.zeros((n, GRID * GRID + 1), bool)
    np.put_along_axis(hit, np.where(valid, cell[:, 0] * GRID + cell[:, 1], GRID * GRID), True, 1)
    return np.column_stack([centre, extent]), hit[:, :-1].mean(1)


def fractal_bank(seed):
    """Records of ``SYSTEMS`` systems as kernels read them.

    Parameters
    ----------
    seed : int

    Returns
    -------
    records : ndarray of shape (SYSTEMS, RECORD / 4), float32
        Maps, place, and the bits of the whole numbers that choose a map.
    rates : ndarray of shape (SYSTEMS,)
        How much of its place each fills.
    """
    records, rates, round_ = [], [], 0
    while sum(map(len, records)) < SYSTEMS:
        maps, count = random_systems(seed, round_, CANDIDATES)
        slots = choices(maps, count)
        u = uniform(seed, STREAM + 2 * round_ + 1, (STEPS, CANDIDATES, CHAINS))
        place, rate = filling(maps, slots, u)
        record = np.zeros((CANDIDATES, RECORD // 4), np.float32)
        record[:, : 6 * MAPS] = maps.reshape(CANDIDATES, -1)
        record[:, 6 * MAPS : 6 * MAPS + 3] = place
        record[:, -SLOTS:] = slots.view(np.float32)
        kept = rate >= LEAST_FILL
        records.append(record[kept])
        rates.append(rate[kept])
        round_ += 1
    return np.concatenate(records)[:SYSTEMS], np.concatenate(rates)[:SYSTEMS]
