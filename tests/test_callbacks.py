"""Callbacks, early stopping, progress, and being interrupted."""

import io
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
from checks import public
from sklearn.base import clone

from skdeep import NeuralNetClassifier, NeuralNetRegressor
from skdeep.layers import Dense
from skdeep.training import (
    LBFGS,
    SGD,
    Callback,
    EarlyStopping,
    ProgressBar,
)

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
