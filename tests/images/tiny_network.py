"""A small network of known weights, and its answers computed by hand."""

import numpy as np

from skdeep.features import Architecture, Preprocessing
from skdeep.layers import BatchNorm, Conv2D, Dense, GlobalAveragePool2D, MaxPool2D, Sequential

RECIPE = Preprocessing(resize=20, crop=16)


def tiny_layers(n_outputs=5):
    block = [("conv", Conv2D(12, 3, padding=1, use_bias=False)), ("bn", BatchNorm("relu"))]
    return [
        ("conv1", Conv2D(8, 3, stride=2, padding=1, activation="relu")),
        ("block", Sequential(block)),
        ("down", MaxPool2D(2)),
        ("avgpool", GlobalAveragePool2D()),
        ("fc", Dense(n_outputs)),
    ]


TINY = Architecture(
    "tiny",
    tiny_layers,
    paper="none",
    points=(
        ("stem", "conv1"), ("stage1", "block"), ("stage2", "down"), ("pool", "avgpool"),
        ("penultimate", "avgpool"), ("logits", "fc"),
    ),
    input_shape=(16, 16, 3),
    n_outputs=5,
)  # fmt: skip


def by_hand(weights, pictures, layer):
    """Activations of a layer in float64, with nothing of the package but preprocessing."""
    w = {k: v.astype(np.float64) for k, v in weights.items()}
    x = np.stack([RECIPE(p) for p in pictures]).astype(np.float64)

    def conv(x, kernel, stride):
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        rows, columns = (x.shape[1] - 3) // stride + 1, (x.shape[2] - 3) // stride + 1
        return sum(
            x[:, p : p + stride * rows : stride, q : q + stride * columns : stride][
                :, :rows, :columns
            ]
            @ kernel[p, q]
            for p in range(3)
            for q in range(3)
        )

    seen = {}
    x = seen["conv1"] = np.maximum(conv(x, w["conv1.W"], 2) + w["conv1.b"], 0)
    x = conv(x, w["block.conv.W"], 1)
    gamma, beta, mean, var = (w[f"block.bn.{k}"] for k in ("gamma", "beta", "mean", "var"))
    x = seen["block"] = np.maximum((x - mean) / np.sqrt(var + 1e-5) * gamma + beta, 0)
    n, h, wide, c = x.shape
    x = seen["down"] = x.reshape(n, h // 2, 2, wide // 2, 2, c).max(axis=(2, 4))
    x = seen["avgpool"] = x.mean(axis=(1, 2))
    seen["fc"] = x @ w["fc.W"] + w["fc.b"]
    return seen[layer]
