"""What recorded outputs of networks are taken from, for the script that records and the test."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from skdeep.features import find_network, random_weights

FOLDER = Path(__file__).parent / "data" / "networks"
VALUES = 100  # of each layer that is recorded
OUTPUTS = 100
SIZES = {"inception_v3": (96, 104)}
SIZE = (64, 72)


def small_case(name):
    """A network for small pictures and few classes, if it has any, weights, and two pictures."""
    architecture = find_network(name)
    if "logits" in dict(architecture.points):
        architecture = architecture.with_outputs(OUTPUTS)
    height, width = SIZES.get(name, SIZE)
    architecture = replace(architecture, input_shape=(height, width, 3))
    shapes = architecture.network().probe()
    if architecture.flattened:  # the dense layer reads a smaller map, and is smaller
        layer = dict(architecture.points)["stage4"]
        flattened = [(dense, np.roll(shapes[layer], 1)) for dense, _ in architecture.flattened]
        architecture = replace(architecture, flattened=tuple(flattened))
    weights = random_weights(architecture.network(), seed=7)
    images = np.random.default_rng(8).standard_normal((2, height, width, 3), np.float32)
    return architecture, weights, images


def sample(values):
    """Some elements of an array, always the same of the same size."""
    flat = values.reshape(-1)
    return flat[np.random.default_rng(9).integers(flat.size, size=VALUES)]
