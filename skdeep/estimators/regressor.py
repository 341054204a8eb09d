"""Neural network regressor."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._targets import Numbers
from .base import BaseNeuralNet, steps_one_by_one


class NeuralNetRegressor(RegressorMixin, BaseNeuralNet):
    """Regressor built from layers, for one or several numbers.

    Parameters
    ----------
    layers, input_shape, head
        As for :class:`NeuralNetClassifier`.
    loss : {"auto", "squared_error", "absolute_error", "huber"} or Loss, default="auto"
        "auto" is the squared error.
    optimizer, batch_size, max_epochs, shuffle
        As for :class:`NeuralNetClassifier`.
    early_stopping, validation_fraction, n_iter_no_change, tol, warm_start, callbacks
        As for :class:`NeuralNetClassifier`.
    output_layer, random_state, n_threads, device, verbose
        As for :class:`NeuralNetClassifier`.

    Attributes
    ----------
    weights_, history_, n_iter_, n_features_in_, feature_names_in_, network_, input_shape_
        As for :class:`NeuralNetClassifier`; ``valid_score`` in the history is R2.

    Notes
    -----
    Networks learn targets of size about one; wrap the regressor in
    :class:`sklearn.compose.TransformedTargetRegressor` when yours are not.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep import NeuralNetRegressor
    >>> from skdeep.layers import Dense
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> from skdeep.training import Adam
    >>> net = NeuralNetRegressor([Dense(32, activation="tanh")], optimizer=Adam(1e-2),
    ...                          max_epochs=300, random_state=0)
    >>> bool(net.fit(X, X.ravel() ** 2).score(X, X.ravel() ** 2) > 0.8)
    True
    """

    _default_loss = "squared_error"
    _task = "regression"

    def __init__(
        self,
        layers=None,
        *,
        input_shape=None,
        head="auto",
        loss="auto",
        optimizer=None,
        batch_size="auto",
        max_epochs=100,
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        callbacks=None,
        output_layer=None,
        random_state=None,
        n_threads=None,
        device=None,
        verbose=0,
    ):
        self.layers = layers
        self.input_shape = input_shape
        self.head = head
        self.loss = loss
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.output_layer = output_layer
        self.random_state = random_state
        self.n_threads = n_threads
        self.device = device
        self.verbose = verbose

    def _make_target(self, y):
        return Numbers(y)

    @available_if(steps_one_by_one)
    def partial_fit(self, X, y, sample_weight=None):
        """One epoch over the given samples, going on from where the network is.

        Parameters
        ----------
        X, y, sample_weight : as in :meth:`fit`

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight, lambda: self._make_target(y))

    def predict(self, X):
        """Predicted numbers.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        ndarray of float64, shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        return self._target.decode(self._outputs(X))

    def _score_outputs(self, encoded, output, weight):
        if len(encoded) < 2:
            return float("nan")
        return float(r2_score(encoded, np.nan_to_num(output), sample_weight=weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
