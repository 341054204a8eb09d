"""Neural network classifier."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._targets import ManyLabels, ManyOutputs, OneLabel, classification_target
from .base import BaseNeuralNet, as_given, steps_one_by_one


class NeuralNetClassifier(ClassifierMixin, BaseNeuralNet):
    """Classifier built from layers.

    The output layer and the loss follow from y: two classes, several, several labels at once, or
    several targets.

    Parameters
    ----------
    layers : list of Layer or (str, Layer), or None
        Applied in order. Unnamed layers are called ``conv2d1``, ``dense2``, ... A layer is set by
        its name and its parameters by ``name__parameter``; "passthrough" leaves it out.
        None: one ``Dense(100, activation="relu")``.
    input_shape : tuple of int or None, default=None
        Shape of one sample, for X given as flat rows; one entry may be -1. None: as X comes.
    head : "auto", Layer or None, default="auto"
        The output layer: a Dense of the size that y needs, a layer of yours, or None when the
        last of ``layers`` gives the outputs already (logits).
    loss : {"auto", "log_loss"} or Loss, default="auto"
    optimizer : Optimizer, LBFGS or None, default=None
        None: ``Adam()``.
    batch_size : int or "auto", default="auto"
        "auto": min(128, n_samples).
    max_epochs : int, default=100
    shuffle : bool, default=True
        Draw a new order of the samples every epoch.
    class_weight : dict, "balanced" or None, default=None
    early_stopping : bool, default=False
        Stop when the loss on validation data stops improving, and keep the best weights. Without
        X_val, a part of the training data is set aside.
    validation_fraction : float, default=0.1
        That part.
    n_iter_no_change : int, default=10
        Epochs to wait.
    tol : float, default=1e-4
        Smallest improvement that counts.
    warm_start : bool, default=False
        Go on from the weights of the last fit, with the network of that fit: changes of
        ``layers`` since then have no effect.
    callbacks : list of Callback or None, default=None
    output_layer : str or None, default=None
        Layer whose activations :meth:`transform` gives; None: the last before the head.
    random_state : int, RandomState or None, default=None
        Start values, shuffling, dropout, the validation split. The same number gives the same
        bits, for any number of threads.
    n_threads : int or None, default=None
        None: :func:`skdeep.set_config`, else all cores.
    device : {"cpu", "cuda"} or None, default=None
        None: :func:`skdeep.set_config`, else ``SKDEEP_DEVICE``, else the CPU.
    verbose : int, default=0
        Above 0, print a line per epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of them
    weights_ : dict of str to ndarray
        All arrays of the network, as ``layer.name``.
    history_ : list of dict
        One record per epoch: epoch, train_loss, valid_loss and valid_score where there is
        validation data, learning_rate, seconds.
    n_iter_ : int
        Number of epochs done.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    network_ : Network
    input_shape_ : tuple of int
    callbacks_ : list of Callback
        Those used in the last fit.
    interrupted_ : bool
        Whether the last fit was ended by the user.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdeep import NeuralNetClassifier
    >>> from skdeep.layers import Dense
    >>> X, y = load_iris(return_X_y=True)
    >>> from skdeep.training import Adam
    >>> net = NeuralNetClassifier([Dense(16, activation="relu")], optimizer=Adam(1e-2),
    ...                           max_epochs=60, random_state=0)
    >>> bool(make_pipeline(StandardScaler(), net).fit(X, y).score(X, y) > 0.9)
    True
    """

    _default_loss = "log_loss"
    _task = "classification"

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
        class_weight=None,
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
        self.class_weight = class_weight
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

    def _make_target(self, y, classes=None):
        target = classification_target(y, classes)
        self.classes_ = target.classes
        return target

    def _total_weight(self, y, weight):
        if self.class_weight is None:
            return weight
        labels = self._target.flat_labels(y)
        by_class = compute_sample_weight(self.class_weight, labels).astype(np.float32)
        total = by_class if weight is None else by_class * weight
        if not total.sum() > 0:
            raise ValueError(
                "class_weight and sample_weight leave no sample with a positive weight."
            )
        return total

    def _strata(self, encoded):
        if not isinstance(self._target, OneLabel):
            return None
        labels = encoded.ravel()
        counts = np.unique(labels, return_counts=True)[1]
        held_out = int(np.ceil(self.validation_fraction * len(labels)))
        enough = counts.min() >= 2 and min(held_out, len(labels) - held_out) >= len(counts)
        return labels if enough else None

    @available_if(steps_one_by_one)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One epoch over the given samples, going on from where the network is.

        Parameters
        ----------
        X, y : as in :meth:`fit`
        classes : array-like or None
            All labels that will ever come; needed in the first call unless y holds them all.
        sample_weight : array-like of shape (n_samples,) or None

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight, lambda: self._make_target(y, classes))

    def predict(self, X):
        """Labels.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_labels) or (n_samples, n_targets)
        """
        check_is_fitted(self)
        return self._target.decode(self._outputs(X))

    def predict_proba(self, X):
        """Probabilities.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        ndarray of shape (n_samples, n_classes); a list of them for several targets
            float32 for X in float32, else float64.
        """
        check_is_fitted(self)
        return as_given(X, self._target.probabilities(self._outputs(X)))

    def predict_log_proba(self, X):
        """Logarithm of :meth:`predict_proba`."""
        p = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return [np.log(q) for q in p] if isinstance(p, list) else np.log(p)

    def decision_function(self, X):
        """Network outputs before softmax or sigmoid.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        ndarray of shape (n_samples,) for two classes, else (n_samples, n_outputs)
        """
        check_is_fitted(self)
        return as_given(X, self._target.decision(self._outputs(X)))

    def score(self, X, y, sample_weight=None):
        """Accuracy; for several targets, the share of samples with all of them right."""
        if isinstance(getattr(self, "_target", None), ManyOutputs):
            right = (self.predict(X) == np.asarray(y)).all(axis=1)
            return float(np.average(right, weights=sample_weight))
        return super().score(X, y, sample_weight)

    def _score_outputs(self, encoded, output, weight):
        """Accuracy on encoded targets, as the history reports it."""
        target = self._target
        if isinstance(target, ManyOutputs):
            parts = target.probabilities(output)
            right = np.all([p.argmax(1) == encoded[:, k] for k, p in enumerate(parts)], axis=0)
        elif isinstance(target, ManyLabels) or target.binary:
            right = ((output > 0) == (encoded > 0.5)).all(axis=1)
        else:
            right = output.argmax(axis=1) == encoded
        return float(np.average(right, weights=weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags
