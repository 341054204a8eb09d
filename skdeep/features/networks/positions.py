"""Position embeddings of transformers for pictures of other sizes than those of the training."""

import math

import numpy as np

__all__ = ["resize_positions"]

CUBIC = -0.75  # the slope of the bicubic kernel that these networks were trained and tested with


def _cubic(t):
    """Weights of the four neighbours at distances t + 1, t, 1 - t and 2 - t."""

    def near(d):
        return ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1

    def far(d):
        return ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC

    return np.stack([far(t + 1), near(t), near(1 - t), far(2 - t)])


def resize_matrix(old, new, offset):
    """(new, old) matrix of bicubic interpolation between the centres of pixels, ends repeated."""
    place = (np.arange(new) + 0.5) * old / (new + offset) - 0.5
    floor = np.floor(place)
    matrix = np.zeros((new, old))
    for shift, weights in zip((-1, 0, 1, 2), _cubic(place - floor)):
        column = np.clip(floor + shift, 0, old - 1).astype(int)
        np.add.at(matrix, (np.arange(new), column), weights)
    return matrix


def resize_positions(positions, rows, columns, offset=0.0):
    """A position embedding for another number of patches.

    Parameters
    ----------
    positions : ndarray of shape (1, 1 + k * k, width)
        The class token's, then those of a square of patches.
    rows, columns : int
        Patches of the new pictures.
    offset : float, default=0.0
        Added to both in the ratio of the sizes.

    Returns
    -------
    ndarray of float32 and shape (1, 1 + rows * columns, width)
        Bicubic, not smoothed where there are fewer.

    Raises
    ------
    ValueError
        When there are not as many positions as a class token and a square have.

    Examples
    --------
    >>> import numpy as np
    >>> resize_positions(np.ones((1, 5, 2)), 3, 4).shape
    (1, 13, 2)
    """
    positions = np.asarray(positions)
    count = positions.shape[1] - 1 if positions.ndim == 3 else 0
    side = math.isqrt(max(count, 0))
    if count < 1 or side * side != count or len(positions) != 1:
        raise ValueError(
            f"of shape {positions.shape} is not the position embedding of a class token and a "
            f"square of patches, so it cannot be resized to {rows} x {columns} patches."
        )
    first, grid = positions[:, :1], positions[0, 1:].reshape(side, side, -1)
    down, across = resize_matrix(side, rows, offset), resize_matrix(side, columns, offset)
    grid = np.einsum("ip,jq,pqc->ijc", down, across, grid.astype(np.float64), optimize=True)
    resized = np.concatenate([first, grid.reshape(1, rows * columns, -1)], axis=1)
    return resized.astype(np.float32)
