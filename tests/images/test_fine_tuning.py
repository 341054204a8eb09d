"""Pretrained networks trained further, and the loader that feeds them."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tiny_network import RECIPE, TINY

from skdeep import NeuralNetClassifier
from skdeep.features import ImageLoader, Pretrained, network, sources
from skdeep.features.networks import NETWORKS
from skdeep.training import SGD


def test_a_trunk_starts_from_its_weights_and_keeps_what_it_should(file, weights, pictures):
    X = ImageLoader(TINY, file, preprocessing=RECIPE).fit_transform(pictures)
    y = np.array(["left", "right"])[np.arange(24) % 2]
    layers = [("trunk", Pretrained(TINY, file, trainable_from="block.bn"))]
    net = NeuralNetClassifier(layers, max_epochs=3, optimizer=SGD(0.05), random_state=0).fit(X, y)
    kept = {k.removeprefix("trunk."): v for k, v in net.weights_.items() if k.startswith("trunk")}
    assert set(kept) == {k for k in weights if not k.startswith("fc")}
    changed = {k for k, v in kept.items() if not np.array_equal(v, weights[k])}
    assert changed == {f"block.bn.{k}" for k in ("gamma", "beta", "mean", "var")}
    frozen = NeuralNetClassifier([("trunk", Pretrained(TINY, file))], max_epochs=2).fit(X, y)
    assert all(np.array_equal(frozen.weights_[f"trunk.{k}"], weights[k]) for k in kept)
    clone(net).set_params(trunk__trainable_from="stem", max_epochs=1).fit(X, y)
    again = pickle.loads(pickle.dumps(net))
    assert np.array_equal(again.predict(X), net.predict(X))


def test_a_trained_trunk_needs_its_file_no_more(file, pictures, replaceable):
    path, _ = replaceable
    X = ImageLoader(TINY, path, preprocessing=RECIPE).fit_transform(pictures)
    y = np.arange(24) % 2
    net = NeuralNetClassifier(network(TINY, path, trainable_from="stage1"), max_epochs=1).fit(X, y)
    text, expected = pickle.dumps(net), net.predict_proba(X)
    path.unlink()
    sources.clear_loaded()
    assert np.array_equal(pickle.loads(text).predict_proba(X), expected)
    assert net.transform(X).shape == (24, 12)
    with pytest.raises(ValueError, match="no file of that name"):
        clone(net).fit(X, y)


def test_arrays_start_a_trunk_and_are_read_once(state, weights, pictures, monkeypatch):
    calls = []
    load = sources.KnownNetwork.load
    monkeypatch.setattr(
        sources.KnownNetwork, "load", lambda self, shape: calls.append(1) or load(self, shape)
    )
    X = ImageLoader(TINY, state, preprocessing=RECIPE).fit_transform(pictures)
    net = NeuralNetClassifier(network(TINY, state), max_epochs=1).fit(X, np.arange(24) % 2)
    assert len(calls) == 1
    assert np.array_equal(net.weights_["trunk.conv1.W"], weights["conv1.W"])


@pytest.mark.parametrize(
    ("part", "trained"),
    [
        ("stem", {"conv1", "block.conv", "block.bn"}),
        ("stage1", {"block.conv", "block.bn"}),
        ("block", {"block.conv", "block.bn"}),
        ("block.bn", {"block.bn"}),
    ],
)
def test_a_canonical_part_is_trained_from_its_first_layer(file, weights, pictures, part, trained):
    X = ImageLoader(TINY, file, preprocessing=RECIPE).fit_transform(pictures)
    layers = network(TINY, file, trainable_from=part)
    net = NeuralNetClassifier(layers, max_epochs=1, random_state=0).fit(X, np.arange(24) % 2)
    kept = {k.removeprefix("trunk."): v for k, v in net.weights_.items() if k.startswith("trunk")}
    changed = {k.rpartition(".")[0] for k, v in kept.items() if not np.array_equal(v, weights[k])}
    assert changed == trained


def test_parts_of_every_network_follow_one_another():
    for name, architecture in NETWORKS.items():
        loaded = sources.Loaded(
            name, architecture.layers, architecture.input_shape, {}, architecture.points, None
        )
        before = [len(loaded.before(word)) for word, _ in architecture.points]
        assert before[0] == 0 and before == sorted(before), name


def test_network_gives_layers_for_a_search(pictures, file):
    y = np.arange(24) % 2
    pipe = make_pipeline(
        ImageLoader(TINY, file, preprocessing=RECIPE),
        NeuralNetClassifier(network(TINY, file), max_epochs=40, random_state=0),
    )
    grid = {"neuralnetclassifier__trunk__layer": ["stem", "pool"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(pictures, y)
    assert search.best_score_ > 0.7
    again = pickle.loads(pickle.dumps(search))
    assert np.array_equal(again.predict(pictures), search.predict(pictures))
    grid = {
        "neuralnetclassifier__trunk__trainable_from": ["stage1", None],
        "neuralnetclassifier__optimizer__learning_rate": [1e-3, 1e-2],
    }
    pipe.set_params(neuralnetclassifier__max_epochs=2)
    assert GridSearchCV(pipe, grid, cv=2).fit(pictures, y).best_params_.keys() == grid.keys()


def test_messages_of_trunks(file):
    X, y = np.zeros((4, 16, 16, 3), np.float32), [0, 1, 0, 1]
    for parameters, message in (
        ({"layer": "top"}, "layer 'top' is not in tiny"),
        ({"trainable_from": "top"}, "'top' is no layer of tiny"),
        ({"trainable_from": "stage2"}, r"trains nothing of tiny: no layer from there to layer='po"),
        ({"trainable_from": "logits"}, r"Choose one of \['stem', 'stage1'\], or None to train the"),
        ({"trainable_from": "block", "layer": "conv1"}, r"to layer='conv1'.* one of \['stem'\]"),
        ({"model": "resnet19"}, "no network is named"),
    ):
        trunk = Pretrained(TINY, file).set_params(**parameters)
        with pytest.raises(ValueError, match=message):
            NeuralNetClassifier([("trunk", trunk)], max_epochs=1).fit(X, y)


def test_the_loader_gives_what_networks_take(pictures, tmp_path):
    loader = ImageLoader(preprocessing=RECIPE)
    X = loader.fit_transform(pictures)
    assert X.shape == (24, 16, 16, 3) and X.dtype == np.float32
    assert all(np.array_equal(x, RECIPE(p)) for x, p in zip(X, pictures))
    with pytest.warns(UserWarning, match="1 of 2 pictures"):
        X = ImageLoader(preprocessing=RECIPE, on_error="nan").transform([pictures[0], b"nothing"])
    assert np.isnan(X[1]).all() and np.array_equal(X[0], RECIPE(pictures[0]))
    assert ImageLoader("resnet50").fit()._recipe().crop == 224  # nothing is read or fetched


def test_names_of_the_network_itself():
    """Every point of every network is a layer of it."""
    for name, architecture in NETWORKS.items():
        points = dict(architecture.points)
        assert "pool" in points, name
