"""
A layer of your own
===================

Parts come out good when temperature and pressure lie in one of a few windows. A radial basis
layer suits that: each unit answers to points near its centre. skdeep has none, so we write it:
a class with hyper-parameters in ``__init__`` and a ``forward`` made of :mod:`skdeep.ops`.
Gradients follow, and the layer clones, searches and pickles like any other.
"""

# %%
import pickle

import matplotlib.pyplot as plt
import numpy as np
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeep import NeuralNetClassifier, ops
from skdeep.layers import Dense, Layer
from skdeep.training import Adam


class RadialBasis(Layer):
    """exp(-s_k * |x - c_k|**2), with learnt centres c and sharpness s."""

    def __init__(self, units=10, *, sharpness=1.0):
        self.units = units
        self.sharpness = sharpness

    def forward(self, x):
        """(n, d) to (n, units)."""
        centres = self.parameter("centres", (x.shape[-1], self.units), "glorot_normal")
        sharpness = self.parameter("sharpness", (1, self.units), self.sharpness)
        distance = (
            ops.sum(ops.square(x), axis=1, keepdims=True)
            - 2.0 * ops.matmul(x, centres)
            + ops.sum(ops.square(centres), axis=0, keepdims=True)
        )
        return ops.exp(-ops.square(sharpness) * distance)


# %%
# The measurements of 600 parts.
rng = np.random.default_rng(0)
X = np.column_stack([rng.uniform(150, 250, 600), rng.uniform(2, 8, 600)])
windows = np.array([[170, 3.2], [190, 6.5], [225, 4.5]])
y = np.where((np.hypot((X[:, :1] - windows[:, 0]) / 18, X[:, 1:] - windows[:, 1]) < 0.9).any(1),
             "good", "scrap")  # fmt: skip

# %%
# The layer's parameters are searched by name, like those of the built-in Dense layer beside it.
net = NeuralNetClassifier(
    [("hidden", Dense(8, activation="relu"))],
    optimizer=Adam(learning_rate=0.02),
    batch_size=50,
    max_epochs=60,
    random_state=0,
    n_threads=1,
)
pipe = make_pipeline(StandardScaler(), net)
search = GridSearchCV(
    pipe,
    [
        {"neuralnetclassifier__hidden__units": [8, 16]},
        {
            "neuralnetclassifier__hidden": [RadialBasis()],
            "neuralnetclassifier__hidden__units": [8, 16],
            "neuralnetclassifier__hidden__sharpness": [0.5, 1.5],
        },
    ],
    cv=3,
).fit(X, y)
for p, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"]):
    shown = {k.rpartition("__")[2]: v for k, v in p.items()}
    print(f"{score:.3f}  {shown}")

# %%
# The best network: what it takes for good, and where its units sit.
best = pickle.loads(pickle.dumps(search.best_estimator_))
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
DecisionBoundaryDisplay.from_estimator(
    best,
    X,
    response_method="predict_proba",
    class_of_interest="good",
    cmap="Blues",
    ax=ax,
    alpha=0.7,
)
for label, marker in (("good", "o"), ("scrap", "x")):
    ax.plot(*X[y == label].T, marker, ms=4, color="C1" if label == "good" else "0.4", label=label)
weights = best[-1].weights_
if "hidden.centres" in weights:
    centres = best[0].inverse_transform(weights["hidden.centres"].T)
    ax.plot(*centres.T, "k*", ms=11, label="centres")
ax.set(xlim=(150, 250), ylim=(2, 8), xlabel="temperature", ylabel="pressure")
ax.legend(loc="upper right")
plt.show()
