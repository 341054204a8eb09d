"""Parameters that make no sense: an error that names the object, what came, and what may."""

import numpy as np
import pytest

from skdeep import NeuralNetClassifier, NeuralNetRegressor
from skdeep.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Layer,
    MaxPool2D,
    Reshape,
    Sequential,
)
from skdeep.training import (
    LBFGS,
    SGD,
    Adam,
    CosineDecay,
    EarlyStopping,
    Huber,
    LogLoss,
    SquaredError,
    StepDecay,
    Warmup,
)

X = np.random.RandomState(0).rand(12, 16)
Y = np.arange(12) % 3

LAYERS = [
    (Dense(2.5), "Dense 'it': units=2.5 must be a positive integer"),
    (Dense("3"), "Dense 'it': units='3' must be a positive integer"),
    (Dense(0), "Dense 'it': units=0 must"),
    (Dense(3, l2=-1), "Dense 'it': l2=-1 must be a number that is not negative"),
    (Conv2D(0), "Conv2D 'it': filters=0 must"),
    (Conv2D(3, -1), "Conv2D 'it': kernel_size=-1 must be a positive integer or a pair"),
    (Conv2D(2, 3.0), "Conv2D 'it': kernel_size=3.0 must"),
    (Conv2D(2, groups=0), "Conv2D 'it': groups=0 must"),
    (Conv2D(2, padding=-1), "Conv2D 'it': padding=-1 must"),
    (Conv2D(2, 9), "Conv2D 'it': .*larger than the image"),
    (Dropout(None), "Dropout 'it': rate=None must"),
    (MaxPool2D(2, padding="full"), "MaxPool2D 'it': padding='full' must"),
    (MaxPool2D(9), "MaxPool2D 'it': .*window"),
    (BatchNorm(epsilon=-1), "BatchNorm 'it': epsilon=-1 must"),
    (Reshape("x"), "Reshape 'it': shape='x' must"),
    (Sequential([Dense(0)]), "Dense 'it.dense1': units=0 must"),
]


@pytest.mark.parametrize(("layer", "message"), LAYERS)
def test_layers(layer, message):
    """The message begins with the class and the path of the layer."""
    net = NeuralNetClassifier([("it", layer)], input_shape=(4, 4, 1), max_epochs=1)
    with pytest.raises(ValueError, match=f"^{message}"):
        net.fit(X, Y)


OPTIMIZERS = [
    (Adam(beta_1="x"), "Adam: beta_1='x' must"),
    (Adam(clip_norm="x"), "Adam: clip_norm='x' must"),
    (Adam(learning_rate="x"), "learning_rate='x' must"),
    (SGD(momentum=2), "SGD: momentum=2 must"),
    (LBFGS(memory=-1), "LBFGS: memory=-1 must"),
    (LBFGS(tol="a"), "LBFGS: tol='a' must"),
    (SGD(StepDecay(every=0)), "StepDecay: every=0 must"),
    (SGD(Warmup(epochs=-1)), "Warmup: epochs=-1 must"),
    (SGD(CosineDecay("a")), "CosineDecay: initial='a' must"),
]


@pytest.mark.parametrize(("optimizer", "message"), OPTIMIZERS)
def test_optimizers_and_schedules(optimizer, message):
    """They are checked before training begins."""
    with pytest.raises(ValueError, match=message):
        NeuralNetClassifier(optimizer=optimizer, max_epochs=1).fit(X, Y)


def test_losses_and_stopping():
    """Bad parameters, and losses for the other task."""
    with pytest.raises(ValueError, match="Huber: delta=-1 must"):
        NeuralNetRegressor(loss=Huber(-1)).fit(X, Y)
    for loss in ("squared_error", SquaredError()):
        with pytest.raises(ValueError, match="is for regression, not for classification"):
            NeuralNetClassifier(loss=loss).fit(X, Y)
    for loss in ("log_loss", LogLoss()):
        with pytest.raises(ValueError, match="is for classification, not for regression"):
            NeuralNetRegressor(loss=loss).fit(X, Y)
    with pytest.raises(ValueError, match="tol='a' must"):
        NeuralNetClassifier(tol="a").fit(X, Y)
    with pytest.raises(ValueError, match="EarlyStopping: patience=0 must"):
        NeuralNetClassifier(callbacks=[EarlyStopping(patience=0)]).fit(X, Y)
    with pytest.raises(ValueError, match="input_shape=16 must be a tuple"):
        NeuralNetClassifier(input_shape=16).fit(X, Y)


def test_numpy_numbers_are_numbers():
    """What a grid of NumPy values passes is accepted."""
    layers = [Dense(np.int64(3), l2=np.float32(0.1)), Dropout(np.float64(0.5))]
    NeuralNetClassifier(layers, max_epochs=np.int32(1)).fit(X, Y)


class Picky(Layer):
    """A layer whose forward complains."""

    def forward(self, x):
        raise ValueError("no such thing")


def test_errors_of_own_layers_get_their_name():
    """One prefix, however deep the layer sits."""
    with pytest.raises(ValueError, match="^Picky 'sequential1.picky1': no such thing$"):
        NeuralNetClassifier([Sequential([Picky()])]).fit(X, Y)
