"""Training by L-BFGS over the whole data set."""

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.exceptions import ConvergenceWarning

from .._warnings import warn

REMAINDER = 1e-4  # share of the line searches' points that may stay in running averages
FTOL = 1e7 * np.finfo(float).eps  # scipy's default: relative decrease at which L-BFGS stops


def minimize_loss(trainer, options, n_threads, on_iteration):
    """Minimise the loss over all rows from where the weights are, and leave them at the minimum.

    Parameters
    ----------
    trainer : Trainer
    options : dict
        Of :func:`scipy.optimize.minimize` for the method "L-BFGS-B".
    n_threads : int
    on_iteration : callable
        ``on_iteration(loss)`` after every iteration.

    Returns
    -------
    OptimizeResult
        As scipy gives it; ``status`` is -1 when the user interrupted.

    Raises
    ------
    ValueError
        When the loss is not finite.
    """
    rows = np.arange(trainer.data.n, dtype=np.int32)
    start = trainer.vectors()["parameter"].astype(np.float64)
    best = OptimizeResult(x=start, fun=np.inf, nit=0, status=-1, message="interrupted")

    def objective(theta):
        loss, gradient = trainer.loss_and_gradient(theta.astype(np.float32), rows, n_threads)
        if not np.isfinite(loss):
            raise ValueError(
                f"The training loss became {loss} in iteration {best.nit + 1}; scale the inputs "
                "(StandardScaler in front) or use a step-wise optimizer."
            )
        return loss, gradient

    def accept(intermediate_result):
        best.x, best.fun = intermediate_result.x.copy(), float(intermediate_result.fun)
        best.nit += 1
        on_iteration(best.fun)

    try:
        best = minimize(
            objective, start, jac=True, method="L-BFGS-B", callback=accept, options=options
        )
    except KeyboardInterrupt:
        warn(
            f"Training interrupted after {best.nit} iterations; the estimator keeps the weights "
            "so far.",
        )
    finally:
        theta = best.x.astype(np.float32)
        trainer.device.write(trainer.memories["parameter"], theta)
    if trainer.momentum > 0:
        # Batch norm's running averages still hold the points of the line searches.
        for _ in range(int(np.ceil(np.log(REMAINDER) / np.log(trainer.momentum)))):
            trainer.loss_and_gradient(theta, rows, n_threads)
    return best


def fit_lbfgs(net, trainer, optimizer, max_iterations, n_threads):
    """Minimise the loss over all rows; appends one record per iteration to ``net.history_``.

    Warns
    -----
    ConvergenceWarning
        When the iterations or evaluations run out before the gradient is small.

    Returns
    -------
    OptimizeResult
    """

    def record(loss):
        net.history_.append({"epoch": len(net.history_) + 1, "train_loss": loss})
        if net.verbose:
            print(f"iteration {len(net.history_):4d}  train loss {loss:.5f}")

    options = {
        "maxiter": max_iterations,
        "maxfun": optimizer.max_evaluations,
        "maxcor": optimizer.memory,
        "gtol": optimizer.tol,
        "ftol": float(np.finfo(np.float32).eps),  # smaller decreases are rounding
    }
    result = minimize_loss(trainer, options, n_threads, record)
    if result.status == 1:
        warn(
            f"L-BFGS stopped after {result.nit} iterations ({result.nfev} evaluations) without "
            "converging; raise max_epochs or the optimizer's max_evaluations, or scale the data.",
            ConvergenceWarning,
        )
    return result
