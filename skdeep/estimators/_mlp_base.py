"""What MLPClassifier and MLPRegressor share: from scikit-learn's parameters to a fitted network."""

from abc import ABC, abstractmethod
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._config import configured_threads, get_config
from .._warnings import warn
from ..kernels.cpu import resolve_threads
from ..layers import Dense
from ..layers.network import Network
from ..training.data import Data
from ..training.inference import Predictor, block_rows, keep_recent
from ..training.lbfgs import FTOL, minimize_loss
from ..training.optimizers import SGD, Adam
from ..training.weights import Weights
from ._mlp_training import MLPLoop, MLPTrainer
from .base import make_device, prediction_options

INPUTS = {"accept_sparse": "csr", "dtype": np.float32, "order": "C", "accept_large_sparse": False}


def learns_step_by_step(net):
    """Condition of ``partial_fit``."""
    if net.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    if net.early_stopping:
        raise AttributeError("partial_fit does not support early_stopping=True")
    return True


partial_fit_method = available_if(learns_step_by_step)


def build_network(units, activation):
    """Dense layers with ``units[0]`` inputs, then ``units[1]``, ... outputs."""
    hidden = [(f"hidden{k}", Dense(u, activation)) for k, u in enumerate(units[1:-1])]
    network = Network([*hidden, ("output", Dense(units[-1]))], units[:1])
    network.probe()
    return network


def names_of(network, array):
    """Full names of the arrays "W" or "b" of all layers."""
    return [f"{layer}.{array}" for layer in network.names]


def _output_alone(output, trace, y):
    return [output]


class BaseMLP(BaseEstimator, ABC):
    """A multi-layer perceptron with scikit-learn's parameters, attributes and behaviour."""

    _parameter_constraints = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "device": [StrOptions({"cpu", "cuda"}), None],
    }

    @abstractmethod
    def _encode(self, y, fresh):
        """y as the loss reads it; learns the classes when ``fresh``."""

    @abstractmethod
    def _objective(self):
        """Loss of every sample from (y, output), and the factor on it when reported."""

    @abstractmethod
    def _score_outputs(self, y, output, weight):
        """The validation score, from encoded targets."""

    # -- fitting --------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Computed in float32.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,) or None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For data or parameters that cannot be used, or when the loss stops being finite.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, X, y, weight, incremental):
        self._validate_params()
        hidden = self._hidden_units()
        fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = validate_data(
            self, X, y, reset=fresh, multi_output=True, y_numeric=self._y_numeric, **INPUTS
        )
        y = self._encode(y, fresh=fresh and not incremental)
        if weight is not None:
            weight = _check_sample_weight(weight, X, dtype=np.float32, ensure_non_negative=True)
            if not weight.sum() > 0:
                raise ValueError("sample_weight must hold a positive number, not zeros only.")
        units = (X.shape[1], *hidden, self._n_outputs(y))
        rng = check_random_state(self.random_state)
        network = build_network(units, self.activation)
        if fresh:
            self._start(units, rng)
        vectors = self._gather(network)
        if self.solver == "lbfgs":
            trainer = self._trainer(network, Data(X, units[:1], y, weight), vectors, None)
            self._fit_lbfgs(trainer)
            vectors = trainer.vectors()
        else:
            vectors = self._fit_stochastic(network, vectors, (X, y, weight), rng, incremental)
        self._keep(network, vectors)
        if not all(np.isfinite(v).all() for v in vectors.values()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _hidden_units(self):
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if not all(isinstance(u, Integral) and u > 0 for u in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, and whole numbers, got {sizes}.")
        return [int(u) for u in sizes]

    def _start(self, units, rng):
        """Draw the weights as scikit-learn does, in its order, and forget earlier fits."""
        factor = 2.0 if self.activation == "logistic" else 6.0
        self.coefs_, self.intercepts_ = [], []
        for fan_in, fan_out in zip(units[:-1], units[1:]):
            bound = np.sqrt(factor / (fan_in + fan_out))
            self.coefs_.append(rng.uniform(-bound, bound, (fan_in, fan_out)).astype(np.float32))
            self.intercepts_.append(rng.uniform(-bound, bound, fan_out).astype(np.float32))
        self.n_layers_, self.n_outputs_ = len(units), units[-1]
        self.out_activation_ = self._out_activation()
        self.n_iter_ = self.t_ = 0
        self._no_improvement_count, self._resume, self._predictors = 0, None, {}
        for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
            self.__dict__.pop(name, None)

    def _gather(self, network):
        """The weights as flat vectors."""
        weights = dict(zip(names_of(network, "W"), self.coefs_))
        weights.update(zip(names_of(network, "b"), self.intercepts_))
        shapes = [spec.shape for spec in network.parameters]
        if sorted(shapes) != sorted(np.shape(w) for w in weights.values()):
            raise ValueError(
                f"the fitted weights have shapes {[np.shape(w) for w in self.coefs_]}, which do "
                "not suit hidden_layer_sizes and y; to begin anew set warm_start=False and fit."
            )
        return network.gather(weights)

    def _keep(self, network, vectors):
        views = network.views(vectors)
        self.coefs_ = [views[name].copy() for name in names_of(network, "W")]
        self.intercepts_ = [views[name].copy() for name in names_of(network, "b")]
        self._predictors = {}

    def _trainer(self, network, data, vectors, optimizer):
        objective, reported = self._objective()
        device = self._device()
        return MLPTrainer(
            network, objective, data, vectors, device, optimizer, alpha=self.alpha,
            reported=reported,
        )  # fmt: skip

    def _fit_lbfgs(self, trainer):
        """All data at once, by :func:`scipy.optimize.minimize`."""

        def report(loss):
            self.n_iter_ += 1
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")

        self.n_iter_ = 0
        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol, "ftol": FTOL}
        result = minimize_loss(trainer, options, self._threads(), report)
        self.loss_ = float(result.fun)
        if result.status >= 0:
            self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)

    def _fit_stochastic(self, network, vectors, data, rng, incremental):
        """Epochs of Adam or SGD steps; returns the weights to keep."""
        for name, start in self._records().items():
            if not hasattr(self, name) or getattr(self, name) is None:
                setattr(self, name, start)
        train, valid = self._split(data, rng)
        data = Data(train[0], network.input_shape, *train[1:])
        trainer = self._trainer(network, data, vectors, self._optimizer())
        resume = self._resume if incremental else None
        rate = float(self.learning_rate_init)
        if resume is not None:
            trainer.restore(resume)
            rate = resume["rate"]
        loop = MLPLoop(
            self,
            trainer,
            rate=rate,
            incremental=incremental,
            batch_size=self._batch_rows(data.n),
            max_epochs=1 if incremental else self.max_iter,
            shuffle=self.shuffle,
            random_state=rng,
            evaluate=None if valid is None else self._validator(valid, trainer),
            n_threads=self._threads(),
            verbose=self.verbose,
        )
        if valid is not None:
            loop.keep()
        self.n_iter_ = 0
        loop.run()
        if incremental:
            self._resume = {**trainer.state(), "rate": loop.rate}
        return loop.result()

    def _records(self):
        """What fitting keeps track of, at its start."""
        if self.early_stopping:
            return {
                "loss_curve_": [],
                "validation_scores_": [],
                "best_validation_score_": -np.inf,
                "best_loss_": None,
            }
        return {
            "loss_curve_": [],
            "best_loss_": np.inf,
            "validation_scores_": None,
            "best_validation_score_": None,
        }

    def _optimizer(self):
        if self.solver == "adam":
            return Adam(self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon)
        return SGD(self.learning_rate_init, self.momentum, self.nesterovs_momentum)

    def _batch_rows(self, n):
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warn(
                f"Got batch_size={self.batch_size} for {n} samples; it is clipped to their number.",
            )
        return min(int(self.batch_size), n)

    def _split(self, data, rng):
        """Training and validation parts as (X, y, weight)."""
        if not self.early_stopping:
            return data, None
        X, y, weight = data
        a, b = train_test_split(
            np.arange(X.shape[0]),
            random_state=rng,
            test_size=self.validation_fraction,
            stratify=self._strata(y),
        )
        if len(b) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )

        def part(rows):
            return X[rows], y[rows], None if weight is None else weight[rows]

        return part(a), part(b)

    def _strata(self, y):
        return None

    def _validator(self, valid, trainer):
        """A function that scores the network on the validation data."""
        X, y, weight = valid
        data, network = Data(X, trainer.network.input_shape), trainer.network
        threads = self._threads()
        block = self._block(data.n, trainer.device.workers(threads))
        predictor = Predictor(network, _output_alone, data, trainer.weights, block)
        outputs = predictor.bound(data, threads)

        def evaluate():
            trainer.weights.refresh()
            return self._score_outputs(y, outputs()[0], weight)

        return evaluate

    def _device(self):
        return make_device(self.device or get_config()["device"])

    def _threads(self):
        return resolve_threads(configured_threads(self.n_threads))

    # -- using ----------------------------------------------------------------------------------

    def _block(self, n, threads):
        return block_rows(n, max(max(w.shape) for w in self.coefs_), threads)

    def _outputs(self, X):
        """Rows of network outputs, before the output activation."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **INPUTS)
        data = Data(X, X.shape[1:])
        device = self._device()
        threads = self._threads()
        options = prediction_options()
        block = self._block(data.n, device.workers(threads))
        key = (device.name, block, data.n_columns is None, self.activation, *options.values())
        known = self._predictors.pop(key, None)  # concurrent callers build their own
        network, predictor = known or self._predictor(data, device, block, options)
        for role, vector in self._gather(network).items():  # somebody may have changed coefs_
            predictor.device.write(predictor.weights.memories[role], vector)
        predictor.weights.refresh()
        (rows,) = predictor.run(data, threads)
        keep_recent(self._predictors, key, (network, predictor))
        return rows

    def _predictor(self, data, device, block, options):
        """A network for the fitted weights, and a predictor whose memory is still to be filled."""
        units = (data.input_shape[0], *(len(b) for b in self.intercepts_))
        network = build_network(units, self.activation)
        memories = {role: device.zeros(size) for role, size in network.parameters.sizes.items()}
        weights = Weights(device, memories)
        return network, Predictor(network, _output_alone, data, weights, block, **options)

    def __getstate__(self):
        state = super().__getstate__().copy()
        if "_predictors" in state:
            state["_predictors"] = {}
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
