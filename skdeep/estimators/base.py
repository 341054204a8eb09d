"""What the classifier and the regressor share: from X and layers to a fitted network."""

from functools import partial
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted

from .. import __version__, ops
from .._config import DEVICES, configured_threads, get_config
from .._validation import NOT_NEGATIVE
from .._warnings import warn
from ..kernels.cpu import CPU, resolve_threads
from ..layers import Dense
from ..layers.combinators import NamedLayersMixin
from ..layers.network import Network
from ..training.callbacks import EarlyStopping
from ..training.data import Data
from ..training.inference import Predictor, block_rows, keep_recent
from ..training.lbfgs import fit_lbfgs
from ..training.loop import Loop
from ..training.losses import resolve_loss
from ..training.optimizers import LBFGS, Adam, Optimizer
from ..training.summary import summarize
from ..training.trainer import Trainer
from ..training.weights import Weights, place
from ._inputs import check_inputs, sample_shape


def make_device(name):
    """The device object of a name.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in DEVICES:
        raise ValueError(f"device={name!r} is unknown; choose one of {DEVICES} or None.")
    if name == "cpu":
        return CPU()
    from ..kernels.cuda import CUDA

    return CUDA()


def prediction_options():
    """What :func:`skdeep.set_config` says of how to predict."""
    config = get_config()
    return {name: config[name] for name in ("memory", "precision")}


def as_given(X, result):
    """Results in float32 for X in float32, else in float64."""
    dtype = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
    if isinstance(result, list):
        return [r.astype(dtype, copy=False) for r in result]
    return result.astype(dtype, copy=False)


def check_weight(weight, X, name):
    """float32 weights of the rows of X, not negative and not all zero."""
    weight = _check_sample_weight(weight, X, dtype=np.float32, ensure_non_negative=True)
    if not weight.sum() > 0:
        raise ValueError(f"{name} must hold at least one positive number, not all zero.")
    return weight


def steps_one_by_one(net):
    """Condition of ``partial_fit``: neither L-BFGS nor early stopping, which need all data."""
    if isinstance(net.optimizer, LBFGS):
        raise AttributeError("partial_fit needs a step-wise optimizer such as Adam, not LBFGS.")
    if net.early_stopping:
        raise AttributeError("partial_fit does not support early_stopping=True.")
    return True


class BaseNeuralNet(
    NamedLayersMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """A network, an objective and an optimizer, held together as an estimator."""

    _default_loss = None  # name of the loss that "auto" means
    _task = None  # "classification" or "regression"

    def set_params(self, **params):
        """Set parameters, also of layers and of the optimizer, by name.

        ``name__parameter`` reaches inside; an optimizer that is None becomes ``Adam()`` first.

        Returns
        -------
        self
        """
        inside = any(key.startswith("optimizer__") for key in params)
        if inside and self.optimizer is None and "optimizer" not in params:
            self.optimizer = Adam()
        return super().set_params(**params)

    # -- fitting --------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, h, w, c)
            Numbers of any type; computed in float32.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,) or None
        X_val, y_val, sample_weight_val : like X, y, sample_weight, or None
            Validation data, for early stopping and the history.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For data that cannot be used, or when the loss stops being finite.
        """
        fresh = not (self.warm_start and hasattr(self, "weights_"))
        self._check_parameters()
        X, weight = self._prepare(X, y, sample_weight, reset=fresh)
        if fresh:
            self._target = self._make_target(y)
        encoded = self._target.encode(y)
        check_consistent_length(X, encoded)
        weight = self._total_weight(y, weight)
        train, valid = self._split(X, y, encoded, weight, X_val, y_val, sample_weight_val)
        rng = check_random_state(self.random_state)
        if fresh:
            self._start(rng)
        self._train(train, valid, rng, self.max_epochs)
        return self

    def _partial_fit(self, X, y, sample_weight, make_target):
        fresh = not hasattr(self, "weights_")
        self._check_parameters()
        X, weight = self._prepare(X, y, sample_weight, reset=fresh)
        if fresh:
            self._target = make_target()
        encoded = self._target.encode(y)
        check_consistent_length(X, encoded)
        weight = self._total_weight(y, weight)
        if fresh:
            self._start(check_random_state(self.random_state))
        self._train((X, encoded, weight), None, self._rng, 1, resume=True)
        return self

    def _check_parameters(self):
        for name, word in (
            ("max_epochs", ()), ("n_iter_no_change", ()), ("batch_size", ("auto",)),
            ("n_threads", (None,)),
        ):  # fmt: skip
            value = getattr(self, name)
            if value not in word and not (isinstance(value, Integral) and value > 0):
                what = " or ".join(["a positive integer", *map(repr, word)])
                raise ValueError(f"{name}={value!r} must be {what}.")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} must be between 0 and 1."
            )
        resolve_loss(self.loss, self._default_loss, self._task)
        optimizer = self._optimizer_used()
        if not isinstance(optimizer, (Optimizer, LBFGS)):
            raise ValueError(
                f"optimizer={optimizer!r} must be an optimizer object such as Adam(1e-3) or None."
            )
        optimizer._validate()
        if not NOT_NEGATIVE.holds(self.tol):
            raise ValueError(f"tol={self.tol!r} must be {NOT_NEGATIVE.text}.")
        if not isinstance(self.layers, (list, tuple, type(None))):
            raise ValueError(f"layers={self.layers!r} must be a list of layers, or None.")
        if not isinstance(self.callbacks, (list, tuple, type(None))):
            raise ValueError(f"callbacks={self.callbacks!r} must be a list of callbacks or None.")

    def _optimizer_used(self):
        return Adam() if self.optimizer is None else self.optimizer

    def _prepare(self, X, y, sample_weight, reset):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        if reset:
            X, self._given_shape = check_inputs(self, X, reset=True)
            self.input_shape_ = sample_shape(self.input_shape, self._given_shape, X.shape[1])
        else:
            X = self._known_inputs(X)
        weight = None
        if sample_weight is not None:
            weight = check_weight(sample_weight, X, "sample_weight")
        return X, weight

    def _known_inputs(self, X):
        """X of the kind that fit saw, as rows."""
        X, shape = check_inputs(self, X, reset=False)
        if shape not in (self._given_shape, self.input_shape_, (X.shape[1],)):
            raise ValueError(
                f"X has samples of shape {shape}, but {type(self).__name__} was fitted on "
                f"{self.input_shape_}; reshape X, or pass flat rows."
            )
        return X

    def _total_weight(self, y, weight):
        return weight

    def _split(self, X, y, encoded, weight, X_val, y_val, weight_val):
        """Training and validation parts as (X, encoded y, weight) triples."""
        if X_val is not None:
            if y_val is None:
                raise ValueError("X_val was passed without y_val.")
            X_val = self._known_inputs(X_val)
            encoded_val = self._target.encode(y_val)
            check_consistent_length(X_val, encoded_val)
            if weight_val is not None:
                weight_val = check_weight(weight_val, X_val, "sample_weight_val")
            return (X, encoded, weight), (X_val, encoded_val, weight_val)
        if y_val is not None or weight_val is not None:
            name = "y_val" if y_val is not None else "sample_weight_val"
            raise ValueError(f"{name} was passed without X_val.")
        if not self.early_stopping or isinstance(self.optimizer, LBFGS):
            return (X, encoded, weight), None
        # A sample of weight zero counts as absent: it must not make up the validation part.
        rows = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight)
        a, b = train_test_split(
            rows,
            test_size=self.validation_fraction,
            random_state=check_random_state(self.random_state).randint(2**31 - 1),
            stratify=self._strata(encoded[rows]),
        )

        def part(rows):
            return X[rows], encoded[rows], None if weight is None else weight[rows]

        return part(a), part(b)

    def _strata(self, encoded):
        return None

    def _start(self, rng):
        """Build the network and draw its weights."""
        vars(self).pop("weights_", None)  # should this fit fail, the estimator is not fitted
        self._rng = rng  # partial_fit goes on drawing from it
        layers = [Dense(100, activation="relu")] if self.layers is None else list(self.layers)
        pairs = [(name, clone(layer, safe=False)) for name, layer in self._named(layers)]
        if self.head is not None:
            head = Dense(self._target.n_outputs) if self.head == "auto" else clone(self.head)
            pairs.append(("head", head))
        self.network_ = Network(pairs, self.input_shape_)
        self._shapes = self.network_.probe()
        if not self.network_.names:
            raise ValueError("the network has no layer; give layers=, or leave head='auto'.")
        out = self._shapes[self.network_.names[-1]]
        if out != (self._target.n_outputs,):
            raise ValueError(
                f"the last layer {self.network_.names[-1]!r} gives {out} per sample, but y needs "
                f"({self._target.n_outputs},); leave head='auto' to have it appended."
            )
        self._transform_layer()
        self._vectors = self.network_.initialize(rng)
        self.seed_ = int(rng.randint(2**31 - 1))
        self.history_ = []
        self.n_iter_ = 0
        self._resume = None

    def _objective(self):
        loss = resolve_loss(self.loss, self._default_loss, self._task)
        return partial(self._target.loss, loss)

    def _data(self, part):
        X, y, weight = part
        return Data(X, self.input_shape_, y, weight)

    def _train(self, train, valid, rng, epochs, resume=False):
        optimizer = clone(self._optimizer_used())
        device = make_device(self.device or get_config()["device"])
        threads = self._threads()
        data = self._data(train)
        if isinstance(optimizer, LBFGS):
            if self.early_stopping or self.callbacks or valid is not None:
                warn(
                    "LBFGS works on all data at once: early_stopping, callbacks and validation "
                    "data have no effect; use Adam() or another step-wise optimizer for them.",
                )
            trainer = self._trainer(data, device, None)
            result = fit_lbfgs(self, trainer, optimizer, epochs, threads)
            self.callbacks_, self.interrupted_ = [], result.status == -1
            return self._finish(trainer, trainer.vectors())
        trainer = self._trainer(data, device, optimizer)
        if resume and self._resume is not None:
            trainer.restore(self._resume)
        loop = Loop(
            self,
            trainer,
            batch_size=self._batch_rows(data.n),
            max_epochs=epochs,
            shuffle=self.shuffle,
            random_state=rng,
            callbacks=self._callbacks(valid is not None),
            evaluate=self._validator(valid, trainer, threads),
            n_threads=threads,
            verbose=self.verbose,
            history=self.history_,
            epochs_done=len(self.history_) if resume else 0,
            planned_epochs=self.max_epochs,
        )
        self.interrupted_ = loop.run()
        if resume:
            self._resume = trainer.state()
        self._finish(trainer, loop.result())

    def _trainer(self, data, device, optimizer):
        return Trainer(
            self.network_, self._objective(), data, self._vectors, device, optimizer, self.seed_
        )

    def _threads(self):
        return resolve_threads(configured_threads(self.n_threads))

    def _batch_rows(self, n):
        return min(128, n) if self.batch_size == "auto" else min(int(self.batch_size), n)

    def _callbacks(self, validated):
        callbacks = [clone(c) for c in self.callbacks or ()]
        if self.early_stopping and validated:
            callbacks.append(EarlyStopping("valid_loss", self.n_iter_no_change, self.tol))
        self.callbacks_ = callbacks
        return callbacks

    def _validator(self, valid, trainer, threads):
        """A function that measures the network on the validation data, or None."""
        if valid is None:
            return None
        data = self._data((valid[0], valid[1], None))
        objective = self._objective()
        weight = valid[2]
        predictor = Predictor(
            self.network_,
            lambda output, trace, y: [output, objective(y, output)],
            data,
            trainer.weights,
            self._block(data.n, trainer.device.workers(threads)),
        )

        run = predictor.bound(data, threads)

        def evaluate():
            trainer.weights.refresh()
            output, losses = run()
            return {
                "valid_loss": float(np.average(losses, weights=weight)),
                "valid_score": self._score_outputs(valid[1], output, weight),
            }

        return evaluate

    def _finish(self, trainer, vectors):
        self._keep_vectors({role: v.copy() for role, v in vectors.items()})
        self.n_iter_ = len(self.history_)

    def _keep_vectors(self, vectors):
        """Make flat vectors the fitted weights; predictions hold copies, so views are read-only."""
        self._vectors, self._predictors, self._placed = vectors, {}, {}
        self.weights_ = self.network_.views(vectors)
        for array in self.weights_.values():
            array.flags.writeable = False

    # -- using ----------------------------------------------------------------------------------

    def _block(self, n, threads):
        widest = max(int(np.prod(s)) for s in [self.input_shape_, *self._shapes.values()])
        return block_rows(n, widest, threads)

    def _outputs(self, X, what="output"):
        """Rows of network outputs ("output") or of the values of a layer given by name."""
        check_is_fitted(self)
        data = Data(self._known_inputs(X), self.input_shape_)
        device = make_device(self.device or get_config()["device"])
        threads = self._threads()
        options = prediction_options()
        block = self._block(data.n, device.workers(threads))
        key = (what, device.name, block, data.n_columns is None, *options.values())
        predictor = self._predictors.pop(key, None)  # concurrent callers build their own
        if predictor is None:
            predictor = Predictor(
                self.network_, partial(self._wanted, what), data, self._on(device), block, **options
            )
        (rows,) = predictor.run(data, threads)
        keep_recent(self._predictors, key, predictor)
        return rows

    def _on(self, device):
        """The fitted weights on a device."""
        if device.name not in self._placed:
            memories = {role: place(device, v) for role, v in self._vectors.items()}
            self._placed.setdefault(device.name, Weights(device, memories))
        return self._placed[device.name]

    def _wanted(self, what, output, trace, y):
        if what == "output":
            return [output]
        return [ops.flatten(trace.activations[what])]

    def summary(self, n_samples=1):
        """Layers, weights, memory and algorithms of the fitted network when the CPU predicts.

        Parameters
        ----------
        n_samples : int, default=1
            Samples that one thread works on at a time.

        Returns
        -------
        Summary
            Prints as a table; its attributes hold the numbers.
        """
        check_is_fitted(self)
        shape = (n_samples, int(np.prod(self.input_shape_)))
        data = Data(np.zeros(shape, np.float32), self.input_shape_)
        predictor = Predictor(
            self.network_,
            partial(self._wanted, "output"),
            data,
            self._on(make_device("cpu")),
            n_samples,
            **prediction_options(),
        )
        return summarize(predictor)

    def _transform_layer(self):
        names = self.network_.names
        name = self.output_layer
        if name is None:
            return names[-2] if len(names) > 1 else names[-1]
        if name not in self._shapes:
            raise ValueError(
                f"output_layer={name!r} is no layer of this network; choose one of "
                f"{sorted(self._shapes)}."
            )
        return name

    @property
    def _n_features_out(self):
        return int(np.prod(self._shapes[self._transform_layer()]))

    def transform(self, X):
        """Activations of ``output_layer``, one flat row per sample.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        ndarray of float32, shape (n_samples, n_activations)
        """
        check_is_fitted(self)
        return self._outputs(X, self._transform_layer())

    def set_weights(self, weights):
        """Replace the weights of the fitted network.

        Parameters
        ----------
        weights : dict of str to array
            Names and shapes as in ``weights_``.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self._keep_vectors(self.network_.gather(weights))
        return self

    def __getstate__(self):
        state = super().__getstate__().copy()
        state["_skdeep_version"] = __version__
        if "_predictors" in state:
            state["_predictors"], state["_placed"] = {}, {}
            state.pop("weights_", None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        version = vars(self).pop("_skdeep_version", None)
        if version != __version__:
            warn(
                f"This {type(self).__name__} was pickled by skdeep {version}, this is "
                f"{__version__}; predictions may differ or fail.",
            )
        if "_vectors" in state:
            self._keep_vectors(self._vectors)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "weights_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags
