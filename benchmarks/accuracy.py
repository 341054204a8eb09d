"""Accuracy: scikit-learn's MLP and skdeep's, equal architecture and epochs, 5-fold CV, 5 seeds."""

import statistics

import common

EPOCHS, HIDDEN, SEEDS = 60, (100, 100), 5


def tasks():
    """Name, X, y and whether y is continuous, of the four sets that come with scikit-learn."""
    from sklearn import datasets

    for name in ["digits", "breast_cancer", "wine", "diabetes"]:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        yield name, X, y, name == "diabetes"


def model(package, seed, epochs, continuous):
    """Scaled inputs (and target, where continuous), then the package's MLP."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if package == common.SKDEEP:
        from skdeep import MLPClassifier, MLPRegressor
    else:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
    settings = {
        "hidden_layer_sizes": HIDDEN,
        "batch_size": 32,
        "max_iter": epochs,
        "tol": 0,
        "n_iter_no_change": 10**6,
    }
    if not continuous:
        net = MLPClassifier(random_state=seed, **settings)
        return make_pipeline(StandardScaler(), net)
    net = MLPRegressor(random_state=seed, alpha=1.0, **settings)
    return TransformedTargetRegressor(
        make_pipeline(StandardScaler(), net), transformer=StandardScaler()
    )


def convolutional(seed, epochs):
    """A small convolutional net on digits."""
    from skdeep import NeuralNetClassifier
    from skdeep.layers import BatchNorm, Conv2D, Dense, Dropout, MaxPool2D
    from skdeep.training import Adam

    layers = [
        Conv2D(32, 3, padding="same", activation="relu"),
        BatchNorm(),
        Conv2D(64, 3, padding="same", activation="relu"),
        MaxPool2D(2),
        Dropout(0.25),
        Dense(128, activation="relu"),
        Dropout(0.5),
    ]
    return NeuralNetClassifier(
        layers,
        input_shape=(8, 8, 1),
        optimizer=Adam(learning_rate=1e-3),
        batch_size=32,
        max_epochs=epochs,
        random_state=seed,
    )


def cross_validated(estimator, X, y, seed, scoring):
    """Mean scores over five shuffled folds, the same ones for every contender of a seed."""
    from sklearn.model_selection import KFold, StratifiedKFold, cross_validate

    splitter = KFold if scoring == ["r2"] else StratifiedKFold
    folds = splitter(5, shuffle=True, random_state=seed)
    found = cross_validate(estimator, X, y, cv=folds, scoring=scoring)
    return {s: float(found[f"test_{s}"].mean()) for s in scoring}


def difference(what, scores, target):
    """A line with both means; in ``low`` and ``high`` the range of skdeep - peer over the seeds.

    Scores are not times, so instead of a ratio the column holds the mean difference.
    """
    lines = []
    own = scores.get(common.SKDEEP)
    for peer in [p for p in scores if p != common.SKDEEP]:
        line = common.Comparison(what, "score", peer, statistics.mean(scores[peer]), target=target)
        if own:
            gains = [a - b for a, b in zip(own, scores[peer])]
            line.value = statistics.mean(own)
            line.ratio, line.low, line.high = statistics.mean(gains), min(gains), max(gains)
        lines.append(line)
    return lines


def measure(context):
    epochs, seeds = (5, 2) if context.quick else (EPOCHS, SEEDS)
    packages = list(context.wanted({"scikit-learn": None, common.SKDEEP: None}))
    lines = []
    for name, X, y, continuous in tasks():
        scoring = ["r2"] if continuous else ["accuracy", "neg_log_loss"]
        runs = {
            package: [
                cross_validated(model(package, seed, epochs, continuous), X, y, seed, scoring)
                for seed in range(seeds)
            ]
            for package in packages
        }
        for score in scoring:
            scores = {package: [run[score] for run in runs[package]] for package in packages}
            lines += difference(f"{name}, {score} (difference)", scores, "not below, within noise")
    if common.SKDEEP in packages:
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        scores = [
            cross_validated(
                convolutional(seed, 2 if context.quick else 40), X / 16, y, seed, ["accuracy"]
            )["accuracy"]
            for seed in range(1 if context.quick else seeds)
        ]
        lines.append(
            common.Comparison(
                "digits, accuracy of a convolutional net",
                "score",
                "",
                float("nan"),
                statistics.mean(scores),
                None,
                None,
                None,
                "0.99",
            )
        )
    return lines


if __name__ == "__main__":
    common.main("accuracy", __doc__, measure, repetitions=SEEDS, quick_repetitions=2)
