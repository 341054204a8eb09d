"""Features of pictures and a classical model, beside the pixels themselves, from few examples.

The network that comes with the package is searched over layers and over the strength of the model's
penalty; its features are kept, so that each picture goes through the network once.
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_sample_images
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from ..features import ImageFeatures, PatchFeatures
from .preparation import preprocessing_for, source, takes_part

FEW = 20  # pictures of each class to learn from
SIDE = 32  # pixels of a piece of a photograph
STRENGTHS = [0.001, 0.01, 0.1, 1.0]
EMBEDDED_LAYERS = ["stage3", "stage4"]


def digits(seed):
    """scikit-learn's digits as pictures of 8 x 8 grey levels."""
    X, y = load_digits(return_X_y=True)
    X = np.round(X.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    return train_test_split(X, y, train_size=10 * FEW, stratify=y, random_state=seed)


def photographs(seed):
    """Pieces of scikit-learn's two photographs: learn on the left half, tell apart on the right."""
    rng, parts = np.random.RandomState(seed), []
    for low, high, n in ((0.0, 0.5, FEW), (0.5, 1.0, 300)):
        X, y = [], []
        for label, image in enumerate(load_sample_images().images):
            grey = image.mean(axis=2, keepdims=True).astype(np.uint8)  # colour alone would do
            first, last = int(low * grey.shape[1]), int(high * grey.shape[1]) - SIDE
            for _ in range(n):
                i, j = rng.randint(grey.shape[0] - SIDE), rng.randint(first, last)
                X.append(grey[i : i + SIDE, j : j + SIDE])
                y.append(label)
        parts.append((np.stack(X), np.array(y)))
    (X_train, y_train), (X_test, y_test) = parts
    return X_train, X_test, y_train, y_test


def tasks(seed):
    """Name and data of each task."""
    yield f"digits, {FEW} of each to learn from", digits(seed)
    try:
        yield f"two photographs, {FEW} pieces of each", photographs(seed)
    except ImportError:
        print('(photographs need Pillow: pip install "skdeep[images]")')


def flat(X):
    """Levels of all pixels in a row."""
    return X.reshape(len(X), -1) / np.float32(255)


def run(model=None, weights=None, seed=0, given=()):
    """Print how raw pixels, fitted patches and a pretrained network compare.

    Parameters
    ----------
    model, weights : str or None
        A network and the file of its weights, or one file that holds a graph; without weights no
        network takes part.
    seed : int, default=0
    given : dict
        Fields of Preprocessing that the command line gives.

    Returns
    -------
    int
        Exit status: 0; 1 when the weights cannot be used.
    """
    contenders = {
        "pixels": (FunctionTransformer(flat), {}),
        "PatchFeatures": (PatchFeatures(400, patch_size=5, random_state=seed), {}),
    }
    with_network = takes_part(model, weights)
    with tempfile.TemporaryDirectory() as cache:
        embedded = {"features__layer": EMBEDDED_LAYERS}
        contenders["formula"] = (ImageFeatures("formula", cache=cache), embedded)
        if with_network:
            model, weights = source(model, weights)
            network = ImageFeatures(model, weights=weights, cache=cache)
            try:
                network.preprocessing = preprocessing_for(model, weights, dict(given))
                network.fit()
            except (OSError, ValueError) as error:
                print(f"python -m skdeep: {error}", file=sys.stderr)
                return 1
            there = {point.canonical for point in network.layers_}
            layers = [name for name in ("stage2", "stage3", "pool") if name in there]
            contenders[Path(model).name] = (network, {"features__layer": layers})
        for title, data in tasks(seed):
            print(f"\nPictures: {title}, {len(data[1])} to test on.", flush=True)
            for name, (features, grid) in contenders.items():
                compare(name, features, grid, *data)
    if not with_network:
        print("\nAnother pretrained network takes part with --weights FILE [--model NAME].")
    return 0


def compare(name, features, grid, X_train, X_test, y_train, y_test):
    """Search one contender by cross-validation, and print what it reaches on the test part."""
    pipeline = make_pipeline(features, StandardScaler(), LogisticRegression(max_iter=300))
    pipeline.steps[0] = ("features", features)
    search = GridSearchCV(pipeline, {"logisticregression__C": STRENGTHS, **grid}, cv=3)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X_train, y_train)
    took = time.perf_counter() - begin
    best = ", ".join(f"{k.rpartition('__')[2]} {v}" for k, v in search.best_params_.items())
    score = search.score(X_test, y_test)
    print(f"  {name:16s} {score:7.1%} right   {took:5.1f} s for the search   {best}", flush=True)
