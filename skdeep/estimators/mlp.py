"""Multi-layer perceptrons with the interface of scikit-learn's."""

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call, unique_labels
from sklearn.utils.validation import column_or_1d

from ._mlp_base import BaseMLP, partial_fit_method
from ._mlp_training import poisson_loss, r2, sigmoid_loss, softmax_loss, squared_loss
from ._targets import ManyLabels, ManyOutputs, classification_target
from .base import as_given


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron classifier, a drop-in for scikit-learn's.

    Parameters, attributes, random draws and stopping rules are those of
    :class:`sklearn.neural_network.MLPClassifier`; from the same ``random_state`` training takes
    the same path, up to the rounding of float32.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Units of each hidden layer; empty for a linear model.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
    alpha : float, default=0.0001
        Strength of the L2 penalty: a batch adds ``0.5 * alpha * sum(W ** 2)`` divided by its
        number of samples (or by the sum of their weights) to the loss.
    batch_size : int or "auto", default="auto"
        "auto" is min(200, n_samples). Not used by "lbfgs".
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        For "sgd". "invscaling" divides by ``(samples seen + 1) ** power_t`` after each epoch;
        "adaptive" divides by 5 whenever training stalls, until 1e-6.
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
    max_iter : int, default=200
        Epochs, or iterations of "lbfgs".
    shuffle : bool, default=True
    random_state : int, RandomState or None, default=None
        Weights, validation split and order of the samples.
    tol : float, default=1e-4
        Improvement of the loss (or of the validation score) that counts. For "lbfgs", the largest
        entry of the gradient at which to stop.
    verbose : bool, default=False
        Print the loss of every iteration.
    warm_start : bool, default=False
        Let :meth:`fit` go on from the weights there are.
    momentum : float, default=0.9
        For "sgd", between 0 and 1.
    nesterovs_momentum : bool, default=True
    early_stopping : bool, default=False
        Set a part of the data aside, stop when the score on it stalls, keep the best weights.
        The split is stratified for two classes.
    validation_fraction : float, default=0.1
        That part.
    beta_1, beta_2 : float, default=0.9, 0.999
        For "adam": decay of the means of the gradient and of its square.
    epsilon : float, default=1e-8
        For "adam".
    n_iter_no_change : int, default=10
        Epochs without improvement to wait.
    max_fun : int, default=15000
        For "lbfgs": evaluations of the loss.
    n_threads : int or None, default=None
        None: :func:`skdeep.set_config`, else all cores. Results do not depend on it.
    device : {"cpu", "cuda"} or None, default=None
        None: :func:`skdeep.set_config`, else ``SKDEEP_DEVICE``, else the CPU.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    loss_ : float
        Loss of the last iteration.
    best_loss_ : float or None
        Smallest of ``loss_curve_``; None with early stopping.
    loss_curve_ : list of float
        Loss of every epoch. "adam" and "sgd" only.
    validation_scores_ : list of float or None
        Accuracy on the validation data, by epoch.
    best_validation_score_ : float or None
    t_ : int
        Training samples gone through.
    coefs_, intercepts_ : list of ndarray of float32
        Weights (n_in, n_out) and biases (n_out,) of every layer. They may be changed.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    n_iter_ : int
        Iterations of the last fit.
    n_layers_ : int
        Layers, the input counted.
    n_outputs_ : int
    out_activation_ : str

    See Also
    --------
    NeuralNetClassifier : Networks of any layers, more optimizers and losses.

    Notes
    -----
    Computation is in float32, whatever X comes in; probabilities are float32 for X in float32 and
    float64 otherwise, as in scikit-learn, but accurate to about 1e-6.

    References
    ----------
    Glorot & Bengio, Understanding the difficulty of training deep feedforward networks, 2010.
    Kingma & Ba, Adam: a method for stochastic optimization, 2015.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdeep import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier(max_iter=500, random_state=0)
    >>> bool(make_pipeline(StandardScaler(), mlp).fit(X, y).score(X, y) > 0.95)
    True
    """

    _y_numeric = False

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        n_threads=None,
        device=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.n_threads = n_threads
        self.device = device

    @partial_fit_method
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """One epoch over the given samples, going on from where the network is.

        Parameters
        ----------
        X, y, sample_weight : as in :meth:`fit`
        classes : array-like of shape (n_classes,) or None
            All labels that will ever come; needed in the first call.

        Returns
        -------
        self
        """
        if _check_partial_fit_first_call(self, classes):
            self._learn_classes(y, classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def _learn_classes(self, y, classes=None):
        target = classification_target(y, classes)
        if isinstance(target, ManyOutputs):
            raise ValueError(
                "Multioutput target data is not supported by MLPClassifier: y has several columns "
                "of labels. Use NeuralNetClassifier or sklearn.multioutput.MultiOutputClassifier."
            )
        self._target, self.classes_ = target, target.classes

    def _encode(self, y, fresh):
        if fresh:
            self._learn_classes(y)
        elif self.warm_start and not np.array_equal(unique_labels(y), self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {unique_labels(y)}"
            )
        return self._target.encode(y)

    def _n_outputs(self, y):
        return self._target.n_outputs

    def _out_activation(self):
        return "softmax" if self._multiclass() else "logistic"

    def _multiclass(self):
        return not (isinstance(self._target, ManyLabels) or self._target.binary)

    def _objective(self):
        return softmax_loss if self._multiclass() else sigmoid_loss, 1.0

    def _strata(self, y):
        return y if self.n_outputs_ == 1 else None

    def _score_outputs(self, y, output, weight):
        if self._multiclass():
            right = output.argmax(axis=1) == y
        else:
            right = ((output > 0) == (y > 0.5)).all(axis=1)
        return float(np.average(right, weights=weight))

    def predict(self, X):
        """Labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_labels) for an indicator matrix
        """
        outputs = self._outputs(X)
        return self._target.decode(outputs)

    def predict_proba(self, X):
        """Probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. For an indicator matrix, the probability of each label.
        """
        outputs = self._outputs(X)
        return as_given(X, self._target.probabilities(outputs))

    def predict_log_proba(self, X):
        """Logarithm of :meth:`predict_proba`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def decision_function(self, X):
        """Network outputs before the output activation.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) for two classes, else (n_samples, n_outputs)
        """
        outputs = self._outputs(X)
        return as_given(X, self._target.decision(outputs))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor, a drop-in for scikit-learn's.

    Parameters, attributes, random draws and stopping rules are those of
    :class:`sklearn.neural_network.MLPRegressor`; from the same ``random_state`` training takes
    the same path, up to the rounding of float32.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        "poisson" is half the deviance of counts y >= 0; the network then gives their logarithm.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init
        As for :class:`MLPClassifier`.
    power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum
        As for :class:`MLPClassifier`.
    nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon
        As for :class:`MLPClassifier`.
    n_iter_no_change, max_fun, n_threads, device
        As for :class:`MLPClassifier`.

    Attributes
    ----------
    loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, t_
        As for :class:`MLPClassifier`; validation scores are R2.
    coefs_, intercepts_, n_iter_, n_layers_, n_outputs_, out_activation_
        As for :class:`MLPClassifier`.
    n_features_in_, feature_names_in_
        As for :class:`MLPClassifier`.

    See Also
    --------
    NeuralNetRegressor : Networks of any layers, more optimizers and losses.

    Notes
    -----
    Computation is in float32, whatever X and y come in; predictions are float32 for X in float32
    and float64 otherwise.

    With several outputs the reported squared error is their mean, the gradient that of their sum,
    as in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skdeep import MLPRegressor
    >>> X, y = make_regression(200, 20, random_state=1)
    >>> mlp = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X, y)
    >>> bool(mlp.score(X, y) > 0.95)
    True
    """

    _y_numeric = True
    _parameter_constraints = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        n_threads=None,
        device=None,
    ):
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.n_threads = n_threads
        self.device = device

    @partial_fit_method
    def partial_fit(self, X, y, sample_weight=None):
        """One epoch over the given samples, going on from where the network is.

        Parameters
        ----------
        X, y, sample_weight : as in :meth:`fit`

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _encode(self, y, fresh):
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if self.loss == "poisson" and np.any(y < 0):
            raise ValueError("loss='poisson' needs y >= 0; y has negative values.")
        largest = np.finfo(np.float32).max ** 0.5
        if np.any(np.abs(y) > largest):
            raise ValueError(
                f"y has values beyond {largest:.1g}, too large for float32; scale it, for example "
                "with sklearn.compose.TransformedTargetRegressor."
            )
        return np.ascontiguousarray(y.reshape(len(y), -1), np.float32)

    def _n_outputs(self, y):
        return y.shape[1]

    def _out_activation(self):
        return "exp" if self.loss == "poisson" else "identity"

    def _objective(self):
        if self.loss == "poisson":
            return poisson_loss, 1.0
        return squared_loss, 1.0 / self.n_outputs_

    def _prediction(self, output):
        output = output.astype(np.float64)
        return np.exp(output) if self.out_activation_ == "exp" else output

    def _score_outputs(self, y, output, weight):
        return r2(y, self._prediction(output), weight)

    def predict(self, X):
        """Predicted numbers.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        y = self._prediction(self._outputs(X))
        return as_given(X, y[:, 0] if self.n_outputs_ == 1 else y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
