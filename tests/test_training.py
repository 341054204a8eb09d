"""Losses, optimizers, schedules, callbacks and the loop, against float64 written out in NumPy."""

import io
import json
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from skdeep import NeuralNetClassifier, NeuralNetRegressor, ops, training
from skdeep.graph.differentiate import gradients
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.layers import BatchNorm, Dense, Dropout
from skdeep.ops.optimizers import AdamUpdate
from skdeep.training import (
    LBFGS,
    SGD,
    AbsoluteError,
    Adam,
    AdamW,
    Callback,
    CosineDecay,
    EarlyStopping,
    ExponentialDecay,
    Huber,
    InverseScaling,
    LogLoss,
    Loss,
    Optimizer,
    ProgressBar,
    RMSprop,
    Schedule,
    SquaredError,
    StepDecay,
    Warmup,
)
from skdeep.training.losses import LOSSES
from skdeep.training.schedules import rates


def public(base):
    """Public classes below a base class."""
    values = {getattr(training, name) for name in training.__all__}
    return {v for v in values if issubclass(v, base) and v is not base}


# -- losses --------------------------------------------------------------------------------------


def naive_log_loss(y, z, s):
    if y.ndim == 1:
        target = (1 - s) * np.eye(z.shape[1])[y] + s / z.shape[1]
        return -(target * log_softmax(z, axis=1)).sum(axis=1)
    target = y * (1 - s) + s / 2
    return np.logaddexp(0, z) - target * z


CLASSES = (np.arange(9) % 4).astype(np.int32)
MANY = (np.random.RandomState(1).rand(9, 3) < 0.5).astype(np.float32)
NUMBERS = np.random.RandomState(2).randn(9, 3).astype(np.float32)

LOSS_CASES = [
    *(
        (LogLoss(s), y, lambda y, z, s=s: naive_log_loss(y, z, s))
        for s in (0.0, 0.1, 0.6)
        for y in (CLASSES, MANY)
    ),
    (SquaredError(), NUMBERS, lambda y, z: (z - y) ** 2),
    (AbsoluteError(), NUMBERS, lambda y, z: np.abs(z - y)),
    *(
        (
            Huber(d),
            NUMBERS,
            lambda y, z, d=d: np.where(
                np.abs(z - y) <= d, (z - y) ** 2 / 2, d * (np.abs(z - y) - d / 2)
            ),
        )
        for d in (1.0, 0.3)
    ),
]

LOSS_NAMES = [f"{loss}-{y.dtype}" for loss, y, _ in LOSS_CASES]


def test_every_loss_has_a_case():
    assert {type(case[0]) for case in LOSS_CASES} == public(Loss)
    assert {type(loss) for loss in LOSSES.values()} == public(Loss)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("loss,y,naive", LOSS_CASES, ids=LOSS_NAMES)
def test_loss_and_gradient(loss, y, naive, scale):
    k = 4 if y.ndim == 1 else 3
    z = (scale * np.random.RandomState(3).randn(9, k)).astype(np.float32)
    y_true = Tensor(y.shape, "int32" if y.ndim == 1 else "float32", role="data")
    y_pred = Tensor(z.shape, role="data")
    value = loss.forward(y_true, y_pred)
    (gradient,) = gradients(value, [y_pred])
    got, slope = evaluate([value, gradient], {y_true: y, y_pred: z})
    exact = z.astype(np.float64)
    np.testing.assert_allclose(got, naive(y, exact), rtol=1e-5, atol=2e-6 * scale)
    for column in range(k):
        step = np.zeros(z.shape)
        step[:, column] = 1e-6 * scale
        ends = [naive(y, exact + sign * step).reshape(9, -1).sum(axis=1) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2e-6 * scale)
        np.testing.assert_allclose(slope[:, column], expected, rtol=1e-3, atol=1e-4 * scale**0.5)


@pytest.mark.parametrize("loss,y,naive", LOSS_CASES, ids=LOSS_NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_reported_loss_is_the_weighted_mean(loss, y, naive, weighted):
    X = np.random.RandomState(5).randn(9, 6).astype(np.float32)
    w = np.random.RandomState(6).rand(9) if weighted else None
    kind = NeuralNetClassifier if isinstance(loss, LogLoss) else NeuralNetRegressor
    parameters = {"loss": loss, "max_epochs": 1, "random_state": 0, "batch_size": 4}
    net = kind([Dense(5, "tanh")], optimizer=SGD(0.0), **parameters).fit(X, y, sample_weight=w)
    z = net.decision_function(X) if kind is NeuralNetClassifier else net.predict(X)
    each = naive(y, z.astype(np.float64)).reshape(9, -1).mean(axis=1)
    expected = np.average(each, weights=w)
    assert net.history_[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


class LogCosh(Loss):
    """log(cosh(e)), up to a constant."""

    def forward(self, y_true, y_pred):
        e = y_pred - y_true
        return ops.softplus(-2.0 * e) + e


def test_own_loss(iris):
    X, y = iris[0], iris[1].astype(float)
    net = NeuralNetRegressor([Dense(6, "tanh")], loss=LogCosh(), max_epochs=40, random_state=0,
                             optimizer=Adam(2e-2)).fit(X, y)  # fmt: skip
    assert net.score(X, y) > 0.8
    e = clone(net).set_params(optimizer=SGD(0.0), max_epochs=1).fit(X, y)
    expected = np.mean(np.logaddexp(0, -2 * (e.predict(X) - y)) + e.predict(X) - y)
    assert e.history_[0]["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert pickle.loads(pickle.dumps(net)).predict(X).tobytes() == net.predict(X).tobytes()


class Wrong(Loss):
    """Forgets the batch axis."""

    def forward(self, y_true, y_pred):
        return ops.mean(ops.square(y_pred - y_true))


def test_messages_of_losses(iris):
    X, y = iris
    with pytest.raises(ValueError, match=r"Wrong.forward must keep the batch axis"):
        NeuralNetRegressor(loss=Wrong()).fit(X, y)
    with pytest.raises(ValueError, match="LogLoss: label_smoothing=1.0 must be a number"):
        NeuralNetClassifier(loss=LogLoss(1.0)).fit(X, y)


# -- optimizers ----------------------------------------------------------------------------------


def sgd(o, w, g, state, t, rate):
    m = state.setdefault("m", 0.0)
    state["m"] = m = o.momentum * m - rate * g
    step = o.momentum * m - rate * g if o.nesterov else m
    return w + step - rate * o.weight_decay * w


def adam(o, w, g, state, t, rate):
    m = state["m"] = o.beta_1 * state.get("m", 0.0) + (1 - o.beta_1) * g
    v = state["v"] = o.beta_2 * state.get("v", 0.0) + (1 - o.beta_2) * g**2
    corrected = rate * np.sqrt(1 - o.beta_2**t) / (1 - o.beta_1**t)
    decay = rate * getattr(o, "weight_decay", 0.0)
    return w - corrected * m / (np.sqrt(v) + o.epsilon) - decay * w


def rmsprop(o, w, g, state, t, rate):
    v = state["v"] = o.rho * state.get("v", 0.0) + (1 - o.rho) * g**2
    m = state["m"] = o.momentum * state.get("m", 0.0) + rate * g / (np.sqrt(v) + o.epsilon)
    return w - m


RULES = {SGD: sgd, Adam: adam, AdamW: adam, RMSprop: rmsprop}
OPTIMIZERS = [
    SGD(0.1),
    SGD(0.1, weight_decay=0.1),
    SGD(0.05, momentum=0.9),
    SGD(0.05, momentum=0.9, nesterov=True),
    SGD(0.5, momentum=0.5, clip_norm=0.3),
    Adam(1e-2),
    Adam(1e-2, beta_1=0.5, beta_2=0.9, epsilon=1e-3, clip_norm=0.1),
    AdamW(1e-2, weight_decay=0.3),
    RMSprop(1e-2),
    RMSprop(1e-2, rho=0.6, momentum=0.7, epsilon=1e-2),
    *(
        SGD(schedule, momentum=0.3)
        for schedule in (
            ExponentialDecay(0.2, 0.5),
            StepDecay(0.2, 0.1, every=1.5),
            CosineDecay(0.2, 0.01),
            InverseScaling(0.2, 2.0),
            Warmup(0.2, 2),
            Warmup(CosineDecay(0.2), 2),
        )
    ),
]


def test_every_optimizer_and_schedule_has_a_case():
    assert set(RULES) == public(Optimizer) == {type(o) for o in OPTIMIZERS}
    used = {type(o.learning_rate) for o in OPTIMIZERS} - {float}
    assert used == public(Schedule)


class Twin:
    """One tanh layer and a softmax head in float64, with weights in a dict."""

    def __init__(self, weights):
        self.w = {k: v.astype(np.float64) for k, v in weights.items()}
        self.state = {k: {} for k in weights}

    def loss_and_gradients(self, X, y, weight):
        w = self.w
        h = np.tanh(X @ w["dense1.W"] + w["dense1.b"])
        z = h @ w["head.W"] + w["head.b"]
        share = weight / weight.sum()
        loss = -share @ log_softmax(z, axis=1)[np.arange(len(y)), y]
        dz = (np.exp(log_softmax(z, axis=1)) - np.eye(z.shape[1])[y]) * share[:, None]
        dh = dz @ w["head.W"].T * (1 - h**2)
        return loss, {
            "dense1.W": X.T @ dh, "dense1.b": dh.sum(0), "head.W": h.T @ dz, "head.b": dz.sum(0)
        }  # fmt: skip

    def step(self, optimizer, X, y, weight, t, rate):
        loss, g = self.loss_and_gradients(X, y, weight)
        scale = 1.0
        if optimizer.clip_norm is not None:
            scale = min(1.0, optimizer.clip_norm / np.sqrt(sum((v**2).sum() for v in g.values())))
        rule = RULES[type(optimizer)]
        for k in self.w:
            self.w[k] = rule(optimizer, self.w[k], scale * g[k], self.state[k], t, rate)
        return loss


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_steps_agree_with_float64(optimizer, weighted, iris):
    X, y = iris[0][:50].astype(np.float64), iris[1][:50]
    weight = np.random.RandomState(0).rand(50) + 0.1 if weighted else np.ones(50)
    epochs, size = 4, 20
    parameters = {"layers": [Dense(6, "tanh")], "batch_size": size, "shuffle": False,
                  "random_state": 0}  # fmt: skip
    start = NeuralNetClassifier(optimizer=SGD(0.0), max_epochs=1, **parameters).fit(X, y)
    net = NeuralNetClassifier(optimizer=optimizer, max_epochs=epochs, **parameters)
    net.fit(X, y, sample_weight=weight if weighted else None)
    twin, t = Twin(start.weights_), 0
    for epoch in range(epochs):
        total = 0.0
        for first in range(0, 50, size):
            part = slice(first, first + size)
            rate = rates(optimizer.learning_rate, np.array([t / 3]), epochs)[0]
            t += 1
            loss = twin.step(optimizer, X[part], y[part], weight[part], t, rate)
            total += loss * weight[part].sum()
        record = net.history_[epoch]
        assert record["train_loss"] == pytest.approx(total / weight.sum(), rel=2e-5)
        assert record["learning_rate"] == pytest.approx(rate)
    for name, w in net.weights_.items():
        np.testing.assert_allclose(w, twin.w[name], rtol=2e-4, atol=2e-5, err_msg=name)


def test_schedules_by_hand():
    t = np.array([0.0, 1.0, 2.0, 4.0])
    expected = {
        ExponentialDecay(2.0, 0.5): [2, 1, 0.5, 0.125],
        StepDecay(2.0, 0.1, every=2): [2, 2, 0.2, 0.02],
        CosineDecay(2.0, 1.0): [2, 1.5 + np.sqrt(0.125), 1.5, 1],
        InverseScaling(2.0, 1.0): [2, 1, 2 / 3, 0.4],
        Warmup(2.0, 2): [0, 1, 2, 2],
        Warmup(ExponentialDecay(2.0, 0.5), 4): [0, 0.25, 0.25, 0.125],
    }
    assert {type(s) for s in expected} == public(Schedule)
    for schedule, values in expected.items():
        np.testing.assert_allclose(schedule.rate(t, 4), values, atol=1e-12)
        assert clone(schedule).get_params().keys() == schedule.get_params().keys()


class Halve(Schedule):
    """A schedule of one's own."""

    def __init__(self, initial=1.0):
        self.initial = initial

    def rate(self, t, max_epochs):
        return self.initial / 2 ** np.floor(t)


def test_own_schedule_and_nested_names(iris):
    net = NeuralNetClassifier([], optimizer=SGD(Halve(0.4)), max_epochs=3, batch_size=50)
    net.set_params(optimizer__learning_rate__initial=0.8).fit(*iris)
    assert [r["learning_rate"] for r in net.history_] == [0.8, 0.4, 0.2]


def test_training_goes_on_with_the_same_steps_in_any_chunks(iris, monkeypatch):
    from skdeep.training import loop

    X, y = iris
    net = NeuralNetClassifier([Dense(5), Dropout(0.5)], batch_size=4, max_epochs=3, random_state=0)
    expected = net.fit(X, y).predict_proba(X)
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    assert net.fit(X, y).predict_proba(X).tobytes() == expected.tobytes()


# -- L-BFGS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def test_lbfgs_finds_the_optimum_of_a_convex_problem(cancer):
    X, y = cancer
    C = 0.1
    penalty = 1 / (2 * C * len(y))
    net = NeuralNetClassifier([], head=Dense(1, l2=penalty), optimizer=LBFGS(), max_epochs=500,
                              random_state=0).fit(X, y)  # fmt: skip
    peer = LogisticRegression(C=C, tol=1e-10, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(net.weights_["head.W"][:, 0], peer.coef_[0], atol=2e-3)
    np.testing.assert_allclose(net.predict_proba(X), peer.predict_proba(X), atol=1e-3)
    losses = [r["train_loss"] for r in net.history_]
    assert losses == sorted(losses, reverse=True)
    p = peer.predict_proba(X)[np.arange(len(y)), y]
    best = -np.log(p).mean() + penalty * (peer.coef_**2).sum()
    assert best == pytest.approx(losses[-1], rel=1e-5)


def test_lbfgs_solves_ridge_with_weights(iris):
    X, y = iris[0].astype(np.float64), iris[1].astype(float)
    w = np.random.RandomState(0).rand(150)
    net = NeuralNetRegressor([], head=Dense(1, l2=0.1), optimizer=LBFGS(tol=1e-6), random_state=0)
    net.fit(X, y, sample_weight=w)
    peer = Ridge(alpha=0.1 * w.sum()).fit(X, y, sample_weight=w)
    np.testing.assert_allclose(net.weights_["head.W"][:, 0], peer.coef_, atol=1e-4)
    np.testing.assert_allclose(net.weights_["head.b"][0], peer.intercept_, atol=1e-4)


def test_lbfgs_says_when_it_did_not_converge(iris):
    net = NeuralNetClassifier(optimizer=LBFGS(), max_epochs=2, random_state=0)
    with pytest.warns(ConvergenceWarning, match="raise max_epochs"):
        net.fit(*iris)
    assert net.n_iter_ == len(net.history_) == 2


def test_lbfgs_says_when_evaluations_ran_out(iris):
    net = NeuralNetClassifier(optimizer=LBFGS(max_evaluations=3), random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_evaluations"):
        net.fit(*iris)


def test_lbfgs_has_no_partial_fit(iris):
    assert not hasattr(NeuralNetClassifier(optimizer=LBFGS()), "partial_fit")
    assert hasattr(NeuralNetRegressor(), "partial_fit")


def test_lbfgs_with_dropout_minimises_one_function(iris):
    X, y = iris
    net = NeuralNetClassifier([Dense(20, "tanh"), Dropout(0.5)], optimizer=LBFGS(tol=1e-2),
                              random_state=0, max_epochs=500).fit(X, y)  # fmt: skip
    losses = [r["train_loss"] for r in net.history_]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.3


# -- callbacks -----------------------------------------------------------------------------------


class Log(Callback):
    """Writes down what it is told."""

    def on_fit_begin(self, net, **kwargs):
        self.calls_ = [("fit_begin", sorted(kwargs))]

    def on_epoch_begin(self, net, **kwargs):
        self.calls_.append(("epoch_begin", sorted(kwargs)))

    def on_chunk_end(self, net, **kwargs):
        self.calls_.append(("chunk_end", sorted(kwargs)))
        assert 0 < kwargs["step"] <= kwargs["n_steps"]

    def on_epoch_end(self, net, record, **kwargs):
        self.calls_.append(("epoch_end", record["epoch"]))
        assert net.history_[-1] is record

    def on_fit_end(self, net, **kwargs):
        self.calls_.append(("fit_end", sorted(kwargs)))


class StopAt(Callback):
    """Ends training after some epochs, by returning True or by an exception."""

    def __init__(self, epoch=2, error=None):
        self.epoch = epoch
        self.error = error

    def on_epoch_end(self, net, *, record, **kwargs):
        if record["epoch"] == self.epoch:
            if self.error is not None:
                raise self.error()
            return True


def test_hooks_are_called_in_order(iris):
    log = Log()
    net = NeuralNetClassifier([], max_epochs=2, callbacks=[log, StopAt(7)], random_state=0)
    net.fit(*iris)
    calls = [name for name, _ in net.callbacks_[0].calls_]
    assert calls[0] == "fit_begin" and calls[-1] == "fit_end"
    within = [c for c in calls if c != "chunk_end"][1:-1]
    assert within == ["epoch_begin", "epoch_end"] * 2
    assert calls.index("chunk_end") == 2
    assert not hasattr(log, "calls_"), "the estimator must work on clones"


def test_a_callback_stops_training(iris):
    net = NeuralNetClassifier([], max_epochs=9, callbacks=[StopAt(3), Log()]).fit(*iris)
    assert net.n_iter_ == 3 and not net.interrupted_
    assert ("epoch_end", 3) in net.callbacks_[1].calls_
    assert net.callbacks_[1].calls_[-1][0] == "fit_end"


CALLBACKS = [Log(), StopAt(), EarlyStopping("train_loss"), ProgressBar(file=io.StringIO())]


@pytest.mark.parametrize("callback", CALLBACKS, ids=lambda c: type(c).__name__)
def test_callbacks_are_cloned_pickled_and_searched(callback, iris):
    assert public(Callback) <= {type(c) for c in CALLBACKS}
    net = NeuralNetClassifier([], max_epochs=3, callbacks=[callback], random_state=0).fit(*iris)
    if not isinstance(callback, ProgressBar):
        kept = pickle.loads(pickle.dumps(net))
        assert type(kept.callbacks_[0]) is type(callback)
    assert clone(net).callbacks[0].get_params().keys() == callback.get_params().keys()
    clone(net).fit(*iris)


def test_early_stopping_restores_the_best(iris):
    X, y = iris

    def fit(**parameters):
        return NeuralNetClassifier(
            [Dense(10, "relu")], max_epochs=60, optimizer=SGD(1.0, momentum=0.9), random_state=0,
            batch_size=30, callbacks=[EarlyStopping(**parameters)],
        ).fit(X[:90], y[:90], X_val=X[90:], y_val=y[90:])  # fmt: skip

    for monitor, best in (("valid_loss", min), ("valid_score", max)):
        net = fit(monitor=monitor, patience=5)
        values = [r[monitor] for r in net.history_]
        assert len(values) < 60
        stopper = net.callbacks_[0]
        assert stopper.stopped_ and stopper.best_value_ == best(values)
        assert stopper.best_epoch_ == 1 + values.index(best(values))
        score = net.score(X[90:], y[90:])
        assert score == pytest.approx(net.history_[stopper.best_epoch_ - 1]["valid_score"])
    last = fit(patience=5, restore_best=False)
    assert last.score(X[90:], y[90:]) == pytest.approx(last.history_[-1]["valid_score"])


def test_early_stopping_counts_epochs_without_improvement():
    values = [1.0, 0.5, 0.49999, 0.49998, 0.2, 0.3, 0.3, 0.3]
    stopper = EarlyStopping("train_loss", patience=3, tol=1e-3)
    stopper.on_fit_begin(None)
    kept, stops = [], []
    for k, value in enumerate(values, 1):
        record = {"epoch": k, "train_loss": value}
        stops.append(stopper.on_epoch_end(None, record=record, snapshot=lambda k=k: kept.append(k)))
    assert stops == [False] * 7 + [True]
    assert kept == [1, 2, 3, 4, 5]
    upwards = EarlyStopping("gain", patience=1, mode="max")
    upwards.on_fit_begin(None)
    assert not upwards.on_epoch_end(None, record={"epoch": 1, "gain": 1.0})
    assert not upwards.on_epoch_end(None, record={"epoch": 2, "gain": 2.0})
    assert upwards.on_epoch_end(None, record={"epoch": 3, "gain": 1.5})


def test_early_stopping_says_what_it_can_watch(iris):
    net = NeuralNetClassifier([], callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match="pass X_val and y_val to fit, set early_stopping=True"):
        net.fit(*iris)
    with pytest.raises(ValueError, match="mode='up' must be"):
        NeuralNetClassifier([], callbacks=[EarlyStopping(mode="up")]).fit(*iris)


@pytest.mark.parametrize("has_tqdm", [True, False])
def test_progress_bar(has_tqdm, iris, monkeypatch):
    calls = []

    class Bar:
        """Stands for tqdm.tqdm."""

        def __init__(self, total, unit, file):
            calls.append(total)

        def set_postfix(self, values, refresh):
            calls.append(values)

        def update(self, n):
            calls.append(n)

        def close(self):
            calls.append("closed")

    tqdm = types.ModuleType("tqdm")
    tqdm.tqdm = Bar
    monkeypatch.setitem(sys.modules, "tqdm", tqdm if has_tqdm else None)  # None: ImportError
    file = io.StringIO()
    bar = ProgressBar()
    bar.file = file
    bar.on_fit_begin(None, max_epochs=4)
    bar.on_epoch_end(None, record={"epoch": 1, "train_loss": 0.25, "valid_loss": 2.0})
    bar.on_fit_end(None)
    if has_tqdm:
        assert calls == [4, {"train_loss": "0.25", "valid_loss": "2"}, 1, "closed"]
    else:
        assert "1/4 epochs" in file.getvalue()
        assert "train_loss=0.25, valid_loss=2" in file.getvalue()
        assert file.getvalue().endswith("\n")


def test_progress_bar_in_a_fit(iris, capsys):
    net = NeuralNetClassifier([], max_epochs=3, callbacks=[ProgressBar()]).fit(*iris)
    assert "3/3" in capsys.readouterr().err
    assert net.n_iter_ == 3
    pickle.dumps(net)


def test_verbose_prints_a_line_per_epoch(iris, capsys):
    NeuralNetClassifier([], max_epochs=2, verbose=1, early_stopping=True).fit(*iris)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "train loss" in lines[0] and "valid score" in lines[1]
    NeuralNetClassifier([], max_epochs=900, verbose=1, optimizer=LBFGS(tol=1e-2)).fit(*iris)
    assert "iteration    1  train loss" in capsys.readouterr().out


# -- being interrupted, and failing --------------------------------------------------------------


def test_interrupting_keeps_the_weights_so_far(iris):
    X, y = iris
    stop = StopAt(3, KeyboardInterrupt)
    net = NeuralNetClassifier([Dense(8)], max_epochs=50, callbacks=[stop, Log()], random_state=0)
    with pytest.warns(UserWarning, match="interrupted after 3 epochs"):
        net.fit(X, y)
    assert net.interrupted_ and net.n_iter_ == 3
    assert net.callbacks_[1].calls_[-1][0] == "fit_end"
    whole = NeuralNetClassifier([Dense(8)], max_epochs=3, random_state=0).fit(X, y)
    np.testing.assert_array_equal(net.predict_proba(X), whole.predict_proba(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.set_params(callbacks=None).partial_fit(X, y)
    assert not net.interrupted_ and net.n_iter_ == 4


def test_interrupting_early_stopping_keeps_the_best(iris):
    X, y = iris
    net = NeuralNetClassifier(
        [Dense(20, "relu")], optimizer=SGD(3.0), max_epochs=50, random_state=0,
        early_stopping=True, n_iter_no_change=50, callbacks=[StopAt(12, KeyboardInterrupt)],
    )  # fmt: skip
    with pytest.warns(UserWarning, match="best weights so far"):
        net.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    losses = [r["valid_loss"] for r in net.history_]
    p = net.predict_proba(X[100:]).astype(np.float64)[np.arange(50), y[100:]]
    assert -np.log(p).mean() == pytest.approx(min(losses[:11]), rel=1e-4)


SIGINT = """
import os, signal, sys, threading, time, warnings
import numpy as np
from skdeep import NeuralNetClassifier
from skdeep.layers import Dense
from skdeep.training import {optimizer}

X = np.random.RandomState(0).randn(20_000, 30).astype(np.float32)
y = (X[:, 0] * X[:, 1] > X[:, 2]).astype(int)
net = NeuralNetClassifier([Dense(256, "tanh")], max_epochs=100_000, optimizer={optimizer}(),
                          random_state=0)

def press():
    while len(getattr(net, "history_", ())) < 2:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    net.fit(X, y)
assert any("interrupted" in str(w.message) for w in caught), caught
assert net.interrupted_ is True
assert 2 <= net.n_iter_ < 100_000
print(net.score(X, y))
"""


@pytest.mark.parametrize("optimizer", ["Adam", "LBFGS"])
def test_ctrl_c(optimizer, run_python):
    assert float(run_python(SIGINT.format(optimizer=optimizer))) > 0.55


def test_a_loss_that_is_not_finite_says_what_to_try(iris):
    X, y = iris
    net = NeuralNetRegressor([Dense(30)], optimizer=SGD(10.0), max_epochs=99, callbacks=[Log()])
    with pytest.raises(ValueError) as caught:
        net.fit(X, y)
    message = str(caught.value)
    epoch = len(net.history_) + 1
    assert f"in epoch {epoch}, step " in message
    for hint in ("smaller learning rate (it is 10)", "StandardScaler", "clip_norm"):
        assert hint in message
    with pytest.raises(ValueError, match="iteration 1; scale the inputs"):
        NeuralNetRegressor([], optimizer=LBFGS()).fit(X * 1e20, y)


def test_history_has_what_it_promises(iris):
    X, y = iris
    net = NeuralNetClassifier([], max_epochs=2).fit(X, y, X_val=X, y_val=y)
    keys = ["epoch", "train_loss", "valid_loss", "valid_score", "learning_rate", "seconds"]
    assert [list(r) for r in net.history_] == [keys, keys]
    assert json.loads(json.dumps(net.history_)) == net.history_


@pytest.mark.parametrize(
    "optimizer,message",
    [
        (SGD(-1.0), "SGD: learning_rate=-1.0 must be a number that is not negative"),
        (Adam(np.nan), "Adam: learning_rate=nan must be"),
        (Adam(CosineDecay), "not negative or a Schedule"),
        (SGD("slow"), "learning_rate='slow' must be a number that is not negative or a"),
        (SGD(momentum=1.0), r"momentum=1.0 must be a number in \[0, 1\)"),
        (RMSprop(rho=1.5), r"rho=1.5 must be a number in \[0, 1\)"),
        (RMSprop(momentum=-1.0), "momentum"),
        (Adam(beta_1=1.0), r"beta_1=1.0 must be a number in \[0, 1\)"),
        (AdamW(beta_2=-0.1), r"beta_2=-0.1 must be a number in"),
        (Adam(clip_norm=0.0), "clip_norm=0.0 must be a positive number or None"),
        (Adam(epsilon=-1.0), "epsilon"),
        (Adam, "must be an optimizer object"),
        ("adam", "must be an optimizer object"),
    ],
    ids=str,
)
def test_messages_of_optimizers(optimizer, message, iris):
    with pytest.raises(ValueError, match=message):
        NeuralNetClassifier(optimizer=optimizer, max_epochs=2).fit(*iris)


def test_lbfgs_settles_batch_norm():
    """After L-BFGS the network in inference has the loss that training reports."""
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    net = NeuralNetClassifier(
        [Dense(8), BatchNorm("tanh")], optimizer=LBFGS(), max_epochs=8, random_state=0
    )
    with pytest.warns(ConvergenceWarning):
        net.fit(X, y)
    assert log_loss(y, net.predict_proba(X)) == pytest.approx(net.history_[-1]["train_loss"], 1e-2)


def test_adam_is_exact_to_a_few_units_of_rounding_for_gradients_of_any_size():
    rng = np.random.default_rng(0)
    n, rate, beta_1, beta_2, epsilon = 1003, 1e-2, 0.75, 0.5, 1e-8
    w = np.zeros(n, np.float32)
    g = (10.0 ** rng.uniform(-30, 15, n) * rng.choice([-1, 1], n)).astype(np.float32)
    g[::50] = 0
    m, v = np.zeros(n, np.float32), np.zeros(n, np.float32)
    registers = np.zeros(16, np.int32)
    registers[2:7] = np.array([rate, beta_1, beta_2, epsilon, 0], np.float32).view(np.int32)
    leaves = [Tensor((n,)) for _ in range(4)]
    settings = Tensor((16,), "int32")
    done = AdamUpdate(*leaves, settings, None).output
    evaluate([done], {**dict(zip(leaves, (w, g, m, v))), settings: registers}, guard=False)
    g = g.astype(np.float64)
    expected = -rate * (1 - beta_1) * g / (np.sqrt((1 - beta_2) * g**2) + epsilon)
    visible = np.abs(g) > 1e-17  # float32 squares of smaller ones vanish, beside epsilon too
    np.testing.assert_allclose(w[visible], expected[visible], rtol=6e-7)
    np.testing.assert_allclose(w[~visible], expected[~visible], atol=1e-9)
