"""
Residual and inception blocks
=============================

Layers that hold layers write an architecture down as a list: ``Residual`` adds a short cut
around its layers, ``Parallel`` runs branches side by side, ``Sequential`` makes one layer of
several. Three networks read very noisy digits.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skdeep import NeuralNetClassifier
from skdeep.layers import (
    BatchNorm,
    Conv2D,
    GlobalAveragePool2D,
    MaxPool2D,
    Parallel,
    Residual,
    Sequential,
)
from skdeep.training import Adam, CosineDecay

X, y = load_digits(return_X_y=True)
X = X / 16 + np.random.default_rng(0).normal(0, 0.3, X.shape)
images = X.reshape(-1, 8, 8, 1)
X_train, X_test, y_train, y_test = train_test_split(images, y, stratify=y, random_state=0)

# %%
# Convolution, batch normalisation and relu always come together: a function says it once.


def conv(filters, size, *, activation="relu"):
    """Convolution, then batch normalisation with an activation."""
    return Sequential(
        [Conv2D(filters, size, padding="same", use_bias=False), BatchNorm(activation)]
    )


plain = [conv(16, 3), conv(16, 3), MaxPool2D(2), conv(32, 3), GlobalAveragePool2D()]
residual = [
    conv(16, 3),
    Residual([conv(16, 3), conv(16, 3, activation=None)], activation="relu"),
    MaxPool2D(2),
    Residual(
        [conv(32, 3), conv(32, 3, activation=None)],
        shortcut=Conv2D(32, 1),  # 16 channels come in, 32 go out
        activation="relu",
    ),
    GlobalAveragePool2D(),
]
inception = [
    conv(16, 3),
    Parallel(
        [
            ("narrow", conv(8, 1)),
            ("middle", Sequential([conv(8, 1), conv(12, 3)])),
            ("wide", Sequential([conv(4, 1), conv(6, 5)])),
            ("pooled", Sequential([MaxPool2D(3, stride=1, padding="same"), conv(6, 1)])),
        ]
    ),
    MaxPool2D(2),
    conv(32, 3),
    GlobalAveragePool2D(),
]

# %%
# The same training for all three.
fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
print(f"{'':10s} {'weights':>8s} {'accuracy':>9s} {'seconds':>8s}")
for name, layers in {"plain": plain, "residual": residual, "inception": inception}.items():
    net = NeuralNetClassifier(
        layers,
        optimizer=Adam(CosineDecay(5e-3)),
        batch_size=32,
        max_epochs=12,
        random_state=0,
        n_threads=1,
    ).fit(X_train, y_train, X_val=X_test, y_val=y_test)
    count = sum(w.size for w in net.weights_.values())
    seconds = sum(r["seconds"] for r in net.history_)
    print(f"{name:10s} {count:8d} {net.score(X_test, y_test):9.4f} {seconds:8.2f}")
    epochs = [r["epoch"] for r in net.history_]
    ax.semilogy(epochs, [r["valid_loss"] for r in net.history_], label=name)
ax.set(xlabel="epoch", ylabel="log loss on unseen digits")
ax.legend()
plt.show()

# %%
# Names lead into nested blocks, too: this is how a search would widen one branch.
parameters = sorted(
    k for k in net.get_params() if k.startswith("parallel1__wide__") and "filters" in k
)
print("\n".join(parameters))
