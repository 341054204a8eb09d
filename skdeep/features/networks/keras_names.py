"""What keras.applications calls the weights of networks that compute the same as torchvision's.

Most of its networks do not: see :data:`DIFFERENT`.
"""

import re

import numpy as np

__all__ = ["KERAS_DENSENET", "KerasNaming", "is_keras", "keras_vgg", "refuse_keras"]

PARTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
KERAS = re.compile(rf"/({'|'.join(PARTS)}|depthwise_kernel)$")
NAMED_BY_KERAS = re.compile(r"(^|/)(batch|layer)_normalization(_\d+)?$")
# Networks here, and how those of the same name in keras.applications differ.
DIFFERENT = {
    r"^resnet": "stride in the first convolution of a block, not in the second",
    r"^(mobilenet|efficientnet)": "pad unevenly where they stride",
    r"^inception": "leave borders out of the means of their pooling",
}


def is_keras(names):
    """Whether weights have names as Keras gives them: layer/kernel."""
    return any(KERAS.search(name) for name in names)


def refuse_keras(name):
    """Raise for Keras' weights of a network that has no naming for them.

    Parameters
    ----------
    name : str
        Of the network.

    Raises
    ------
    ValueError
        Always.
    """
    what = next((what for pattern, what in DIFFERENT.items() if re.search(pattern, name)), None)
    reason = (
        f"networks of that kind in keras.applications {what}, so that weights would fit here but "
        "not give their features"
        if what
        else "no network of keras.applications is known to compute the same"
    )
    raise ValueError(
        f"{name} takes no weights of Keras: {reason}. Export the model to ONNX (tf2onnx) and pass "
        "that file as the model."
    )


class KerasNaming:
    """Weights by "layer/kernel", in Keras' layout, as torchvision has them.

    Parameters
    ----------
    *rules : (str, str)
        Patterns of whole names of layers, and torchvision's. What comes before a slash, as the
        name of a model inside another, is dropped where a pattern fits without it.
    head : str
        The part of the network under which dense layers go that no rule knows: a head of the
        user's own.
    flattened : dict, default={}
        By torchvision's name of a dense layer, the (channels, height, width) of what it reads.
    epsilon : float, default=0.0
        Added to the variances of batch norms.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features.networks.keras_names import KerasNaming
    >>> naming = KerasNaming((r"block(\\d)_conv", r"features.\\1"), head="classifier")
    >>> state = naming({"block3_conv/kernel": np.zeros((5, 5, 3, 64))})
    >>> {name: array.shape for name, array in state.items()}
    {'features.3.weight': (64, 3, 5, 5)}
    """

    def __init__(self, *rules, head, flattened=None, epsilon=0.0):
        self.rules = [(re.compile(rf"(?:^|.*/){old}"), new) for old, new in rules]
        self.head, self.flattened, self.epsilon = head, flattened or {}, epsilon

    def __call__(self, state):
        """A state dict in torchvision's layout, or None for other names."""
        if not is_keras(state):
            return None
        renamed = {}
        arrays = {tuple(key.rpartition("/")[::2]): np.asarray(a) for key, a in state.items()}
        dense = {layer for (layer, part), a in arrays.items() if part == "kernel" and a.ndim == 2}
        for (layer, part), array in arrays.items():
            path = self._path(layer, layer in dense)
            name = f"{path}.{PARTS.get(part, part)}"
            if name in renamed:  # two networks in one file
                return None
            renamed[name] = self._array(path, part, array)
        return renamed

    def _path(self, layer, dense):
        for old, new in self.rules:
            found = old.fullmatch(layer)
            if found:
                return new(*found.groups()) if callable(new) else found.expand(new)
        own = dense or NAMED_BY_KERAS.search(layer)
        return f"{self.head}.{layer}" if own else layer

    def _array(self, path, part, array):
        if part == "moving_variance" and self.epsilon:
            return array.astype(np.float32) + np.float32(self.epsilon)
        if array.ndim == 4:
            return array.transpose(3, 2, 0, 1)
        if array.ndim != 2:
            return array
        c, h, w = self.flattened.get(path, (1, 1, 1))
        if len(array) == c * h * w:
            array = array.reshape(h, w, c, -1).transpose(2, 0, 1, 3).reshape(len(array), -1)
        return array.T


def keras_vgg(names):
    """Of VGG, from the authors' names of layers and torchvision's."""
    theirs = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
    rules = [
        (theirs.get(name, re.sub(r"conv(\d)_(\d)", r"block\1_conv\2", name)), path)
        for name, path in names
    ]
    return KerasNaming(*rules, head="classifier", flattened={"classifier.0": (512, 7, 7)})


def _part_of_layer(block, layer, place, kind):
    number = int(place) + (kind == "bn")  # 0_bn, 1_conv, 1_bn, 2_conv
    word = "norm" if kind == "bn" else "conv"
    return f"features.denseblock{int(block) - 1}.denselayer{layer}.{word}{number}"


def _part_of_transition(place, kind):
    word = "norm" if kind == "bn" else "conv"
    return f"features.transition{int(place) - 1}.{word}"


KERAS_DENSENET = KerasNaming(
    (r"conv1[_/]conv", "features.conv0"),
    (r"conv1[_/]bn", "features.norm0"),
    (r"conv(\d)_block(\d+)_(\d)_(bn|conv)", _part_of_layer),
    (r"pool(\d)_(bn|conv)", _part_of_transition),
    (r"bn", "features.norm5"),
    (r"fc1000|predictions", "classifier"),
    head="classifier",
    epsilon=1.001e-5 - 1e-5,
)
