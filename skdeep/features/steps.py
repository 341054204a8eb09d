"""Networks that come with their weights file: steps of :mod:`skdeep.ops`, cut into layers."""

import re
from typing import NamedTuple

import numpy as np

from .. import ops
from ..graph.tensor import Tensor
from ..layers.base import Layer, current_trace

__all__ = []


class Step(NamedTuple):
    """A call of an operation.

    ``inputs`` are names of values and of weights, numbers, or None. Shapes among the attributes
    have in front a factor of the number of samples.
    """

    function: str
    inputs: tuple
    output: str
    attributes: dict


def run_step(step, values, batch):
    """The tensor that a step gives, from those it reads by name, for a number of samples."""
    inputs = [values[i] if isinstance(i, str) else i for i in step.inputs]
    attributes = step.attributes
    if step.function in ("reshape", "broadcast_to"):
        first, *rest = attributes["shape"]
        return getattr(ops, step.function)(inputs[0], (batch * first, *rest))
    if step.function == "concatenate":
        return ops.concatenate(inputs, **attributes)
    return getattr(ops, step.function)(*inputs, **attributes)


class WeightPlace(NamedTuple):
    """What a layer of steps declares of a weight."""

    shape: tuple
    trainable: bool


class Steps(Layer):
    """Steps from one tensor to one tensor.

    Parameters
    ----------
    steps : tuple of Step
    weights : dict of str to WeightPlace
    source, result : str
        Values that the layer is given and gives back.
    names : dict of str to str
        Activations to report, and the values that they are.
    trainable : bool, default=True
    """

    def __init__(self, steps, weights, source, result, names, trainable=True):
        self.steps = steps
        self.weights = weights
        self.source = source
        self.result = result
        self.names = names
        self.trainable = trainable

    def forward(self, x):
        """All steps, for as many samples as ``x`` holds."""
        values = {self.source: x}
        for name, place in self.weights.items():
            values[name] = self.parameter(name, place.shape, trainable=place.trainable)
        for step in self.steps:
            values[step.output] = run_step(step, values, x.shape[0])
        activations = current_trace().activations
        activations.update((name, values[value]) for name, value in self.names.items())
        return values[self.result]


class Recorder:
    """Steps in the making; every one is tried on a single sample at once.

    Attributes
    ----------
    steps : list of Step
    weights : dict of str to ndarray
    tensors : dict of str to Tensor
        Of one sample.
    names : dict of str to str
        Activations and the values that they are.
    marks : list of (int, str, str)
        Numbers of steps after which a layer may end, names for it, and what it gives.
    """

    def __init__(self):
        self.steps, self.weights, self.tensors, self.names, self.marks = [], {}, {}, {}, []
        self.fixed = set()

    def feed(self, name, shape):
        """Begin with a tensor of a shape, whose first size counts samples; the value's name."""
        name = f"input {name}"
        self.tensors[name] = Tensor(shape, role="data")
        return name

    def weight(self, name, array, trainable=True):
        """Keep an array; its name, made unique."""
        array = np.asarray(array, np.float32)
        unique, k = name, 1
        while unique in self.tensors:
            unique, k = f"{name}_{k}", k + 1
        self.weights[unique] = array
        self.tensors[unique] = Tensor(array.shape, role="parameter")
        if not trainable:
            self.fixed.add(unique)
        return unique

    def apply(self, function, *inputs, **attributes):
        """Record a step; the name of its result."""
        first = self.tensors[inputs[0]] if isinstance(inputs[0], str) else None
        if function == "reshape" and first.shape == tuple(attributes["shape"]):
            return inputs[0]
        step = Step(function, inputs, f"value {len(self.steps)}", attributes)
        self.tensors[step.output] = run_step(step, self.tensors, 1)
        self.steps.append(step)
        return step.output

    def shape(self, name):
        """Shape of a value for one sample."""
        return self.tensors[name].shape

    def mark(self, name, value):
        """A layer of this name may end here, if it gives this value."""
        if value is not None:
            self.marks.append((len(self.steps), name, value))

    def cut(self, source, result):
        """The steps as arguments of :class:`Steps`, with names: cut where a single value goes on.

        Returns
        -------
        list of (str, dict)
        """
        last = {i: k for k, s in enumerate(self.steps) for i in s.inputs if isinstance(i, str)}
        last[result] = len(self.steps)
        produced = {s.output: k for k, s in enumerate(self.steps)}
        alive, layers, taken, begin = {source}, [], set(), 0
        place = {(k, value): name for k, name, value in self.marks}
        for k in range(1, len(self.steps) + 1):
            alive.add(self.steps[k - 1].output)
            alive = {v for v in alive if last.get(v, -1) >= k}
            end = k == len(self.steps)
            given = result if end else next(iter(alive)) if len(alive) == 1 else None
            if end or ((k, given) in place and given != source):
                name = layer_name(self.marks[-1][1] if end else place[k, given], taken)
                layers.append((name, self._layer(begin, k, source, given, produced)))
                begin, source = k, given
        if not self.steps:
            layers.append((layer_name("identity", taken), self._layer(0, 0, source, result, {})))
        return layers

    def _layer(self, begin, end, source, result, produced):
        steps = tuple(self.steps[begin:end])
        read = {i: None for s in steps for i in s.inputs if i in self.weights}
        weights = {i: WeightPlace(self.weights[i].shape, i not in self.fixed) for i in read}
        here = {v for v, k in produced.items() if begin <= k < end}
        here.update({source} if begin == 0 else ())
        names = {name: value for name, value in self.names.items() if value in here}
        return {"steps": steps, "weights": weights, "source": source, "result": result,
                "names": names}  # fmt: skip


def layer_name(name, taken):
    """A name that a layer can have, not among ``taken``, where it is entered."""
    name = re.sub(r"__+", "_", name.strip("/").replace(".", "_")) or "steps"
    unique, k = name, 1
    while unique in taken:
        unique, k = f"{name}_{k}", k + 1
    taken.add(unique)
    return unique


class LayerList:
    """A callable that makes the layers of a recorded network anew; it can be pickled."""

    def __init__(self, layers):
        self.layers = layers

    def __call__(self):
        """A list of (name, layer)."""
        return [(name, Steps(**arguments)) for name, arguments in self.layers]
