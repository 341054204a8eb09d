"""Statistics of patches, and a dictionary of them that grows with the data."""

import numpy as np
from scipy import sparse

from .. import ops
from ..layers import Layer
from .arrays import extractor_of

CHUNK = 8192  # patches whose products with the dictionary are in memory together


class Products(Layer):
    """Products with a dictionary, (..., d) to (..., n_patches)."""

    def __init__(self, n_patches):
        self.n_patches = n_patches

    def forward(self, x):
        """Products plus a number for each word of the dictionary."""
        w = self.parameter("W", (x.shape[-1], self.n_patches))
        return ops.dense(x, w, self.parameter("b", (self.n_patches,)))


def distance_weights(words):
    """Weights of :class:`Products` that give distance ** 2 - |z| ** 2."""
    return {"W": -2 * words.T, "b": np.square(words).sum(axis=1)}


class Dictionary:
    """What is known of normalised patches: mean and covariance, and words to compare them with.

    Parameters
    ----------
    d : int
        Numbers of a patch.
    kind : {"kmeans", "patches"}
    whiten : bool
    epsilon : float
        Added to the variances that whitening divides by.

    Attributes
    ----------
    words : ndarray of shape (k, d)
        Not whitened: their whitened form follows the statistics as these change.
    counts : ndarray of shape (k,)
        Patches that each word is the mean of.
    n_iter : int
        Iterations of k-means that were made.
    """

    def __init__(self, d, kind, whiten, epsilon):
        self.kind, self.whiten, self.epsilon = kind, whiten, epsilon
        self.n_seen, self.n_iter = 0, 1
        self.mean, self.covariance = np.zeros(d), np.zeros((d, d))
        self.whitening = self.words = self.counts = None

    def whitened(self, patches):
        """Patches as they are compared, float32."""
        if not self.whiten:
            return patches
        return (patches - self.mean.astype(np.float32)) @ self.whitening

    def learn_statistics(self, patches):
        """Join the mean and covariance of more patches with those known."""
        n, seen = len(patches), self.n_seen
        mean = patches.mean(axis=0, dtype=np.float64)
        centred = patches - mean
        covariance = centred.T @ centred / n
        share = n / (n + seen)
        step = mean - self.mean
        self.covariance += share * (covariance - self.covariance)
        self.covariance += share * (1 - share) * np.outer(step, step)
        self.mean = self.mean + share * step
        if self.whiten:
            values, vectors = np.linalg.eigh(self.covariance)
            scale = 1 / np.sqrt(np.maximum(values, 0) + self.epsilon)
            self.whitening = ((vectors * scale) @ vectors.T).astype(np.float32)

    def learn(self, patches, k, max_iter, rng, nearest, advance):
        """Learn from more patches.

        Parameters
        ----------
        patches : ndarray of float32 of shape (n, d)
        k, max_iter : int
            Words and iterations of the first time.
        rng : RandomState
        nearest : callable
            ``nearest(z, words)`` gives the index of the nearest word of every row.
        advance : callable
            Called with 1 after every iteration of k-means.
        """
        self.learn_statistics(patches)
        if self.words is None:
            self.words = patches[rng.choice(len(patches), k, replace=False)]
            self.counts = np.ones(k)
            if self.kind == "kmeans":
                self._k_means(patches, max_iter, rng, nearest, advance)
        elif self.kind == "kmeans":
            index = nearest(self.whitened(patches), self.whitened(self.words))
            self._move(patches, index)
        else:
            self._exchange(patches, rng)
        self.n_seen += len(patches)

    def _k_means(self, patches, max_iter, rng, nearest, advance):
        """Lloyd's iterations; a word that nothing is nearest to becomes some patch."""
        z, before = self.whitened(patches), None
        for self.n_iter in range(1, max_iter + 1):
            index = nearest(z, self.whitened(self.words))
            self.counts = np.zeros(len(self.words))
            self._move(patches, index)
            advance(1)
            empty = np.flatnonzero(self.counts == 0)
            if before is not None and np.array_equal(index, before):
                break
            self.words[empty] = patches[rng.choice(len(patches), len(empty), replace=False)]
            before = index

    def _move(self, patches, index):
        """Words become the means of their patches so far and of those given to them."""
        n, k = len(patches), len(self.words)
        owner = sparse.csr_matrix((np.ones(n, np.float32), (index, np.arange(n))), (k, n))
        added = np.bincount(index, minlength=k)
        self.counts = self.counts + added
        share = (1 / np.maximum(self.counts, 1)).astype(np.float32)[:, None]
        step = owner @ patches - added.astype(np.float32)[:, None] * self.words
        self.words = self.words + share * step

    def _exchange(self, patches, rng):
        """Words that stay a sample, without replacement, of all patches seen."""
        k = len(self.words)
        fresh = rng.hypergeometric(len(patches), self.n_seen, k)
        words = self.words.copy()
        chosen = rng.choice(len(patches), fresh, replace=False)
        words[rng.choice(k, fresh, replace=False)] = patches[chosen]
        self.words = words


def nearest_by(run):
    """The function that :meth:`Dictionary.learn` wants.

    Parameters
    ----------
    run : callable
        ``run(extractor, arrays, layer)`` gives the rows of a layer.
    """

    def nearest(z, words):
        d = z.shape[1]
        weights = {f"products.{name}": w for name, w in distance_weights(words).items()}
        products = extractor_of("k-means", [("products", Products(len(words)))], (1, 1, d), weights)
        index = np.empty(len(z), np.int64)
        for start in range(0, len(z), CHUNK):
            part = np.ascontiguousarray(z[start : start + CHUNK]).reshape(-1, 1, 1, d)
            scores = run(products, part, "products").reshape(len(part), -1)
            index[start : start + CHUNK] = scores.argmin(axis=1)
        return index

    return nearest
