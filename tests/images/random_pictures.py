"""Pictures of random levels, and a small recipe for them."""

import numpy as np

from skdeep.features import Preprocessing


def random_levels(h=9, w=7, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (h, w) if channels == 0 else (h, w, channels)
    return rng.integers(0, 256, shape, dtype=np.uint8)


SMALL = Preprocessing(resize=8, crop=6)
