"""
Search a convolutional network
==============================

Which width and which learning rate read handwritten digits best? The network is the last step
of a pipeline, and a grid search reaches into it by name: ``conv__filters`` is a parameter of
the layer called "conv", ``optimizer__learning_rate`` one of the optimizer.
"""

# %%
# The data: 1797 images of 8 x 8 pixels, one flat row each. ``input_shape`` tells the network how
# to see a row as an image.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skdeep import NeuralNetClassifier
from skdeep.layers import Conv2D, Dense, Dropout, MaxPool2D
from skdeep.training import Adam

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

net = NeuralNetClassifier(
    layers=[
        ("conv", Conv2D(16, 3, padding="same", activation="relu")),
        MaxPool2D(2),
        ("drop", Dropout(0.25)),
        ("hidden", Dense(64, activation="relu")),
    ],
    input_shape=(8, 8, 1),
    optimizer=Adam(),
    batch_size=32,
    max_epochs=12,
    random_state=0,
    n_threads=1,
)
pipe = Pipeline([("scale", MinMaxScaler()), ("net", net)])

# %%
# Twelve candidates, three folds. ``"passthrough"`` leaves a layer out, as in a pipeline. With
# ``n_jobs=-1`` the fits would be spread over all cores; no candidate compiles anything.
grid = {
    "net__conv__filters": [8, 16, 32],
    "net__drop": [Dropout(0.25), "passthrough"],
    "net__optimizer__learning_rate": [1e-3, 4e-3],
}
search = GridSearchCV(pipe, grid, cv=3, scoring="neg_log_loss").fit(X_train, y_train)

print("best parameters:", search.best_params_)
print(
    f"accuracy on {len(X_test)} unseen images: {search.best_estimator_.score(X_test, y_test):.4f}"
)

# %%
# All candidates at a glance, and every image the winner misreads.
results = search.cv_results_
rates = grid["net__optimizer__learning_rate"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for style, drop in (("o-", "Dropout"), ("s--", "passthrough")):
    for rate in rates:
        line = [
            (p["net__conv__filters"], -score)
            for p, score in zip(results["params"], results["mean_test_score"])
            if str(p["net__drop"]).startswith(drop) and p["net__optimizer__learning_rate"] == rate
        ]
        axes[0].plot(*zip(*line), style, color=f"C{rates.index(rate)}", label=f"{drop}, {rate:g}")
axes[0].set(xlabel="filters", ylabel="log loss in cross-validation", xticks=[8, 16, 32])
axes[0].legend(title="layer 'drop', learning rate")

predicted = search.predict(X_test)
wrong = (predicted != y_test).nonzero()[0][:15]
axes[1].set(title="misread: true -> predicted", xticks=[], yticks=[])
axes[1].axis("off")
for k, i in enumerate(wrong):
    tile = axes[1].inset_axes([0.2 * (k % 5), 0.68 - 0.34 * (k // 5), 0.18, 0.24])
    tile.imshow(X_test[i].reshape(8, 8), cmap="gray_r")
    tile.set_title(f"{y_test[i]} -> {predicted[i]}", fontsize=8)
    tile.set(xticks=[], yticks=[])
plt.show()
