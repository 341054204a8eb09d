"""What several test files share."""

import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

import skdeep

os.environ.setdefault("MPLBACKEND", "Agg")

# Scripts that write tests/data; they need the libraries that recordings are made with.
collect_ignore_glob = ["record_*.py", "data/*"]


@pytest.fixture(scope="session")
def digits():
    """300 images of the digits 0 to 9 in [0, 1], as rows of 64 numbers, and their labels."""
    X, y = load_digits(return_X_y=True)
    X = (X[:300] / 16).astype(np.float32)
    X.setflags(write=False)
    return X, y[:300]


@pytest.fixture(scope="session")
def iris():
    """Iris, standardised, in an order that mixes the classes."""
    X, y = load_iris(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(y))
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)[order]
    X.setflags(write=False)
    return X, y[order]


@pytest.fixture(autouse=True)
def default_config():
    """Tests may call ``set_config``; the next one starts from the defaults."""
    yield
    skdeep.set_config(device="cpu", n_threads=0)


@pytest.fixture
def run_python(tmp_path):
    """Run a script in a process of its own, which must succeed; gives what it prints.

    Keyword arguments are environment variables; None removes one.
    """

    def run(script, **environment):
        source = tmp_path / "script.py"
        source.write_text(script)
        here = os.path.dirname(os.path.dirname(skdeep.__file__))
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]),
        }
        for key, value in environment.items():
            env.pop(key, None)
            if value is not None:
                env[key] = str(value)
        done = subprocess.run(
            [sys.executable, "-W", "error", source], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def few_shot():
    """Accuracy on digits after 10 of each class, with raw pixels and with features, of five draws.

    The regularisation is chosen by cross-validation on these.
    """
    X, y = load_digits(return_X_y=True)

    def measure(features):
        scores = []
        Z = features.fit_transform(X)
        for data in (X, Z):
            data = (data - data.mean(axis=0)) / (data.std(axis=0) + 1e-6)
            total = []
            for seed in range(5):
                order = np.random.RandomState(seed).permutation(len(y))
                train = np.concatenate([order[y[order] == k][:10] for k in range(10)])
                test = np.setdiff1d(order, train)
                search = GridSearchCV(
                    LogisticRegression(max_iter=1000), {"C": [0.001, 0.01, 0.1, 1.0]}, cv=3
                )
                total.append(search.fit(data[train], y[train]).score(data[test], y[test]))
            scores.append(np.mean(total))
        return scores

    return measure
