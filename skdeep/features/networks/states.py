"""State dicts of other libraries: whose names they use, and whether they fit a network."""

import re

from .keras_names import KerasNaming, is_keras, refuse_keras

__all__ = ["read_state", "refuse_name"]

# What training code puts before all names.
PREFIXES = ("state_dict.", "_orig_mod.", "module.", "model.", "backbone.")
# Not needed to predict: counters of batch norm, auxiliary classifiers of the Inception family.
IGNORED = re.compile(r"(^|\.)num_batches_tracked$|^(aux\d?|AuxLogits)\.")
# timm's models whose files look like those of another model, which computes something else.
LOOKALIKES = {
    r"(^|[^a-z])tf_": "pads unevenly, as TensorFlow does",
    r"resnet(aa|blur)\d|_blur_": "averages or blurs when it downsamples",
}


def refuse_name(name):
    """Raise for the name of a model whose file cannot be told from another model's.

    Parameters
    ----------
    name : str
        Of a file, a repository, or the "architecture" of a configuration.

    Raises
    ------
    ValueError
        When the model computes something that no network here does.

    Examples
    --------
    >>> refuse_name("timm/tf_efficientnet_b0.in1k")
    Traceback (most recent call last):
    ...
    ValueError: 'timm/tf_efficientnet_b0.in1k' pads unevenly, as TensorFlow does; its weights ...
    """
    for pattern, what in LOOKALIKES.items():
        if re.search(pattern, name):
            raise ValueError(
                f"{name!r} {what}; its weights would fit a network here but not give its features. "
                "Use a file of torchvision's, or of a timm model without that."
            )


def without_prefixes(state):
    """The same arrays under names without what :data:`PREFIXES` lists."""
    names = list(state)
    found = True
    while found:
        found = False
        for prefix in PREFIXES:
            shorter = [name.removeprefix(prefix) for name in names]
            if shorter != names and len(set(shorter)) == len(shorter):
                names, found = shorter, True
    return dict(zip(names, (state[key] for key in state)))


def read_state(architecture, state, input_shape=None):
    """See :meth:`Architecture.from_state`."""
    state = without_prefixes(state)
    if is_keras(state) and not any(isinstance(n, KerasNaming) for n in architecture.namings):
        refuse_keras(architecture.name)
    states = [state]
    for naming in architecture.namings:
        renamed = naming(state)
        if renamed is not None:
            states.append(renamed)
    network, shape = architecture.network(), architecture.input_shape
    layers = list(network.probe())
    keys = {architecture.torchvision_key(p.name): p.name for p in network.parameters}
    states.sort(key=lambda s: -len(keys.keys() & s.keys()))  # torchvision's first among equals
    complaint = None
    for candidate in states:
        fitting, problem = _fit(architecture, keys, layers, candidate)
        if fitting is not None:
            if fitting is not architecture or (input_shape or shape) != shape:
                network = fitting.network(input_shape)
            return fitting, fitting.for_network(network, candidate)
        complaint = complaint or problem
    raise ValueError(complaint)


def _fit(architecture, keys, layers, state):
    """The architecture as a state under torchvision's names has it, or None and why not."""
    missing = [key for key in keys if key not in state]
    unknown = [key for key in state if key not in keys and not IGNORED.search(key)]
    head = architecture.head or dict(architecture.points).get("logits")
    fitting = architecture
    if missing:
        first = list(keys).index(missing[0])
        lacking = keys[missing[0]].rpartition(".")[0]
        pool = layers.index(dict(architecture.points)["pool"])
        if len(missing) < len(keys) - first or layers.index(lacking) < pool:
            return None, (
                f"{architecture.name} needs {missing[0]!r}, which the state dict does not hold; "
                f"{len(keys) - len(missing)} of {len(keys)} weights are there. Is it another "
                "network's file?"
            )
        fitting = architecture.before(lacking)
        top = architecture.torchvision_key(head).partition(".")[0]
        unknown = [key for key in unknown if key.partition(".")[0] != top]
    if unknown:
        return None, (
            f"{architecture.name} has no use for {unknown[0]!r} of the state dict"
            + (f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else "")
            + f", though {len(keys) - len(missing)} of its {len(keys)} weights are there. Is it "
            "another network's file?"
        )
    if head and not missing:
        outputs = state[architecture.torchvision_key(f"{head}.W")].shape[0]
        if outputs != architecture.n_outputs:
            fitting = architecture.with_outputs(outputs)
    return fitting, None
