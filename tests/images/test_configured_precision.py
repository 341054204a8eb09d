"""The precision of pretrained networks: their own, or the configured one; never mixed up."""

from dataclasses import replace

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tiny_network import RECIPE, TINY

from skdeep import config_context, set_config
from skdeep.features import ImageClassifier, ImageFeatures, ImageLocalizer, RandomFeatures
from skdeep.features.extraction import Extractor
from skdeep.kernels.cpu import CPU
from skdeep.layers import Conv2D, Dense, GlobalAveragePool2D


def wide_layers(n_outputs=5):
    return [
        ("conv1", Conv2D(32, 3, padding=1, activation="relu")),
        ("block", Conv2D(32, 3, padding=1, activation="relu")),
        ("avgpool", GlobalAveragePool2D()),
        ("fc", Dense(n_outputs)),
    ]


def test_the_configured_precision_reaches_networks(tiny, file, pictures):
    """Where a transformer's own is None, as its device and threads."""
    options = {"weights": file, "preprocessing": RECIPE}
    calls = [
        lambda **own: tiny(**own).transform(pictures[:3]),
        lambda **own: RandomFeatures(TINY, preprocessing=RECIPE, **own).transform(pictures[:3]),
        lambda **own: ImageClassifier(TINY, **options, **own).decision_function(pictures[:3]),
        lambda **own: ImageClassifier(TINY, **options, crops=10, **own).predict_proba(pictures[:3]),
        lambda **own: ImageLocalizer(TINY, **options, **own).window_probabilities(pictures[:1])[0],
    ]
    for call in calls:
        exact, near = call(), call(precision="bfloat16")
        assert not np.array_equal(exact, near)
        with config_context(precision="bfloat16"):
            assert np.array_equal(call(), near)
            assert np.array_equal(call(precision="float32"), exact)
        assert np.array_equal(call(), exact)
    features = tiny()
    assert features.precision is None and "precision" not in repr(features)
    with config_context(precision="bfloat16"):
        rows = features.summary().rows
        assert clone(features).get_params()["precision"] is None
    assert any("bfloat16" in row.operation for row in rows)
    assert not any("bfloat16" in row.operation for row in features.summary().rows)


def test_the_cache_tells_configured_precisions_apart(tiny, pictures, count, tmp_path):
    features = tiny(cache=tmp_path)
    exact = features.transform(pictures)
    with config_context(precision="bfloat16"):
        near = features.transform(pictures)
    assert count() == 48 and not np.array_equal(exact, near)
    assert np.array_equal(tiny(cache=tmp_path, precision="bfloat16").transform(pictures), near)
    assert np.array_equal(tiny(cache=tmp_path, precision="float32").transform(pictures), exact)
    assert np.array_equal(features.transform(pictures), exact)
    assert count() == 48


def test_the_cache_tells_algorithms_and_devices_apart(tiny, pictures, count, tmp_path, monkeypatch):
    """Whose features differ in the last bits: what comes from a cache is what would be computed."""
    points = (("pool", "avgpool"), ("logits", "fc"))
    wide = replace(TINY, layers=wide_layers, points=points)  # enough for Winograd's algorithm
    fast = tiny(weights="random", cache=tmp_path).set_params(model=wide)
    exact = fast.transform(pictures)
    with config_context(memory="low"):
        low = clone(fast).transform(pictures)
        assert np.array_equal(clone(fast).set_params(cache=None).transform(pictures), low)
    assert count() == 72 and not np.array_equal(exact, low)
    np.testing.assert_allclose(low, exact, rtol=1e-3, atol=1e-4)
    assert np.array_equal(fast.transform(pictures), exact) and count() == 72

    class Other(CPU):
        name = "other"

    monkeypatch.setattr(ImageFeatures, "_device", lambda self: Other())
    fast.transform(pictures)
    assert count() == 96
    fast.transform(pictures)
    assert count() == 96


def test_a_configuration_that_changes_meanwhile(tiny, pictures, tmp_path, monkeypatch):
    """A call computes and caches what was configured when it began."""
    exact = tiny().transform(pictures)
    run = Extractor.run

    def then_change(self, *args, **options):
        set_config(precision="bfloat16")
        return run(self, *args, **options)

    with config_context(precision="float32"):
        monkeypatch.setattr(Extractor, "run", then_change)
        assert np.array_equal(tiny(cache=tmp_path, batch_size=5).transform(pictures), exact)
    monkeypatch.undo()
    assert np.array_equal(tiny(cache=tmp_path).transform(pictures), exact)


def test_a_search_over_precisions(tiny, pictures):
    pipe = make_pipeline(tiny(), LogisticRegression(max_iter=1000))
    grid = {"imagefeatures__precision": [None, "float32", "bfloat16"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(pictures, np.arange(24) % 2)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] == scores[1] and scores.min() > 0.7
