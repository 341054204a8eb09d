"""A 784-512-512-10 network, Adam, batches of 256, one thread."""

import common
import peers

SIZES = (784, 512, 512, 10)
BATCH = 256
TARGETS = {"scikit-learn": 2.4, "PyTorch loop": 1.3}


def data(n_batches):
    """Made-up rows with labels that can be learnt."""
    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.random((n_batches * BATCH, SIZES[0]), dtype=np.float32)
    y = (X @ rng.standard_normal((SIZES[0], SIZES[-1]))).argmax(axis=1)
    return X, y


def mlp(cls, epochs):
    """``cls`` is either package's MLPClassifier: the parameters are the same."""
    return cls(
        hidden_layer_sizes=SIZES[1:-1],
        batch_size=BATCH,
        max_iter=epochs,
        random_state=0,
        tol=0,
        n_iter_no_change=10**6,
    )


def fitters(X, y):
    """``fit(epochs)`` of every contender; PyTorch comes once per implementation of Adam."""

    def scikit_learn(epochs):
        from sklearn.neural_network import MLPClassifier

        mlp(MLPClassifier, epochs).fit(X, y)

    def torch(optimizer):
        def fit(epochs):
            torch = peers.set_threads(1)
            peers.torch_loop(
                peers.torch_mlp(SIZES),
                torch.from_numpy(X),
                torch.from_numpy(y),
                BATCH,
                epochs,
                optimizer=optimizer,
                weight_decay=1e-4 / BATCH,
            )

        return fit

    def skdeep(epochs):
        from skdeep import MLPClassifier

        mlp(MLPClassifier, epochs).fit(X, y)

    loops = {f"PyTorch loop, {name} Adam": torch(name) for name in peers.OPTIMIZERS}
    return {"scikit-learn": scikit_learn, **loops, common.SKDEEP: skdeep}


def measure(context):
    n_batches, few, many = (8, 1, 3) if context.quick else (20, 1, 4)
    X, y = data(n_batches)
    contenders = {
        name: lambda fit=fit: common.slope(fit, few, many, n_batches)
        for name, fit in context.wanted(fitters(X, y)).items()
    }
    measured = common.best_of(common.alternate(contenders, context.repetitions), "PyTorch loop")
    return common.compare(
        "784-512-512-10, batch 256, a step (slope)", "us", measured, targets=TARGETS
    )


if __name__ == "__main__":
    common.main("mlp_wide", __doc__, measure)
