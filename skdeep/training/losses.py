"""What training minimises, written with operations."""

from sklearn.base import BaseEstimator

from .. import ops
from .._validation import POSITIVE, SHARE, check_parameters

__all__ = ["AbsoluteError", "Huber", "LogLoss", "Loss", "SquaredError"]


class Loss(BaseEstimator):
    """Base class: subclass it and give ``forward`` to train on a loss of your own.

    Examples
    --------
    >>> from skdeep import ops
    >>> from skdeep.training import Loss
    >>> class LogCosh(Loss):
    ...     def forward(self, y_true, y_pred):
    ...         e = y_pred - y_true
    ...         return ops.softplus(-2.0 * e) + e
    >>> LogCosh()
    LogCosh()
    """

    task = None  # "classification" or "regression", where it serves one of them only

    def forward(self, y_true, y_pred):
        """Loss of every sample.

        Parameters
        ----------
        y_true : Tensor
            Regression and multilabel: float32 (n, k). Binary: float32 (n, 1) of 0 and 1.
            Multiclass: int32 (n,), the class numbers.
        y_pred : Tensor of shape (n, k)
            What the network gives, before any output activation.

        Returns
        -------
        Tensor of shape (n,) or (n, ...)
            Further axes are averaged.
        """
        raise TypeError(f"{type(self).__name__} must define forward(self, y_true, y_pred)")


class LogLoss(Loss):
    """Negative log-likelihood of the labels.

    Softmax over the outputs for one label out of several, a sigmoid for each output when labels
    are binary or several may hold.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of the target spread evenly over all classes, in [0, 1).

    Examples
    --------
    >>> from skdeep.training import LogLoss
    >>> LogLoss(label_smoothing=0.1)
    LogLoss(label_smoothing=0.1)
    """

    task = "classification"
    _rules = {"label_smoothing": SHARE}

    def __init__(self, label_smoothing=0.0):
        self.label_smoothing = label_smoothing

    def forward(self, y_true, y_pred):
        """Loss of every sample."""
        s = float(self.label_smoothing)
        if y_true.dtype == "int32":
            hard = ops.softmax_log_loss(y_pred, y_true)
            if s == 0:
                return hard
            return (1 - s) * hard - s * ops.mean(ops.log_softmax(y_pred), axis=-1)
        target = y_true if s == 0 else y_true * (1 - s) + 0.5 * s
        return ops.sigmoid_log_loss(y_pred, target)


class SquaredError(Loss):
    """(y_pred - y_true) ** 2.

    Examples
    --------
    >>> from skdeep.training import SquaredError
    >>> SquaredError()
    SquaredError()
    """

    task = "regression"

    def forward(self, y_true, y_pred):
        """Loss of every sample and output."""
        return ops.square(y_pred - y_true)


class AbsoluteError(Loss):
    """abs(y_pred - y_true), for the conditional median.

    Examples
    --------
    >>> from skdeep.training import AbsoluteError
    >>> AbsoluteError()
    AbsoluteError()
    """

    task = "regression"

    def forward(self, y_true, y_pred):
        """Loss of every sample and output."""
        return ops.absolute(y_pred - y_true)


class Huber(Loss):
    """Squared for errors below ``delta``, linear beyond.

    Parameters
    ----------
    delta : float, default=1.0

    References
    ----------
    Huber, Robust estimation of a location parameter, 1964.

    Examples
    --------
    >>> from skdeep.training import Huber
    >>> Huber(0.5)
    Huber(delta=0.5)
    """

    task = "regression"
    _rules = {"delta": POSITIVE}

    def __init__(self, delta=1.0):
        self.delta = delta

    def forward(self, y_true, y_pred):
        """0.5 e**2 for abs(e) <= delta, else delta (abs(e) - 0.5 delta)."""
        e = ops.absolute(y_pred - y_true)
        near = ops.minimum(e, float(self.delta))
        return near * (e - 0.5 * near)


LOSSES = {
    "log_loss": LogLoss(),
    "squared_error": SquaredError(),
    "absolute_error": AbsoluteError(),
    "huber": Huber(),
}


def resolve_loss(loss, default, task=None):
    """The Loss that a name, an object or "auto" stands for.

    Parameters
    ----------
    loss : str or Loss
    default : str
        What "auto" means.
    task : {"classification", "regression"} or None
        What it is to be used for.

    Raises
    ------
    ValueError
        For an unknown name, a bad parameter, or a loss made for the other task.
    """
    if isinstance(loss, str):
        name = default if loss == "auto" else loss
        if name not in LOSSES:
            raise ValueError(
                f"Unknown loss {loss!r}; choose 'auto', one of {sorted(LOSSES)}, or pass a Loss."
            )
        loss = LOSSES[name]
    if isinstance(loss, type) or not callable(getattr(loss, "forward", None)):
        raise ValueError(
            f"loss={loss!r} is no object with forward(y_true, y_pred); pass an instance of a "
            "subclass of Loss, or a name."
        )
    check_parameters(loss)
    made_for = getattr(loss, "task", None)
    if task is not None and made_for not in (None, task):
        fitting = sorted(k for k, v in LOSSES.items() if v.task == task)
        raise ValueError(
            f"loss={loss!r} is for {made_for}, not for {task}; choose 'auto', one of {fitting}, "
            "or a Loss of your own."
        )
    return loss
