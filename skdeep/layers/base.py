"""What a layer is, and what is gathered while a network of layers is traced."""

from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from sklearn.base import BaseEstimator

from .._validation import check_parameters
from ..graph.op import SCOPE
from ..graph.tensor import Tensor
from ..ops.sparse import SparseRows, densify
from .initializers import resolve_initializer

__all__ = ["Layer"]

_TRACE = ContextVar("skdeep_trace")
ALIGN = 16  # every parameter starts at a multiple of this many elements


@dataclass
class Parameter:
    """One array of a network: its name, shape, start value, and what training may do with it."""

    name: str
    shape: tuple
    init: object
    trainable: bool = True
    l1: float = 0.0
    l2: float = 0.0
    offset: int = 0

    @property
    def role(self):
        """The flat vector it lives in."""
        return "parameter" if self.trainable else "state"


class ParameterSet:
    """All arrays of a network by name, laid out in two flat vectors (trained, and kept)."""

    def __init__(self):
        self.by_name, self.facts = {}, {}
        self.sizes = {"parameter": 0, "state": 0}

    def declare(self, spec):
        """Give a new parameter its place, or find it again and compare."""
        known = self.by_name.get(spec.name)
        if known is not None:
            if known.shape != spec.shape:
                raise ValueError(
                    f"weight {spec.name!r} has shape {known.shape}, but this input needs "
                    f"{spec.shape}; was the network fitted on inputs of another size?"
                )
            return known
        spec.offset = self.sizes[spec.role]
        size = Tensor(spec.shape).size
        self.sizes[spec.role] += -(-size // ALIGN) * ALIGN
        self.by_name[spec.name] = spec
        return spec

    def __iter__(self):
        return iter(self.by_name.values())


@dataclass
class Trace:
    """One symbolic run of a network.

    Attributes
    ----------
    parameters : ParameterSet
    training : bool
        Whether dropout drops and batch norm uses the batch's own statistics.
    memory : {"fast", "low"}
        "low": convolutions do not trade memory for speed.
    updates : list of Op
        Side effects of a training step besides the optimizer's (running statistics).
    activations : dict of str to Tensor
        What every named layer returned.
    """

    parameters: ParameterSet
    training: bool
    memory: str = "fast"
    updates: list = field(default_factory=list)
    activations: dict = field(default_factory=dict)
    path: list = field(default_factory=list)
    registers: Tensor = field(default_factory=lambda: Tensor((16,), "int32", role="registers"))
    streams: int = 0
    leaves: dict = field(default_factory=dict)
    counters: list = field(default_factory=lambda: [(Counter(), {})])
    frozen: bool = False
    kept: frozenset = frozenset()
    start: tuple | None = None

    @contextmanager
    def active(self):
        """Make this the trace that layers report to."""
        token = _TRACE.set(self)
        try:
            yield self
        finally:
            _TRACE.reset(token)

    @contextmanager
    def scope(self, name, trainable):
        """Names inside begin with ``name.``"""
        self.path.append(name)
        token = SCOPE.set(".".join(self.path))
        self.counters.append((Counter(), {}))
        frozen = self.frozen
        self.frozen = frozen or not trainable or ".".join(self.path) in self.kept
        try:
            yield
        finally:
            SCOPE.reset(token)
            self.path.pop()
            self.counters.pop()
            self.frozen = frozen

    @contextmanager
    def starting(self, initializer, kept):
        """Weights declared inside start from ``initializer(name)``, named from here.

        ``kept`` names the layers among them, from here, that are not trained.
        """
        before = self.start, self.kept
        prefix = "".join(f"{name}." for name in self.path)
        self.start = prefix, initializer
        self.kept = frozenset(prefix + name for name in kept)
        try:
            yield
        finally:
            self.start, self.kept = before

    def once(self, find):
        """What the layer being traced finds out in its first trace; pickled with the parameters."""
        path = ".".join(self.path)
        if path not in self.parameters.facts:
            self.parameters.facts[path] = find()
        return self.parameters.facts[path]

    def call(self, layer, x, name=None):
        """Apply a layer inside its scope. A layer object used twice in one place shares weights."""
        counter, seen = self.counters[-1]
        if name is None:
            name, _ = seen.get(id(layer), (None, None))
        if name is None:
            kind = type(layer).__name__.lower()
            counter[kind] += 1
            name = f"{kind}{counter[kind]}"
        seen[id(layer)] = name, layer  # kept: the id of a layer that is gone may come again
        if isinstance(x, SparseRows) and not getattr(layer, "accepts_sparse", False):
            x = densify(x)
        with self.scope(name, getattr(layer, "trainable", True)):
            path = ".".join(self.path)
            where = describe(layer)
            try:
                check_parameters(layer, where)
                y = layer.forward(x)
            except ValueError as error:
                if getattr(error, "names_layer", False) or str(error).startswith(where):
                    error.names_layer = True
                    raise
                named = ValueError(f"{where}: {error}")
                named.names_layer = True
                raise named from error
            if not isinstance(y, Tensor):
                raise TypeError(
                    f"layer {path!r} ({type(layer).__name__}) must return a Tensor from "
                    f"forward(), got {type(y).__name__}; build it with skdeep.ops."
                )
            self.activations[path] = y
        return y

    def leaf(self, spec):
        """The tensor of a declared parameter."""
        if spec.name not in self.leaves:
            self.leaves[spec.name] = Tensor(
                spec.shape, role=spec.role, offset=spec.offset, name=spec.name
            )
        return self.leaves[spec.name]


def current_trace():
    """The trace in progress.

    Raises
    ------
    RuntimeError
        When a layer is called outside of one.
    """
    try:
        return _TRACE.get()
    except LookupError:
        raise RuntimeError(
            "A layer can only be called inside another layer's forward() while an estimator "
            "builds its network; put it in an estimator's `layers` instead."
        ) from None


class Layer(BaseEstimator):
    """Base class of layers: hyper-parameters, and a symbolic forward pass.

    Subclass it to write your own: assign hyper-parameters in ``__init__`` (nothing else), declare
    weights with :meth:`parameter`, and compute with :mod:`skdeep.ops` and operators in ``forward``.
    Gradients, both devices, cloning, searching and pickling follow.

    Examples
    --------
    >>> from skdeep import ops
    >>> from skdeep.layers import Layer
    >>> class Swish(Layer):
    ...     def __init__(self, beta=1.0):
    ...         self.beta = beta
    ...     def forward(self, x):
    ...         beta = self.parameter("beta", (1,), self.beta)
    ...         return x * ops.sigmoid(beta * x)
    >>> Swish(beta=2.0)
    Swish(beta=2.0)
    """

    def forward(self, x):
        """Symbolic output for a symbolic input.

        Parameters
        ----------
        x : Tensor
            Its ``shape`` is known, batch first.

        Returns
        -------
        Tensor
        """
        raise TypeError(f"{type(self).__name__} must define forward(self, x)")

    def __call__(self, x):
        """Apply the layer inside another layer's ``forward``."""
        return current_trace().call(self, x)

    def parameter(self, name, shape, init="auto", *, trainable=True, l1=0.0, l2=0.0):
        """Declare a trained array and get its tensor; to be called in ``forward``.

        Parameters
        ----------
        name : str
            Unique within the layer.
        shape : tuple of int
        init : str, float, array or Initializer
            Start value.
        trainable : bool
            False keeps it as it starts. A layer with ``trainable=False`` freezes all of its own.
        l1, l2 : float
            Add ``l1 * sum(abs(w)) + l2 * sum(w ** 2)`` to the loss.

        Returns
        -------
        Tensor
        """
        trace = current_trace()
        keep = trainable and not trace.frozen
        path = ".".join([*trace.path, name])
        if trace.start is not None:
            prefix, initializer = trace.start
            init = initializer(path.removeprefix(prefix))
        spec = Parameter(
            path,
            tuple(int(s) for s in shape),
            resolve_initializer(init),
            keep,
            float(l1) if keep else 0.0,
            float(l2) if keep else 0.0,
        )
        return trace.leaf(trace.parameters.declare(spec))


def shown(shape):
    """A shape for messages: the batch axis is n, whatever its size was while tracing."""
    return f"({', '.join(['n', *map(str, shape[1:])])})"


def describe(layer):
    """How messages name the layer being traced: its class and its path."""
    trace = _TRACE.get(None)
    path = ".".join(trace.path) if trace is not None else ""
    return f"{type(layer).__name__} {path!r}"
