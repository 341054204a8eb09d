"""Networks that come from a file, graph and all."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..layers import Layer
from ..layers.base import current_trace
from ..layers.network import Network

__all__ = ["ImportedNetwork", "Wired", "canonical_points"]


class Wired(Layer):
    """A node of a graph in a list of layers: it reads what layers of given names returned.

    So a network of any shape is a plain list of named layers, each of which can be asked for,
    frozen or left out from the end.

    Parameters
    ----------
    sources : tuple of str
        Names of layers before it in the list, in the order in which they are read; none for the
        input of the network.
    compute : Layer, callable or None, default=None
        What is applied to their activations. A layer takes one; its weights are named after this
        layer. A callable takes as many as there are sources. None passes one on.
    also : tuple of str, default=()
        Earlier names under which this activation replaces what they returned: of what was computed
        in place, the last result counts.
    trainable : bool, default=True

    Examples
    --------
    >>> from skdeep import ops
    >>> from skdeep.features.imported import Wired
    >>> Wired(("branch1", "branch2"), ops.add)
    Wired(compute=..., sources=('branch1', 'branch2'))
    """

    def __init__(self, sources=(), compute=None, *, also=(), trainable=True):
        self.sources = sources
        self.compute = compute
        self.also = also
        self.trainable = trainable

    def forward(self, x):
        """What ``compute`` gives; x, the activation of the layer before, is not read as such."""
        trace = current_trace()
        before = trace.path[:-1]
        inputs = [_activation(trace, ".".join([*before, name]), x) for name in self.sources]
        if self.compute is None:
            (y,) = inputs or [x]
        elif isinstance(self.compute, Layer):
            y = self.compute.forward(*inputs)
        else:
            y = self.compute(*inputs)
        for name in self.also:
            trace.activations[".".join([*before, name])] = y
        return y


def _activation(trace, path, x):
    """What a layer returned; in the later part of a network cut in two, what that part is given."""
    if path not in trace.activations:
        if trace.activations:
            raise ValueError(f"it reads {path!r}, which is not among the layers before it")
        trace.activations[path] = x
    return trace.activations[path]


@dataclass(frozen=True)
class ImportedNetwork:
    """A network whose layers and weights were read from a file.

    Parameters
    ----------
    layers : callable
        ``layers()`` gives a new list of (name, layer) pairs, as the estimators take it.
    weights : dict of str to ndarray
        By our names and in our layout, for images of ``input_shape``.
    input_shape : tuple of int
        Height, width and channels of an image.
    points : tuple of (str, str)
        Canonical names ("stem", "stage1" ... "pool", "penultimate", "logits") and the names of
        layers in ``Trace.activations``, from early to late.
    name : str, default=""

    Examples
    --------
    >>> from skdeep.features import ImportedNetwork
    >>> from skdeep.layers import Dense
    >>> net = ImportedNetwork(lambda: [("fc", Dense(5))], {}, (8, 8, 3), (("logits", "fc"),))
    >>> net.network().probe()["fc"]
    (5,)
    """

    layers: Callable
    weights: dict = field(repr=False)
    input_shape: tuple
    points: tuple = ()
    name: str = ""

    def network(self, input_shape=None):
        """The network for images of one shape, with its parameters declared.

        Parameters
        ----------
        input_shape : tuple of int or None, default=None
            None for the file's own. Other sizes fit the same weights where no dense layer reads a
            whole map.

        Returns
        -------
        Network
        """
        network = Network(self.layers(), input_shape or self.input_shape)
        network.probe()
        return network


def canonical_points(shapes, logits):
    """Canonical names for the layers of a network of which only the shapes are known.

    Parameters
    ----------
    shapes : dict of str to tuple
        Shape of what each layer gives for one sample, in the order of the layers, the input first.
    logits : str
        The layer of the scores.

    Returns
    -------
    tuple of (str, str)
        "stem" is the last layer of the first size of maps below the input's, "stage1" to "stage4"
        the last layers of up to four sizes after it, "pool" the mean over the last map or, where
        dense layers read the map itself, this map, "penultimate" the last before the logits.
    """
    names = list(shapes)[: list(shapes).index(logits)]
    maps = [name for name in names if len(shapes[name]) == 3 and shapes[name][:2] != (1, 1)]
    after = names[names.index(maps[-1]) + 1 :] if maps else names
    last_of_size = {shapes[name][:2]: name for name in maps}
    last_of_size.pop(shapes[maps[0]][:2] if maps else None, None)
    sizes = list(last_of_size.values())
    points = [("stem", sizes[0])] if sizes else []
    points += [(f"stage{k}", name) for k, name in enumerate(sizes[1:][-4:], 1)]
    if maps:
        pooled = after and shapes[after[0]][-1] == shapes[maps[-1]][-1]
        points.append(("pool", after[0] if pooled else maps[-1]))
    if names:
        points.append(("penultimate", names[-1]))
    return (*points, ("logits", logits))
