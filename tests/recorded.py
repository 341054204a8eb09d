"""What recordings of whole networks are made of, for the script that records and the test."""

import json
from pathlib import Path

import numpy as np

from skdeep import ops
from skdeep.graph.passes import optimize
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor

FOLDER = Path(__file__).parent / "data" / "networks"
KEPT = 1000  # numbers of each point at most, spread evenly
SEED = 5
SHAPES = {  # small, and not square where the architecture allows
    "clip_vit_b_32": (64, 96, 3),
    "convnext_small": (32, 64, 3),
    "convnext_tiny": (64, 32, 3),
    "dinov2_vitb14": (28, 42, 3),
    "dinov2_vits14": (28, 42, 3),
    "vit_b_16": (48, 48, 3),
    "vit_s_16": (32, 48, 3),
}


def picture(shape):
    """One picture of normal numbers."""
    return np.random.default_rng(SEED).standard_normal((1, *shape), np.float32)


def sample(values):
    """At most KEPT numbers of an array, at equal distances."""
    values = np.asarray(values).ravel()
    return values[:: -(-values.size // KEPT)]


def compute(network, weights, images, names):
    """Values of named layers, everything else fused."""
    x = Tensor(images.shape, role="data")
    _, trace = network.trace(x, training=False)
    wanted = optimize([ops.copy(trace.activations[name]) for name in names], training=False)
    feeds = {x: images, **{trace.leaves[k]: w for k, w in weights.items()}}
    return dict(zip(names, evaluate(wanted, feeds, n_threads=2)))


def write_names(names):
    """Keep {file: {key: shape}}: keys and shapes of state dicts of other libraries."""
    lines = {what: [json.dumps(pair) for pair in keys.items()] for what, keys in names.items()}
    np.savez_compressed(FOLDER / "names.npz", **lines)


def read_names():
    """What :func:`write_names` wrote."""
    with np.load(FOLDER / "names.npz") as lines:
        return {what: dict(map(json.loads, lines[what])) for what in lines}
