"""LeNet training on 28 x 28 x 1 images, batches of 64, Adam, both cores."""

import common
import peers

BATCH, THREADS = 64, 2
NETWORKS = {
    "LeNet-5 (6, 16 filters; 120, 84 units)": ((6, 16), (120, 84)),
    "LeNet (20, 50 filters; 500 units)": ((20, 50), (500,)),
}


def images(n):
    """Digits enlarged to 28 x 28 by repeating pixels, resampled to ``n`` with a little noise."""
    import numpy as np
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(X), n)
    big = np.kron(X[chosen].reshape(n, 8, 8) / 16, np.ones((1, 3, 3)))
    big = np.pad(big, ((0, 0), (2, 2), (2, 2))) + 0.05 * rng.standard_normal((n, 28, 28))
    return big[..., None].astype(np.float32), y[chosen]


def fitters(filters, units, X, y):
    """``fit(epochs)`` of every contender; PyTorch comes in both memory formats."""

    def torch(channels_last):
        def fit(epochs):
            torch = peers.set_threads(THREADS)
            format_ = torch.channels_last if channels_last else torch.contiguous_format
            network = peers.torch_lenet(filters, units).to(memory_format=format_)
            batches = torch.from_numpy(X).permute(0, 3, 1, 2).contiguous(memory_format=format_)
            peers.torch_loop(network, batches, torch.from_numpy(y), BATCH, epochs)

        return fit

    def skdeep(epochs):
        from skdeep import NeuralNetClassifier
        from skdeep.layers import Conv2D, Dense, MaxPool2D
        from skdeep.training import Adam

        layers = []
        for f in filters:
            layers += [Conv2D(f, 5, activation="relu"), MaxPool2D(2)]
        layers += [Dense(u, activation="relu") for u in units]
        NeuralNetClassifier(
            layers,
            input_shape=X.shape[1:],
            optimizer=Adam(learning_rate=1e-3),
            batch_size=BATCH,
            max_epochs=epochs,
            random_state=0,
            n_threads=THREADS,
        ).fit(X, y)

    return {
        "PyTorch loop, contiguous": torch(False),
        "PyTorch loop, channels last": torch(True),
        common.SKDEEP: skdeep,
    }


def measure(context):
    n_batches, few, many = (10, 1, 3) if context.quick else (60, 1, 4)
    X, y = images(n_batches * BATCH)
    lines = []
    for name, (filters, units) in NETWORKS.items():
        contenders = {
            n: lambda fit=fit: common.slope(fit, few, many, n_batches)
            for n, fit in context.wanted(fitters(filters, units, X, y)).items()
        }
        measured = common.best_of(common.alternate(contenders, context.repetitions), "PyTorch loop")
        lines += common.compare(
            f"{name}, a step (slope)", "us", measured, targets={"PyTorch loop": 1}
        )
    return lines


if __name__ == "__main__":
    common.main("lenet", __doc__, measure, threads=THREADS)
