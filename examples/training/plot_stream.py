"""
Learning from a stream
======================

Readings of a plant arrive in batches, and what they mean drifts as sensors age. ``partial_fit``
goes on from where the network is. Each batch is predicted first and learnt from afterwards, so
that the curve below shows only honest predictions.
"""

# %%
from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import StandardScaler

from skdeep import NeuralNetClassifier
from skdeep.layers import Dense
from skdeep.training import Adam

rng = np.random.default_rng(0)
STATES = np.array(["idle", "normal", "overload"])


def batch(t, n=100):
    """Readings and states at time t; the sensors turn by half a degree per batch."""
    k = rng.integers(0, 3, n)
    level = rng.normal(1.6 * k, 0.5, n)
    angle = np.deg2rad(0.5 * t) + rng.normal(0, 0.15, n)
    vibration = rng.normal(0, 0.3, (n, 4)) + 0.4 * k[:, None] * np.array([1, -1, 0, 0])
    return np.column_stack([level * np.cos(angle), level * np.sin(angle), vibration]), STATES[k]


# %%
# The first batch may lack a state, so the first call names them all.
net = NeuralNetClassifier(
    [Dense(32, activation="relu"), Dense(16, activation="relu")],
    optimizer=Adam(learning_rate=5e-3),
    batch_size=20,
    random_state=0,
    n_threads=1,
)
scale = StandardScaler()
frozen = None
scores = {"goes on learning": [], "learnt 40 batches only": []}
for t in range(240):
    X, y = batch(t)
    if t > 0:
        scores["goes on learning"].append(net.score(scale.transform(X), y))
        scores["learnt 40 batches only"].append((frozen or net).score(scale.transform(X), y))
    if t < 40:
        scale.partial_fit(X)
    if t == 40:
        frozen = deepcopy(net)
    net.partial_fit(scale.transform(X), y, classes=STATES)

for name, line in scores.items():
    print(
        f"{name:24s} mean accuracy {np.mean(line):.3f}, last 20 batches {np.mean(line[-20:]):.3f}"
    )

# %%
fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for name, line in scores.items():
    smooth = np.convolve(line, np.ones(9) / 9, mode="valid")
    ax.plot(np.arange(len(smooth)) + 5, smooth, label=name)
ax.axvline(40, color="0.6", ls=":")
ax.set(xlabel="batch", ylabel="accuracy before learning (9 batches)", ylim=(0.3, 1.02))
ax.legend(loc="lower left")
plt.show()
