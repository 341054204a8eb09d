"""Layers of one's own, and what layers say when used wrongly."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skdeep import NeuralNetClassifier, NeuralNetRegressor, ops
from skdeep.graph.tensor import Tensor
from skdeep.layers import (
    Activation,
    AveragePool2D,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    Layer,
    MaxPool2D,
    Parallel,
    Reshape,
    Residual,
    Sequential,
)
from skdeep.layers.network import Network
from skdeep.training import SGD, Adam

# -- layers of one's own -------------------------------------------------------------------------


class Swish(Layer):
    """x * sigmoid(beta * x) with one learnt number."""

    def __init__(self, beta=1.0):
        self.beta = beta

    def forward(self, x):
        return x * ops.sigmoid(self.parameter("beta", (1,), self.beta) * x)


class Twice(Layer):
    """The same layer applied two times, with the same weights."""

    def __init__(self, inner=None):
        self.inner = inner

    def forward(self, x):
        return self.inner(self.inner(x))


class Bottleneck(Layer):
    """Layers made while the network is traced, each with weights of its own."""

    def __init__(self, units=3):
        self.units = units

    def forward(self, x):
        for units in (self.units, self.units + 1, self.units + 2):
            x = Dense(units, "tanh")(x)
        return x


class Duck:
    """A layer that is no Layer: all it has is forward."""

    def forward(self, x):
        return ops.tanh(x)


def test_own_layers_train_clone_search_and_pickle(iris):
    X, y = iris
    net = NeuralNetClassifier([Dense(8), ("swish", Swish(2.0))], max_epochs=40, random_state=0,
                              optimizer=Adam(2e-2)).fit(X, y)  # fmt: skip
    assert net.weights_["swish.beta"] != 2.0
    assert net.score(X, y) > 0.9
    kept = pickle.loads(pickle.dumps(clone(net).fit(X, y)))
    np.testing.assert_array_equal(kept.predict_proba(X), net.predict_proba(X))
    grid = {"swish__beta": [0.5, 2.0], "swish": [Swish(), Activation("relu")]}
    search = GridSearchCV(net, [{"swish__beta": grid["swish__beta"]}, {"swish": grid["swish"]}],
                          cv=2, n_jobs=2, error_score="raise").fit(X, y)  # fmt: skip
    assert len(search.cv_results_["mean_test_score"]) == 4


def test_gradient_of_an_own_layer(iris):
    X, y = iris[0][:20], iris[1][:20].astype(float)
    rate, w = 1e-3, 0.3
    net = NeuralNetRegressor(
        [Swish(0.7)], head=Dense(1, weight_init=w, use_bias=False), max_epochs=1,
        optimizer=SGD(rate), random_state=0,
    ).fit(X, y)  # fmt: skip

    def loss(beta):
        x = X.astype(np.float64)
        return np.mean((w * (x / (1 + np.exp(-beta * x))).sum(axis=1) - y) ** 2)

    slope = (loss(0.7 + 1e-6) - loss(0.7 - 1e-6)) / 2e-6
    assert net.weights_["swish1.beta"][0] == pytest.approx(0.7 - rate * slope, rel=1e-6)
    assert net.history_[0]["train_loss"] == pytest.approx(loss(0.7), rel=1e-5)


def test_weights_are_shared_within_a_layer(iris):
    X, y = iris
    net = NeuralNetClassifier([("t", Twice(Dense(4, "tanh")))], max_epochs=3, random_state=0)
    net.fit(X, y)
    assert {n for n in net.weights_ if n.startswith("t.")} == {"t.dense1.W", "t.dense1.b"}
    w, b = net.weights_["t.dense1.W"], net.weights_["t.dense1.b"]
    expected = np.tanh(np.tanh(X @ w + b) @ w + b)
    np.testing.assert_allclose(net.transform(X), expected, rtol=1e-4, atol=1e-5)
    assert net.get_params()["t__inner__units"] == 4


def test_layers_made_in_forward_do_not_share_weights(iris):
    net = NeuralNetClassifier([("b", Bottleneck())], max_epochs=2, random_state=0).fit(*iris)
    shapes = [net.weights_[f"b.dense{k}.W"].shape for k in (1, 2, 3)]
    assert shapes == [(4, 3), (3, 4), (4, 5)]


def test_anything_with_forward_is_a_layer(iris):
    X, y = iris
    net = NeuralNetClassifier([Dense(4), Duck()], max_epochs=1, random_state=0).fit(X, y)
    same = NeuralNetClassifier([Dense(4, "tanh")], max_epochs=1, random_state=0).fit(X, y)
    np.testing.assert_array_equal(net.predict_proba(X), same.predict_proba(X))


# -- messages ------------------------------------------------------------------------------------

WRONG = [
    (Conv2D(3), (7,), r"Conv2D 'it' needs \(n, h, w, c\) input, got \(n, 7\)"),
    (Conv2D(3, 9), (8, 8, 1), "9"),
    (Conv2D(3, groups=2), (8, 8, 1), "Conv2D 'it': groups=2 must divide"),
    (Conv2D(3, padding="full"), (8, 8, 1), "Conv2D 'it': padding='full' must be 'valid', 'same'"),
    (Conv2D(3, weight_init="xavier"), (8, 8, 1), "Unknown initializer 'xavier'"),
    (MaxPool2D(2), (7,), "MaxPool2D 'it' needs"),
    (MaxPool2D(9), (8, 8, 1), "9"),
    (AveragePool2D(2), (7,), "AveragePool2D 'it' needs"),
    (GlobalMaxPool2D(), (7,), "GlobalMaxPool2D 'it' needs"),
    (GlobalAveragePool2D(), (7,), "GlobalAveragePool2D 'it' needs"),
    (Reshape((5, 5)), (7,), "Reshape 'it'"),
    (Dropout(1.0), (7,), r"Dropout 'it': rate=1.0 must be a number in \[0, 1\)"),
    (Activation("relo"), (7,), "Unknown activation 'relo'; choose one of"),
    (Activation("tanh", alpha=1.0), (7,), "takes no alpha"),
    (Dense(3, "relo"), (7,), "Unknown activation 'relo'"),
    (Residual([Dense(3)]), (7,), "Residual 'it': the branch gives"),
    (Parallel([]), (7,), "Parallel 'it' needs at least one branch"),
    (Parallel([Dense(2)] * 2, split=True), (7,), "7 channels cannot be split into 2 equal parts"),
    (Parallel([Dense(2)], join="product"), (7,), "Parallel 'it': join='product' is unknown"),
    (Parallel([Dense(2), Dense(3)], join="sum"), (7,), "Parallel 'it': join='sum' needs equal"),
    (Sequential([("layers", Dense(2))]), (7,), "'layers' is taken by a parameter of Sequential"),
]  # fmt: skip


@pytest.mark.parametrize("layer,shape,message", WRONG, ids=lambda v: str(v)[:40])
def test_messages_name_the_layer(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        Network([("it", layer)], shape).probe()


def test_layers_belong_into_networks():
    with pytest.raises(RuntimeError, match="put it in an estimator's `layers`"):
        Dense(3)(Tensor((2, 3)))
    with pytest.raises(TypeError, match="must define forward"):
        Network([("it", Layer())], (3,)).probe()

    class Silent(Layer):
        def forward(self, x):
            return None

    with pytest.raises(TypeError, match=r"layer 'it' \(Silent\) must return a Tensor"):
        Network([("it", Silent())], (3,)).probe()
