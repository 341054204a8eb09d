"""Pretrained networks with their own head, as fitted classifiers."""

import math
from numbers import Integral

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from ..training.progress import counting
from .image_features import PretrainedMixin
from .pictures import Pictures

__all__ = ["ImageClassifier"]


class ImageClassifier(PretrainedMixin, ClassifierMixin, BaseEstimator):
    """A pretrained network and its head: says what is on a picture.

    It is fitted from the start, to what its weights were trained on; ``fit`` learns nothing. To
    tell classes of your own apart, put :class:`ImageFeatures` before a classifier, or train a
    :func:`network` further.

    Parameters
    ----------
    model : str, path or Architecture, default="resnet50"
    weights : str, path, WeightsRecord or dict of arrays, default="default"
    preprocessing : Preprocessing or "auto", default="auto"
    crops : {1, 10}, default=1
        10 averages the probabilities of the middle and the corners, and of their mirror images, at
        ten times the cost.
    batch_size : int, default=32
    precision : {"float32", "bfloat16"} or None, default=None
    device : {"cpu", "cuda"} or None, default=None
    n_threads : int or None, default=None
    on_error : {"raise", "nan"}, default="raise"
        With "nan" a picture that cannot be read has probabilities of NaN; ``predict`` raises.
    verbose : int, default=0
        Above 0 a bar shows the progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Names, or numbers where the weights have none.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features import ImageClassifier
    >>> pictures = np.random.RandomState(0).randint(0, 256, (2, 90, 70, 3), np.uint8)
    >>> classifier = ImageClassifier("squeezenet1_1", weights="random")
    >>> classifier.predict_proba(pictures).shape
    (2, 1000)
    """

    def __init__(
        self,
        model="resnet50",
        weights="default",
        *,
        preprocessing="auto",
        crops=1,
        batch_size=32,
        precision=None,
        device=None,
        n_threads=None,
        on_error="raise",
        verbose=0,
    ):
        self.model = model
        self.weights = weights
        self.preprocessing = preprocessing
        self.crops = crops
        self.batch_size = batch_size
        self.precision = precision
        self.device = device
        self.n_threads = n_threads
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X=None, y=None):
        """Read the weights and check the parameters.

        Parameters
        ----------
        X, y : ignored

        Returns
        -------
        self
        """
        self._forget()
        self._head()
        return self

    def _head(self):
        self._check()
        if self.crops not in (1, 10):
            raise ValueError(f"crops={self.crops!r} must be 1 or 10.")
        extractor, layer = self._logits("use ImageFeatures(layer='pool') before a classifier")
        if self.crops == 10 and extractor.preprocessing.crop is None:
            raise ValueError("crops=10 needs a Preprocessing with a crop.")
        return extractor, layer

    @property
    def classes_(self):
        """Names, or numbers where the weights have none."""
        extractor, layer = self._head()
        if extractor.labels is not None:
            return extractor.labels
        return np.arange(math.prod(extractor.shapes[layer]))

    def decision_function(self, X):
        """Logits: what the head gives before softmax.

        Parameters
        ----------
        X : sequence of pictures, as of :meth:`ImageFeatures.transform`

        Returns
        -------
        ndarray of float32 of shape (n_pictures, n_classes), or (n_pictures,)
            With ``crops=10`` the logarithms of the averaged probabilities. For two classes the
            second one's less the first one's.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def _scores(self, X):
        extractor, layer = self._head()
        pictures, run = Pictures(X), self._run_options()
        n = len(pictures)
        out = np.full((n, math.prod(extractor.shapes[layer])), np.nan, np.float32)
        with counting(n, "picture", self.verbose) as advance:
            if self.crops == 1:
                failed = self._rows(extractor, pictures, (layer,), "flatten", out, advance, run)
            else:
                failed = self._crop_rows(extractor, pictures, layer, out, advance, run)
        self._warn(failed, n)
        return out

    def _crop_rows(self, extractor, pictures, layer, out, advance, run):
        """As :meth:`_rows`, logarithms of the probabilities averaged over crops."""
        failed = {}
        for k, row in enumerate(out):
            advance(1)
            try:
                crops = extractor.preprocessing.ten_crops(pictures.load(k))
            except ValueError as error:
                if self.on_error == "raise":
                    raise
                failed[k] = error
                continue
            (logits,) = extractor.run(crops, (layer,), "flatten", **run)
            row[...] = logsumexp(log_softmax(logits, axis=1), axis=0) - math.log(len(crops))
        return failed

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : sequence of pictures, as of :meth:`ImageFeatures.transform`

        Returns
        -------
        ndarray of float32 of shape (n_pictures, n_classes)
        """
        return softmax(self._scores(X), axis=1)

    def predict(self, X):
        """The most probable class of each picture.

        Parameters
        ----------
        X : sequence of pictures, as of :meth:`ImageFeatures.transform`

        Returns
        -------
        ndarray of shape (n_pictures,)
        """
        scores = self._scores(X)
        if np.isnan(scores).any():
            bad = np.flatnonzero(np.isnan(scores).any(axis=1))
            raise ValueError(f"pictures {bad[:10].tolist()} have no class: they could not be read.")
        return self.classes_[scores.argmax(axis=1)]

    def predict_top(self, X, k=5):
        """The k most probable classes of each picture.

        Parameters
        ----------
        X : sequence of pictures, as of :meth:`ImageFeatures.transform`
        k : int, default=5

        Returns
        -------
        list of list of (class, probability)
            One list per picture, the most probable first; empty for one that could not be read.
        """
        classes = self.classes_.tolist()
        if not isinstance(k, Integral) or not 1 <= k <= len(classes):
            raise ValueError(f"k={k!r} must be an integer between 1 and {len(classes)}.")
        p = self.predict_proba(X)
        order = np.argsort(-p, axis=1, kind="stable")[:, :k]
        return [
            [(classes[c], float(row[c])) for c in top if row[c] == row[c]]
            for row, top in zip(p, order)
        ]

    def __sklearn_is_fitted__(self):
        return True
