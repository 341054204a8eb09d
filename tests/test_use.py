"""Using fitted and half-fitted networks: shapes, weights, interruptions, going on."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from skdeep import NeuralNetClassifier, NeuralNetRegressor
from skdeep.layers import Conv2D, Dense, MaxPool2D
from skdeep.training import (
    LBFGS,
    SGD,
    Adam,
    Callback,
    CosineDecay,
    EarlyStopping,
    ExponentialDecay,
    InverseScaling,
    StepDecay,
    Warmup,
)

RNG = np.random.RandomState(0)
IMAGES = RNG.rand(40, 8, 8, 1).astype(np.float32)
LABELS = RNG.randint(0, 3, 40)


def small(**parameters):
    """A dense classifier that fits in milliseconds."""
    options = {"max_epochs": 3, "random_state": 0, "batch_size": 8, "n_threads": 1} | parameters
    return NeuralNetClassifier([Dense(6, "tanh")], **options)


@pytest.mark.parametrize("shape", [(4, 16, 1), (1, 8, 8), (8, 8), (16, 4, 1)])
def test_images_of_another_shape_are_refused(shape):
    """Same number of pixels, another picture: predict, X_val and a warm fit all say so."""
    net = NeuralNetClassifier([Conv2D(2, 3), MaxPool2D(2)], max_epochs=1, random_state=0)
    net.fit(IMAGES, LABELS)
    wrong = IMAGES.reshape(-1, *shape)
    with pytest.raises(ValueError, match="was fitted on"):
        net.predict(wrong)
    with pytest.raises(ValueError, match="was fitted on"):
        clone(net).fit(IMAGES, LABELS, X_val=wrong, y_val=LABELS)
    with pytest.raises(ValueError, match="was fitted on"):
        net.set_params(warm_start=True).fit(wrong, LABELS)
    flat = IMAGES.reshape(40, -1)
    np.testing.assert_array_equal(net.predict_proba(flat), net.predict_proba(IMAGES))


@pytest.mark.parametrize(
    "schedule",
    [
        CosineDecay(0.1, 0.01),
        ExponentialDecay(0.1, 0.5),
        StepDecay(0.1, 0.5, every=2),
        InverseScaling(0.1),
        Warmup(0.1, epochs=3),
    ],
)
def test_schedules_go_on_in_partial_fit(schedule):
    """Four partial fits, of parts of any size, see the rates of four epochs."""
    net = small(optimizer=SGD(schedule), max_epochs=4)
    for rows in (slice(0, 40), slice(0, 16), slice(16, 40), slice(0, 40)):
        net.partial_fit(IMAGES[rows].reshape(-1, 64), LABELS[rows], classes=[0, 1, 2])
    found = [record["learning_rate"] for record in net.history_]
    steps = [5, 2, 3, 5]
    last = [epoch + (n - 1) / n for epoch, n in enumerate(steps)]
    np.testing.assert_allclose(found, schedule.rate(np.array(last), 4))


def test_weights_are_read_only_and_replaced_by_set_weights():
    """A change in place would not reach the compiled copies, so it is refused."""
    X = IMAGES.reshape(40, 64)
    net = small().fit(X, LABELS)
    for fitted in (net, pickle.loads(pickle.dumps(net))):
        with pytest.raises(ValueError, match="read-only"):
            fitted.weights_["head.W"][...] = 0
    changed = {name: w * 0 for name, w in net.weights_.items()}
    net.set_weights(changed)
    np.testing.assert_allclose(net.predict_proba(X), 1 / 3)
    with pytest.raises(ValueError, match="unknown weights"):
        net.set_weights({**changed, "other.W": np.zeros(2)})


class InterruptAt(Callback):
    """Raises KeyboardInterrupt after an epoch."""

    def __init__(self, epoch=1):
        self.epoch = epoch

    def on_epoch_end(self, net, *, record, **kwargs):
        if record["epoch"] == self.epoch:
            raise KeyboardInterrupt


def test_an_interrupted_fit_keeps_the_best_validation_loss():
    """With validation data the best epoch is kept, without any early stopping."""
    X = IMAGES.reshape(40, 64)
    net = small(optimizer=Adam(0.3), max_epochs=30, callbacks=[InterruptAt(20)])
    with pytest.warns(UserWarning, match="keeps the best weights so far"):
        net.fit(X[:30], LABELS[:30], X_val=X[30:], y_val=LABELS[30:])
    losses = [record["valid_loss"] for record in net.history_]
    best = int(np.argmin(losses)) + 1
    assert net.interrupted_ and len(losses) == 20 and best < 20
    short = small(optimizer=Adam(0.3), max_epochs=best)
    short.fit(X[:30], LABELS[:30])
    for name, weight in short.weights_.items():
        np.testing.assert_array_equal(net.weights_[name], weight)
    with pytest.warns(UserWarning, match="keeps the weights so far"):
        small(callbacks=[InterruptAt(2)]).fit(X, LABELS)


def test_two_early_stoppings_do_not_disturb_each_other():
    """The weights are those of the one that stopped the training."""
    X = IMAGES.reshape(40, 64)

    def fit(callbacks):
        net = small(optimizer=Adam(0.1), max_epochs=60, callbacks=callbacks)
        return net.fit(X[:30], LABELS[:30], X_val=X[30:], y_val=LABELS[30:])

    one = fit([EarlyStopping("valid_loss", patience=3)])
    both = fit([EarlyStopping("train_loss", patience=50), EarlyStopping("valid_loss", patience=3)])
    assert len(one.history_) == len(both.history_) < 60
    for name, weight in one.weights_.items():
        np.testing.assert_array_equal(both.weights_[name], weight)


def test_parameters_of_a_default_optimizer():
    """None stands for Adam, also when its parameters are set by name."""
    net = NeuralNetClassifier().set_params(optimizer__learning_rate=0.5)
    assert isinstance(net.optimizer, Adam) and net.optimizer.learning_rate == 0.5
    with pytest.raises(ValueError, match="set loss to an object first"):
        NeuralNetRegressor().set_params(loss__delta=2.0)
    with pytest.raises(ValueError, match="names of layers: \\['dense1'\\]"):
        small().set_params(conv__filters=3)


def test_lbfgs_says_what_it_ignores():
    """Callbacks and early stopping need steps."""
    with pytest.warns(UserWarning, match="have no effect"):
        small(optimizer=LBFGS(), max_epochs=500, early_stopping=True).fit(
            IMAGES.reshape(40, 64), LABELS
        )


def test_pickles_of_another_version_warn():
    """The state carries the version that wrote it."""
    net = small().fit(IMAGES.reshape(40, 64), LABELS)
    state = net.__getstate__()
    state["_skdeep_version"] = "0.0"
    with pytest.warns(UserWarning, match="pickled by skdeep 0.0"):
        NeuralNetClassifier().__setstate__(state)


def test_class_weight_may_name_classes_that_a_fold_lacks():
    """As in scikit-learn: a rare class may be absent from the part a fold sees."""
    X, some = IMAGES.reshape(40, 64), LABELS < 2
    weights = {0: 1, 1: 2, 2: 5}
    assert small(class_weight=weights).fit(X[some], LABELS[some]).classes_.tolist() == [0, 1]
