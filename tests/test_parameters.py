"""Parameters that make no sense: an error that names the object, what came, and what may."""

import numpy as np
import pytest

from skdeep import NeuralNetClassifier, NeuralNetRegressor
from skdeep.layers import (
    Activation,
    BatchNorm,
    Constant,
    Conv2D,
    Dense,
    Dropout,
    Glorot,
    He,
    Layer,
    MaxPool2D,
    Orthogonal,
    Reshape,
    Residual,
    Sequential,
)
from skdeep.training import (
    LBFGS,
    SGD,
    Adam,
    CosineDecay,
    EarlyStopping,
    ExponentialDecay,
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
    (Residual([Sequential([Dense(0)])]), "Dense 'it.sequential1.dense1': units=0 must"),
    (Dense(3, use_bias="no"), "Dense 'it': use_bias='no' must be True or False"),
    (Dense(3, trainable=None), "Dense 'it': trainable=None must"),
    (MaxPool2D(2, ceil_mode="yes"), "MaxPool2D 'it': ceil_mode='yes' must"),
    (Activation(3), "Activation 'it': Unknown activation 3; choose one of"),
    (Dense(3, ["relu"]), r"Dense 'it': Unknown activation \['relu'\]"),
    (Activation("elu", alpha="x"), "Activation 'it': alpha='x' must"),
    (Dense(3, weight_init=None), "Dense 'it': Unknown initializer None"),
    (Dense(3, weight_init=np.nan), "Dense 'it': Unknown initializer nan"),
    (Dense(3, weight_init=Glorot), "Dense 'it': Unknown initializer <class"),
    (Dense(3, bias_init=[[1.0], [1.0, 2.0]]), "Dense 'it': Unknown initializer"),
    (Dense(3, weight_init=Glorot("x")), "weight 'it.W' .*Glorot.distribution='x'.: choose"),
    (Dense(3, weight_init=He(gain="x")), "weight 'it.W' .*He: gain='x' must"),
    (Dense(3, weight_init=Orthogonal(None)), "weight 'it.W' .*Orthogonal: gain=None must"),
    (Dense(3, weight_init=Constant("a")), "weight 'it.W' .*Constant: value='a' must"),
    (Dense(3, bias_init=[1, 2]), r"weight 'it.b' of shape \(3,\) cannot start: "),
    (Dense(3, weight_init=lambda shape, rng: "a"), "weight 'it.W' .*cannot start: "),
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
    (Adam(learning_rate="x"), "Adam: learning_rate='x' must"),
    (SGD(nesterov="x"), "SGD: nesterov='x' must"),
    (SGD(momentum=2), "SGD: momentum=2 must"),
    (LBFGS(memory=-1), "LBFGS: memory=-1 must"),
    (LBFGS(tol="a"), "LBFGS: tol='a' must"),
    (SGD(StepDecay(every=0)), "StepDecay: every=0 must"),
    (SGD(Warmup(epochs=-1)), "Warmup: epochs=-1 must"),
    (SGD(CosineDecay("a")), "CosineDecay: initial='a' must"),
    (SGD(ExponentialDecay("a")), "ExponentialDecay: initial='a' must"),
    (SGD(Warmup("a")), "Warmup: after='a' must"),
    (SGD(Warmup(StepDecay(every=0))), "StepDecay: every=0 must"),
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
    one, two = np.int64(1), np.int64(2)
    layers = [
        Conv2D(two, (two, one), stride=one, padding=one, groups=one, use_bias=np.bool_(True)),
        MaxPool2D(two, stride=two),
        Dense(np.int64(3), l2=np.float32(0.1), weight_init=np.float32(0.5)),
        Dropout(np.float64(0.5)),
    ]
    optimizer = SGD(Warmup(np.float32(0.1), epochs=two), momentum=np.float32(0.5))
    net = NeuralNetClassifier(
        layers, optimizer=optimizer, max_epochs=np.int32(1), input_shape=(4, 4, 1)
    )
    assert net.fit(X, Y).weights_["conv2d1.W"].shape == (2, 1, 1, 2)


def test_objects_hold_what_they_are_given():
    """Values are checked when a network is built, and only then."""
    layer = Dense(-1)
    assert layer.set_params(units=-2).get_params()["units"] == -2
    net = NeuralNetClassifier([layer], max_epochs=1)
    assert net.set_params(dense1__units=4).fit(X, Y).weights_["dense1.W"].shape == (16, 4)


class Picky(Layer):
    """A layer whose forward complains."""

    def forward(self, x):
        raise ValueError("no such thing")


def test_errors_of_own_layers_get_their_name():
    """One prefix, however deep the layer sits."""
    with pytest.raises(ValueError, match="^Picky 'sequential1.picky1': no such thing$"):
        NeuralNetClassifier([Sequential([Picky()])]).fit(X, Y)
