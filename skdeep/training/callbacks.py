"""Hooks into training."""

import numpy as np
from sklearn.base import BaseEstimator

from .._validation import COUNT, NOT_NEGATIVE, check_parameters
from .progress import progress_bar

__all__ = ["Callback", "EarlyStopping", "ProgressBar"]


class Callback(BaseEstimator):
    """Base class: override the hooks you need.

    A callback may keep what it likes in attributes ending in ``_``; estimators work on clones of
    what they were given, so one callback object can be passed to many of them.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep import NeuralNetRegressor
    >>> from skdeep.training import Callback
    >>> class StopAt(Callback):
    ...     def __init__(self, epoch=3):
    ...         self.epoch = epoch
    ...
    ...     def on_epoch_end(self, net, *, record, **kwargs):
    ...         return record["epoch"] >= self.epoch
    >>> X = np.linspace(-1, 1, 20).reshape(-1, 1)
    >>> NeuralNetRegressor(callbacks=[StopAt(2)]).fit(X, X.ravel()).n_iter_
    2
    """

    def on_fit_begin(self, net, **kwargs):
        """Before the first epoch."""

    def on_epoch_begin(self, net, **kwargs):
        """Before each epoch."""

    def on_chunk_end(self, net, *, epoch, step, n_steps, **kwargs):
        """After each run of steps inside an epoch, about ten times a second."""

    def on_epoch_end(self, net, *, record, **kwargs):
        """After each epoch; return True to stop.

        ``record`` is its entry in ``history_``; keys that a callback adds to it stay there.
        """

    def on_fit_end(self, net, **kwargs):
        """After the last epoch, also when training was interrupted."""


class EarlyStopping(Callback):
    """Stop when a number of the history has not improved for a while.

    Parameters
    ----------
    monitor : str, default="valid_loss"
        Key of the history's records.
    patience : int, default=10
        Epochs without improvement to wait.
    tol : float, default=1e-4
        What counts as an improvement.
    mode : {"auto", "min", "max"}, default="auto"
        "auto" maximises names that end in "score" and minimises others.
    restore_best : bool, default=True
        Go back to the weights of the best epoch.

    Attributes
    ----------
    best_epoch_ : int
    best_value_ : float
    stopped_ : bool

    Examples
    --------
    >>> from skdeep.training import EarlyStopping
    >>> EarlyStopping("train_loss", patience=3)
    EarlyStopping(monitor='train_loss', patience=3)
    """

    _rules = {"patience": COUNT, "tol": NOT_NEGATIVE}

    def __init__(self, monitor="valid_loss", patience=10, tol=1e-4, mode="auto", restore_best=True):
        self.monitor = monitor
        self.patience = patience
        self.tol = tol
        self.mode = mode
        self.restore_best = restore_best

    def on_fit_begin(self, net, **kwargs):
        """Forget earlier fits."""
        check_parameters(self)
        if self.mode not in ("auto", "min", "max"):
            raise ValueError(f"mode={self.mode!r} must be 'auto', 'min' or 'max'.")
        up = self.mode == "max" or (self.mode == "auto" and self.monitor.endswith("score"))
        self._sign = -1.0 if up else 1.0
        self._least, self._waited = np.inf, 0
        self.best_epoch_, self.best_value_, self.stopped_ = 0, None, False

    def on_epoch_end(self, net, *, record, snapshot=None, **kwargs):
        """Compare with the best so far."""
        if self.monitor not in record:
            raise ValueError(
                f"EarlyStopping(monitor={self.monitor!r}): the history has {sorted(record)}; pass "
                "X_val and y_val to fit, set early_stopping=True, or monitor one of these."
            )
        value = self._sign * record[self.monitor]
        if value < self._least:
            if self.restore_best and snapshot is not None:
                snapshot()
            self.best_epoch_, self.best_value_ = record["epoch"], record[self.monitor]
        if value < self._least - self.tol:
            self._waited = 0
        else:
            self._waited += 1
        self._least = min(self._least, value)
        self.stopped_ = self._waited >= self.patience
        return self.stopped_


class ProgressBar(Callback):
    """One line that fills up, with the losses of the last epoch; uses tqdm when it is installed.

    Parameters
    ----------
    file : object with ``write``, default=None
        None: standard error.

    Examples
    --------
    >>> from skdeep.training import ProgressBar
    >>> ProgressBar()
    ProgressBar()
    """

    def __init__(self, file=None):
        self.file = file

    def on_fit_begin(self, net, *, max_epochs, **kwargs):
        """Open the bar."""
        self._bar = progress_bar(max_epochs, "epoch", self.file)

    def on_epoch_end(self, net, *, record, **kwargs):
        """Advance by one epoch."""
        shown = {k: f"{record[k]:.4g}" for k in ("train_loss", "valid_loss") if k in record}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(1)

    def on_fit_end(self, net, **kwargs):
        """Close the bar."""
        self._bar.close()
        del self._bar
