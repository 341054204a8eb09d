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
MANY = 1000  # training pictures


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


def logistic(parts, grid):
    """Accuracies by C, over parts (features, classes, those of the test) of the same length.

    Every fit starts where the one before ended. With many pictures the grid is left when two larger
    values in a row are worse, as these take most of the time.
    """
    parts = [(*in_span(Z, Z_test), y, y_test) for Z, y, Z_test, y_test in parts]
    models = [LogisticRegression(tol=1e-3, warm_start=True) for _ in parts]
    scores = {}
    for C in grid:
        scores[C] = np.mean(
            [
                model.set_params(C=C).fit(Z, y).score(Z_test, y_test)
                for model, (Z, Z_test, y, y_test) in zip(models, parts, strict=True)
            ]
        )
        if len(parts[0][0]) > MANY and max(list(scores.values())[-2:]) < max(scores.values()):
            break
    return scores


def neighbours(parts, grid):
    """Accuracies by k; neighbours by the cosine of standardised features, which is the vote."""
    scores = dict.fromkeys(grid, 0.0)
    for Z, y, Z_test, y_test in parts:
        cosine = unit_rows(Z_test) @ unit_rows(Z).T
        order = np.argsort(-cosine, axis=1)[:, : max(grid)]
        classes, numbers = np.unique(y, return_inverse=True)
        rows = np.arange(len(Z_test))
        for k in grid:
            votes = np.zeros((len(Z_test), len(classes)))
            for column in order[:, :k].T:
                votes[rows, numbers[column]] += 1 + cosine[rows, column]
            scores[k] += np.mean(classes[votes.argmax(axis=1)] == y_test) / len(parts)
    return scores


def unit_rows(Z):
    return Z / (np.linalg.norm(Z, axis=1, keepdims=True) + 1e-12)


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
    folds = held_out(y, per_class)
    for variant, (Z, _) in variants.items():
        parts = [part(Z[a], y[a], Z[b], y[b]) for a, b in folds]
        for name, (probe, grid) in PROBES.items():
            found = probe(parts, grid)
            scores[name] |= {(variant, value): score for value, score in found.items()}
    results = {}
    for name, (probe, _) in PROBES.items():
        variant, value = max(scores[name], key=scores[name].get)
        Z, Z_test = variants[variant]
        found = probe([part(Z, y, Z_test, y_test)], [value])
        results[name] = {"accuracy": float(found[value]), "variant": variant, "chosen": value}
    return results


def part(Z, y, Z_test, y_test):
    """What a probe takes."""
    Z, Z_test = standardised(Z, Z_test)
    return Z, y, Z_test, y_test
