"""Transformers of pictures of one size, given as arrays or as rows of numbers."""

import math
from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from .._config import configured_threads, get_config
from .._validation import check_parameters
from ..estimators._inputs import sample_shape
from ..estimators.base import make_device
from ..kernels.cpu import resolve_threads
from ..layers.network import Network
from ..training.progress import counting
from .extraction import Extractor, digest_of

LOADER = "put ImageLoader(preprocessing=Preprocessing(resize=..., crop=...)) before it"


def extractor_of(name, layers, shape, weights):
    """Layers with weights, ready to run on float32 arrays of pictures.

    Parameters
    ----------
    name : str
        Of the whole, for messages.
    layers : list of (str, Layer)
    shape : (int, int, int)
        Of a picture.
    weights : dict of str to ndarray
    """
    network = Network(layers, shape)
    network.probe()

    def fill(vectors):
        network.gather(weights, vectors)

    return Extractor(name, network, fill, (), None, None, lambda: digest_of(weights))


class ArrayFeatures(TransformerMixin, BaseEstimator):
    """What transformers of arrays share: checks of X, batches, threads, names.

    A subclass has the parameters ``image_shape``, ``batch_size``, ``n_threads``, ``verbose``, gives
    ``_network()``, a key and a function that makes an :class:`Extractor`, and ``_names()``.
    """

    def _read(self, X, *, reset):
        """X as rows of numbers of any type; ``image_shape_`` is set, or compared."""
        check_parameters(self)
        rows, given = self._rows(X)
        rows = validate_data(self, rows, reset=reset, dtype="numeric")
        if rows.dtype.kind == "c":
            raise ValueError("Complex data not supported: pictures are made of real numbers.")
        if given is None and self.image_shape is None:
            raise ValueError(
                f"{type(self).__name__} got rows of {rows.shape[1]} numbers; pass image_shape=(h, "
                "w, c) or pictures of shape (n, h, w) or (n, h, w, c)."
            )
        shape = sample_shape(self.image_shape, given, rows.shape[1], "image_shape")
        shape = (*shape, 1) if len(shape) == 2 else shape
        if len(shape) != 3:
            raise ValueError(
                f"{type(self).__name__} needs pictures (h, w) or (h, w, c), got {shape}."
            )
        if reset:
            self.image_shape_ = shape
        elif shape != self.image_shape_:
            raise ValueError(
                f"{type(self).__name__} was fitted on pictures of shape {self.image_shape_}, got "
                f"{shape}; {LOADER}."
            )
        return rows

    def _rows(self, X):
        """X as something of two axes, and the shape of a picture where X tells it."""
        name = type(self).__name__
        if isinstance(X, Sequence) and not hasattr(X, "shape"):
            shapes = {np.shape(x) for x in X} if not isinstance(X, str) else {()}
            if len(shapes) > 1:
                some = ", ".join(map(str, sorted(shapes)[:3]))
                raise ValueError(f"{name} needs pictures of one size, got {some}; {LOADER}.")
            X = np.asarray(X)
        kind = getattr(getattr(X, "dtype", None), "kind", "f")
        if kind in "USOM" and np.ndim(X) == 1 and len(X):
            raise ValueError(f"{name} takes arrays of pictures, not {str(X[0])!r}; {LOADER}.")
        if getattr(X, "ndim", 2) <= 2:
            return X, None
        shape = tuple(X.shape[1:])
        return np.asarray(X).reshape(len(X), math.prod(shape)), shape

    def _batches(self, rows):
        """(start, stop, float32 pictures) of a few pictures each."""
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            with np.errstate(over="ignore"):
                part = np.ascontiguousarray(part, np.float32)
            if not np.isfinite(part).all():
                raise ValueError(
                    f"{type(self).__name__}: X holds numbers too large for float32; scale it."
                )
            yield start, start + len(part), part.reshape(-1, *self.image_shape_)

    def _threads(self):
        return resolve_threads(configured_threads(self.n_threads))

    def _run(self, extractor, pictures, layer):
        options = {"memory": get_config()["memory"], "precision": "float32"}
        device = make_device("cpu")
        return extractor.run(
            pictures, (layer,), None, device=device, n_threads=self._threads(), **options
        )[0]

    def _loaded_extractor(self):
        key, make = self._network()
        held = vars(self).setdefault("_held", {})
        if key not in held:
            held.clear()
            held[key] = make()
        return held[key]

    def transform(self, X):
        """Features of pictures.

        Parameters
        ----------
        X : array of shape (n, h, w), (n, h, w, c) or (n, n_features)
            Pictures of the size that ``fit`` saw, of any number of channels; rows of numbers with
            ``image_shape``.

        Returns
        -------
        ndarray of float32 of shape (n, n_features_out)

        Raises
        ------
        ValueError
            For pictures that are not like those of ``fit``.
        """
        check_is_fitted(self, "image_shape_")
        rows = self._read(X, reset=False)
        return self._transform_rows(rows)

    def _transform_rows(self, rows):
        extractor = self._loaded_extractor()
        out = np.empty((len(rows), self._n_features_out), np.float32)
        with counting(len(rows), "picture", self.verbose) as advance:
            for start, stop, pictures in self._batches(rows):
                part = self._run(extractor, pictures, extractor.network.names[-1])
                out[start:stop] = part.reshape(stop - start, -1)
                advance(stop - start)
        return out

    @property
    def _n_features_out(self):
        extractor = self._loaded_extractor()
        return math.prod(extractor.shapes[extractor.network.names[-1]])

    def get_feature_names_out(self, input_features=None):
        """Names of the features.

        Parameters
        ----------
        input_features : array-like of str or None
            Only compared with what ``fit`` saw.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "image_shape_")
        _check_feature_names_in(self, input_features, generate_names=False)
        return np.asarray(self._names(), dtype=object)

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_held", None)
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
