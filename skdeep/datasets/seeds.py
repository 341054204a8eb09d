"""Seeds, and whole arrays of the random numbers that kernels draw one by one."""

from numbers import Integral

import numpy as np

from ..kernels.random import FIRST, MASK, SECOND, key_word, stir


def seed_of(random_state):
    """A seed of 32 bits.

    Parameters
    ----------
    random_state : int, numpy.random.RandomState, numpy.random.Generator or None
        None: another one each time.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        When it is none of these.
    """
    if random_state is None:
        random_state = np.random.default_rng()
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**32, dtype=np.uint32))
    if isinstance(random_state, Integral) and not isinstance(random_state, bool):
        if 0 <= random_state < 2**32:
            return int(random_state)
    raise ValueError(
        f"random_state={random_state!r} must be an integer from 0 to 2**32 - 1, a RandomState, a "
        "Generator or None."
    )


def keys(seed, index):
    """The two words of the key of each picture.

    Parameters
    ----------
    seed : int
    index : ndarray of int64

    Returns
    -------
    low, high : ndarray of int64
    """
    step, stream = index & MASK, index >> 32
    return tuple(key_word(seed, step, stream, salt) for salt in (FIRST, SECOND))


def uniform(seed, stream, shape):
    """Numbers from 0 to 1, that much of a stream of a seed.

    Parameters
    ----------
    seed, stream : int
    shape : tuple

    Returns
    -------
    ndarray of float64
    """
    element = np.arange(np.prod(shape, dtype=np.int64))
    low, high = (key_word(seed, stream, MASK, salt) for salt in (FIRST, SECOND))
    return (stir(element + low, high) * 2.0**-32).reshape(shape)
