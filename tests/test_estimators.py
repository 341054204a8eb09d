"""The estimators keep scikit-learn's contract, parameter by parameter and target by target."""

import copy
import importlib
import json
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import skdeep
from skdeep import NeuralNetClassifier, NeuralNetRegressor
from skdeep.layers import AveragePool2D, BatchNorm, Conv2D, Dense, Dropout, MaxPool2D
from skdeep.training import LBFGS, SGD, Adam, RMSprop

ROUNDING = (
    "The check asks that a weight of 2 and a sample given twice agree to 1e-7. In float32 a sum "
    "over other batches rounds differently, by more than that. test_weights_count_as_repeats "
    "asks for 1e-4 after a short training."
)
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": ROUNDING,
    "check_sample_weight_equivalence_on_sparse_data": ROUNDING,
}


def convolutional():
    """A convolutional network that takes images of any size from one pixel up."""
    return [
        ("conv", Conv2D(4, (3, 1), padding="same", activation="relu")),
        MaxPool2D((2, 1), padding="same", ceil_mode=True),
        AveragePool2D((2, 1), stride=1, padding="same"),
        Dense(8, "relu"),
    ]


def common(epochs=60):
    return {"random_state": 0, "max_epochs": epochs, "optimizer": Adam(2e-2), "batch_size": 16}


def by_lbfgs(kind, l2, tol):
    """L-BFGS on a problem regular enough to be solved in some hundred iterations."""
    layers = [Dense(8, "relu", l2=l2)]
    return kind(layers, optimizer=LBFGS(tol=tol), max_epochs=2000, random_state=0)


INSTANCES = [
    by_lbfgs(NeuralNetClassifier, l2=1e-2, tol=0.1),
    by_lbfgs(NeuralNetRegressor, l2=3e-2, tol=0.1),
    *(
        kind(**parameters)
        for kind in (NeuralNetClassifier, NeuralNetRegressor)
        for parameters in (
            {"random_state": 0, "max_epochs": 30, "optimizer": Adam(1e-2)},
            {"layers": convolutional(), "input_shape": (-1, 1, 1), **common()},
            {"layers": [Dense(32, "relu"), BatchNorm(), Dropout(0.1)], **common()},
            {"early_stopping": True, "n_iter_no_change": 20, **common()},
        )
    ),
]


# Whether a solver converges on the unscaled data of a check is not what the check is about.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(INSTANCES, expected_failed_checks=lambda e: EXPECTED_FAILURES)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_every_public_estimator_is_checked():
    public = {
        name
        for name in skdeep.__all__
        if isinstance(getattr(skdeep, name), type)
        and issubclass(getattr(skdeep, name), BaseEstimator)
    }
    mlp = importlib.import_module("test_mlp")
    checked = {type(e).__name__ for e in INSTANCES} | {type(e).__name__ for e in mlp.INSTANCES}
    assert checked == public


# -- parameters by name --------------------------------------------------------------------------


def net(**changes):
    layers = [
        ("conv", Conv2D(2, 3, activation="relu")),
        MaxPool2D(2),
        Dense(6, "relu"),
        ("drop", Dropout(0.25)),
        Dense(5, "relu"),
    ]
    parameters = {"layers": layers, "input_shape": (8, 8, 1), "max_epochs": 1, "random_state": 0}
    return NeuralNetClassifier(**parameters | changes)


def test_parameters_have_names():
    params = net(optimizer=Adam(2e-3)).get_params()
    assert params["conv__filters"] == 2
    assert params["maxpool2d1__pool_size"] == 2
    assert (params["dense1__units"], params["dense2__units"]) == (6, 5)
    assert params["optimizer__learning_rate"] == 2e-3
    assert set(net().get_params(deep=False)) == set(NeuralNetClassifier._get_param_names())


def test_parameters_can_be_set_by_name(digits):
    changed = net(optimizer=Adam()).set_params(
        conv__filters=3, dense2__units=7, optimizer__learning_rate=0.5, drop__rate=0.0
    )
    assert [layer.get_params().get("units") for layer in changed.layers if isinstance(layer, Dense)]
    changed.fit(*digits)
    assert changed.weights_["conv.W"].shape == (3, 3, 1, 3)
    assert changed.weights_["dense2.W"].shape == (6, 7)
    assert changed.history_[0]["learning_rate"] == 0.5


def test_a_layer_can_be_replaced_or_left_out(digits):
    changed = net().set_params(dense1=Dense(9), drop="passthrough", maxpool2d1=None)
    assert [name for name, _ in changed.layers] == [
        "conv",
        "maxpool2d1",
        "dense1",
        "drop",
        "dense2",
    ]
    changed.fit(*digits)
    assert changed.weights_["dense1.W"].shape == (72, 9)
    assert changed.network_.names == ["conv", "dense1", "dense2", "head"]


def test_setting_parameters_leaves_other_estimators_alone():
    layers = [("a", Dense(3)), Dense(4)]
    first = NeuralNetClassifier(layers)
    second = clone(first).set_params(a__units=30, dense1=Dense(40))
    assert first.get_params()["a__units"] == 3
    assert first.layers is layers and layers[1].units == 4
    assert second.get_params()["dense1__units"] == 40


def test_unknown_parameters_are_named():
    with pytest.raises(ValueError, match="colour"):
        net().set_params(colour="red")
    with pytest.raises(ValueError, match="filtres"):
        net().set_params(conv__filtres=3)


def test_clone_copies_layers_and_optimizer():
    original = net(optimizer=SGD(0.1))
    copied = clone(original)
    assert copied.get_params()["conv__filters"] == 2
    assert copied.layers[0][1] is not original.layers[0][1]
    assert copied.optimizer is not original.optimizer
    assert repr(copied) == repr(original)


def test_representations_name_the_layers(digits):
    for estimator in (net(), net().fit(*digits)):
        assert "Conv2D" in repr(estimator)
        assert "Conv2D" in estimator._repr_html_()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_over_layers_in_a_pipeline(backend, digits):
    X, y = digits
    pipeline = make_pipeline(StandardScaler(), net(optimizer=Adam()))
    grid = {
        "neuralnetclassifier__conv__filters": [np.int64(1), 2],
        "neuralnetclassifier__conv__kernel_size": [np.int64(3)],
        "neuralnetclassifier__drop": [Dropout(0.5), "passthrough"],
        "neuralnetclassifier__optimizer__learning_rate": [1e-3],
    }
    alone = GridSearchCV(pipeline, grid, cv=2, n_jobs=1, error_score="raise").fit(X, y)
    with joblib.parallel_backend(backend):
        search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    key = "mean_test_score"
    np.testing.assert_array_equal(search.cv_results_[key], alone.cv_results_[key])
    np.testing.assert_array_equal(search.predict_proba(X), alone.predict_proba(X))


# -- keeping estimators --------------------------------------------------------------------------


def dumped(estimator, tmp_path):
    joblib.dump(estimator, tmp_path / "net.joblib")
    return joblib.load(tmp_path / "net.joblib")


KEEPERS = {
    "pickle": lambda e, _: pickle.loads(pickle.dumps(e)),
    "joblib": dumped,
    "deepcopy": lambda e, _: copy.deepcopy(e),
}


@pytest.mark.parametrize("keep", KEEPERS)
def test_kept_estimators_predict_the_same_bits(keep, digits, tmp_path):
    X, y = digits
    fitted = net().fit(X, y)
    fitted.predict(X)
    kept = KEEPERS[keep](fitted, tmp_path)
    assert kept.predict_proba(X).tobytes() == fitted.predict_proba(X).tobytes()
    assert kept.weights_.keys() == fitted.weights_.keys()
    assert kept.history_ == fitted.history_
    kept.set_weights({name: 0 * w for name, w in kept.weights_.items()})
    assert np.ptp(kept.decision_function(X)) == 0 < np.ptp(fitted.decision_function(X))


def test_pickles_hold_the_weights_once(digits):
    fitted = net(layers=[Dense(400)], input_shape=None).fit(*digits)
    fitted.predict(digits[0])
    numbers = sum(w.size for w in fitted.weights_.values())
    assert len(pickle.dumps(fitted)) < 4 * numbers + 20_000


def test_partial_fit_goes_on_the_same_after_pickling(digits):
    X, y = digits
    parts = np.array_split(np.arange(len(y)), 3)
    whole = net(optimizer=Adam(), layers=[Dense(9), Dropout(0.5)], input_shape=None)
    kept = clone(whole)
    for part in parts:
        whole.partial_fit(X[part], y[part], classes=np.arange(10))
        kept.partial_fit(X[part], y[part], classes=np.arange(10))
        kept = pickle.loads(pickle.dumps(kept))
    assert kept.predict_proba(X).tobytes() == whole.predict_proba(X).tobytes()
    assert whole.n_iter_ == 3


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), Adam(1e-2), RMSprop()])
def test_partial_fit_equals_fit_epoch_by_epoch(optimizer, iris):
    X, y = iris
    parameters = {"layers": [Dense(5, "tanh")], "optimizer": optimizer, "random_state": 3}
    whole = NeuralNetClassifier(max_epochs=4, **parameters).fit(X, y)
    steps = NeuralNetClassifier(**parameters)
    for _ in range(4):
        steps.partial_fit(X, y)
    for name, w in whole.weights_.items():
        np.testing.assert_array_equal(w, steps.weights_[name])


def test_partial_fit_after_fit_shuffles_anew(iris):
    X, y = iris
    parameters = {"layers": [Dense(5)], "batch_size": 8, "random_state": 0, "max_epochs": 1}
    fitted = NeuralNetClassifier(optimizer=SGD(0.01), **parameters).fit(X, y)
    losses = [fitted.partial_fit(X, y).history_[-1]["train_loss"] for _ in range(3)]
    again = NeuralNetClassifier(optimizer=SGD(0.01), **parameters).partial_fit(X, y).fit(X, y)
    assert [again.partial_fit(X, y).history_[-1]["train_loss"] for _ in range(3)] == losses


def test_warm_start_goes_on(iris):
    X, y = iris
    warm = NeuralNetClassifier([Dense(8)], max_epochs=5, warm_start=True, random_state=0)
    first = warm.fit(X, y).history_[-1]["train_loss"]
    warm.fit(X, y)
    assert [r["epoch"] for r in warm.history_] == list(range(1, 11))
    assert warm.n_iter_ == 10
    assert warm.history_[5]["train_loss"] < first
    warm.set_params(warm_start=False).fit(X, y)
    assert warm.n_iter_ == 5 and warm.history_[-1]["train_loss"] == first


# -- targets -------------------------------------------------------------------------------------


def classifier(**changes):
    parameters = {
        "layers": [Dense(16, "relu")], "max_epochs": 60, "random_state": 0, "optimizer": Adam(2e-2),
    }  # fmt: skip
    return NeuralNetClassifier(**parameters | changes)


LABELS = {
    "strings": np.array(["versicolor", "a", "ζ"]),
    "objects": np.array(["x", "yy", "z"], dtype=object),
    "negative": np.array([-7, -1, 3]),
    "floats": np.array([-1.0, 0.0, 4.0]),
    "uint8": np.array([3, 5, 250], dtype=np.uint8),
    "two strings": np.array(["no", "yes", "yes"]),
    "booleans": np.array([False, True, True]),
    "minus and plus one": np.array([-1, 1, 1]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_any_label_type(kind, iris):
    X, y = iris
    labels = LABELS[kind]
    fitted = classifier().fit(X, labels[y])
    np.testing.assert_array_equal(fitted.classes_, np.unique(labels))
    assert fitted.predict(X).dtype == labels.dtype
    assert fitted.score(X, labels[y]) > 0.9
    k = len(fitted.classes_)
    p = fitted.predict_proba(X)
    assert p.shape == (len(X), k)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(fitted.classes_[p.argmax(axis=1)], fitted.predict(X))
    np.testing.assert_allclose(fitted.predict_log_proba(X), np.log(p), rtol=1e-5)
    assert fitted.decision_function(X).shape == ((len(X),) if k == 2 else (len(X), k))


def test_labels_do_not_change_what_is_learnt(iris):
    X, y = iris
    numbers = classifier().fit(X, y).predict_proba(X)
    names = classifier().fit(X, np.array(["a", "b", "c"])[y]).predict_proba(X)
    np.testing.assert_array_equal(numbers, names)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.csc_array])
def test_multilabel(container, iris):
    X, y = iris
    Y = np.stack([y == 0, y > 0, X[:, 0] > 0], axis=1).astype(int)
    fitted = classifier().fit(X, container(Y))
    assert fitted.predict(X).shape == Y.shape
    assert (fitted.predict(X) == Y).mean() > 0.95
    assert fitted.score(X, Y) > 0.9
    p = fitted.predict_proba(X)
    assert p.shape == Y.shape and np.all((p > 0.5) == fitted.predict(X))
    np.testing.assert_allclose(
        p, 1 / (1 + np.exp(-fitted.decision_function(X).astype(float))), 1e-5
    )


def test_several_targets_with_labels_of_their_own(iris):
    X, y = iris
    Y = np.stack([np.array(["a", "b", "c"])[y], np.where(X[:, 0] > 0, "up", "down")], axis=1)
    fitted = classifier(early_stopping=True, n_iter_no_change=60).fit(X, Y)
    assert [c.tolist() for c in fitted.classes_] == [["a", "b", "c"], ["down", "up"]]
    assert (fitted.predict(X) == Y).mean() > 0.9
    assert fitted.score(X, Y) == pytest.approx(np.mean((fitted.predict(X) == Y).all(axis=1)))
    assert [p.shape for p in fitted.predict_proba(X)] == [(150, 3), (150, 2)]
    assert [d.shape for d in fitted.decision_function(X)] == [(150, 3), (150, 2)]
    assert [p.shape for p in fitted.predict_log_proba(X)] == [(150, 3), (150, 2)]
    assert 0.8 < fitted.history_[-1]["valid_score"] <= 1


def test_several_outputs_regression(iris):
    X, _ = iris
    Y = X[:, :2] * [1.0, -2.0]
    fitted = NeuralNetRegressor([Dense(32, "tanh")], max_epochs=80, random_state=0,
                                optimizer=Adam(2e-2)).fit(X, Y)  # fmt: skip
    assert fitted.predict(X).shape == Y.shape and fitted.predict(X).dtype == np.float64
    assert fitted.score(X, Y) > 0.95
    assert fitted.fit(X, Y[:, 0]).predict(X).shape == (150,)


def test_column_vectors_are_taken_with_a_warning(iris):
    X, y = iris
    with pytest.warns(DataConversionWarning, match="column-vector"):
        column = classifier(max_epochs=2).fit(X, y.reshape(-1, 1))
    np.testing.assert_array_equal(column.predict(X), classifier(max_epochs=2).fit(X, y).predict(X))
    with pytest.warns(DataConversionWarning, match="column-vector"):
        regressor = NeuralNetRegressor(max_epochs=1).fit(X, X[:, :1])
    assert regressor.predict(X).shape == (150,)


# -- inputs --------------------------------------------------------------------------------------


def spread(X):
    """X with nine tenths of its numbers zero."""
    return np.where(np.random.RandomState(1).rand(*X.shape) < 0.9, 0, X).astype(np.float32)


def with_duplicates(X):
    """CSR where every number is stored as two halves, in two entries."""
    rows, columns = np.nonzero(X)
    data = np.repeat(X[rows, columns] / 2, 2)
    starts = np.concatenate([[0], np.cumsum(2 * np.bincount(rows, minlength=len(X)))])
    return sparse.csr_matrix((data, np.repeat(columns, 2), starts), X.shape)


CONTAINERS = {
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc": sparse.csc_array,
    "coo": sparse.coo_matrix,
    "duplicates": with_duplicates,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "layers", [[Dense(8, "relu")], [Dropout(0.0), Dense(8)], [], convolutional()], ids=str
)
def test_sparse_x_equals_dense_x(container, layers, digits):
    X, y = spread(digits[0]), digits[1]
    shape = (-1, 1, 1) if len(layers) > 2 else None
    dense = NeuralNetClassifier(layers, max_epochs=3, random_state=0, input_shape=shape)
    other = clone(dense).fit(CONTAINERS[container](X), y)
    dense.fit(X, y)
    for name, w in dense.weights_.items():
        np.testing.assert_allclose(other.weights_[name], w, atol=2e-5)
    expected = dense.predict_proba(X)
    np.testing.assert_allclose(dense.predict_proba(CONTAINERS[container](X)), expected, atol=1e-5)


def test_sparse_rows_may_be_empty(iris):
    X, y = np.zeros((150, 4), np.float32), iris[1]
    fitted = classifier(max_epochs=1).fit(sparse.csr_array(X), y)
    np.testing.assert_allclose(fitted.predict_proba(sparse.csr_array(X)), fitted.predict_proba(X))


def test_data_frames_give_names(iris):
    X, y = iris
    frame = pd.DataFrame(X, columns=list("abcd"))
    fitted = classifier(max_epochs=2).fit(frame, pd.Series(y, index=np.arange(150) + 7))
    assert fitted.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_array_equal(
        fitted.predict(frame), classifier(max_epochs=2).fit(X, y).predict(X)
    )
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[list("dcba")])


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "uint8", "bool"])
def test_any_number_type(dtype, digits):
    X = (digits[0] * 8).round().astype(dtype)
    single = X.astype(np.float32)
    fitted, expected = (
        classifier(max_epochs=2, layers=[Dense(8)]).fit(A, digits[1]) for A in (X, single)
    )
    np.testing.assert_array_equal(fitted.decision_function(X), expected.decision_function(single))


def test_input_of_any_layout(tmp_path, digits):
    X, y = digits
    np.save(tmp_path / "X.npy", X)
    unaligned = np.frombuffer(b"\0" + X.tobytes(), np.float32, offset=1).reshape(X.shape)
    expected = classifier(max_epochs=2).fit(X, y).predict_proba(X)
    for other in (
        np.load(tmp_path / "X.npy", mmap_mode="r"),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=0)[::2],
        X[::-1][::-1],
        X.astype(">f4"),
        unaligned,
        X.tolist(),
    ):
        np.testing.assert_allclose(
            classifier(max_epochs=2).fit(other, y).predict_proba(other), expected, rtol=1e-6
        )


def test_images_and_flat_rows_agree(digits):
    X, y = digits
    images = X.reshape(-1, 8, 8, 1)
    flat, shaped = net(max_epochs=2).fit(X, y), net(max_epochs=2, input_shape=None).fit(images, y)
    assert shaped.input_shape_ == flat.input_shape_ == (8, 8, 1)
    assert shaped.n_features_in_ == 64
    assert flat.predict_proba(X).tobytes() == shaped.predict_proba(images).tobytes()
    assert net(max_epochs=2, input_shape=(-1, 8, 1)).fit(X, y).input_shape_ == (8, 8, 1)


# -- transforming --------------------------------------------------------------------------------


def test_transform_gives_the_activations_of_a_layer(digits):
    X, y = digits
    fitted = net().fit(X, y)
    last = fitted.transform(X)
    assert last.shape == (300, 5) and last.dtype == np.float32
    head = last.astype(float) @ fitted.weights_["head.W"] + fitted.weights_["head.b"]
    np.testing.assert_allclose(head, fitted.decision_function(X), rtol=1e-4, atol=1e-5)
    conv = fitted.set_params(output_layer="conv").transform(X)
    assert conv.shape == (300, 72) and conv.min() == 0
    assert len(fitted.get_feature_names_out()) == 72
    dropped = fitted.set_params(output_layer="drop").transform(X)
    np.testing.assert_array_equal(dropped, fitted.set_params(output_layer="dense1").transform(X))


def test_transform_names_its_columns(digits):
    fitted = net().set_output(transform="pandas").fit(*digits)
    frame = fitted.transform(digits[0])
    assert frame.columns.tolist() == [f"neuralnetclassifier{k}" for k in range(5)]
    assert fitted.get_feature_names_out().tolist() == frame.columns.tolist()


def test_networks_give_features_to_other_models(digits):
    X, y = digits
    first = net(max_epochs=20, optimizer=Adam(1e-2), layers=[("conv", Conv2D(8, 3, "relu"))])
    model = make_pipeline(first, LogisticRegression(max_iter=500)).fit(X, y)
    assert model.score(X, y) > 0.9


# -- weights of samples and classes --------------------------------------------------------------


def trained(X, y, sample_weight=None, **changes):
    """Decision values after a few full-batch steps."""
    parameters = {
        "layers": [Dense(8, "tanh")], "batch_size": 10_000, "max_epochs": 5, "shuffle": False,
        "optimizer": SGD(0.1), "random_state": 0,
    }  # fmt: skip
    fitted = NeuralNetClassifier(**parameters | changes).fit(X, y, sample_weight)
    return fitted.decision_function(X)


def test_weights_count_as_repeats(iris):
    X, y = iris
    repeats = np.random.RandomState(0).randint(0, 3, len(y))
    weighted = trained(X, y, repeats)
    repeated = trained(np.repeat(X, repeats, axis=0), np.repeat(y, repeats))
    np.testing.assert_allclose(np.repeat(weighted, repeats, axis=0), repeated, rtol=1e-4, atol=1e-5)


def test_weight_zero_removes_a_sample(iris):
    X, y = iris
    keep = np.random.RandomState(0).rand(len(y)) < 0.7
    weighted = trained(X, y, keep.astype(float))
    np.testing.assert_allclose(weighted[keep], trained(X[keep], y[keep]), rtol=1e-4, atol=1e-5)
    for optimizer in (SGD(0.1), LBFGS()):
        wild = np.where(keep[:, None], X, 1e3).astype(np.float32)
        a = NeuralNetClassifier([Dense(3)], optimizer=optimizer, max_epochs=400, random_state=0)
        b = clone(a).fit(wild, y, sample_weight=keep).history_[-1]["train_loss"]
        c = clone(a).fit(wild[keep], y[keep]).history_[-1]["train_loss"]
        assert b == pytest.approx(c, rel=0.1, abs=0.02)


def test_scaling_all_weights_changes_nothing(iris):
    X, y = iris
    w = np.random.RandomState(0).rand(len(y))
    np.testing.assert_allclose(trained(X, y, w), trained(X, y, 8 * w), rtol=1e-5, atol=1e-6)


def test_class_weights_are_sample_weights(iris):
    X, y = iris[0][:120], iris[1][:120]
    by_hand = np.array([1.0, 5.0, 0.5])
    np.testing.assert_allclose(
        trained(X, y, class_weight=dict(enumerate(by_hand))), trained(X, y, by_hand[y]), rtol=1e-6
    )
    balanced = len(y) / (3 * np.bincount(y))
    np.testing.assert_allclose(
        trained(X, y, class_weight="balanced"), trained(X, y, balanced[y]), rtol=1e-6
    )
    w = np.random.RandomState(0).rand(len(y)) + 0.5
    np.testing.assert_allclose(
        trained(X, y, w, class_weight=dict(enumerate(by_hand))),
        trained(X, y, w * by_hand[y]),
        rtol=1e-5,
        atol=1e-6,
    )


# -- validation data and history -----------------------------------------------------------------


def test_validation_data_is_measured(iris):
    X, y = iris
    fitted = classifier(max_epochs=3).fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    record = fitted.history_[-1]
    p = fitted.predict_proba(X[100:]).astype(float)
    assert record["valid_loss"] == pytest.approx(-np.mean(np.log(p[np.arange(50), y[100:]])), 1e-5)
    assert record["valid_score"] == pytest.approx(fitted.score(X[100:], y[100:]))
    weights = np.random.RandomState(0).rand(50)
    weighted = classifier(max_epochs=3).fit(
        X[:100], y[:100], X_val=X[100:], y_val=y[100:], sample_weight_val=weights
    )
    score = weighted.score(X[100:], y[100:], weights)
    assert weighted.history_[-1]["valid_score"] == pytest.approx(score)
    regressor = NeuralNetRegressor(max_epochs=2, random_state=0)
    regressor.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    record = regressor.history_[-1]
    assert record["valid_score"] == pytest.approx(regressor.score(X[100:], y[100:]), abs=1e-5)
    error = np.mean((regressor.predict(X[100:]) - y[100:]) ** 2)
    assert record["valid_loss"] == pytest.approx(error, 1e-5)


def test_validation_data_passes_through_a_pipeline(iris):
    X, y = iris
    with config_context(enable_metadata_routing=True):
        step = classifier(max_epochs=3).set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline([("scale", StandardScaler()), ("net", step)], transform_input=["X_val"])
        pipeline.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    score = pipeline.score(X[100:], y[100:])
    assert pipeline[-1].history_[-1]["valid_score"] == pytest.approx(score)


def test_early_stopping_keeps_the_best_weights(digits):
    X, y = digits
    fitted = classifier(
        max_epochs=200, early_stopping=True, n_iter_no_change=4, optimizer=Adam(5e-2)
    ).fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    losses = [r["valid_loss"] for r in fitted.history_]
    assert len(losses) < 200
    p = fitted.predict_proba(X[200:]).astype(float)
    assert -np.mean(np.log(p[np.arange(100), y[200:]])) == pytest.approx(min(losses), rel=1e-4)
    stopper = fitted.callbacks_[-1]
    assert stopper.best_epoch_ == 1 + int(np.argmin(losses))


def test_early_stopping_sets_data_aside(digits):
    fitted = classifier(max_epochs=5, early_stopping=True, validation_fraction=0.2).fit(*digits)
    assert {"valid_loss", "valid_score"} <= set(fitted.history_[0])
    assert round(fitted.history_[-1]["valid_score"] * 60, 6) % 1 == 0  # 60 of 300 samples


@pytest.mark.parametrize("weighted", [False, True])
def test_history_is_json(weighted, iris):
    X, y = iris
    w = np.random.RandomState(0).rand(150) if weighted else None
    for kind in (NeuralNetClassifier, NeuralNetRegressor):
        for optimizer in (Adam(), LBFGS(tol=1e-2)):
            stop = isinstance(optimizer, Adam)
            fitted = kind(max_epochs=50, early_stopping=stop, optimizer=optimizer, random_state=0)
            fitted.fit(X, y, sample_weight=w)
            assert json.loads(json.dumps(fitted.history_)) == fitted.history_
            assert {type(v) for r in fitted.history_ for v in r.values()} <= {int, float}


def test_samples_of_weight_zero_are_not_set_aside(iris):
    X, y = iris
    weight = np.zeros(150)
    weight[:20] = 1.0
    whole = classifier(max_epochs=3, early_stopping=True).fit(X, y, sample_weight=weight)
    part = classifier(max_epochs=3, early_stopping=True).fit(X[:20], y[:20], np.ones(20))
    assert whole.history_[-1]["valid_loss"] == part.history_[-1]["valid_loss"]


def test_a_failed_fit_leaves_no_half_fitted_estimator(iris):
    X, y = iris
    wild = classifier(optimizer=SGD(1e30))
    with pytest.raises(ValueError, match="epoch"):
        wild.fit(X, y)
    with pytest.raises(NotFittedError):
        wild.predict(X)
    with pytest.raises(NotFittedError):
        wild.transform(X)
