"""MLPClassifier on digits, hidden layers (100, 100), Adam, batches of 32 and 200, one thread.

All contenders get float32, which favours the peers. The line "scikit-learn, float64" is for the
same pixels as ``load_digits`` gives them: what changing the import alone changes.
"""

import common
import peers

HIDDEN = (100, 100)
# batch size: ratio asked for, by peer
TARGETS = {32: {"scikit-learn": 12, "skorch": 25}, 200: {"scikit-learn": 6, "skorch": 10}}
LEAN, USUAL = "skorch, lean", "skorch"
AS_LOADED = "scikit-learn, float64"


def digits():
    """Digits scaled to [0, 1] as float32, which is the fastest input for every contender."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return (X / 16).astype("float32"), y


def mlp(cls, batch_size, epochs):
    """``cls`` is either package's MLPClassifier: the parameters are the same."""
    return cls(
        hidden_layer_sizes=HIDDEN,
        batch_size=batch_size,
        max_iter=epochs,
        random_state=0,
        tol=0,
        n_iter_no_change=10**6,
    )


def fitters(batch_size, X, y):
    """``fit(epochs)`` of every contender."""

    def scikit_learn(X):
        def fit(epochs):
            from sklearn.neural_network import MLPClassifier

            mlp(MLPClassifier, batch_size, epochs).fit(X, y)

        return fit

    def skorch(lean):
        def fit(epochs):
            peers.set_threads(1)
            sizes = [X.shape[1], *HIDDEN, 10]
            peers.skorch_mlp(sizes, batch_size=batch_size, epochs=epochs, lean=lean).fit(X, y)

        return fit

    def skdeep(epochs):
        from skdeep import MLPClassifier

        mlp(MLPClassifier, batch_size, epochs).fit(X, y)

    return {
        "scikit-learn": scikit_learn(X),
        AS_LOADED: scikit_learn(X.astype("float64")),
        USUAL: skorch(False),
        LEAN: skorch(True),
        common.SKDEEP: skdeep,
    }


def measure(context):
    X, y = digits()
    few, many = (2, 6) if context.quick else (5, 25)
    lines = []
    for batch_size, targets in TARGETS.items():
        steps = -(-len(X) // batch_size)

        def once(fit, steps=steps):
            return {
                "step": common.slope(fit, few, many, steps),
                "fit": common.seconds(lambda: fit(20)),
            }

        contenders = {
            name: lambda fit=fit: once(fit)
            for name, fit in context.wanted(fitters(batch_size, X, y)).items()
        }
        measured = common.alternate(contenders, context.repetitions)
        for what, unit, key in [
            ("a step (slope)", "us", "step"),
            ("a fit of 20 epochs", "s", "fit"),
        ]:
            lines += common.compare(
                f"64-100-100-10, batch {batch_size}, {what}",
                unit,
                measured,
                key=key,
                targets=targets,
            )
    return lines


if __name__ == "__main__":
    common.main("mlp_digits", __doc__, measure)
