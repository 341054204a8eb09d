"""Training by L-BFGS over the whole data set."""

import warnings

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning


def fit_lbfgs(net, trainer, optimizer, max_iterations, n_threads):
    """Minimise the loss over all rows; appends one record per iteration to ``net.history_``.

    Warns
    -----
    ConvergenceWarning
        When the iterations run out before the gradient is small.
    """
    rows = np.arange(trainer.data.n, dtype=np.int32)
    last = [np.inf]

    def objective(theta):
        loss, gradient = trainer.loss_and_gradient(theta.astype(np.float32), rows, n_threads)
        if not np.isfinite(loss):
            raise ValueError(
                f"The training loss became {loss} in iteration {len(net.history_) + 1}; scale "
                "the inputs (StandardScaler in front) or use a step-wise optimizer."
            )
        last[0] = loss
        return loss, gradient

    def record(theta):
        net.history_.append({"epoch": len(net.history_) + 1, "train_loss": float(last[0])})
        if net.verbose:
            print(f"iteration {len(net.history_):4d}  train loss {last[0]:.5f}")

    start = trainer.vectors()["parameter"].astype(np.float64)
    best = start
    try:
        result = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            callback=record,
            options={
                "maxiter": max_iterations,
                "maxfun": optimizer.max_evaluations,
                "maxcor": optimizer.memory,
                "gtol": optimizer.tol,
                "ftol": 64 * np.finfo(float).eps,
            },
        )
        best = result.x
        if result.nit >= max_iterations:
            warnings.warn(
                f"L-BFGS stopped after {result.nit} iterations without converging; raise "
                "max_epochs or scale the data.",
                ConvergenceWarning,
                stacklevel=5,
            )
    finally:
        trainer.memories["parameter"][: best.size] = best.astype(np.float32)
