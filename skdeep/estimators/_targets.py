"""Targets as networks see them, and network outputs as users see them.

Each kind of target is one small class: ``encode(y)`` gives the array a loss reads, ``n_outputs``
how many numbers the network must give, ``loss`` how a loss is applied, ``probabilities`` and
``decision`` what users see of the network's outputs, ``decode`` the labels or numbers in them.
Probabilities are computed in float64, so that those close to 0 or 1 keep their order.
"""

import numpy as np
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, column_or_1d

from .. import ops
from .._warnings import warn


def per_sample(loss, y, output):
    """Loss as one number per sample: further axes are averaged."""
    value = loss.forward(y, output)
    if value.shape[:1] != output.shape[:1]:
        raise ValueError(
            f"{type(loss).__name__}.forward must keep the batch axis: outputs are {output.shape}, "
            f"the loss is {value.shape}."
        )
    if value.ndim > 1:
        value = ops.mean(value, axis=tuple(range(1, value.ndim)))
    return value


def _indices(classes, y, name="y"):
    """Position of every label in the sorted classes."""
    place = np.searchsorted(classes, y)
    place[place == len(classes)] = 0
    unknown = classes[place] != y
    if np.any(unknown):
        labels = np.unique(np.asarray(y)[unknown])[:5]
        raise ValueError(
            f"{name} contains labels that fit did not see: {labels.tolist()}; known are "
            f"{classes.tolist()[:20]}. Pass classes= to the first partial_fit."
        )
    return place


class OneLabel:
    """One label per sample, out of two or more (or a single one)."""

    def __init__(self, classes):
        self.classes = classes
        self.binary = len(classes) <= 2
        self.n_outputs = 1 if self.binary else len(classes)

    def encode(self, y):
        """float32 (n, 1) of 0 and 1 for two classes, else int32 (n,)."""
        place = _indices(self.classes, column_or_1d(y, warn=True))
        if self.binary:
            return place.astype(np.float32).reshape(-1, 1)
        return place.astype(np.int32)

    def flat_labels(self, y):
        """Labels for class weights."""
        return column_or_1d(y)

    loss = staticmethod(per_sample)

    def probabilities(self, output):
        """(n, n_classes)."""
        output = output.astype(np.float64)
        if not self.binary:
            return softmax(output, axis=1)
        if len(self.classes) == 1:
            return np.ones_like(output)
        return expit(np.concatenate([-output, output], axis=1))

    def decision(self, output):
        """(n,) for two classes, else (n, n_classes)."""
        return output[:, 0] if self.binary else output

    def decode(self, output):
        """Labels from network outputs."""
        if len(self.classes) == 1:
            return np.full(len(output), self.classes[0])
        if self.binary:
            return self.classes[(output[:, 0] > 0).astype(int)]
        return self.classes[output.argmax(axis=1)]


class ManyLabels:
    """An indicator matrix: every label holds or not."""

    def __init__(self, n_labels):
        self.classes = np.arange(n_labels)
        self.n_outputs = n_labels

    def encode(self, y):
        """float32 (n, n_labels) of 0 and 1."""
        y = y.toarray() if sparse.issparse(y) else np.asarray(y)
        if y.ndim != 2 or y.shape[1] != self.n_outputs:
            raise ValueError(f"y must have {self.n_outputs} columns, one per label; got {y.shape}.")
        return np.ascontiguousarray(y != 0, np.float32)

    def flat_labels(self, y):
        """Class weights have no meaning here."""
        raise ValueError(
            "class_weight is not defined for multilabel targets; pass sample_weight instead."
        )

    loss = staticmethod(per_sample)

    def probabilities(self, output):
        """(n, n_labels): probability that each label holds."""
        return expit(output.astype(np.float64))

    def decision(self, output):
        """(n, n_labels)."""
        return output

    def decode(self, output):
        """Indicator matrix."""
        return (output > 0).astype(int)


class ManyOutputs:
    """Several targets at once, each with labels of its own."""

    def __init__(self, classes):
        self.classes = classes
        self.sizes = [len(c) for c in classes]
        self.n_outputs = sum(self.sizes)
        self.starts = np.cumsum([0, *self.sizes[:-1]]).tolist()

    def encode(self, y):
        """int32 (n, n_targets)."""
        y = np.asarray(y)
        if y.ndim != 2 or y.shape[1] != len(self.classes):
            raise ValueError(f"y must have {len(self.classes)} columns; got {y.shape}.")
        columns = [_indices(c, y[:, k]) for k, c in enumerate(self.classes)]
        return np.ascontiguousarray(np.stack(columns, axis=1), np.int32)

    def flat_labels(self, y):
        """Class weights have no meaning here."""
        raise ValueError(
            "class_weight is not defined for several targets; pass sample_weight instead."
        )

    def _parts(self, tensor):
        return [ops.slice_axis(tensor, 1, a, a + k) for a, k in zip(self.starts, self.sizes)]

    def loss(self, loss, y, output):
        """Mean over the targets."""
        n = y.shape[0]
        total = None
        for k, part in enumerate(self._parts(output)):
            target = ops.reshape(ops.slice_axis(y, 1, k, k + 1), (n,))
            value = per_sample(loss, target, part)
            total = value if total is None else total + value
        return total * (1.0 / len(self.sizes))

    def probabilities(self, output):
        """List of (n, n_classes), one per target."""
        return [softmax(part.astype(np.float64), axis=1) for part in self.decision(output)]

    def decision(self, output):
        """List of (n, n_classes), one per target."""
        return [output[:, a : a + k] for a, k in zip(self.starts, self.sizes)]

    def decode(self, output):
        """(n, n_targets) labels."""
        columns = [c[p.argmax(axis=1)] for c, p in zip(self.classes, self.decision(output))]
        return np.stack(columns, axis=1)


def classification_target(y, classes=None):
    """The kind of target that y is, with its classes.

    Parameters
    ----------
    y : array-like
    classes : array-like, list of array-like or None
        All labels there are, when y may hold only some.

    Raises
    ------
    ValueError
        "Unknown label type" for numbers that are no labels.
    """
    check_array(y, accept_sparse=True, ensure_2d=False, dtype=None, input_name="y")
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        return ManyLabels(y.shape[1] if hasattr(y, "shape") else len(y[0]))
    if kind == "multiclass-multioutput":
        y = np.asarray(y)
        if classes is None:
            classes = [np.unique(y[:, k]) for k in range(y.shape[1])]
        return ManyOutputs([np.unique(c) for c in classes])
    return OneLabel(np.unique(column_or_1d(y) if classes is None else np.asarray(classes)))


class Numbers:
    """Regression on one or several numbers."""

    def __init__(self, y):
        y = check_array(y, ensure_2d=False, dtype=np.float32, input_name="y")
        if y.ndim == 2 and y.shape[1] == 1:
            warn(
                "A column-vector y was passed when a 1d array was expected; predictions will "
                "have shape (n_samples,).",
                DataConversionWarning,
            )
        self.one_d = y.ndim == 1 or y.shape[1] == 1
        self.n_outputs = 1 if y.ndim == 1 else y.shape[1]

    def encode(self, y):
        """float32 (n, n_outputs)."""
        y = check_array(y, ensure_2d=False, dtype=np.float32, input_name="y", order="C")
        y = y.reshape(len(y), -1)
        if y.shape[1] != self.n_outputs:
            raise ValueError(f"y must have {self.n_outputs} columns; got {y.shape[1]}.")
        return np.ascontiguousarray(y)

    loss = staticmethod(per_sample)

    def decode(self, output):
        """(n,) or (n, n_outputs), in float64 as scikit-learn's regressors give them."""
        return (output[:, 0] if self.one_d else output).astype(np.float64)
