"""Checking X, and finding the shape of one sample."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from .._validation import SHAPE


def check_inputs(estimator, X, *, reset):
    """X as C-contiguous float32 rows (or CSR), and the shape its samples came in.

    Images (n, h, w, c) become rows; ``n_features_in_`` counts the numbers of one sample.

    Returns
    -------
    X : ndarray of shape (n, n_features) or CSR matrix
    shape : tuple of int
        Shape of one sample as given.
    """
    if isinstance(X, Sequence) and not hasattr(X, "shape") and np.ndim(X) > 2:
        X = np.asarray(X)
    shape = None
    if not sparse.issparse(X) and getattr(X, "ndim", 2) > 2:
        X = np.asarray(X)
        shape = X.shape[1:]
        X = X.reshape(len(X), math.prod(shape)) if len(X) else X.reshape(0, math.prod(shape))
    X = validate_data(
        estimator, X, reset=reset, accept_sparse="csr", dtype=np.float32, order="C",
        accept_large_sparse=False,
    )  # fmt: skip
    return X, shape or (X.shape[1],)


def sample_shape(input_shape, given, n_features, name="input_shape"):
    """The shape of one sample that the network sees.

    Parameters
    ----------
    input_shape : tuple of int or None
        The estimator's parameter; one entry may be -1. None takes the shape X came in.
    given : tuple of int
        Shape that X came in.
    n_features : int
        Numbers of one sample.
    name : str
        What messages call ``input_shape``.

    Raises
    ------
    ValueError
        When they do not fit.
    """
    if input_shape is None:
        return tuple(given)
    if not SHAPE.holds(input_shape):
        raise ValueError(f"{name}={input_shape!r} must be {SHAPE.text}.")
    shape = tuple(int(s) for s in input_shape)
    free = shape.count(-1)
    known = math.prod(s for s in shape if s != -1)
    if free > 1:
        raise ValueError(f"{name}={input_shape!r} may have one -1 only.")
    if free and known and n_features % known == 0:
        return tuple(n_features // known if s == -1 else s for s in shape)
    if not free and known == n_features:
        return shape
    raise ValueError(
        f"{name}={input_shape!r} does not fit X: one sample has {n_features} features, "
        f"which is not {' * '.join(map(str, shape))}."
    )
