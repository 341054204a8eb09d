"""Building the program of a net with 20 layers.

Measured from outside, as an upper bound: a fit of one epoch of one batch of two samples, kernels
compiled and loaded before. It holds validation, initialisation and the training step as well. The
net is a convolutional one with batch norm, and narrow, so that the step itself costs little.
"""

import common


def measure(context):
    import numpy as np

    from skdeep import NeuralNetClassifier
    from skdeep.layers import BatchNorm, Conv2D, Dense, GlobalAveragePool2D, MaxPool2D

    rng = np.random.default_rng(0)
    X, y = rng.random((2, 8, 8, 1), dtype=np.float32), np.array([0, 1])

    def layers():
        parts = []
        for _ in range(8):
            parts += [Conv2D(4, 3, padding="same"), BatchNorm()]
        dense = [Dense(8, activation="relu") for _ in range(2)]
        return [*parts, MaxPool2D(2), GlobalAveragePool2D(), *dense]

    def fit():
        net = NeuralNetClassifier(layers(), max_epochs=1, batch_size=2, random_state=0)
        return 1e3 * common.seconds(lambda: net.fit(X, y))

    measured = common.alternate({common.SKDEEP: fit}, context.repetitions)
    lines = common.compare(f"one-batch fit of {len(layers())} layers", "ms", measured)
    for line in lines:
        line.target = "under 20 ms"
    return lines


if __name__ == "__main__":
    common.main("build", __doc__.splitlines()[0], measure, repetitions=20, quick_repetitions=5)
