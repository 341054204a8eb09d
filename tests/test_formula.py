"""The network that comes with the package, and how its weights came about."""

import csv
import hashlib
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from test_architecture import ROOT

from skdeep import graph
from skdeep.features import ImageFeatures, RandomFeatures, find_weights
from skdeep.formats import read_weights
from skdeep.graph import Tensor

FOLDER = ROOT / "docs" / "formula"


@pytest.fixture(scope="module")
def train():
    spec = importlib.util.spec_from_file_location("train_formula", FOLDER / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recipe(train):
    return train.Recipe(steps=(3, 2), pictures=4, canvas=32, size=32, warmup=1, features=8)


def test_the_file_is_the_one_of_the_record_and_of_the_log(train):
    record = find_weights("formula")
    with open(record.path, "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
        assert file.tell() == record.size < 4 * 2**20
    with open(FOLDER / "log.csv") as file:
        log = list(csv.DictReader(file))
    assert read_weights(record.path).metadata["recipe"] == train.Recipe().as_json()
    assert int(log[-1]["step"]) == sum(train.Recipe().steps)
    losses = [float(row["loss"]) for row in log]
    assert losses[-1] < 0.4 * losses[0]


def test_it_works_without_any_file_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("SKDEEP_HOME", str(tmp_path / "none"))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8)
    features = ImageFeatures("formula").fit_transform(pictures)
    assert features.shape == (3, 256) and np.isfinite(features).all()
    assert not (tmp_path / "none").exists()
    assert not np.allclose(features, RandomFeatures("formula").fit_transform(pictures), atol=0.1)


def test_a_stopped_training_goes_on_as_if_it_had_not_been(train, recipe, tmp_path):
    whole = train.train(tmp_path / "whole", recipe, n_threads=1)
    train.train(tmp_path / "parts", recipe, n_threads=2, most=2)
    parts = train.train(tmp_path / "parts", recipe, n_threads=2)
    one, other = whole.weights(), parts.weights()
    assert list(one) == list(other) and parts.log[-1]["step"] == 5
    assert all(np.array_equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="another recipe"):
        train.train(tmp_path / "parts", replace(recipe, seed=1), n_threads=1)
    train.ship(parts, tmp_path)
    network = ImageFeatures("formula", weights=tmp_path / "formula.safetensors").fit()
    assert np.isfinite(network.transform(np.zeros((1, 64, 64, 3), np.uint8))).all()


def test_the_loss_is_that_of_a_naive_twin(train):
    rng, n = np.random.default_rng(0), 5
    values, own = rng.standard_normal((2 * n, 3)), np.tile(np.arange(n, dtype=np.int32), 2)
    output, y = Tensor((2 * n, 3)), Tensor((2 * n,), "int32")
    found = graph.program.evaluate([train.contrast(0.2)(y, output)], {output: values, y: own})[0]
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    for k in range(2 * n):
        others = unit[n:] if k < n else unit[:n]
        likeness = others @ unit[k] / 0.2
        expected = np.log(np.exp(likeness).sum()) - likeness[k % n]
        assert abs(found[k] - expected) < 1e-5


@pytest.mark.parametrize("factor", [1, 2])
def test_views_are_those_of_a_naive_twin(train, factor):
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (2, 16, 16, 3), np.uint8)
    moves = train.maps(rng, 4, 16 // factor, 6)
    colours = train.recolouring(rng, pictures.mean((1, 2)).repeat(2, 0))
    out = np.zeros((4, 6, 6, 3), np.float32)
    train.sample(pictures, factor, np.array([1, 2]), moves, colours, out)
    side = 16 // factor
    small = pictures.reshape(2, side, factor, side, factor, 3).mean((2, 4))
    for view in (1, 2):
        linear = colours[view].astype(float)
        mixed = (small[view // 2] @ linear[:, :3].T + linear[:, 3]).clip(-2, 2)
        for i, j in np.ndindex(6, 6):
            y, x = (moves[view].astype(float) @ [i, j, 1]).clip(0, side - 1.001)
            p, q = int(y), int(x)
            y, x = y - p, x - q
            expected = (
                (1 - y) * ((1 - x) * mixed[p, q] + x * mixed[p, q + 1])
                + y * ((1 - x) * mixed[p + 1, q] + x * mixed[p + 1, q + 1])
            )  # fmt: skip
            assert np.abs(out[view, i, j] - expected).max() < 1e-3
    assert not out[[0, 3]].any()


def test_weak_recolouring_stays_near_the_picture(train):
    means = np.random.default_rng(0).uniform(0, 255, (500, 3))
    linear = train.recolouring(np.random.default_rng(1), means, 0.0)
    np.testing.assert_array_equal(linear, np.broadcast_to(train.UNCHANGED, linear.shape))
    levels = np.array([10, 100, 200, 1])  # red, green and blue; they go to about -2 .. 2
    np.testing.assert_allclose(linear[0] @ levels, levels[:3] / 255 * 4 - 2, rtol=1e-6)
    far = [
        np.abs(train.recolouring(np.random.default_rng(1), means, s) - linear)[:, :, :3].mean()
        for s in (0.2, 0.5, 1.0)
    ]
    assert 0 < far[0] < far[1] < far[2]


def test_both_views_of_a_picture_stay_together(train, recipe):
    training = train.Training(recipe, 1)
    order = training.order[0]
    numbers = training.trainer.data.arrays["y"][order]
    n = recipe.pictures
    assert (numbers[:n] == numbers[n:]).all() and (numbers[:n] == np.arange(n)).all()
    assert (order[:n] // 2 == order[n:] // 2).all()
