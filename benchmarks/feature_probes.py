"""Two classifiers on top of features: logistic regression, and nearest neighbours.

What they have to choose (C or k, and the variant of a feature) is chosen on training pictures that
were held out.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

C_GRID = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
K_GRID = [1, 3, 5, 10, 20]
FEW = 20  # pictures per class up to which every one of the folds is held out in turn
FEW_FOLDS, MANY_FOLDS = 3, 5


def standardised(Z, Z_test):
    """Features with mean 0 and deviation 1 in training; those that do not vary are left out."""
    mean, deviation = Z.mean(axis=0), Z.std(axis=0)
    kept = deviation > 1e-6 * deviation.max()
    scale = 1 / deviation[kept]
    return (Z[:, kept] - mean[kept]) * scale, (Z_test[:, kept] - mean[kept]) * scale


def in_span(Z, Z_test):
    """Coordinates in the span of the training rows, where these are fewer than the features.

    The coefficients of a regression with an L2 penalty are in this span, so nothing changes but the
    time it takes.
    """
    if Z.shape[1] <= len(Z):
        return Z, Z_test
    q, r = np.linalg.qr(Z.T)
    return np.ascontiguousarray(r.T), Z_test @ q


def logistic(Z, y, Z_test, y_test, grid=C_GRID):
    """Accuracy for each C; every fit starts where the one before ended."""
    Z, Z_test = in_span(Z, Z_test)
    model = LogisticRegression(tol=1e-3, max_iter=300, warm_start=True)
    return [model.set_params(C=C).fit(Z, y).score(Z_test, y_test) for C in grid]


def neighbours(Z, y, Z_test, y_test, grid=K_GRID):
    """Accuracy for each k; neighbours by the cosine of standardised features, which is the vote."""
    unit, unit_test = (A / (np.linalg.norm(A, axis=1, keepdims=True) + 1e-12) for A in (Z, Z_test))
    cosine = unit_test @ unit.T
    order = np.argsort(-cosine, axis=1)[:, : max(grid)]
    classes, numbers = np.unique(y, return_inverse=True)
    scores = []
    for k in grid:
        votes = np.zeros((len(Z_test), len(classes)))
        for column in order[:, :k].T:
            rows = np.arange(len(Z_test))
            votes[rows, numbers[column]] += 1 + cosine[rows, column]
        scores.append(float(np.mean(classes[votes.argmax(axis=1)] == y_test)))
    return scores


PROBES = {"logistic": (logistic, C_GRID), "neighbours": (neighbours, K_GRID)}


def held_out(y, per_class):
    """(training, held out) of the training pictures: three times a third, or a fifth once."""
    few = per_class is not None and per_class <= FEW
    folds = StratifiedKFold(FEW_FOLDS if few else MANY_FOLDS, shuffle=True, random_state=0)
    found = list(folds.split(y, y))
    return found if few else found[:1]


def measure(variants, y, y_test, per_class):
    """Test accuracy of each probe, and what it chose.

    Parameters
    ----------
    variants : dict of str to (ndarray, ndarray)
        Features of the training and of the test pictures.
    y, y_test : ndarray
    per_class : int or None
        Training pictures of each class; None is all there are.

    Returns
    -------
    dict of str to dict
        "accuracy", "variant" and "chosen" (C or k) by probe.
    """
    scores = {name: {} for name in PROBES}
    for variant, (Z, _) in variants.items():
        for a, b in held_out(y, per_class):
            parts = standardised(Z[a], Z[b])
            for name, (probe, grid) in PROBES.items():
                found = probe(parts[0], y[a], parts[1], y[b])
                for value, score in zip(grid, found, strict=True):
                    key = variant, value
                    scores[name][key] = scores[name].get(key, 0) + score
    results = {}
    for name, (probe, _) in PROBES.items():
        variant, value = max(scores[name], key=scores[name].get)
        Z, Z_test = standardised(*variants[variant])
        (accuracy,) = probe(Z, y, Z_test, y_test, [value])
        results[name] = {"accuracy": float(accuracy), "variant": variant, "chosen": value}
    return results
