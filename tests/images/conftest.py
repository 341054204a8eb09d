"""The small network as users have it: weights, files, pictures for it, a transformer."""

from functools import partial

import numpy as np
import pytest
from tiny_network import RECIPE, TINY

from skdeep.features import ImageFeatures, random_weights
from skdeep.features.extraction import Extractor
from skdeep.formats import write_weights


@pytest.fixture(scope="module")
def weights():
    return random_weights(TINY.network(), seed=1)


@pytest.fixture(scope="module")
def state(weights):
    return TINY.to_torchvision(weights)


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.npz"
    write_weights(path, {k: np.ascontiguousarray(v) for k, v in state.items()})
    return path


@pytest.fixture(scope="module")
def pictures():
    """Different sizes, two classes: one is brighter on the left."""
    rng = np.random.RandomState(0)
    X = []
    for k in range(24):
        a = rng.randint(0, 120, (rng.randint(18, 40), rng.randint(18, 40), 3)).astype(np.uint8)
        a[:, : a.shape[1] // 2] += np.uint8(100 * (k % 2))
        X.append(a)
    return X


@pytest.fixture
def tiny(file):
    return partial(ImageFeatures, TINY, weights=file, preprocessing=RECIPE)


@pytest.fixture
def replaceable(file, state, tmp_path):
    """A weights file, and a function that puts another one in its place."""
    path = tmp_path / "replaceable.npz"
    path.write_bytes(file.read_bytes())
    other = {k: np.ascontiguousarray(v) * np.float32(1.5) for k, v in state.items()}
    return path, lambda: write_weights(path, other)


@pytest.fixture
def count(monkeypatch):
    """How many pictures went through a network."""
    seen = []
    run = Extractor.run
    monkeypatch.setattr(
        Extractor, "run", lambda self, x, *a, **k: seen.append(len(x)) or run(self, x, *a, **k)
    )
    return lambda: sum(seen)
