"""The main job: networks searched on scikit-learn's digits, beside scikit-learn's own models."""

import os
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    StratifiedKFold,
    train_test_split,
)
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from .. import MLPClassifier, NeuralNetClassifier
from ..kernels.compiler import cache_directory, compiled_in_this_process
from ..layers import Conv2D, Dense, Dropout, MaxPool2D
from ..training import Adam
from . import children_ignore_interrupt, default_jobs
from .svg import confusion_matrix_chart, line_chart

FOLDS = 3
CURVE, MATRIX = "digits_learning_curve.svg", "digits_confusion_matrix.svg"


@dataclass
class Contender:
    """A model, and what is searched of it."""

    name: str
    model: object
    grid: dict

    @property
    def pipeline(self):
        """The model behind a scaler."""
        return Pipeline([("scale", MinMaxScaler()), ("model", clone(self.model))])

    @property
    def by_skdeep(self):
        """Whether it is one of this package's models."""
        return type(self.model).__module__.startswith("skdeep")

    @property
    def candidates(self):
        """Number of combinations in the grid."""
        return int(np.prod([len(values) for values in self.grid.values()]))


@dataclass
class Result:
    """What a search reached and cost, on the test part of the data."""

    contender: Contender
    search: GridSearchCV
    search_seconds: float
    accuracy: float
    log_loss: float


def contenders(quick=False, seed=0):
    """The models that are compared."""
    epochs = 8 if quick else 30
    # Images of 8 x 8 are too little work to share between cores: the searches use them better.
    network = NeuralNetClassifier(
        layers=[
            Conv2D(16, 3, padding="same", activation="relu"),
            ("conv", Conv2D(16, 3, padding="same", activation="relu")),
            MaxPool2D(2),
            Dropout(0.25),
            ("hidden", Dense(128, activation="relu")),
            ("drop", Dropout(0.5)),
        ],
        input_shape=(8, 8, 1),
        optimizer=Adam(learning_rate=1e-3),
        batch_size=32,
        max_epochs=epochs,
        random_state=seed,
        n_threads=1,
    )
    perceptron = {"batch_size": 32, "max_iter": epochs, "random_state": seed}
    network_grid = {
        "model__conv__filters": [16, 32],
        "model__drop": [Dropout(0.5), "passthrough"],
        "model__optimizer__learning_rate": [1e-3, 3e-3],
    }
    perceptron_grid = {
        "model__hidden_layer_sizes": [(100,), (100, 100)],
        "model__alpha": [1e-4, 1e-2],
        "model__learning_rate_init": [1e-3, 3e-3],
    }
    regression_grid = {"model__C": [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0]}
    if quick:
        network_grid = {"model__optimizer__learning_rate": [1e-3, 3e-3]}
        perceptron_grid = {"model__learning_rate_init": [1e-3, 3e-3]}
        regression_grid = {"model__C": [1.0, 10.0]}
    return [
        Contender("skdeep convolutional net", network, network_grid),
        Contender(
            "skdeep MLPClassifier", MLPClassifier(**perceptron, n_threads=1), perceptron_grid
        ),
        Contender(
            "scikit-learn MLPClassifier", SklearnMLPClassifier(**perceptron), perceptron_grid
        ),
        Contender(
            "scikit-learn LogisticRegression", LogisticRegression(max_iter=2000), regression_grid
        ),
    ]


def writable_folder(path):
    """The folder at ``path``, made when it is missing.

    Raises
    ------
    OSError
        When it cannot be made or written to.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def run(folder, *, quick=False, seed=0, n_jobs=None):
    """Search, compare, print a table and write two pictures.

    Parameters
    ----------
    folder : Path
        For the pictures.
    quick : bool
        Fewer candidates and epochs.
    seed : int
    n_jobs : int or None
        Processes of the searches; None: one per core, at most 4.

    Returns
    -------
    list of Result
    """
    begin = time.perf_counter()
    n_jobs = default_jobs(n_jobs)
    X, y = load_digits(return_X_y=True)
    data = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
    models = contenders(quick, seed)
    say(f"Digits: {len(data[0])} images to learn from, {len(data[1])} to test on, 8 x 8 pixels.")
    with quiet():
        prepare(models, data[0], data[2])
        start_workers(n_jobs)
        results = []
        for k, contender in enumerate(models, 1):
            say(
                f"[{k}/{len(models)}] {contender.name}: {contender.candidates} candidates x "
                f"{FOLDS} folds, n_jobs={n_jobs} ..."
            )
            results.append(compete(contender, *data, seed=seed, n_jobs=n_jobs))
            say(f"      {results[-1].search_seconds:.1f} s, best: {best(results[-1])}")
        say("")
        print(table(results))
        say("")
        for path in draw(folder, results, *data):
            say(f"wrote {path}")
    say(f"All in {time.perf_counter() - begin:.0f} s.")
    return results


def say(text):
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


@contextmanager
def quiet():
    """Without the warnings that a fit ended at its number of epochs, here and in workers."""
    variable, before = "PYTHONWARNINGS", os.environ.get("PYTHONWARNINGS")
    message = "ignore:Stochastic Optimizer"
    os.environ[variable] = f"{before},{message}" if before else message
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            yield
    finally:
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before


def prepare(models, X, y):
    """Compile or load the kernels that skdeep's models need, by one epoch of every candidate."""
    kept = cache_directory()
    say("Loading kernels; those that this machine lacks are compiled, and kept.")
    begin = time.perf_counter()
    for contender in models:
        if contender.by_skdeep:
            epochs = {"max_epochs", "max_iter"} & set(contender.model.get_params(deep=False))
            shorter = {f"model__{epochs.pop()}": 1}
            for parameters in ParameterGrid(contender.grid):
                model = contender.pipeline.set_params(**parameters, **shorter)
                model.fit(X, y).predict(X)
    took, new = time.perf_counter() - begin, len(compiled_in_this_process())
    where = f"kept in {kept}" if kept else "not kept: set NUMBA_CACHE_DIR to a writable folder"
    say(f"      {took:.1f} s, {new} compiled" + (f" ({where})" if new else ""))


def start_workers(n_jobs):
    """Have joblib's processes import what they need, so that no search pays for it."""
    if n_jobs > 1:
        with children_ignore_interrupt():
            Parallel(n_jobs)(delayed(_imported)() for _ in range(2 * n_jobs))


def _imported():
    return NeuralNetClassifier.__name__


def compete(contender, X_train, X_test, y_train, y_test, *, seed, n_jobs):
    """Search one contender's grid and judge the best on the test part."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    # By log loss: on so few images the accuracies of good candidates are equal.
    search = GridSearchCV(
        contender.pipeline, contender.grid, cv=folds, n_jobs=n_jobs, scoring="neg_log_loss",
        error_score="raise",
    )  # fmt: skip
    begin = time.perf_counter()
    search.fit(X_train, y_train)
    seconds = time.perf_counter() - begin
    return Result(
        contender,
        search,
        seconds,
        accuracy_score(y_test, search.predict(X_test)),
        log_loss(y_test, search.predict_proba(X_test)),
    )


def best(result):
    """The winning parameters in words."""
    names = {key: key.removeprefix("model__").replace("__", " ") for key in result.contender.grid}
    return ", ".join(f"{names[k]} {v}" for k, v in result.search.best_params_.items())


def table(results):
    """The comparison as text."""
    header = f"{'':32s}{'accuracy':>9s}{'log loss':>10s}{'fit s':>8s}{'search s':>10s}{'fits':>6s}"
    lines = [header, "-" * len(header)]
    for r in results:
        fits = r.contender.candidates * FOLDS + 1
        lines.append(
            f"{r.contender.name:32s}{r.accuracy:9.4f}{r.log_loss:10.4f}"
            f"{r.search.refit_time_:8.2f}{r.search_seconds:10.2f}{fits:6d}"
        )
    return "\n".join(lines)


def draw(folder, results, X_train, X_test, y_train, y_test):
    """Write the two pictures; returns their paths."""
    network = results[0].search.best_estimator_
    scale, model = network["scale"], clone(network["model"])
    model.fit(scale.transform(X_train), y_train, X_val=scale.transform(X_test), y_val=y_test)
    curves = {
        "convolutional net, training": [r["train_loss"] for r in model.history_],
        "convolutional net, test": [r["valid_loss"] for r in model.history_],
    }
    for result in results[1:]:
        fitted = result.search.best_estimator_["model"]
        if hasattr(fitted, "loss_curve_"):
            curves[f"{result.contender.name}, training"] = fitted.loss_curve_
    counts = confusion_matrix(y_test, network.predict(X_test))
    right = results[0].accuracy
    pictures = {
        CURVE: line_chart(
            curves, title="Digits: log loss by epoch", x_label="epoch", y_label="log loss", log=True
        ),
        MATRIX: confusion_matrix_chart(
            counts, range(10), title=f"Convolutional net: {right:.1%} of {len(y_test)} digits right"
        ),
    }
    for name, text in pictures.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pictures]
