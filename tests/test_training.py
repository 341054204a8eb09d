"""Losses, optimizers, schedules, callbacks and the loop, against float64 written out in NumPy."""

import json
import pickle

import numpy as np
import pytest
from checks import public
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline

from skdeep import NeuralNetClassifier, NeuralNetRegressor, ops
from skdeep.graph.differentiate import gradients
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.layers import BatchNorm, Dense, Dropout
from skdeep.ops.optimizers import AdamUpdate, MomentumUpdate, Penalty, RMSpropUpdate
from skdeep.training import (
    LBFGS,
    SGD,
    AbsoluteError,
    Adam,
    AdamW,
    CosineDecay,
    ExponentialDecay,
    Huber,
    InverseScaling,
    LogLoss,
    Loss,
    Optimizer,
    RMSprop,
    Schedule,
    SquaredError,
    StepDecay,
    Warmup,
)
from skdeep.training.losses import LOSSES
from skdeep.training.schedules import rates

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
    with pytest.warns(ConvergenceWarning, match="raise max_epochs") as record:
        make_pipeline("passthrough", net).fit(*iris)
    assert record[0].filename == __file__  # the user's line, not scikit-learn's or ours
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


@pytest.mark.parametrize("update", [AdamUpdate, MomentumUpdate, RMSpropUpdate])
def test_a_step_adds_the_gradient_of_its_penalties(update):
    """As if :class:`Penalty` had, over parts of one and of several tiles and what lies between."""
    rng = np.random.default_rng(0)
    n, parts = 21000, ((16, 9000, 0.3), (9100, 5000, 0.7), (20000, 1000, 1e-3))
    arrays = [rng.standard_normal(n).astype(np.float32) for _ in range(2 + update.slots)]
    arrays[2:] = [np.abs(a) for a in arrays[2:]]
    registers = np.zeros(16, np.int32)
    registers[2:7] = np.array([0.1, 0.9, 0.8, 0.7, 0.01], np.float32).view(np.int32)
    leaves, settings = [Tensor((n,)) for _ in arrays], Tensor((16,), "int32")
    one, two = [a.copy() for a in arrays], [a.copy() for a in arrays]
    done = update(*leaves, settings, None, penalties=parts).output
    feeds = {**dict(zip(leaves, one)), settings: registers}
    (values,) = evaluate([done], feeds, guard=False)

    for offset, size, l2 in parts:
        w, g = Tensor((size,)), Tensor((size,))
        part = slice(offset, offset + size)
        added = two[1][part].copy()
        evaluate([Penalty(w, g, l1=0.0, l2=l2).output], {w: two[0][part], g: added}, guard=False)
        two[1][part] = added
    plain = update(*leaves, settings, None).output
    evaluate([plain], {**dict(zip(leaves, two)), settings: registers}, guard=False)

    for a, b in zip(one[:1] + one[2:], two[:1] + two[2:]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(one[1], arrays[1])
    expected = sum(
        l2 * np.sum(arrays[0][o : o + size].astype(np.float64) ** 2) for o, size, l2 in parts
    )
    assert values.sum(dtype=np.float64) == pytest.approx(expected, rel=1e-5)
