"""Endless pictures out of random numbers."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from .._config import configured_threads
from .._validation import COUNT, INDEX, NUMBER, Rule, check_parameters, one_of, optional
from ..kernels.cpu import CPU, resolve_threads
from ..kernels.pictures import CANVAS, JOB, PLANES, RIGHT, TURN
from ..kernels.random import stir
from ..kernels.runner import HEADER
from .fractals import fractal_bank
from .noise import noise_bank
from .seeds import keys, seed_of

__all__ = ["PictureGenerator", "make_pictures"]

KINDS = {  # name: (kernel that paints what is in front, share of the pictures)
    "dead_leaves": ("paint_leaves", 0.3),
    "noise": (None, 0.15),
    "fractals": ("paint_fractals", 0.15),
    "contours": ("paint_contours", 0.15),
    "strokes": ("paint_strokes", 0.1),
    "glyphs": ("paint_glyphs", 0.15),
}
LARGEST = 512  # pixels of a side
PER_TILE = 4  # pictures that are painted one after another, in one place
SPACE = 2**26  # bytes for the canvases of a run, if that is enough for LEAST_TILES
LEAST_TILES, MOST_TILES = 16, 128
SHARES = 0.25, 0.75  # of the first picture of a mix
LAST = 2**62

_RULES = {
    "size": Rule(f"an integer from 8 to {LARGEST}", lambda v: COUNT.holds(v) and 8 <= v <= LARGEST),
    "mix": Rule("a number in [0, 1]", lambda v: NUMBER.holds(v) and 0 <= v <= 1),
    "n_threads": optional(COUNT),
}


def make_pictures(
    n,
    size=64,
    kinds=("dead_leaves", "noise", "fractals", "contours", "strokes", "glyphs"),
    *,
    mix=0.5,
    random_state=None,
    n_threads=None,
    return_kinds=False,
):
    """Make pictures out of random numbers, to train or to try networks on.

    Parameters
    ----------
    n : int
        How many.
    size : int, default=64
        Height and width in pixels, from 8 to 512.
    kinds : str or tuple of str
        What to draw from, all by default: "dead_leaves", textured shapes that hide each other;
        "noise", whose spectrum is 1 / f^a; "fractals", attractors of iterated functions;
        "contours", lines along sums of waves; "strokes", brush strokes and lines of glyphs;
        "glyphs", one or two large ones.
    mix : float, default=0.5
        Share of the pictures that are means of two.
    random_state : int, RandomState, Generator or None, default=None
        Pass an int for the same pictures each time.
    n_threads : int or None, default=None
        None: the default of ``skdeep.set_config``, else all cores.
    return_kinds : bool, default=False
        Whether to say what each picture is.

    Returns
    -------
    pictures : ndarray of shape (n, size, size, 3), uint8
    kinds : ndarray of shape (n, 2), int64
        Numbers into ``kinds``: of the picture, and of what is mixed in, or -1. Only if
        ``return_kinds``.

    Raises
    ------
    ValueError
        When a parameter makes no sense.

    See Also
    --------
    PictureGenerator : Any of an endless number of pictures.

    Examples
    --------
    >>> from skdeep.datasets import make_pictures
    >>> X, kinds = make_pictures(4, 32, random_state=0, return_kinds=True)
    >>> X.shape, X.dtype, kinds.shape
    ((4, 32, 32, 3), dtype('uint8'), (4, 2))
    """
    generator = PictureGenerator(
        size, kinds, mix=mix, random_state=random_state, n_threads=n_threads
    )
    pictures = generator.batch(0, n)
    return (pictures, generator.kinds_of(0, n)) if return_kinds else pictures


class PictureGenerator:
    """An endless row of pictures out of random numbers, of which any can be made at any time.

    Picture i depends on the seed, the size, ``kinds``, ``mix`` and i alone: not on the batch that
    it is made in, nor on the number of threads.

    Parameters
    ----------
    size : int, default=64
        Height and width in pixels, from 8 to 512.
    kinds : str or tuple of str
        As for :func:`make_pictures`.
    mix : float, default=0.5
        Share of the pictures that are means of two.
    random_state : int, RandomState, Generator or None, default=None
        Pass an int for the same pictures each time.
    n_threads : int or None, default=None
        None: the default of ``skdeep.set_config``, else all cores.

    Attributes
    ----------
    seed : int
        With it as ``random_state`` the same pictures come again.

    Raises
    ------
    ValueError
        When a parameter makes no sense.

    Notes
    -----
    The recipes: leaves have radii r with density r^-3 [1]_; noise has amplitudes 1 / f^a with a
    from 0.5 to 3.5, in random colours [2]_; fractals are affine maps drawn by their singular values
    [3]_; contours are closed lines whose radius is a sum of waves of the angle [4]_. A picture is
    painted in float32: CPUs without fused multiplication and addition may round a level otherwise.

    References
    ----------
    .. [1] A. Lee, D. Mumford and J. Huang, "Occlusion models for natural images", 2001.
    .. [2] M. Baradad et al., "Learning to see by looking at noise", 2021.
    .. [3] C. Anderson and R. Farrell, "Improving fractal pre-training", 2022.
    .. [4] S. Takashima et al., "Visual atoms: pre-training vision transformers with sinusoidal
       waves", 2023.

    Examples
    --------
    >>> from skdeep.datasets import PictureGenerator
    >>> generator = PictureGenerator(32, random_state=0)
    >>> batch = generator.batch(1000, 8)
    >>> bool((generator.batch(1005, 1) == batch[5]).all())
    True
    """

    def __init__(
        self,
        size=64,
        kinds=("dead_leaves", "noise", "fractals", "contours", "strokes", "glyphs"),
        *,
        mix=0.5,
        random_state=None,
        n_threads=None,
    ):
        self.size, self.mix, self.n_threads = size, mix, n_threads
        self.kinds = (kinds,) if isinstance(kinds, str) else kinds
        self._check()
        self.seed = seed_of(random_state)

    _rules = _RULES

    def _check(self):
        check_parameters(self)
        known = one_of(KINDS)
        kinds = tuple(self.kinds) if isinstance(self.kinds, Iterable) else ()
        if not kinds or len(set(map(str, kinds))) < len(kinds) or not all(map(known.holds, kinds)):
            raise ValueError(
                f"{type(self).__name__}: kinds={self.kinds!r} must be one or several of "
                f"{', '.join(map(repr, KINDS))}, each once."
            )
        self.kinds = kinds

    def _plan(self, first, n):
        """Kinds of pictures (second -1 where there is one alone), shares and keys."""
        low, high = keys(self.seed, first + np.arange(n, dtype=np.int64))
        u = [stir(k + low, high) * 2.0**-32 for k in range(4)]
        ends = np.cumsum([KINDS[name][1] for name in self.kinds])
        kind = [np.searchsorted(ends[:-1], u[k] * ends[-1], side="right") for k in (0, 1)]
        kind[1] = np.where(u[2] < self.mix, kind[1], -1)
        share = SHARES[0] + (SHARES[1] - SHARES[0]) * u[3]
        return np.column_stack(kind), share, low, high

    def kinds_of(self, first, n):
        """What pictures ``first .. first + n - 1`` are.

        Parameters
        ----------
        first, n : int

        Returns
        -------
        ndarray of shape (n, 2), int64
            Numbers into ``kinds``: of the picture, and of what is mixed in, or -1.
        """
        _check_range(first, n)
        return self._plan(first, n)[0]

    def batch(self, first, n, out=None):
        """Make pictures ``first .. first + n - 1``.

        Parameters
        ----------
        first, n : int
        out : ndarray of shape (n, size, size, 3), uint8, C-contiguous, or None
            Where to write them.

        Returns
        -------
        ndarray of shape (n, size, size, 3), uint8

        Raises
        ------
        ValueError
            When a number or ``out`` is not as described.
        """
        _check_range(first, n)
        shape = (n, self.size, self.size, 3)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif not (
            isinstance(out, np.ndarray)
            and (out.shape, out.dtype) == (shape, np.uint8)
            and out.flags.c_contiguous
            and out.flags.writeable
        ):
            raise ValueError(
                f"out must be a writable, C-contiguous uint8 array of shape {shape}, got "
                f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}."
            )
        step = at_once(self.size)
        for start in range(0, n, step):
            part = out[start : start + step]
            table, _alive = program(self, first + start, part)
            CPU().run(table, resolve_threads(configured_threads(self.n_threads)))
        return out


def _check_range(first, n):
    for name, value in (("first", first), ("n", n)):
        if not INDEX.holds(value) or value > LAST:
            raise ValueError(f"{name}={value!r} must be {INDEX.text}, at most 2**62.")


def _jobs(generator, first, n, handles):
    kinds, share, low, high = generator._plan(first, n)
    painters = [KINDS[name][0] for name in generator.kinds]
    address = np.array([0 if name is None else handles[name] for name in painters])
    jobs = np.zeros((n, JOB // 8), np.int64)
    jobs[:, :2] = np.where(kinds < 0, -1, address[kinds])
    jobs[:, 2], jobs[:, 3] = low, high
    jobs[:, 4] = share * 2**24
    jobs[:, 5:7] = jobs[:, :2] == 0
    return jobs


@lru_cache(4)
def _noise(seed, size):
    return noise_bank(seed, size)


@lru_cache(4)
def _fractals(seed):
    return fractal_bank(seed)[0]


@lru_cache(1)
def _sines():
    sines = np.zeros(TURN)
    sines[: RIGHT + 1] = np.sin(np.linspace(0, np.pi / 2, RIGHT + 1))
    sines[RIGHT : 2 * RIGHT + 1] = sines[RIGHT::-1]
    sines[2 * RIGHT :] = -sines[: 2 * RIGHT]
    return sines.astype(np.float32)


def _bytes_of_a_tile(size):
    """Two states with their canvases."""
    pitch = 4 * (-(-size // 16) * 16)
    return 2 * (CANVAS + PLANES * size * pitch)


def at_once(size):
    """Pictures of a run."""
    fit = SPACE // _bytes_of_a_tile(size)
    return PER_TILE * max(LEAST_TILES, min(MOST_TILES, fit))


def program(generator, first, out):
    """The table of a program that makes a batch.

    Parameters
    ----------
    generator : PictureGenerator
    first : int
    out : ndarray of shape (n, size, size, 3), uint8

    Returns
    -------
    table : ndarray of int64
    alive : dict of arrays
        What the table refers to; "space" are the canvases.
    """
    device, n, size = CPU(), len(out), generator.size
    painters = {KINDS[name][0] for name in generator.kinds} - {None}
    handles = device.handles(["draw_pictures", "paint_ground", *sorted(painters)])
    jobs = _jobs(generator, first, n, handles)
    bank = _noise(generator.seed, size)
    systems = _fractals(generator.seed) if "paint_fractals" in painters else np.zeros((1, 1))
    pitch = 4 * (-(-size // 16) * 16)
    tiles = -(-n // PER_TILE)
    per_tile = _bytes_of_a_tile(size)
    space = device.empty(max(1, tiles * per_tile // 4))
    indices = np.arange(pitch // 4 + 16, dtype=np.float32)
    sines = _sines()
    table = np.zeros((1, HEADER + 19), np.int64)
    table[0, :3] = handles["draw_pictures"], tiles, 1
    table[0, HEADER:] = [
        jobs.ctypes.data, n, PER_TILE, space.ctypes.data, per_tile, out.ctypes.data, size, pitch,
        indices.ctypes.data, sines.ctypes.data, bank.tiles.ctypes.data, len(bank.tiles),
        bank.tiles[0].nbytes, bank.tiles[0, 0].nbytes, bank.period, systems.ctypes.data,
        len(systems), handles["paint_ground"], table[0, HEADER:].ctypes.data,
    ]  # fmt: skip
    alive = {"jobs": jobs, "space": space, "indices": indices, "bank": bank, "systems": systems}
    return table, alive
