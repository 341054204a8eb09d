"""Learning rates that change while training."""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator

from .._validation import NOT_NEGATIVE, NUMBER, POSITIVE, Rule, check_parameters

__all__ = ["CosineDecay", "ExponentialDecay", "InverseScaling", "Schedule", "StepDecay", "Warmup"]


class Schedule(BaseEstimator):
    """Base class: a subclass gives ``rate(t)`` for ``t`` in epochs, a float array.

    An optimizer takes a schedule wherever it takes a number as ``learning_rate``.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.training import Adam, Schedule
    >>> class Halving(Schedule):
    ...     def rate(self, t, max_epochs):
    ...         return 0.01 * 0.5 ** np.floor(t)
    >>> Adam(Halving())
    Adam(learning_rate=Halving())
    """

    def rate(self, t, max_epochs):
        """Learning rates at times ``t``.

        Parameters
        ----------
        t : ndarray of float
            Time in epochs since the start of training; fractions are steps inside an epoch.
        max_epochs : int

        Returns
        -------
        ndarray of float
        """
        raise TypeError(f"{type(self).__name__} must define rate(t, max_epochs)")


RATE = Rule(
    "a number that is not negative or a Schedule",
    lambda v: isinstance(v, Schedule) or NOT_NEGATIVE.holds(v),
)


class ExponentialDecay(Schedule):
    """initial * decay ** t.

    Parameters
    ----------
    initial : float, default=1e-3
    decay : float, default=0.95
        Factor per epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.training import ExponentialDecay
    >>> ExponentialDecay(0.1, 0.5).rate(np.array([0.0, 1.0, 2.0]), 10)
    array([0.1  , 0.05 , 0.025])
    """

    _rules = {"initial": NOT_NEGATIVE, "decay": POSITIVE}

    def __init__(self, initial=1e-3, decay=0.95):
        self.initial = initial
        self.decay = decay

    def rate(self, t, max_epochs):
        """Learning rates at times ``t``."""
        return self.initial * self.decay ** np.asarray(t, float)


class StepDecay(Schedule):
    """initial, multiplied by ``factor`` every ``every`` epochs.

    Parameters
    ----------
    initial : float, default=1e-2
    factor : float, default=0.1
    every : float, default=30
        Epochs.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.training import StepDecay
    >>> StepDecay(1.0, 0.1, every=2).rate(np.array([0.0, 1.9, 2.0]), 10)
    array([1. , 1. , 0.1])
    """

    _rules = {"initial": NOT_NEGATIVE, "factor": NOT_NEGATIVE, "every": POSITIVE}

    def __init__(self, initial=1e-2, factor=0.1, every=30):
        self.initial = initial
        self.factor = factor
        self.every = every

    def rate(self, t, max_epochs):
        """Learning rates at times ``t``."""
        return self.initial * self.factor ** np.floor(np.asarray(t, float) / self.every)


class CosineDecay(Schedule):
    """Half a cosine from ``initial`` to ``final`` over all epochs.

    Parameters
    ----------
    initial : float, default=1e-3
    final : float, default=0.0

    References
    ----------
    Loshchilov & Hutter, SGDR, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.training import CosineDecay
    >>> CosineDecay(1.0).rate(np.array([0.0, 5.0, 10.0]), 10).round(3)
    array([1. , 0.5, 0. ])
    """

    _rules = {"initial": NOT_NEGATIVE, "final": NOT_NEGATIVE}

    def __init__(self, initial=1e-3, final=0.0):
        self.initial = initial
        self.final = final

    def rate(self, t, max_epochs):
        """Learning rates at times ``t``."""
        share = np.clip(np.asarray(t, float) / max(max_epochs, 1), 0, 1)
        return self.final + (self.initial - self.final) * 0.5 * (1 + np.cos(np.pi * share))


class InverseScaling(Schedule):
    """initial / (1 + t) ** power.

    Parameters
    ----------
    initial : float, default=1e-2
    power : float, default=0.5

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.training import InverseScaling
    >>> InverseScaling(1.0).rate(np.array([0.0, 3.0]), 10)
    array([1. , 0.5])
    """

    _rules = {"initial": NOT_NEGATIVE, "power": NUMBER}

    def __init__(self, initial=1e-2, power=0.5):
        self.initial = initial
        self.power = power

    def rate(self, t, max_epochs):
        """Learning rates at times ``t``."""
        return self.initial / (1 + np.asarray(t, float)) ** self.power


class Warmup(Schedule):
    """Rise linearly from zero over the first epochs, then follow another schedule.

    Parameters
    ----------
    after : float or Schedule, default=1e-3
    epochs : float, default=5

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.training import Warmup
    >>> Warmup(0.1, epochs=2).rate(np.array([0.0, 1.0, 2.0, 3.0]), 10)
    array([0.  , 0.05, 0.1 , 0.1 ])
    """

    _rules = {"after": RATE, "epochs": NOT_NEGATIVE}

    def __init__(self, after=1e-3, epochs=5):
        self.after = after
        self.epochs = epochs

    def rate(self, t, max_epochs):
        """Learning rates at times ``t``."""
        t = np.asarray(t, float)
        after = rates(self.after, t, max_epochs)
        return after * np.minimum(1.0, t / self.epochs) if self.epochs > 0 else after


def rates(learning_rate, t, max_epochs):
    """Rates at times ``t`` for a number or a schedule.

    Raises
    ------
    ValueError
        When a rate is negative, not finite, or no number.
    """
    if isinstance(learning_rate, Schedule):
        check_parameters(learning_rate)
        t = np.asarray(t, float)
        values = np.broadcast_to(np.asarray(learning_rate.rate(t, max_epochs), float), t.shape)
        fine = np.isfinite(values).all() and (values >= 0).all()
    else:
        if not isinstance(learning_rate, Real):
            raise ValueError(f"learning_rate={learning_rate!r} must be a number or a Schedule.")
        values = np.full(np.shape(t), learning_rate, float)
        fine = 0 <= learning_rate < np.inf
    if not fine:
        raise ValueError(f"learning_rate={learning_rate!r} must give finite, non-negative rates.")
    return values
