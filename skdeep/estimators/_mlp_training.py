"""How scikit-learn's multi-layer perceptrons learn: losses, penalty, learning rates, stopping."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import ops
from .._warnings import warn
from ..ops.optimizers import Penalty
from ..training.loop import Loop
from ..training.trainer import Trainer

TINY = float(np.finfo(np.float32).tiny)
SMALLEST_RATE = 1e-6  # "adaptive" stops when it comes here


def softmax_loss(y, output):
    """Log loss of one class out of several."""
    return ops.softmax_log_loss(output, y)


def sigmoid_loss(y, output):
    """Log loss of yes or no, summed over labels."""
    return _sum_outputs(ops.sigmoid_log_loss(output, y))


def squared_loss(y, output):
    """Half the squared error, summed over outputs."""
    return _sum_outputs(0.5 * ops.square(output - y))


def poisson_loss(y, output):
    """Half the Poisson deviance of exp(output), summed over outputs."""
    constant = y * ops.log(ops.maximum(y, TINY)) - y
    return _sum_outputs(ops.exp(output) - y * output + constant)


def _sum_outputs(loss):
    n, k = loss.shape
    return ops.reshape(loss, (n,)) if k == 1 else ops.sum(loss, axis=1)


def r2(y, prediction, weight):
    """Mean over the outputs of the coefficient of determination; NaN when it is not defined."""
    prediction = prediction.astype(np.float64)
    if len(y) < 2 or not np.isfinite(prediction).all():
        return np.nan
    error = np.average((y - prediction) ** 2, axis=0, weights=weight)
    mean = np.average(y, axis=0, weights=weight)
    spread = np.average((y - mean) ** 2, axis=0, weights=weight)
    share = np.divide(error, spread, out=(error > 0).astype(float), where=spread > 0)
    return float(np.mean(1 - share))


class MLPTrainer(Trainer):
    """A trainer that adds ``0.5 * alpha * sum(W ** 2)`` to the *sum* of a batch's losses.

    The penalty is divided by the number of samples in the batch, or by the sum of their weights.

    Parameters
    ----------
    *args
        As for :class:`Trainer`.
    alpha : float
    reported : float
        Factor on the loss that is reported, but not on its gradient: the squared error of several
        outputs is reported as their mean and differentiated as their sum.
    """

    def __init__(self, *args, alpha, reported=1.0):
        super().__init__(*args)
        self.alpha, self.reported = float(alpha), reported

    def _penalties(self, specs, leaves, gradients, n, weight):
        if self.alpha == 0:
            return []
        strength, l2 = [], 0.5 * self.alpha / n
        if weight is not None:
            total = ops.sum(weight)
            some = ops.greater(total, 0.0)  # a batch without weight changes nothing
            strength = [0.5 * self.alpha * some / ops.maximum(total, TINY)]
        return [
            Penalty(leaf, g, *strength, l1=0.0, l2=l2).output
            for spec, leaf, g in zip(specs, leaves, gradients)
            if len(spec.shape) == 2
        ]

    def _reported(self, loss, share):
        total = super()._reported(loss, share)
        return total if self.reported == 1.0 else total * self.reported


class MLPLoop(Loop):
    """Epochs counted, averaged and ended as in scikit-learn.

    Parameters
    ----------
    net : BaseMLP
        Its ``n_iter_``, ``t_``, ``loss_``, ``loss_curve_``, ... are kept up to date.
    rate : float
        Learning rate to begin with.
    incremental : bool
        Whether this is one epoch of ``partial_fit``.
    **options
        As for :class:`Loop`; ``evaluate`` returns the validation score.
    """

    def __init__(self, net, trainer, *, rate, incremental, **options):
        super().__init__(net, trainer, history=net.loss_curve_, **options)
        self.rate, self.incremental = rate, incremental
        self._weights = None  # batches count by their length, whatever the weights in them
        self._order = np.arange(trainer.data.n, dtype=np.int32)

    def order(self, n):
        """Each epoch shuffles the order of the one before."""
        if self.shuffle:
            self._order = self._order[self.random_state.permutation(n)]
        return self._order

    def epoch(self):
        """One pass over the data; returns True to stop."""
        net = self.net
        self.trainer.optimizer.learning_rate = self.rate
        net.loss_ = float(self.train_epoch(net.n_iter_ + 1))
        net.n_iter_ += 1
        net.t_ += self.trainer.data.n
        net.loss_curve_.append(net.loss_)
        if self.verbose:
            print(f"Iteration {net.n_iter_}, loss = {net.loss_:.8f}")
        if self.evaluate is None:
            self._compare_loss()
        else:
            self._compare_score()
        if net.solver == "sgd" and net.learning_rate == "invscaling":
            self.rate = net.learning_rate_init / (net.t_ + 1) ** net.power_t
        if net._no_improvement_count > net.n_iter_no_change:
            if self._ends():
                return True
            net._no_improvement_count = 0
        if net.n_iter_ == net.max_iter and not self.incremental:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({net.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        return False

    def _compare_loss(self):
        net, best = self.net, np.inf if self.net.best_loss_ is None else self.net.best_loss_
        net._no_improvement_count = (
            net._no_improvement_count + 1 if net.loss_ > best - net.tol else 0
        )
        net.best_loss_ = min(best, net.loss_)

    def _compare_score(self):
        net, score = self.net, self.evaluate()
        best = -np.inf if net.best_validation_score_ is None else net.best_validation_score_
        net.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        net._no_improvement_count = net._no_improvement_count + 1 if score < best + net.tol else 0
        if score > best:
            net.best_validation_score_ = score
            self.keep()

    def _ends(self):
        """Whether a loss that no longer improves is the end, or only lowers the learning rate."""
        net = self.net
        what = "Training loss" if self.evaluate is None else "Validation score"
        message = (
            f"{what} did not improve more than tol={net.tol:f} for {net.n_iter_no_change} "
            "consecutive epochs."
        )
        adaptive = net.solver == "sgd" and net.learning_rate == "adaptive"
        if adaptive and self.rate > SMALLEST_RATE:
            self.rate /= 5.0
            message += f" Setting learning rate to {self.rate:f}"
        else:
            message += " Learning rate too small. Stopping." if adaptive else " Stopping."
        if self.verbose:
            print(message)
        return message.endswith("Stopping.")

    def _diverged(self, epoch, step, loss):
        return (
            f"The training loss became {loss} in epoch {epoch}, step {step}; the weights are no "
            f"longer finite or soon will not be. Try a smaller learning_rate_init (it is "
            f"{self.rate:g}), or scale the inputs (StandardScaler or MinMaxScaler in front)."
        )
