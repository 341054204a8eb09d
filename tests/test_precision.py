"""Options of prediction that `set_config` gives: precision and memory."""

import numpy as np
import pytest

import skdeep
from skdeep import MLPClassifier, NeuralNetClassifier, NeuralNetRegressor
from skdeep.layers import BatchNorm, Conv2D, Flatten, MaxPool2D


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.RandomState(0)
    X = rng.rand(40, 16, 16, 16).astype(np.float32)
    y = (X[:, 4:8, 4:8].mean((1, 2, 3)) > 0.5).astype(int)
    layers = [
        ("conv", Conv2D(32, 3, "relu", padding="same")),
        BatchNorm(),
        MaxPool2D(2),
        Flatten(),
    ]
    return NeuralNetClassifier(layers, max_epochs=3, random_state=0).fit(X, y), X, y


def test_bfloat16_is_near_and_goes_away(fitted):
    net, X, _ = fitted
    exact = net.predict_proba(X)
    with skdeep.config_context(precision="bfloat16"):
        near = net.predict_proba(X)
        assert np.array_equal(near, net.predict_proba(X))
        narrow = net.summary().rows
    wide = net.summary().rows
    assert sum(r.multiply_adds for r in narrow) == sum(r.multiply_adds for r in wide)
    assert "Conv2D 3x3 + relu, bfloat16" in {r.operation for r in narrow}
    assert {r.algorithm for r in narrow} > {""}
    assert near.dtype == exact.dtype and not np.array_equal(near, exact)
    np.testing.assert_allclose(near, exact, atol=2e-2)
    np.testing.assert_allclose(near.sum(axis=1), 1, rtol=1e-6)
    assert np.array_equal(net.predict_proba(X), exact)


def test_low_memory_declines_winograd(fitted):
    net, X, _ = fitted
    exact, packed = net.predict_proba(X), net.summary().packed_bytes
    assert net.summary().rows[0].algorithm == "winograd4"
    with skdeep.config_context(memory="low"):
        assert net.summary().rows[0].algorithm == "direct"
        assert net.summary().packed_bytes < packed
        np.testing.assert_allclose(net.predict_proba(X), exact, atol=1e-5)


def test_mlp_and_regressor_follow(fitted):
    _, X, y = fitted
    flat = X.reshape(len(X), -1)
    models = [
        MLPClassifier((32,), max_iter=20, random_state=0, early_stopping=False, tol=0.5),
        NeuralNetRegressor([Flatten()], max_epochs=2, random_state=0),
    ]
    for model in models:
        model.fit(flat, y)
        call = getattr(model, "predict_proba", model.predict)
        exact = call(flat)
        with skdeep.config_context(precision="bfloat16"):
            near = call(flat)
        assert not np.array_equal(near, exact)
        np.testing.assert_allclose(near, exact, atol=0.05)


@pytest.mark.parametrize("name", ["precision", "memory", "device"])
def test_unknown_settings_are_refused(name):
    before = skdeep.get_config()
    with pytest.raises(ValueError, match=name), skdeep.config_context(**{name: "other"}):
        pass
    assert skdeep.get_config() == before
