"""Features that are fitted on the user's own pictures: how much their patches are like others."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from .. import ops
from .._validation import (
    COUNT,
    COUNT_PAIR,
    FLAG,
    NOT_NEGATIVE,
    POSITIVE,
    SHAPE,
    one_of,
    optional,
)
from ..layers import Layer
from ..layers.conv import pair
from ..ops.geometry import output_size
from ..ops.patches import ExtractPatches, SoftPool, TrianglePool
from ..training.progress import counting
from .arrays import ArrayFeatures, extractor_of
from .dictionary import Dictionary, Products, distance_weights, nearest_by

__all__ = ["PatchFeatures"]

GATHERED = 4096  # patches taken from pictures at a time


class Encoding(Layer):
    """Pictures (n, h, w, c) to encodings of their patches, pooled over regions."""

    def __init__(self, size, stride, eps, n_patches, whiten, encoding, alpha, grid, mean):
        self.size = size
        self.stride = stride
        self.eps = eps
        self.n_patches = n_patches
        self.whiten = whiten
        self.encoding = encoding
        self.alpha = alpha
        self.grid = grid
        self.mean = mean

    def forward(self, x):
        """The whole of it; whitening before a soft threshold is a part of the dictionary."""
        z = ExtractPatches(x, size=self.size, stride=self.stride, eps=self.eps).output
        if self.whiten and self.encoding == "triangle":
            d = z.shape[-1]
            z = ops.dense(z, self.parameter("whitening", (d, d)), self.parameter("shift", (d,)))
        q = Products(self.n_patches)(z)
        if self.encoding == "triangle":
            return TrianglePool(q, z, grid=self.grid, mean=self.mean).output
        return SoftPool(q, grid=self.grid, mean=self.mean, alpha=self.alpha).output


class PatchFeatures(ArrayFeatures):
    """Features of pictures from patches of pictures: nothing is downloaded, and ``fit`` learns.

    Each patch of a picture is normalised (its mean taken off, divided by its deviation), whitened
    by the statistics of all patches, and compared with a dictionary of patches; what the patches
    of a region give is pooled. Pictures have any number of channels, and all have one size.

    Parameters
    ----------
    n_patches : int, default=2000
        Words of the dictionary.
    patch_size : int or pair, default=6
        Height and width in pixels.
    dictionary : {"kmeans", "patches"}, default="kmeans"
        The centroids of k-means, or patches of the pictures as they are.
    encoding : {"triangle", "soft"}, default="triangle"
        "triangle": ``max(0, mean(d) - d[k])`` with the distances ``d`` to the words. "soft":
        ``max(0, p[k] - alpha)`` and ``max(0, -p[k] - alpha)``, twice as many features, with the
        products ``p`` with words of length 1.
    alpha : float, default=0.25
        Threshold of "soft".
    whiten : bool, default=True
    epsilon : float, default=0.1
        Added to the variances that whitening divides by; a normalised pixel has variance 1.
    contrast_epsilon : float, default=0.0025
        Added to the variance of a patch, in units of the variance of all pixels: so little contrast
        that it is noise is not amplified.
    stride : int or pair, default=1
        Pixels between patches that are encoded. Dictionaries are made of patches at all of these
        places.
    pool : (int, int), default=(2, 2)
        Regions down and across.
    pooling : {"mean", "sum"}, default="mean"
        Over the patches of a region.
    n_samples : int, default=100_000
        Patches, at most, that a call of ``fit`` or ``partial_fit`` learns from.
    max_iter : int, default=10
        Iterations of k-means.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and channels, for X of two axes; one of them may be -1.
    batch_size : int, default=256
        Pictures that are converted to float32 together.
    random_state : int, RandomState instance or None, default=None
    n_threads : int or None, default=None
    verbose : int, default=0
        Above 0 a bar shows the progress.

    Attributes
    ----------
    patches_ : ndarray of shape (n_patches, height, width, channels)
        The dictionary as normalised patches, to look at.
    components_ : ndarray of shape (n_patches, height * width * channels)
        The same, whitened.
    whitening_ : ndarray of shape (d, d) or None
        A normalised patch x becomes ``(x - mean_) @ whitening_``.
    mean_ : ndarray of shape (d,)
    contrast_ : float
        The variance of pixels that ``contrast_epsilon`` is a part of: that of the first data.
    n_patches_seen_ : int
    n_iter_ : int
        Iterations of k-means.
    image_shape_ : tuple of int
    n_features_in_ : int

    Notes
    -----
    The answer does not change when all levels are multiplied by a number: bytes and the same in
    0 .. 1 are one. ``transform`` needs, besides X and what it returns, the products of a few
    pictures, 4 bytes for each patch of theirs and word, per thread.

    References
    ----------
    Coates, Lee & Ng, An analysis of single-layer networks in unsupervised feature learning, 2011.
    Coates & Ng, The importance of encoding versus training with sparse coding and vector
    quantization, 2011. Thiry, Arbel, Belilovsky & Oyallon, The unreasonable effectiveness of
    patches in deep convolutional kernels methods, 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdeep.features import PatchFeatures
    >>> X, y = load_digits(return_X_y=True)
    >>> features = PatchFeatures(20, 4, image_shape=(8, 8), random_state=0)
    >>> features.fit_transform(X[:100]).shape
    (100, 80)
    """

    _rules = {
        "n_patches": COUNT,
        "patch_size": COUNT_PAIR,
        "dictionary": one_of(("kmeans", "patches")),
        "encoding": one_of(("triangle", "soft")),
        "alpha": NOT_NEGATIVE,
        "whiten": FLAG,
        "epsilon": POSITIVE,
        "contrast_epsilon": POSITIVE,
        "stride": COUNT_PAIR,
        "pool": COUNT_PAIR,
        "pooling": one_of(("mean", "sum")),
        "n_samples": COUNT,
        "max_iter": COUNT,
        "image_shape": optional(SHAPE),
        "batch_size": COUNT,
        "n_threads": optional(COUNT),
    }

    def __init__(
        self,
        n_patches=2000,
        patch_size=6,
        *,
        dictionary="kmeans",
        encoding="triangle",
        alpha=0.25,
        whiten=True,
        epsilon=0.1,
        contrast_epsilon=0.0025,
        stride=1,
        pool=(2, 2),
        pooling="mean",
        n_samples=100_000,
        max_iter=10,
        image_shape=None,
        batch_size=256,
        random_state=None,
        n_threads=None,
        verbose=0,
    ):
        self.n_patches = n_patches
        self.patch_size = patch_size
        self.dictionary = dictionary
        self.encoding = encoding
        self.alpha = alpha
        self.whiten = whiten
        self.epsilon = epsilon
        self.contrast_epsilon = contrast_epsilon
        self.stride = stride
        self.pool = pool
        self.pooling = pooling
        self.n_samples = n_samples
        self.max_iter = max_iter
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X, y=None):
        """Learn what patches are like, and a dictionary of them.

        Parameters
        ----------
        X : as of :meth:`transform`
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For what are no pictures of one size, or when they have fewer patches than the
            dictionary is to have words.
        """
        return self._learn(X, fresh=True)

    def partial_fit(self, X, y=None):
        """Learn from more pictures; the first call is a ``fit``.

        Mean and whitening are then those of all patches seen. Centroids of k-means move towards the
        mean of the patches that are nearest to them, each patch counting as much as every earlier
        one; a dictionary of data patches stays a fair sample of all. What was transformed before
        does not belong together with what is transformed after.

        Parameters
        ----------
        X : as of :meth:`transform`
        y : ignored

        Returns
        -------
        self
        """
        return self._learn(X, fresh=not hasattr(self, "patches_"))

    def _learn(self, X, fresh):
        rows = self._read(X, reset=fresh)
        places = self._places()
        rng = check_random_state(self.random_state) if fresh else self.random_state_
        patches = self._sample(rows, places, rng)
        if fresh and len(patches) < self.n_patches:
            raise ValueError(
                f"PatchFeatures: a dictionary of n_patches={self.n_patches} needs as many patches, "
                f"but n_samples={self.n_samples} and {len(rows)} sample(s) of shape "
                f"{self.image_shape_} give {len(patches)}; ask for fewer, or pass more pictures."
            )
        if fresh:
            self.random_state_ = rng
            self.contrast_ = float(patches.var(dtype=np.float64)) or 1.0
            self._dictionary = Dictionary(
                patches.shape[1], self.dictionary, self.whiten, self.epsilon
            )
        self._normalize(patches)
        known = self._dictionary
        with counting(self.max_iter, "iteration", self.verbose) as advance:
            known.learn(patches, self.n_patches, self.max_iter, rng, nearest_by(self._run), advance)
        self.n_patches_seen_, self.n_iter_ = known.n_seen, known.n_iter
        self.mean_, self.whitening_ = known.mean, known.whitening
        self.components_ = known.whitened(known.words)
        size = *pair(self.patch_size), self.image_shape_[2]
        self.patches_ = known.words.reshape(-1, *size)
        self._held = {}
        return self

    def _places(self):
        """Rows and columns of places for a patch."""
        height, width, _ = self.image_shape_
        kh, kw = pair(self.patch_size)
        if kh > height or kw > width:
            raise ValueError(
                f"PatchFeatures: patches of {kh} x {kw} pixels do not fit into pictures of "
                f"{height} x {width} (n_features={self.n_features_in_}); pass a smaller patch_size."
            )
        places = tuple(
            output_size(size, k, step, (0, 0), 1)
            for size, k, step in zip((height, width), (kh, kw), pair(self.stride))
        )
        if any(regions > n for regions, n in zip(pair(self.pool), places)):
            raise ValueError(
                f"PatchFeatures: pool={self.pool!r} regions need as many places for patches, but "
                f"there are {places[0]} x {places[1]} in pictures of {height} x {width}; pass a "
                "coarser pool, or a smaller patch_size or stride."
            )
        return places

    def _sample(self, rows, places, rng):
        """Some of all patches, as rows of float32."""
        kh, kw = pair(self.patch_size)
        down, across = pair(self.stride)
        total = len(rows) * places[0] * places[1]
        n = min(total, self.n_samples)
        chosen = np.sort(sample_without_replacement(total, n, random_state=rng))
        k, i, j = np.unravel_index(chosen, (len(rows), *places))
        pictures = rows.reshape(len(rows), *self.image_shape_)
        windows = np.lib.stride_tricks.sliding_window_view(pictures, (kh, kw), axis=(1, 2))
        out = np.empty((n, kh, kw, self.image_shape_[2]), np.float32)
        with np.errstate(over="ignore"):
            for start in range(0, n, GATHERED):
                part = slice(start, start + GATHERED)
                taken = windows[k[part], down * i[part], across * j[part]]
                out[part] = taken.transpose(0, 2, 3, 1)
        out = out.reshape(n, -1)
        if not np.isfinite(out).all():
            raise ValueError("PatchFeatures: X holds numbers too large for float32; scale it.")
        return out

    def _normalize(self, patches):
        for start in range(0, len(patches), GATHERED):
            part = patches[start : start + GATHERED]
            part -= part.mean(axis=1, keepdims=True)
            part /= np.sqrt(np.square(part).mean(axis=1, keepdims=True) + self._eps())

    def _eps(self):
        return np.float32(self.contrast_epsilon * self.contrast_)

    def _network(self):
        """See :class:`ArrayFeatures`."""
        self._places()
        k, *size, _ = self.patches_.shape
        known = self._dictionary
        facts = (
            tuple(size), pair(self.stride), float(self._eps()), k, known.whiten, self.encoding,
            float(self.alpha), pair(self.pool), self.pooling == "mean",
        )  # fmt: skip
        layers = [("encoding", Encoding(*facts))]

        def make():
            weights = {f"encoding.{name}": w for name, w in self._weights().items()}
            return extractor_of("PatchFeatures", layers, self.image_shape_, weights)

        return facts, make

    def _weights(self):
        """Arrays of :class:`Encoding`."""
        known, words = self._dictionary, self.components_
        mean = known.mean.astype(np.float32)
        if self.encoding == "triangle":
            weights = {f"products1.{n}": w for n, w in distance_weights(words).items()}
            if known.whiten:
                weights |= {"whitening": known.whitening, "shift": -mean @ known.whitening}
            return weights
        lengths = np.sqrt(np.square(words).sum(axis=1, keepdims=True))
        words = words / np.where(lengths > 0, lengths, 1)
        if not known.whiten:
            return {"products1.W": words.T, "products1.b": np.zeros(len(words))}
        words = words @ known.whitening
        return {"products1.W": words.T, "products1.b": -words @ mean}

    def _names(self):
        signs = ("",) if self.encoding == "triangle" else ("+", "-")
        down, across = pair(self.pool)
        return [
            f"patch{k}{sign}_{a}_{b}"
            for a in range(down)
            for b in range(across)
            for sign in signs
            for k in range(len(self.patches_))
        ]
