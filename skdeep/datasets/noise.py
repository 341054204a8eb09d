"""A bank of noise: periodic tiles whose amplitudes fall with frequency as 1 / f^a."""

from typing import NamedTuple

import numpy as np

from .seeds import uniform

TILES, FEW, LARGE = 32, 8, 256  # tiles, and those for pictures of more than LARGE pixels
SLOPES = 0.5, 3.5  # least and most a
STREAM = 1 << 16  # of the seed's random numbers; each tile has its own
SLACK = 16  # columns that vectors may read
GRID = 1024  # values are whole multiples of 1 / GRID, whatever the FFT rounds


class NoiseBank(NamedTuple):
    """Tiles and what they are.

    Parameters
    ----------
    tiles : ndarray of shape (count, 1.5 * period, columns), float32
        Rows and columns go round, so that a window of ``period`` pixels may start anywhere.
    slopes : ndarray of shape (count,)
        a of each, rising.
    kinds : list of str
        "even" in all directions; "directed", slower along one of two axes; "patchy", with quiet
        and lively regions.
    period : int
    """

    tiles: np.ndarray
    slopes: np.ndarray
    kinds: list
    period: int


KINDS = ("even", "directed", "even", "patchy")


def noise_bank(seed, size):
    """Tiles for pictures of a size; their period is twice the size.

    Parameters
    ----------
    seed, size : int

    Returns
    -------
    NoiseBank
    """
    period = 2 * size
    columns = period + -(-size // 16) * 16 + SLACK
    count = TILES if size <= LARGE else FEW
    tiles = np.empty((count, period + size, columns), np.float32)
    kinds = [KINDS[k % len(KINDS)] for k in range(count)]
    low, high = SLOPES
    numbers = uniform(seed, STREAM, (count, 3))
    slopes = low + (high - low) * (np.arange(count) + numbers[:, 0]) / count
    for k, kind in enumerate(kinds):
        tile = _tile(seed, k, period, slopes[k], kind, numbers[k, 1:])
        rows, across = np.arange(period + size) % period, np.arange(columns) % period
        tiles[k] = tile[rows[:, None], across]
    return NoiseBank(tiles, slopes, kinds, period)


def _tile(seed, k, period, slope, kind, numbers):
    """One period, of mean 0 and variance 1."""
    y, x = np.fft.fftfreq(period, 1 / period)[:, None], np.fft.rfftfreq(period, 1 / period)
    frequency = np.hypot(x, y)
    if kind == "directed":
        angle, other = np.pi * numbers[0], SLOPES[0] + (SLOPES[1] - SLOPES[0]) * numbers[1]
        u = np.abs(x * np.cos(angle) + y * np.sin(angle))
        v = np.abs(y * np.cos(angle) - x * np.sin(angle))
        amplitude = 1 / (1e-3 + u**slope + v**other)
    else:
        amplitude = np.maximum(frequency, 1) ** -slope
    tile = _synthesis(amplitude, uniform(seed, STREAM + 1 + 2 * k, frequency.shape))
    if kind == "patchy":
        smooth = np.maximum(frequency, 1) ** -2.5
        mood = _synthesis(smooth, uniform(seed, STREAM + 2 + 2 * k, frequency.shape))
        tile = _standard(tile * np.exp(mood))
    return np.round(np.clip(tile, -8, 8) * GRID) / GRID


def _synthesis(amplitude, phase):
    """Waves of given amplitudes and random phases, added up."""
    amplitude[0, 0] = 0
    period = len(amplitude)
    return _standard(np.fft.irfft2(amplitude * np.exp(2j * np.pi * phase), (period, period)))


def _standard(x):
    return (x - x.mean()) / x.std()
