"""Rules that turn gradients into steps."""

import numpy as np
from sklearn.base import BaseEstimator

from .._validation import COUNT, FLAG, NOT_NEGATIVE, POSITIVE, SHARE, check_parameters, optional
from ..ops.optimizers import AdamUpdate, MomentumUpdate, RMSpropUpdate
from .schedules import RATE, rates

__all__ = ["LBFGS", "SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]


class Optimizer(BaseEstimator):
    """Base class of the gradient-step rules.

    ``update`` is the operation that performs a step; :meth:`registers` gives what it reads, one
    row per step.

    Examples
    --------
    >>> from skdeep.training import SGD, Optimizer
    >>> isinstance(SGD(), Optimizer)
    True
    """

    update = None
    _rules = {
        "learning_rate": RATE,
        "momentum": SHARE,
        "nesterov": FLAG,
        "rho": SHARE,
        "beta_1": SHARE,
        "beta_2": SHARE,
        "epsilon": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
        "clip_norm": optional(POSITIVE),
    }

    def registers(self, first_step, n_steps, epoch, max_epochs):
        """Register values of the steps of one epoch: (n_steps, k) float32.

        ``first_step`` steps and ``epoch`` epochs are done already.
        """
        step = np.arange(n_steps)
        rate = rates(self.learning_rate, epoch + step / n_steps, max_epochs)
        columns = self._columns(first_step + step + 1, rate)
        values = np.empty((n_steps, len(columns)), np.float32)
        for k, column in enumerate(columns):
            values[:, k] = column
        return values

    def _validate(self):
        check_parameters(self)
        rates(self.learning_rate, np.zeros(1), 1)  # a schedule checks its own


class SGD(Optimizer):
    """Stochastic gradient descent.

    Parameters
    ----------
    learning_rate : float or Schedule, default=1e-2
    momentum : float, default=0.0
        In [0, 1).
    nesterov : bool, default=False
    weight_decay : float, default=0.0
        Each step also shrinks the weights by ``learning_rate * weight_decay``.
    clip_norm : float or None, default=None
        Scale the whole gradient down when its norm exceeds this.

    Examples
    --------
    >>> from skdeep.training import SGD
    >>> SGD(0.05, momentum=0.9, nesterov=True)
    SGD(learning_rate=0.05, momentum=0.9, nesterov=True)
    """

    update = MomentumUpdate

    def __init__(
        self, learning_rate=1e-2, momentum=0.0, nesterov=False, weight_decay=0.0, clip_norm=None
    ):
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm

    def _columns(self, t, rate):
        return rate, self.momentum, float(bool(self.nesterov)), rate * self.weight_decay


class Adam(Optimizer):
    """Adaptive moments.

    Parameters
    ----------
    learning_rate : float or Schedule, default=1e-3
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of the running means of the gradient and of its square.
    epsilon : float, default=1e-8
    clip_norm : float or None, default=None
        Scale the whole gradient down when its norm exceeds this.

    References
    ----------
    Kingma & Ba, Adam: a method for stochastic optimization, 2015.

    Examples
    --------
    >>> from skdeep.training import Adam, CosineDecay
    >>> Adam(CosineDecay(2e-3)).beta_1
    0.9
    """

    update = AdamUpdate

    def __init__(self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, clip_norm=None):
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.clip_norm = clip_norm

    def _columns(self, t, rate):
        # The correction must be that of the betas the kernel sees: 1 - float32(0.999) is 1e-5 off.
        beta_1, beta_2 = float(np.float32(self.beta_1)), float(np.float32(self.beta_2))
        corrected = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        return corrected, beta_1, beta_2, self.epsilon, self._decay(rate)

    def _decay(self, rate):
        return 0.0


class AdamW(Adam):
    """Adam with weight decay apart from the gradient.

    Parameters
    ----------
    learning_rate : float or Schedule, default=1e-3
    weight_decay : float, default=1e-2
        Each step also shrinks the weights by ``learning_rate * weight_decay``.
    beta_1, beta_2 : float, default=0.9, 0.999
    epsilon : float, default=1e-8
    clip_norm : float or None, default=None

    References
    ----------
    Loshchilov & Hutter, Decoupled weight decay regularization, 2019.

    Examples
    --------
    >>> from skdeep.training import AdamW
    >>> AdamW(weight_decay=0.05)
    AdamW(weight_decay=0.05)
    """

    def __init__(
        self,
        learning_rate=1e-3,
        weight_decay=1e-2,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        clip_norm=None,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, clip_norm)
        self.weight_decay = weight_decay

    def _decay(self, rate):
        return rate * self.weight_decay


class RMSprop(Optimizer):
    """Steps scaled by a running mean of squared gradients.

    Parameters
    ----------
    learning_rate : float or Schedule, default=1e-3
    rho : float, default=0.9
        Decay of the running mean.
    momentum : float, default=0.0
    epsilon : float, default=1e-7
    clip_norm : float or None, default=None

    References
    ----------
    Tieleman & Hinton, Lecture 6.5, Coursera, 2012.

    Examples
    --------
    >>> from skdeep.training import RMSprop
    >>> RMSprop(1e-3, momentum=0.9)
    RMSprop(momentum=0.9)
    """

    update = RMSpropUpdate

    def __init__(self, learning_rate=1e-3, rho=0.9, momentum=0.0, epsilon=1e-7, clip_norm=None):
        self.learning_rate = learning_rate
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.clip_norm = clip_norm

    def _columns(self, t, rate):
        return rate, self.rho, self.momentum, self.epsilon


class LBFGS(BaseEstimator):
    """Limited-memory BFGS over the whole training set, by :func:`scipy.optimize.minimize`.

    ``max_epochs`` of the estimator is then the number of iterations; ``batch_size``, ``shuffle``,
    ``early_stopping``, validation data and callbacks have no effect.

    Parameters
    ----------
    memory : int, default=10
        Number of corrections kept.
    max_evaluations : int, default=15000
    tol : float, default=1e-5
        Stop when the largest gradient entry is below this.

    References
    ----------
    Liu & Nocedal, On the limited memory BFGS method, 1989.

    Examples
    --------
    >>> from skdeep.training import LBFGS
    >>> LBFGS()
    LBFGS()
    """

    _rules = {"memory": COUNT, "max_evaluations": COUNT, "tol": NOT_NEGATIVE}

    def __init__(self, memory=10, max_evaluations=15000, tol=1e-5):
        self.memory = memory
        self.max_evaluations = max_evaluations
        self.tol = tol

    def _validate(self):
        check_parameters(self)
