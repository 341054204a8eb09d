"""HOGFeatures against loops over pixels in float64; RandomFeatures."""

import math
import pickle

import numpy as np
import pytest
from checks import assert_close, check_op
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdeep.features import HOGFeatures, ImageFeatures, Preprocessing, RandomFeatures
from skdeep.graph import OPS

PLAIN = Preprocessing(resize=(24, 16), crop=None, mean=(0, 0, 0), std=(1, 1, 1))


# -- naive twins, float64 --------------------------------------------------------------------------


def gradient(picture, i, j):
    """(dx, dy) of the channel where it is longest, the first of several."""
    h, w, channels = picture.shape
    best = (0.0, 0.0)
    for c in range(channels):
        dx = picture[i, min(w - 1, j + 1), c] - picture[i, max(0, j - 1), c]
        dy = picture[min(h - 1, i + 1), j, c] - picture[max(0, i - 1), j, c]
        if math.hypot(dx, dy) > math.hypot(*best):
            best = dx, dy
    return best


def nearest_two(position, n, around):
    """[(index, share)] of the two of n centres 0.5, 1.5, ... that a position is between."""
    found = []
    for k in range(-1, n + 1):
        share = 1 - abs(position - (k + 0.5))
        if share > 0 and (around or 0 <= k < n):
            found.append((k % n, share))
    return found


def naive_cells(X, cell, bins, signed):
    n, h, w, _ = X.shape
    down, across = h // cell, w // cell
    full = 360.0 if signed else 180.0
    cells = np.zeros((n, down, across, bins))
    for k, picture in enumerate(X):
        for i in range(down * cell):
            for j in range(across * cell):
                dx, dy = gradient(picture, i, j)
                length = math.hypot(dx, dy) / cell**2
                turn = math.degrees(math.atan2(dy, dx)) % full / full * bins
                for a, p in nearest_two((i + 0.5) / cell, down, False):
                    for b, q in nearest_two((j + 0.5) / cell, across, False):
                        for o, r in nearest_two(turn, bins, True):
                            cells[k, a, b, o] += length * p * q * r
    return cells


def naive_blocks(cells, size, eps):
    n, down, across, _ = cells.shape
    rows = []
    for k in range(n):
        for i in range(down - size + 1):
            for j in range(across - size + 1):
                block = cells[k, i : i + size, j : j + size].ravel()
                block = block / math.sqrt(sum(v * v for v in block) + eps**2)
                block = np.array([min(v, 0.2) for v in block])
                rows.append(block / (math.sqrt(sum(v * v for v in block)) or 1.0))
    return np.reshape(rows, (n, down - size + 1, across - size + 1, -1))


def naive_hog(X, cell=4, block=2, bins=9, signed=False, eps=0.01):
    X = np.asarray(X, np.float64)
    return naive_blocks(naive_cells(X, cell, bins, signed), block, eps).reshape(len(X), -1)


def pictures(channels, seed=0):
    """Random shares of one with a flat half."""
    X = np.random.RandomState(seed).uniform(0, 1, (3, 13, 17, channels)).astype(np.float32)
    X[:, :, 9:] = 0.5
    return X


# -- operations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("cell", "bins", "signed"), [(1, 4, True), (4, 9, False), (6, 1, False)])
def test_hog_cells(channels, cell, bins, signed):
    x = pictures(channels)
    check_op(
        lambda t: OPS["HogCells"](t, cell=cell, bins=bins, signed=signed).output,
        [x],
        lambda x: naive_cells(x, cell, bins, signed),
        wrt=[],
        rtol=1e-5,
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_hog_blocks(size):
    cells = np.abs(np.random.default_rng(0).normal(size=(2, 3, 4, 5)))
    cells[1, :2] = 0
    check_op(
        lambda t: OPS["HogBlocks"](t, size=size, eps=0.05).output,
        [cells],
        lambda x: naive_blocks(x, size, 0.05),
        wrt=[],
        rtol=3e-6,
    )


def test_directions_of_edges():
    """A ramp to the right votes for the bin around 0, a ramp down for that around 90 degrees."""
    ramp = np.tile(np.arange(8.0), (8, 1))[None, :, :, None]
    names = {"cell_size": 4, "block_size": 1, "orientations": 4, "image_shape": None}
    across = HOGFeatures(**names).fit_transform(ramp).reshape(4, 4)
    down = HOGFeatures(**names).fit_transform(ramp.transpose(0, 2, 1, 3)).reshape(4, 4)
    half = math.sqrt(0.5)
    np.testing.assert_allclose(across, [[half, 0, 0, half]] * 4, atol=1e-6)
    np.testing.assert_allclose(down, [[0, half, half, 0]] * 4, atol=1e-6)


# -- the transformer -------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("signed", [False, True])
def test_transform_agrees_with_loops(channels, signed):
    X = pictures(channels)
    got = HOGFeatures(4, signed=signed, batch_size=2).fit_transform(X)
    assert got.dtype == np.float32
    assert_close(got, naive_hog(X, signed=signed), rtol=2e-5)


def test_bytes_are_shares_of_255():
    X = np.random.RandomState(0).randint(0, 256, (2, 12, 12), np.uint8)
    got = HOGFeatures(4, block_size=1, orientations=6).fit_transform(X)
    wanted = naive_hog(X[..., None] / 255, block=1, bins=6)
    assert_close(got, wanted, rtol=2e-5)
    assert_close(HOGFeatures(4, block_size=1, orientations=6).fit_transform(X / 255), wanted)


def test_same_bits_for_any_number_of_threads():
    X = np.random.RandomState(0).randint(0, 256, (300, 32, 32, 3), np.uint8)
    one, two = (HOGFeatures(n_threads=n).fit_transform(X) for n in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_pictures_of_files_and_of_any_size(tmp_path):
    rng = np.random.RandomState(0)
    X = [rng.randint(0, 256, (h, w, 3), np.uint8) for h, w in ((40, 30), (24, 16), (9, 70))]
    paths = [tmp_path / f"{k}.png" for k in range(3)]
    for path, x in zip(paths, X):
        Image.fromarray(x).save(path)
    features = HOGFeatures(preprocessing=PLAIN, batch_size=2).fit(X)
    wanted = naive_hog(PLAIN.batch(X), cell=8)
    for given in (X, paths, [str(p) for p in paths]):
        assert_close(features.transform(given), wanted, rtol=2e-5)
    with pytest.raises(ValueError, match=r"none\.png"):
        features.transform([tmp_path / "none.png"])
    with pytest.raises(ValueError, match="must be a Preprocessing with a fixed size"):
        HOGFeatures(preprocessing=Preprocessing(resize=32, crop=None)).fit(X)


def test_pickle_clone_and_names():
    X = pictures(1)
    features = HOGFeatures(4, block_size=3, orientations=2).fit(X)
    again = pickle.loads(pickle.dumps(features))
    assert np.array_equal(again.transform(X), features.transform(X))
    names = features.get_feature_names_out()
    assert len(names) == features.transform(X).shape[1] == 1 * 2 * 9 * 2
    assert list(names[[0, 17, 18]]) == ["block0_0_0", "block0_0_17", "block0_1_0"]
    assert not hasattr(clone(features), "image_shape_")


@parametrize_with_checks([HOGFeatures(1, 1, image_shape=(1, -1))])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell_size": 0}, "cell_size=0 must be a positive integer"),
        ({"cell_size": 7}, "cells of cell_size=7 pixels do not fit into pictures of 13 x 17"),
        ({"block_size": 9}, "blocks of block_size=9 cells"),
        ({"orientations": 1.5}, "orientations=1.5 must be"),
        ({"signed": "no"}, "signed='no' must be True or False"),
        ({"preprocessing": "auto"}, "preprocessing='auto' must be a Preprocessing"),
        ({"image_shape": (5, 5)}, "image_shape"),
    ],
)
def test_bad_parameters(changes, words):
    with pytest.raises(ValueError, match=words):
        HOGFeatures(**{"cell_size": 4} | changes).fit(pictures(1))


def test_digits_with_few_examples(few_shot):
    raw, hog = few_shot(HOGFeatures(2, image_shape=(8, 8), epsilon=0.5))
    assert hog > raw


def test_grid_search():
    X, y = load_digits(return_X_y=True)
    model = make_pipeline(HOGFeatures(image_shape=(8, 8)), LogisticRegression(max_iter=500))
    search = GridSearchCV(model, {"hogfeatures__cell_size": [2, 4]}, cv=2).fit(X[:300], y[:300])
    assert search.best_params_ == {"hogfeatures__cell_size": 2}
    assert search.best_score_ > 0.85


# -- random networks -------------------------------------------------------------------------------


def test_random_networks():
    X = np.random.RandomState(0).randint(0, 256, (2, 50, 40, 3), np.uint8)
    recipe = Preprocessing(32, 32)
    a, b, c = (
        RandomFeatures("squeezenet1_1", "stage2", random_state=s, preprocessing=recipe)
        for s in (0, 1, 1)
    )
    images = ImageFeatures("squeezenet1_1", "stage2", weights="random", preprocessing=recipe)
    rows = a.fit_transform(X)
    assert np.array_equal(rows, images.fit_transform(X))
    assert not np.allclose(rows, b.fit_transform(X))
    assert np.array_equal(b.transform(X), c.fit_transform(X))
    assert np.array_equal(pickle.loads(pickle.dumps(b)).transform(X), c.transform(X))
    assert clone(b).get_params()["random_state"] == 1
    assert "weights" not in b.get_params()
    assert a.set_params(random_state=1).fit(X)._load().digest == b._load().digest


def test_caches_keep_random_networks_apart(tmp_path):
    X = np.random.RandomState(0).randint(0, 256, (2, 50, 40, 3), np.uint8)
    options = {"preprocessing": Preprocessing(32, 32), "cache": tmp_path}
    rows = [
        RandomFeatures("squeezenet1_1", "stage2", random_state=s, **options).fit_transform(X)
        for s in (0, 1, 0)
    ]
    assert np.array_equal(rows[0], rows[2])
    assert not np.allclose(rows[0], rows[1])


@pytest.mark.parametrize("seed", [None, -1, 1.5, True, np.random.RandomState(0)])
def test_bad_seeds(seed):
    with pytest.raises(ValueError, match="random_state=.* must be an integer that is not negative"):
        RandomFeatures("squeezenet1_1", random_state=seed).fit()
