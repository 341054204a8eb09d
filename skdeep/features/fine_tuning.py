"""Pretrained networks as layers of an estimator, to be trained further."""

from dataclasses import replace

from ..layers.base import Layer, current_trace
from ..layers.combinators import Sequential, apply_layers
from ..layers.network import Network
from .sources import load_weights

__all__ = ["Pretrained", "network"]


def network(model="resnet18", weights="default", *, layer="pool", trainable_from=None):
    """Layers of a pretrained network for :class:`NeuralNetClassifier` and its kin.

    The estimator appends a head that follows from y. Pictures must be prepared first, as
    :class:`ImageLoader` does.

    Parameters
    ----------
    model : str or Architecture, default="resnet18"
    weights : as of :class:`ImageFeatures`, default="default"
    layer : str, default="pool"
        The last layer that is used.
    trainable_from : str or None, default=None
        The first layer that is trained, or the canonical name of a part of the network that is
        trained with all that follows: "stage4" begins after the last layer of "stage3", and "stem"
        with the first layer. What is before stays as it is. None trains nothing but the head;
        fitting is an error where a name leaves no weights to train up to ``layer``.

    Returns
    -------
    list of (str, Layer)

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skdeep import NeuralNetClassifier
    >>> from skdeep.features import ImageLoader, network
    >>> layers = network("resnet18", trainable_from="stage4")
    >>> model = make_pipeline(ImageLoader("resnet18"), NeuralNetClassifier(layers, max_epochs=5))
    >>> model = model.set_params(neuralnetclassifier__trunk__trainable_from="stage3")
    """
    return [("trunk", Pretrained(model, weights, layer=layer, trainable_from=trainable_from))]


class Pretrained(Layer):
    """A pretrained network up to one of its layers, starting from its weights.

    Parameters
    ----------
    model : str or Architecture, default="resnet18"
    weights : as of :class:`ImageFeatures`, default="default"
    layer : str, default="pool"
        The last layer that is used.
    trainable_from : str or None, default=None
        The first layer, or canonical part, that is trained, as in :func:`network`. Layers before
        it keep their weights, and their batch norm its statistics. None keeps all of them.

    Examples
    --------
    >>> from skdeep.features import Pretrained
    >>> Pretrained("resnet18", trainable_from="layer4.1")
    Pretrained(trainable_from='layer4.1')
    """

    def __init__(self, model="resnet18", weights="default", *, layer="pool", trainable_from=None):
        self.model = model
        self.weights = weights
        self.layer = layer
        self.trainable_from = trainable_from

    def forward(self, x):
        """What ``layer`` gives for prepared pictures (n, h, w, 3)."""
        at_hand = {}

        def find():
            loaded = load_weights(self.model, self.weights, x.shape[1:])
            at_hand.update(loaded.weights)
            kept = loaded.before(self.trainable_from)
            if self.trainable_from is not None:
                self._check_trained(loaded, kept)
            return replace(loaded, weights={}, labels=None), kept

        def start(name):
            place = self.model, self.weights, x.shape[1:]
            return StartWeight(name, *place, at_hand.get(name))

        trace = current_trace()
        known, kept = trace.once(find)
        pairs = layers_through(known.layers(), known.layer(self.layer), known.name)
        with trace.starting(start, kept):
            return apply_layers(pairs, x)

    def _check_trained(self, loaded, kept):
        """Raise where nothing of the trunk would be trained, though that was asked for."""
        pairs = layers_through(loaded.layers(), loaded.layer(self.layer), loaded.name)
        used = Network(pairs, loaded.input_shape)
        used.probe()
        if trains(used, kept):
            return
        words = [word for word, _ in loaded.points if trains(used, loaded.before(word))]
        raise ValueError(
            f"trainable_from={self.trainable_from!r} trains nothing of {loaded.name}: no layer "
            f"from there to layer={self.layer!r} has weights. Choose one of {words}, or None to "
            "train the head alone."
        )


def trains(network, kept):
    """Whether a network has weights to train outside of the layers of some paths."""
    frozen = set(kept)
    for spec in network.parameters:
        parts = spec.name.split(".")[:-1]
        if spec.trainable and not any(
            ".".join(parts[:k]) in frozen for k in range(1, len(parts) + 1)
        ):
            return True
    return False


def layers_through(pairs, path, where):
    """(name, layer) pairs as far as the layer of a path, which may be inside a Sequential."""
    first, _, rest = path.partition(".")
    names = [name for name, _ in pairs]
    if first not in names:
        raise ValueError(f"layer {path!r} is not in {where}, which has {names}.")
    k = names.index(first)
    last = pairs[k][1]
    if rest:
        if not isinstance(last, Sequential):
            raise ValueError(f"layer {rest!r} is inside {where}'s block {first!r}; take that.")
        last = Sequential(layers_through(last.layers, rest, first))
    return [*pairs[:k], (first, last)]


class StartWeight:
    """A start value, which is kept until it is used; after that, and in a pickle, only its name.

    Parameters
    ----------
    name : str
        Of the weight.
    model, weights : as of Pretrained
    input_shape : tuple of int
    array : ndarray or None, default=None
        The value, where it is at hand.
    """

    def __init__(self, name, model, weights, input_shape, array=None):
        self.name, self.place, self.array = name, (model, weights, input_shape), array

    def __call__(self, shape, rng):
        """The weight, which has this shape."""
        array, self.array = self.array, None
        return load_weights(*self.place).weights[self.name] if array is None else array

    def __getstate__(self):
        return {**vars(self), "array": None}
