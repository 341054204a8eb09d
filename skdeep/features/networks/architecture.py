"""What an architecture is: a literal description of a network, and what its weights are called."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from ...layers.combinators import Sequential
from ...layers.network import Network
from .positions import resize_positions
from .states import read_state

__all__ = ["NETWORKS", "Architecture", "find_network", "random_weights", "register"]

NETWORKS = {}
# What the last part of a weight's name is in torchvision's files.
LAST_PART = {
    "W": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "mean": "running_mean",
    "var": "running_var",
    "scale": "gamma",
}
# Shapes that torchvision gives to vectors, by the last part of its names.
AXES = {"layer_scale": (-1, 1, 1)}


@dataclass(frozen=True)
class Architecture:
    """A network as data: layers, input, source, and how torchvision names its weights.

    Parameters
    ----------
    name : str
    layers : callable
        ``layers()`` gives a new list of (name, layer) pairs, as the estimators take it. The last
        layer gives logits: no softmax.
    paper : str
        Where it is described.
    points : tuple of (str, str)
        Where features are read: canonical names and the layers that give them, from early to late,
        named as in ``Trace.activations``. A network has those that make sense for it:

        - "stem": the map after the first downsampling.
        - "stage1" .. "stage4": the last map of 1/4, 1/8, 1/16 and 1/32 of the picture's height and
          width; of a transformer, the tokens after each quarter of the blocks.
        - "pool": the vector that the head starts from: the last map averaged over all places, or
          flattened (AlexNet, VGG), or the class token. In SqueezeNet, which averages after its
          last layer, the map itself.
        - "penultimate": what the last layer with weights reads, which may be "pool".
        - "logits": what the last layer gives, before any softmax.
    input_shape : tuple of int, default=(224, 224, 3)
        Height, width and channels of an image. Other sizes give other feature maps; where the
        first dense layer reads a whole map (``flattened``) they give other weights, too.
    n_outputs : int, default=1000
    renames : tuple of (str, str), default=()
        Parts of our names, and what torchvision has in their place.
    flattened : tuple of (str, (int, int, int)), default=()
        Dense layers that read a flattened map, and the (channels, height, width) of it. The rows
        of our weights go over height, width, channels; torchvision's over channels first.
    head : str, default=""
        The last layer with weights, which a network without its head lacks; "" where that is the
        layer of "logits".
    namings : tuple of callable, default=()
        ``naming(state)`` gives a state dict of another library's under torchvision's names, or
        None when its names are not of that library.
    transform_input : bool, default=False
        Whether torchvision's own weights of this network want pictures normalised with mean and
        standard deviation 0.5, though its preprocessing uses ImageNet's: its code turns one into
        the other. Here the weights record's :class:`~skdeep.features.Preprocessing` says so.

    patches : str, default=""
        Of a transformer, the layer that makes patches. Position embeddings of files are resized
        bicubically where a picture has another number of patches.
    position_offset : float, default=0.0
        Added to the number of rows and columns of patches when the ratio of both sizes is taken,
        as DINOv2 was trained with.
    activations : tuple of str, default=()
        Where weights of the same names are trained with one of several activations, which
        ``layers`` then takes as ``activation``: their names, its own first.
    variant : str, default=""
        What tells this network from others that compute something else with the same weights;
        caches of features keep them apart by it.

    Examples
    --------
    >>> from skdeep.features import find_network
    >>> resnet = find_network("resnet18")
    >>> resnet.input_shape, dict(resnet.points)["pool"]
    ((224, 224, 3), 'avgpool')
    >>> resnet.torchvision_key("layer2.0.shortcut.1.mean")
    'layer2.0.downsample.1.running_mean'
    """

    name: str
    layers: Callable
    paper: str
    points: tuple
    input_shape: tuple = (224, 224, 3)
    n_outputs: int | None = 1000
    renames: tuple = ()
    flattened: tuple = ()
    head: str = ""
    namings: tuple = ()
    transform_input: bool = False
    patches: str = ""
    position_offset: float = 0.0
    activations: tuple = ()
    variant: str = ""

    def network(self, input_shape=None):
        """The network for images of one shape, with its parameters declared.

        Parameters
        ----------
        input_shape : tuple of int or None, default=None
            None for the architecture's own.

        Returns
        -------
        Network
        """
        network = Network(self.layers(), input_shape or self.input_shape)
        network.probe()
        return network

    def with_outputs(self, n_outputs):
        """The same network with a head for another number of classes.

        Parameters
        ----------
        n_outputs : int

        Returns
        -------
        Architecture
        """
        layers = partial(self.layers, n_outputs=n_outputs)
        return replace(self, layers=layers, n_outputs=n_outputs)

    def with_activation(self, activation):
        """The same network with another activation, for weights that were trained with that.

        Parameters
        ----------
        activation : str
            One of ``activations``: "gelu" for CLIP models that have the exact one, as most of
            OpenCLIP's, where OpenAI's have "quick_gelu".

        Returns
        -------
        Architecture
            With this one activation, whatever is said beside a file of weights.

        Raises
        ------
        ValueError
            For an activation that this network is not known to be trained with.

        Examples
        --------
        >>> from skdeep.features import ImageFeatures, find_network
        >>> laion = find_network("clip_vit_b_32").with_activation("gelu")
        >>> features = ImageFeatures(laion, weights="open_clip_pytorch_model.bin")
        """
        if activation not in self.activations:
            known = f"has {self.activations}" if self.activations else "has one activation alone"
            raise ValueError(f"{self.name} {known}, and not activation={activation!r}.")
        return _with_activation(self, activation)

    def before(self, layer):
        """The network as far as a layer of its head; ``n_outputs`` of it is None.

        Parameters
        ----------
        layer : str
            Named as in ``Trace.activations``; it and what follows is left out.

        Returns
        -------
        Architecture
            With the points that are left.
        """
        cut = replace(self, layers=partial(_layers_before, self.layers, layer), n_outputs=None)
        known = cut.network().probe()
        return replace(cut, points=tuple(p for p in self.points if p[1] in known))

    def from_state(self, state, input_shape=None):
        """Weights from a state dict under torchvision's, timm's or Hugging Face's names.

        Prefixes that training code puts before all names are dropped ("module.", "model.",
        "backbone."), counters of batch norm and auxiliary classifiers ignored. Everything else
        must fit: a weight that this network has no use for belongs to another network.

        Files do not tell how a convolution pads. Names and shapes of timm's ``tf_`` models and of
        its models with blurred or averaged downsampling ("resnetaa50", "resnetblur50") are those
        of models that compute something else; whoever knows the name of a file can tell, see
        :func:`skdeep.features.networks.states.refuse_name`.

        Parameters
        ----------
        state : dict of str to ndarray
        input_shape : tuple of int or None, default=None
            As for :meth:`from_torchvision`.

        Returns
        -------
        architecture : Architecture
            This one; with another ``n_outputs`` where the file's head has them; or without a head
            where the file has none (or one of its own making).
        weights : dict of str to ndarray
            By our names, in our layout.

        Raises
        ------
        ValueError
            When the state dict is not one of this network; names the first weight that is missing,
            too many, or of another shape.

        Examples
        --------
        >>> from skdeep.features import find_network, random_weights
        >>> squeezenet = find_network("squeezenet1_1")
        >>> state = squeezenet.to_torchvision(random_weights(squeezenet.network()))
        >>> tuned = {f"module.{k}": v[:7] if "classifier" in k else v for k, v in state.items()}
        >>> architecture, weights = squeezenet.from_state(tuned)
        >>> architecture.n_outputs, weights["classifier.1.W"].shape
        (7, (1, 1, 512, 7))
        """
        return read_state(self, state, input_shape)

    def torchvision_key(self, name):
        """The key in torchvision's state dict of one of our weights.

        Parameters
        ----------
        name : str
            As in ``weights_``.

        Returns
        -------
        str
        """
        for ours, theirs in self.renames:
            name = name.replace(ours, theirs)
        path, dot, last = name.rpartition(".")
        return f"{path}{dot}{LAST_PART.get(last, last)}"

    def to_torchvision(self, weights):
        """Weights under torchvision's keys and in its layout.

        Parameters
        ----------
        weights : dict of str to ndarray
            By our names, for images of ``input_shape``.

        Returns
        -------
        dict of str to ndarray
            Views where possible.
        """
        return {
            self.torchvision_key(name): self._to_filters_first(name, np.asarray(array))
            for name, array in weights.items()
        }

    def from_torchvision(self, state, input_shape=None):
        """Weights under our names and in our layout.

        Parameters
        ----------
        state : dict of str to ndarray
            A state dict as NumPy arrays. What this network has no use for is left out (counters of
            batch norm, auxiliary classifiers).
        input_shape : tuple of int or None, default=None
            Of the pictures to come: a transformer's position embeddings are resized for them.

        Returns
        -------
        dict of str to ndarray

        Raises
        ------
        ValueError
            When a key is missing or an array has another shape.
        """
        return self.for_network(self.network(input_shape), state)

    def for_network(self, network, state):
        """As :meth:`from_torchvision`, for a network that is there already."""
        weights = {}
        for spec in network.parameters:
            key = self.torchvision_key(spec.name)
            if key not in state:
                raise ValueError(f"{self.name} needs {key!r}, which the state dict does not hold.")
            array = self._to_filters_last(spec.name, np.asarray(state[key]))
            if self.patches and spec.name.endswith(".position") and array.shape != spec.shape:
                array = self._fit_position(key, array, network)
            if array.shape != spec.shape:
                raise ValueError(
                    f"{self.name}: {key!r} has shape {np.shape(state[key])}, which does not give "
                    f"{spec.name!r} of shape {spec.shape}; is it another network's file?"
                )
            weights[spec.name] = array
        return weights

    def _fit_position(self, key, array, network):
        """A position embedding for the patches of a network's input."""
        rows, columns = network.probe()[self.patches][:2]
        try:
            return resize_positions(array, rows, columns, self.position_offset)
        except ValueError as error:
            raise ValueError(f"{self.name}: {key!r} {error}") from error

    def _map_of(self, name):
        """(channels, height, width) that a dense weight's rows go over, or None."""
        layer, _, last = name.rpartition(".")
        return dict(self.flattened).get(layer) if last == "W" else None

    def _to_filters_first(self, name, array):
        shape = self._map_of(name)
        if shape is not None:
            c, h, w = shape
            return array.reshape(h, w, c, -1).transpose(3, 2, 0, 1).reshape(-1, c * h * w)
        array = _axes_reversed(array, (3, 2, 0, 1))
        last = self.torchvision_key(name).rpartition(".")[2]
        return array.reshape(AXES[last]) if last in AXES else array

    def _to_filters_last(self, name, array):
        shape = self._map_of(name)
        if shape is not None and array.ndim == 2 and array.shape[1] == math.prod(shape):
            array = array.reshape(-1, *shape).transpose(2, 3, 1, 0)
            return array.reshape(-1, array.shape[3])
        if array.ndim == 3 and array.shape[1:] == (1, 1):
            return array.reshape(-1)
        return _axes_reversed(array, (2, 3, 1, 0))


@lru_cache(16)
def _with_activation(architecture, activation):
    """One object for each, so that what is loaded for it is found again."""
    layers = partial(architecture.layers, activation=activation)
    variant = "" if activation == architecture.activations[0] else activation
    return replace(architecture, layers=layers, activations=(), variant=variant)


def _layers_before(layers, path):
    """A list of (name, layer) pairs as far as the layer of a path, which may be in a Sequential."""
    first, _, rest = path.partition(".")
    kept = []
    for name, layer in layers() if callable(layers) else layers:
        if name == first:
            inner = _layers_before(layer.layers, rest) if rest else []
            return [*kept, (name, Sequential(inner))] if inner else kept
        kept.append((name, layer))
    raise ValueError(f"there is no layer {first!r}; there are {[name for name, _ in kept]}.")


def _axes_reversed(array, of_convolutions):
    """Weights of convolutions (4 axes) and dense layers (2); tokens (3) are the same in both."""
    if array.ndim == 4:
        return array.transpose(of_convolutions)
    return array.T if array.ndim == 2 else array


def register(name, build, *arguments, **facts):
    """Enter an architecture whose layers are ``build(*arguments)`` in :data:`NETWORKS`."""
    NETWORKS[name] = Architecture(name, partial(build, *arguments), **facts)


def find_network(name):
    """The description of a known network.

    Parameters
    ----------
    name : str
        torchvision's: "alexnet", "convnext_tiny" (small), "densenet121" (169, 201),
        "efficientnet_b0" (to b4), "googlenet", "inception_v3", "mnasnet0_5" (1_0), "mobilenet_v2",
        "mobilenet_v3_small" (large), "regnet_y_400mf" (1_6gf), "resnet18" (34, 50, 101, 152),
        "resnext50_32x4d", "shufflenet_v2_x0_5" (x1_0), "squeezenet1_0" (1_1), "vgg11" (13, 16, 19)
        or "vgg11_bn" and so on, with batch norm, "vit_b_16", "wide_resnet50_2"; and "vit_s_16",
        "dinov2_vits14" (vitb14), "clip_vit_b_32"; of Caffe: "bvlc_alexnet", "bvlc_googlenet",
        "caffenet"; and "overfeat_small" (large).

    Returns
    -------
    Architecture

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> from skdeep import NeuralNetClassifier
    >>> from skdeep.features import find_network
    >>> body = find_network("resnet18").layers()[:-1]  # the head follows from y
    >>> net = NeuralNetClassifier(body, input_shape=(32, 32, 3))
    """
    if name not in NETWORKS:
        raise ValueError(f"no network is named {name!r}; choose one of {sorted(NETWORKS)}.")
    return NETWORKS[name]


def _normal(scale):
    return lambda rng, shape: rng.standard_normal(shape, np.float32) * np.float32(scale)


def _uniform(low, high):
    return lambda rng, shape: rng.uniform(low, high, shape).astype(np.float32)


# By the last part of a weight's name. The mean square of gamma is about a half, so that signals
# neither grow nor fade over blocks that end without a relu.
RANDOM = {
    "b": _normal(0.1),
    "gamma": _uniform(0.5, 0.9),
    "beta": _normal(0.2),
    "class_token": _normal(0.5),
    "position": _normal(0.5),
    "scale": _uniform(0.2, 0.6),
    "mean": _normal(0.2),
    "var": _uniform(0.5, 1.5),
}


def random_weights(network, seed=0):
    """Weights for tests and benchmarks: He-normal ones, batch norm with statistics of all kinds.

    Parameters
    ----------
    network : Network
        As :meth:`Architecture.network` gives it.
    seed : int, default=0

    Returns
    -------
    dict of str to ndarray of float32
        By name. No network with these weights has learnt anything.

    Examples
    --------
    >>> from skdeep.features import find_network, random_weights
    >>> weights = random_weights(find_network("squeezenet1_1").network())
    >>> weights["features.0.W"].shape
    (3, 3, 3, 64)
    """
    rng = np.random.default_rng(seed)

    def draw(spec):
        scale = math.sqrt(2 / max(1, math.prod(spec.shape[:-1])))
        return RANDOM.get(spec.name.rpartition(".")[2], _normal(scale))(rng, spec.shape)

    return {spec.name: draw(spec) for spec in network.parameters}
