"""
Features fitted on your own pictures
====================================

``PatchFeatures`` learns a dictionary of small patches from the pictures it is given, and describes
a picture by how much the patches of its regions resemble each word. Nothing is downloaded. Here it
learns from two photographs what patches of photographs are like, and then helps to read digits
of which few are labelled.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeep.features import HOGFeatures, PatchFeatures

# %%
# The dictionary of photographs: edges, stripes and blobs, in grey and in pairs of colours.

crops = [
    photograph[i : i + 32, j : j + 32]
    for photograph in load_sample_images().images
    for i in range(0, 396, 36)
    for j in range(0, 608, 32)
]
photographs = PatchFeatures(96, 7, n_samples=20_000, random_state=0).fit(np.array(crops))
words = photographs.components_.reshape(photographs.patches_.shape)

fig, axes = plt.subplots(8, 12, figsize=(7.2, 4.9), layout="constrained")
for ax, word in zip(axes.flat, words):
    low, high = word.min(), word.max()
    ax.imshow((word - low) / (high - low))
    ax.set_axis_off()
fig.suptitle("Words of a dictionary: whitened patches of two photographs")
plt.show()

# %%
# Digits of which a few are labelled. The dictionary needs no labels, so it learns from all of them;
# the classifier sees 3 to 30 of each class. Each point is the mean over three draws.

X, y = load_digits(return_X_y=True)
images = {"image_shape": (8, 8)}
features = {
    "raw pixels": X,
    "HOG": HOGFeatures(2, epsilon=0.5, **images).fit_transform(X),
    "patches": PatchFeatures(60, 4, random_state=0, **images).fit_transform(X),
}
sizes, scores = [3, 10, 30], {}
for name, rows in features.items():
    scores[name] = []
    for size in sizes:
        draws = []
        for seed in range(3):
            train, test = train_test_split(
                np.arange(len(y)), train_size=10 * size, stratify=y, random_state=seed
            )
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
            draws.append(model.fit(rows[train], y[train]).score(rows[test], y[test]))
        scores[name].append(np.mean(draws))
    print(f"{name:>10}: " + ", ".join(f"{s:.3f}" for s in scores[name]))

# %%
fig, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
for name, values in scores.items():
    ax.plot(sizes, values, marker="o", label=name)
ax.set_xscale("log")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.set_xlabel("labelled digits of each class")
ax.set_ylabel("accuracy on the others")
ax.legend()
plt.show()
