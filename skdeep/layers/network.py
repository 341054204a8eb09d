"""A network: named layers, the layout of their weights, and symbolic runs of them."""

from functools import cached_property

import numpy as np

from ..graph.tensor import Tensor
from ..ops.sparse import densify
from .base import ParameterSet, Trace
from .combinators import named_layers

COLUMNS = 16  # that fill a line of the cache


class Network:
    """Layers applied in order to inputs of one shape.

    Parameters
    ----------
    layers : list of (str, Layer)
        Names are unique; "passthrough" entries are skipped.
    input_shape : tuple of int
        Shape of one sample.

    Attributes
    ----------
    parameters : ParameterSet
        Every array of the network, known after the first trace.
    names : list of str
        Names of the layers that are applied.
    """

    def __init__(self, layers, input_shape):
        pairs = named_layers(layers)
        self.layers = [(n, x) for n, x in pairs if x is not None and x != "passthrough"]
        self.input_shape = tuple(input_shape)
        self.parameters = ParameterSet()
        self.names = [name for name, _ in self.layers]

    def trace(self, x, training, memory="fast"):
        """Symbolic run on a batch.

        Parameters
        ----------
        x : Tensor of shape (n, *input_shape) or SparseRows
        training : bool
        memory : {"fast", "low"}

        Returns
        -------
        output : Tensor
        trace : Trace
        """
        trace = Trace(self.parameters, training, memory)
        with trace.active():
            for name, layer in self.layers:
                x = trace.call(layer, x, name)
        if x.role == "sparse":
            x = densify(x)
        return x, trace

    def probe(self):
        """Trace one sample, to declare the parameters and learn the shapes.

        Returns
        -------
        dict of str to tuple
            Shape that each layer gives for one sample.
        """
        return dict(self._shapes)

    @cached_property
    def _shapes(self):
        _, trace = self.trace(Tensor((1, *self.input_shape), role="data"), training=False)
        return {name: t.shape[1:] for name, t in trace.activations.items()}

    def initialize(self, random_state):
        """Start values as two flat vectors.

        Parameters
        ----------
        random_state : RandomState

        Returns
        -------
        dict of str to ndarray
            "parameter" and "state".
        """
        vectors = self.empty_vectors()
        views = self.views(vectors)
        for spec in self.parameters:
            try:
                views[spec.name][...] = spec.init(spec.shape, random_state)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"weight {spec.name!r} of shape {spec.shape} cannot start: {error}"
                ) from error
        return vectors

    def empty_vectors(self):
        """Flat vectors of zeros."""
        return {role: np.zeros(n, np.float32) for role, n in self.parameters.sizes.items()}

    def views(self, vectors):
        """Named arrays that share the memory of flat vectors."""
        named = {}
        for spec in self.parameters:
            size = int(np.prod(spec.shape))
            flat = vectors[spec.role][spec.offset : spec.offset + size]
            named[spec.name] = flat.reshape(spec.shape)
        return named

    def gather(self, weights, vectors=None):
        """Flat vectors from named arrays, in given vectors or new ones.

        Raises
        ------
        ValueError
            When a name is missing or unknown, or a shape differs.
        """
        vectors = self.empty_vectors() if vectors is None else vectors
        views = self.views(vectors)
        unknown = set(weights) - set(views)
        if unknown:
            raise ValueError(f"unknown weights {sorted(unknown)}; there are {sorted(views)}.")
        for name, view in views.items():
            if name not in weights:
                raise ValueError(f"weight {name!r} is missing; there are {sorted(weights)}.")
            if np.shape(weights[name]) != view.shape:
                raise ValueError(
                    f"weight {name!r} has shape {np.shape(weights[name])}, expected {view.shape}."
                )
            copy_columns(np.asarray(weights[name]), view)
        return vectors


def copy_columns(array, out):
    """Copy an array that may be a transposed view, some columns at a time.

    Each of them is then read from its begin to its end, while its lines are in the cache.
    """
    if array.ndim < 2 or array.strides[-1] == array.itemsize:
        out[...] = array
        return
    for k in range(0, array.shape[-1], COLUMNS):
        out[..., k : k + COLUMNS] = array[..., k : k + COLUMNS]
