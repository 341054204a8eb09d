"""Layers made of layers: in a row, around, and side by side."""

from .. import ops
from .._validation import FLAG
from .activation import activate
from .base import Layer, current_trace, describe

__all__ = ["Parallel", "Residual", "Sequential"]


def named_layers(layers):
    """(name, layer) pairs of a list of layers or of pairs; the unnamed get ``conv2d1``, ``dense2``.

    Raises
    ------
    TypeError, ValueError
        For something that is no layer, or a name that occurs twice or cannot be used.
    """
    counts, pairs = {}, []
    for item in layers:
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            name, layer = item
        else:
            layer = item
            kind = layer if isinstance(layer, str) else type(layer).__name__.lower()
            counts[kind] = counts.get(kind, 0) + 1
            name = f"{kind}{counts[kind]}"
        known = layer is None or (isinstance(layer, str) and layer == "passthrough")
        if isinstance(layer, type) or not (known or callable(getattr(layer, "forward", None))):
            raise TypeError(
                f"layers must hold layers, (name, layer) pairs or 'passthrough'; got {layer!r}. "
                "Did you pass a class instead of an instance?"
            )
        pairs.append((name, layer))
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"layer name {name!r} occurs more than once; names must be unique.")
        if "__" in name or "." in name or not name:
            raise ValueError(f"layer name {name!r} must not be empty nor contain '__' or '.'.")
    return pairs


def _pairs(layers):
    """As :func:`named_layers`, empty for what is no list of layers (``fit`` will complain)."""
    try:
        return named_layers(layers)
    except (TypeError, ValueError):
        return []


def apply_layers(pairs, x):
    """Run x through (name, layer) pairs in order, each in a scope of its name."""
    trace = current_trace()
    for name, layer in pairs:
        if layer is not None and layer != "passthrough":
            x = trace.call(layer, x, name)
    return x


class NamedLayersMixin:
    """``get_params`` and ``set_params`` that reach layers of a list by name.

    ``_layer_lists`` names the attributes that hold such lists.
    """

    _layer_lists = ("layers",)

    def get_params(self, deep=True):
        """Parameters of this object; with ``deep`` also of its layers, as ``name__parameter``."""
        params = super().get_params(deep=deep)
        if deep:
            for attribute in self._layer_lists:
                for name, layer in _pairs(getattr(self, attribute)):
                    if name in self._own():
                        continue  # fit will complain
                    params[name] = layer
                    if hasattr(layer, "get_params"):
                        inner = layer.get_params(deep=True)
                        params.update((f"{name}__{key}", v) for key, v in inner.items())
        return params

    def set_params(self, **params):
        """Set parameters; a layer's name replaces the layer, ``name__parameter`` reaches inside."""
        for attribute in self._layer_lists:
            if attribute in params:
                setattr(self, attribute, params.pop(attribute))
            value = getattr(self, attribute)
            pairs = dict(_pairs(value))
            replaced = {
                k: params.pop(k) for k in list(params) if k in pairs and k not in self._own()
            }
            if replaced:
                setattr(self, attribute, type(value)((pairs | replaced).items()))
        known = self.get_params(deep=True) if params else {}
        for name in {key.partition("__")[0] for key in params} - set(known):
            layers = [k for a in self._layer_lists for k, _ in _pairs(getattr(self, a))]
            raise ValueError(
                f"Invalid parameter {name!r} for estimator {type(self).__name__}. Valid "
                f"parameters are: {sorted(self._own())!r}, and the names of layers: {layers!r}."
            )
        for key in params:
            name, _, inner = key.partition("__")
            owner = params.get(name, known[name])
            if inner and not hasattr(owner, "set_params"):
                raise ValueError(
                    f"{type(self).__name__}: {key!r} cannot be set, because {name} is {owner!r}; "
                    f"set {name} to an object first."
                )
        return super().set_params(**params)

    def _own(self):
        return type(self)._get_param_names()

    def _named(self, layers):
        """As :func:`named_layers`, whose names may not be those of parameters."""
        pairs, own = named_layers(layers), self._own()
        for name, _ in pairs:
            if name in own:
                raise ValueError(
                    f"layer name {name!r} is taken by a parameter of {type(self).__name__}; "
                    "rename the layer."
                )
        return pairs


class Sequential(NamedLayersMixin, Layer):
    """Layers one after another, as one layer.

    Parameters
    ----------
    layers : list of Layer or (str, Layer)
    trainable : bool, default=True

    Examples
    --------
    >>> from skdeep.layers import Dense, Sequential
    >>> Sequential([("a", Dense(8)), Dense(4)]).get_params()["a__units"]
    8
    """

    def __init__(self, layers=(), *, trainable=True):
        self.layers = layers
        self.trainable = trainable

    accepts_sparse = True

    def forward(self, x):
        """What the last layer gives."""
        return apply_layers(self._named(self.layers), x)


class Residual(NamedLayersMixin, Layer):
    """activation(branch(x) + shortcut(x)).

    Parameters
    ----------
    layers : list of Layer or (str, Layer)
        The branch.
    shortcut : Layer or None, default=None
        None passes x on unchanged; the shapes must then agree.
    activation : str, callable or None, default=None
        Applied to the sum.
    trainable : bool, default=True

    References
    ----------
    He et al., Deep residual learning for image recognition, 2016.

    Examples
    --------
    >>> from skdeep.layers import Conv2D, Residual
    >>> block = Residual([Conv2D(16, 3, "relu", padding="same"), Conv2D(16, 3, padding="same")],
    ...                  activation="relu")
    >>> block.get_params()["conv2d1__filters"]
    16
    """

    def __init__(self, layers=(), *, shortcut=None, activation=None, trainable=True):
        self.layers = layers
        self.shortcut = shortcut
        self.activation = activation
        self.trainable = trainable

    def forward(self, x):
        """Same shape as the branch's output."""
        y = apply_layers(self._named(self.layers), x)
        s = x if self.shortcut is None else current_trace().call(self.shortcut, x, "shortcut")
        if y.shape != s.shape:
            raise ValueError(
                f"{describe(self)}: the branch gives {y.shape} but the shortcut {s.shape}; "
                "give shortcut= a layer that maps one to the other (a 1x1 Conv2D or a Dense)."
            )
        return activate(y + s, self.activation)


class Parallel(NamedLayersMixin, Layer):
    """Branches that read the same input, or each a part of it, joined.

    Parameters
    ----------
    branches : list of Layer or (str, Layer)
        Use :class:`Sequential` for a branch of several layers, "passthrough" for the input itself.
    join : {"concat", "sum", "mean"}, default="concat"
        Concatenation is over the last axis.
    split : bool, default=False
        Each branch reads a part of its own of the channels (the last axis), all of the same size.
    trainable : bool, default=True

    References
    ----------
    Szegedy et al., Going deeper with convolutions, 2015.

    Examples
    --------
    >>> from skdeep.layers import Conv2D, Parallel
    >>> Parallel([Conv2D(8, 1), Conv2D(8, 3, padding="same")]).join
    'concat'
    """

    _layer_lists = ("branches",)

    _rules = {"split": FLAG}

    def __init__(self, branches=(), *, join="concat", split=False, trainable=True):
        self.branches = branches
        self.join = join
        self.split = split
        self.trainable = trainable

    def forward(self, x):
        """Joined outputs of the branches."""
        trace, pairs = current_trace(), self._named(self.branches)
        if not pairs:
            raise ValueError(f"{describe(self)} needs at least one branch.")
        outputs = [
            part if layer is None or layer == "passthrough" else trace.call(layer, part, name)
            for (name, layer), part in zip(pairs, self._parts(x, len(pairs)))
        ]
        if self.join == "concat":
            return outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=-1)
        if self.join not in ("sum", "mean"):
            raise ValueError(
                f"{describe(self)}: join={self.join!r} is unknown; use 'concat', 'sum' or 'mean'."
            )
        shapes = {y.shape for y in outputs}
        if len(shapes) > 1:
            raise ValueError(
                f"{describe(self)}: join={self.join!r} needs equal shapes, got {sorted(shapes)}."
            )
        total = outputs[0]
        for y in outputs[1:]:
            total = total + y
        return total if self.join == "sum" else total * (1.0 / len(outputs))

    def _parts(self, x, count):
        """What each branch reads."""
        if not self.split:
            return [x] * count
        size, rest = divmod(x.shape[-1], count)
        if rest:
            raise ValueError(
                f"{describe(self)}: {x.shape[-1]} channels cannot be split into {count} equal "
                "parts; give a number of branches that divides them, or split=False."
            )
        return [ops.slice_axis(x, -1, k * size, (k + 1) * size) for k in range(count)]
