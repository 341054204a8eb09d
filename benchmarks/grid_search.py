"""GridSearchCV on digits: 24 candidates x 5 folds x 60 epochs, n_jobs=2, one thread per fit.

Each search runs in a new process. First a search of four one-epoch fits, whose time is the start:
imports in the parent and the workers, loading of compiled kernels. Then the search itself.
"""

import json
import subprocess
import sys

import common

JOBS = 2
GRID = {
    "widths": [(50,), (100,), (100, 100)],
    "alpha": [1e-5, 1e-3],
    "lr": [1e-3, 4e-3],
    "batch": [32, 200],
}
TARGETS = {"scikit-learn": 8, "skorch": 20}


def mlp_search(cls, grid, epochs):
    """Estimator and grid for either package's MLPClassifier: the parameters are the same."""
    estimator = cls(max_iter=epochs, tol=0, n_iter_no_change=10**6, random_state=0)
    return estimator, {
        "hidden_layer_sizes": grid["widths"],
        "alpha": grid["alpha"],
        "learning_rate_init": grid["lr"],
        "batch_size": grid["batch"],
    }


def skorch_search(grid, epochs):
    """The same in skorch; alpha becomes the weight decay of the larger batch."""
    import peers

    return peers.skorch_mlp([64, 100, 10], batch_size=32, epochs=epochs), {
        "module__sizes": [[64, *w, 10] for w in grid["widths"]],
        "optimizer__weight_decay": [a / 200 for a in grid["alpha"]],
        "lr": grid["lr"],
        "batch_size": grid["batch"],
    }


def child(package, backend, epochs, folds):
    """In a new process: search small, search whole, print both times and the score as JSON."""
    import warnings

    warnings.filterwarnings("ignore")
    from joblib import parallel_config
    from mlp_digits import digits
    from sklearn.model_selection import GridSearchCV

    X, y = digits()

    def search(grid, epochs, folds):
        if package == "skorch":
            import peers

            peers.set_threads(1)
            estimator, parameters = skorch_search(grid, epochs)
        elif package == common.SKDEEP:
            from skdeep import MLPClassifier

            estimator, parameters = mlp_search(MLPClassifier, grid, epochs)
        else:
            from sklearn.neural_network import MLPClassifier

            estimator, parameters = mlp_search(MLPClassifier, grid, epochs)
        with parallel_config(backend):
            return GridSearchCV(estimator, parameters, cv=folds, n_jobs=JOBS).fit(X, y)

    start = common.seconds(lambda: search({k: v[:1] for k, v in GRID.items()}, 1, 4))
    found = []
    whole = common.seconds(lambda: found.append(search(GRID, epochs, folds)))
    print(json.dumps({"start": start, "search": whole, "score": found[0].best_score_}))


def measure(context):
    epochs, folds = (3, 2) if context.quick else (60, 5)
    names = ["scikit-learn", "skorch", common.SKDEEP]

    def runner(package, backend):
        def run():
            command = [
                sys.executable,
                __file__,
                "--child",
                package,
                backend,
                str(epochs),
                str(folds),
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            return json.loads(done.stdout.splitlines()[-1])

        return run

    lines = []
    for backend in ["loky", "threading"]:
        contenders = context.wanted({name: runner(name, backend) for name in names})
        measured = common.alternate(contenders, context.repetitions, warm_up=False)
        lines += common.compare(
            f"{backend}: the search", "s", measured, key="search", targets=TARGETS
        )
        lines += common.compare(f"{backend}: its start", "s", measured, key="start")
    return lines


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        package, backend, epochs, folds = sys.argv[2:]
        child(package, backend, int(epochs), int(folds))
    else:
        common.main("grid_search", __doc__, measure, repetitions=3, quick_repetitions=1)
