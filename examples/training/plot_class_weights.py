"""
Rare classes and costly mistakes
================================

One machine in thirty fails. Trained as it comes, a network finds it cheapest to miss failures.
``class_weight`` makes the rare class count more; ``sample_weight`` goes further and lets every
machine count by what its failure would cost.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.metrics import precision_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeep import NeuralNetClassifier
from skdeep.layers import Dense, Dropout

X, y = make_classification(
    6000, n_features=12, n_informative=6, n_clusters_per_class=3, weights=[0.967], class_sep=0.9,
    flip_y=0.005, random_state=0,
)  # fmt: skip
load = X[:, 3] / X[:, 3].std()  # a failure under load costs more
cost = np.where(y == 1, np.exp(3 + load), 1.0)  # of a missed failure, of a false alarm
state = np.where(y == 1, "fails", "works")
X_train, X_test, y_train, y_test, cost_train, cost_test = train_test_split(
    X, state, cost, stratify=state, test_size=0.4, random_state=0
)


def make_net(**parameters):
    """The same network each time, behind a scaler."""
    layers = [Dense(48, activation="relu"), Dropout(0.5), Dense(24, activation="relu")]
    net = NeuralNetClassifier(
        layers, batch_size=64, max_epochs=30, random_state=0, n_threads=1, **parameters
    )
    return make_pipeline(StandardScaler(), net)


# %%
# Three ways to weigh the same data. In a pipeline, ``step__sample_weight`` hands the weights on.
fitted = {
    "as it comes": make_net().fit(X_train, y_train),
    "class_weight='balanced'": make_net(class_weight="balanced").fit(X_train, y_train),
    "sample_weight=cost": make_net().fit(
        X_train, y_train, neuralnetclassifier__sample_weight=cost_train
    ),
}

# %%
# What each finds, and what its mistakes cost.
fails = y_test == "fails"
edges = np.quantile(cost_test[fails], [0, 1 / 3, 2 / 3, 1])
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
costs = {}
print(f"{'':26s}{'found':>7s}{'alarms that are right':>23s}{'cost of mistakes':>18s}")
for k, (name, model) in enumerate(fitted.items()):
    predicted = model.predict(X_test)
    costs[name] = cost_test[predicted != y_test].sum()
    found = recall_score(y_test, predicted, pos_label="fails")
    right = precision_score(y_test, predicted, pos_label="fails")
    print(f"{name:26s}{found:7.1%}{right:23.1%}{costs[name]:18.0f}")
    third = np.digitize(cost_test[fails], edges[1:3])
    shares = [np.mean(predicted[fails][third == i] == "fails") for i in range(3)]
    axes[0].bar(np.arange(3) + 0.27 * (k - 1), shares, 0.25, label=name)
axes[0].set(
    ylabel="share of failures found",
    xticks=range(3),
    xticklabels=["cheapest third", "middle third", "dearest third"],
)
axes[0].legend(loc="upper left", fontsize=8)
axes[0].margins(y=0.35)
axes[1].barh(list(costs), costs.values(), color=["C0", "C1", "C2"])
axes[1].invert_yaxis()
axes[1].set(xlabel="cost of all mistakes on test machines")
plt.show()
