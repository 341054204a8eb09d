"""Pretrained networks as scikit-learn transformers of pictures."""

import math
from collections.abc import Mapping
from contextlib import closing
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._set_output import _get_output_config

from .._config import DEVICES, configured_threads, get_config
from .._warnings import warn
from ..estimators.base import make_device, prediction_options
from ..kernels.cpu import resolve_threads
from ..training.progress import counting
from .cache import FeatureCache
from .extraction import POOLS
from .loading import stream
from .pictures import Pictures
from .sources import load_extractor

__all__ = ["ImageFeatures"]

SHOWN = 5  # pictures named in a warning
CHUNK = 1024  # pictures looked up in the cache at a time


class PretrainedMixin:
    """What the transformer, the classifier and the localizer share: network, pictures, threads."""

    def _load(self):
        """The network with its weights; read once per process and kept with this object."""
        arrays = isinstance(self.weights, Mapping)
        wanted = self.model, id(self.weights) if arrays else self.weights, self.preprocessing
        known, extractor = vars(self).get("_loaded", (None, None))
        if known != wanted:
            extractor = load_extractor(
                self.model, self.weights, self.preprocessing, progress=bool(self.verbose)
            )
            fitted, digest = vars(self).get("_fitted_with", (None, None))
            if fitted == wanted and digest != extractor.digest:
                raise ValueError(
                    f"the weights of {extractor.name} are not those that this "
                    f"{type(self).__name__} was fitted with; fit it again, or put the old file "
                    "back."
                )
            self._loaded = wanted, extractor
        return extractor

    def _forget(self):
        """Look for the network and its weights anew when they are needed next."""
        for name in ("_loaded", "_fitted_with"):
            vars(self).pop(name, None)

    def _check(self):
        for name in ("batch_size", "n_threads"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Integral) and value > 0):
                word = " or None" if name == "n_threads" else ""
                raise ValueError(f"{name}={value!r} must be a positive integer{word}.")
        if self.precision not in ("float32", "bfloat16", None):
            raise ValueError(
                f"precision={self.precision!r} must be 'float32' or 'bfloat16', or None for that "
                "of skdeep.set_config."
            )
        device = getattr(self, "device", None)
        if device not in (None, *DEVICES):
            raise ValueError(f"device={device!r} is unknown; choose one of {DEVICES} or None.")
        if self.on_error not in ("raise", "nan"):
            raise ValueError(f"on_error={self.on_error!r} must be 'raise' or 'nan'.")

    def _logits(self, instead):
        """The network, and its own name of the head; an error that says what to do ``instead``."""
        extractor = self._load()
        if "logits" not in extractor.points:
            raise ValueError(f"{extractor.name} has no head with these weights; {instead}.")
        return extractor, extractor.resolve("logits")

    def _threads(self):
        return resolve_threads(configured_threads(self.n_threads))

    def _device(self):
        return make_device(self.device or get_config()["device"])

    def _options(self):
        options = prediction_options()
        return options if self.precision is None else {**options, "precision": self.precision}

    def _run_options(self):
        return {"device": self._device(), "n_threads": self._threads(), **self._options()}

    def _rows(self, extractor, pictures, layers, pool, out, advance, run, at=None):
        """Write features to the rows of ``out`` that belong to pictures, ``at`` or all.

        ``run`` are options of :meth:`Extractor.run`, the same for all of a call: the configuration
        may change meanwhile.

        Returns
        -------
        dict of int to PictureError
            Of the pictures whose rows are left as they were.
        """
        failed = {}
        n = len(pictures) if at is None else len(at)
        size = extractor.portion(max(1, min(self.batch_size, n)), **run)
        batches = stream(pictures, extractor.preprocessing, size, run["n_threads"], indices=at)
        if n:
            extractor.prepare(size, layers, pool, **run)
        with closing(batches):
            for rows, batch, errors in batches:
                if errors and self.on_error == "raise":
                    raise errors[min(errors)]
                failed |= errors
                good = np.array([k not in errors for k in rows.tolist()])
                if good.any():
                    column = 0
                    for part in extractor.run(batch, layers, pool, **run):
                        if pool is None:
                            out[rows[good]] = part[good]
                            continue
                        part = part.reshape(len(rows), -1)
                        out[rows[good], column : column + part.shape[1]] = part[good]
                        column += part.shape[1]
                advance(len(rows))
        return failed

    def _warn(self, failed, n):
        if failed:
            some = "; ".join(str(failed[k]) for k in sorted(failed)[:SHOWN])
            more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
            warn(
                f"{len(failed)} of {n} pictures could not be used and give NaN: {some}{more}",
            )

    def __getstate__(self):
        state = super().__getstate__().copy()
        loaded = state.pop("_loaded", None)
        if loaded is not None:
            try:
                digest = loaded[1].digest
            except ValueError:  # the file is gone, and the pickle will ask for a fit
                digest = None
            state["_fitted_with"] = loaded[0], digest
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.requires_fit = False
        return tags


class ImageFeatures(PretrainedMixin, TransformerMixin, BaseEstimator):
    """Features of pictures, taken from inside a pretrained network.

    Nothing is learnt from the pictures: ``fit`` reads the weights and checks the parameters, and
    ``transform`` works without it. All parameters can be searched over, and with ``cache=`` every
    picture goes through every (weights, layer) once, whatever the folds and candidates.

    Parameters
    ----------
    model : str, path or Architecture, default="resnet50"
        A network by name (:func:`find_network`), or an ``.onnx`` or ``.caffemodel`` file, which
        holds its own graph and weights.
    layer : str or list of str, default="pool"
        "stem", "stage1" .. "stage4", "pool", "penultimate", "logits", or a name from ``layers_``.
        Features of several layers are put side by side.
    weights : str, path, WeightsRecord or dict of arrays, default="default"
        A tag of :func:`list_weights`, a file, a record of your own, or a state dict as arrays.
        "random" draws them from a fixed seed: as a baseline, never as a substitute.
    preprocessing : Preprocessing or "auto", default="auto"
        "auto" is what the weights were trained with.
    pool : {"auto", "avg", "max", "flatten", None}, default="auto"
        How maps and tokens become vectors. "auto": the mean over positions, or the class token
        where there is one. None keeps them as they are, for one layer.
    batch_size : int, default=32
        Pictures that are in memory together.
    precision : {"float32", "bfloat16"} or None, default=None
        None is what :func:`skdeep.set_config` says, "float32" unless it was called.
    cache : path, FeatureCache, joblib.Memory or None, default=None
        Where features are kept; see :class:`FeatureCache`.
    device : {"cpu", "cuda"} or None, default=None
    n_threads : int or None, default=None
    on_error : {"raise", "nan"}, default="raise"
        Whether a picture that cannot be read is an error, or a row of NaN and a warning.
    verbose : int, default=0
        Above 0 a bar shows the progress.

    Attributes
    ----------
    layers_ : LayerTable
        Every layer: name, canonical name, shape, stride, receptive field.
    preprocessing_ : Preprocessing
        What pictures go through.
    n_features_out_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features import ImageFeatures
    >>> pictures = np.random.RandomState(0).randint(0, 256, (3, 90, 70, 3), np.uint8)
    >>> features = ImageFeatures("squeezenet1_1", ["stage2", "pool"], weights="random")
    >>> features.fit_transform(pictures).shape
    (3, 768)
    """

    def __init__(
        self,
        model="resnet50",
        layer="pool",
        *,
        weights="default",
        preprocessing="auto",
        pool="auto",
        batch_size=32,
        precision=None,
        cache=None,
        device=None,
        n_threads=None,
        on_error="raise",
        verbose=0,
    ):
        self.model = model
        self.layer = layer
        self.weights = weights
        self.preprocessing = preprocessing
        self.pool = pool
        self.batch_size = batch_size
        self.precision = precision
        self.cache = cache
        self.device = device
        self.n_threads = n_threads
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X=None, y=None):
        """Read the weights and check the parameters; the pictures teach nothing.

        Parameters
        ----------
        X : as of :meth:`transform`, or None
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters that do not fit together.
        FileNotFoundError
            When the weights cannot be had; the message says where to put them.
        """
        if X is not None:
            Pictures(X)  # complains about what cannot be pictures
            self.n_features_in_ = 1
            names = getattr(X, "columns", None)
            if names is not None:
                self.feature_names_in_ = np.asarray(names, dtype=object)
        self._forget()
        extractor, layers = self._prepare()
        self.layers_ = extractor.layers
        self.preprocessing_ = extractor.preprocessing
        self.n_features_out_ = sum(self._sizes(extractor, layers))
        return self

    def _prepare(self):
        """The network and its names of the wanted layers."""
        self._check()
        self._cache()
        if self.pool not in POOLS:
            raise ValueError(f"pool={self.pool!r} must be one of {POOLS}.")
        wanted = [self.layer] if isinstance(self.layer, str) else self.layer
        names = isinstance(wanted, (list, tuple)) and all(isinstance(name, str) for name in wanted)
        if not names or not wanted or len(set(wanted)) < len(wanted):
            raise ValueError(f"layer={self.layer!r} must be a name, or a list of different names.")
        if self.pool is None and len(wanted) > 1:
            raise ValueError("pool=None keeps the shape of one layer; pool several, or 'flatten'.")
        extractor = self._load()
        return extractor, tuple(extractor.resolve(name) for name in wanted)

    def _cache(self):
        return None if self.cache is None else FeatureCache.of(self.cache)

    def _sizes(self, extractor, layers):
        return [math.prod(extractor.feature_shape(name, self.pool)) for name in layers]

    def transform(self, X):
        """Features of pictures.

        Parameters
        ----------
        X : sequence of pictures
            File names, paths, bytes of files, PIL images, arrays of shape (h, w), (h, w, 1),
            (h, w, 3) or (h, w, 4) of any sizes, or one array with all of them; also a column of a
            data frame. Levels are uint8, or floats in 0 .. 1.

        Returns
        -------
        ndarray of float32 of shape (n_pictures, n_features)
            With ``pool=None`` of shape (n_pictures, height, width, channels).

        Raises
        ------
        ValueError
            For what is no picture, with its name; for ``pool=None`` where :meth:`set_output` wants
            a table.
        """
        extractor, layers = self._prepare()
        self._check_container(extractor, layers)
        pictures, cache, run = Pictures(X), self._cache(), self._run_options()
        n = len(pictures)
        if self.pool is None:
            shape = extractor.feature_shape(layers[0], None)
        else:
            shape = (sum(self._sizes(extractor, layers)),)
        out = np.full((n, *shape), np.nan, np.float32)
        with counting(n, "picture", self.verbose) as advance:
            if cache is None:
                failed = self._rows(extractor, pictures, layers, self.pool, out, advance, run)
            else:
                failed = self._cached_rows(cache, extractor, pictures, layers, out, advance, run)
        self._warn(failed, n)
        return out

    def _check_container(self, extractor, layers):
        """Tables have two axes: raise before the work where features have more."""
        container = _get_output_config("transform", self)["dense"]
        if self.pool is not None or container == "default":
            return
        shape = extractor.feature_shape(layers[0], None)
        if len(shape) > 1:
            raise ValueError(
                f"pool=None gives features of shape {('n', *shape)} for layer={self.layer!r}, "
                f"which fit into no table of {container}; choose another pool, 'flatten' for all "
                "numbers, or set_output(transform='default')."
            )

    def _cached_rows(self, cache, extractor, pictures, layers, out, advance, run):
        """As :meth:`_rows`, computing what the cache lacks, each distinct picture once."""
        # The device and what convolutions may use decide the last bits.
        computed = run["precision"], run["memory"], run["device"].name
        recipe = repr((extractor.digest, extractor.preprocessing, layers, self.pool, *computed))
        failed = {}
        for start in range(0, len(pictures), CHUNK):
            known, missing, copies = {}, {}, []
            indices = range(start, min(start + CHUNK, len(pictures)))
            for k in indices:
                try:
                    known[k] = cache.key(pictures.fingerprint(k), recipe)
                except ValueError as error:
                    if self.on_error == "raise":
                        raise
                    failed[k] = error
            found = cache.get_many(list(known.values()))
            for k, key, row in zip(known, known.values(), found):
                if row is not None and row.shape == out.shape[1:]:
                    out[k] = row
                elif key in missing:
                    copies.append((k, missing[key]))
                else:
                    missing[key] = k
            advance(len(indices) - len(missing))
            rest = list(missing.values())
            errors = self._rows(extractor, pictures, layers, self.pool, out, advance, run, rest)
            failed |= errors
            good = {key: k for key, k in missing.items() if k not in errors}
            cache.put_many(list(good), [out[k] for k in good.values()])
            for k, source in copies:
                out[k] = out[source]
                if source in errors:
                    failed[k] = errors[source]
        return failed

    def get_feature_names_out(self, input_features=None):
        """Names such as "pool_0": the layer as it was asked for, and the number of the feature.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        extractor, layers = self._prepare()
        wanted = [self.layer] if isinstance(self.layer, str) else self.layer
        sizes = self._sizes(extractor, layers)
        names = [f"{name}_{k}" for name, size in zip(wanted, sizes) for k in range(size)]
        return np.asarray(names, dtype=object)

    def summary(self, n_samples=1):
        """What runs for these layers: operations, memory, algorithms.

        Parameters
        ----------
        n_samples : int, default=1
            Pictures that one thread works on at a time.

        Returns
        -------
        Summary
        """
        extractor, layers = self._prepare()
        return extractor.summary(layers, self.pool, n_samples, **self._options())

    def __sklearn_is_fitted__(self):
        return True
