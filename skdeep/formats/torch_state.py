"""Where the weights are in what torch.save was given: a state dict, or a checkpoint around it."""

from .base import FormatError
from .torch_types import Tensor

__all__ = ["state_dict"]

MAX_ITEMS, MAX_DEPTH, MAX_TEXT = 1_000_000, 16, 1000  # a pickle may hold one list many times
# Under which name of a checkpoint its weights are, in this order.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "teacher",
    "student",
    "network",
    "net",
    "module",
    "weights",
    "params",
)
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


def state_dict(value, path):
    """Tensors by name, and what else a checkpoint says of itself.

    Parameters
    ----------
    value : object
        Of the file's pickle.
    path : str

    Returns
    -------
    tensors : dict of str to Tensor
    metadata : dict
        Numbers and short text of the checkpoint.
    """
    items = value.items() if isinstance(value, dict) else ()
    metadata = {k: v for k, v in items if type(k) is str and is_simple(v)}
    for _ in range(MAX_DEPTH):
        inner = [value[name] for name in WRAPPERS if isinstance(value, dict) and name in value]
        inner = next((v for v in inner if isinstance(v, dict) and named(v, path)), None)
        if inner is None:
            break
        value = inner
    found = named(value, path)
    if not found:
        raise FormatError(f"{path} holds no named tensors; save model.state_dict()")
    for prefix in (*PREFIXES, *PREFIXES):
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found, metadata


def is_simple(value):
    """Whether a value is a number or short text."""
    return type(value) in (int, float, bool) or (type(value) is str and len(value) <= MAX_TEXT)


def named(value, path):
    """Tensors within dictionaries and lists by name, names joined by dots."""
    found, seen, todo = {}, 0, [("", value, 0)]
    while todo:
        prefix, group, depth = todo.pop()
        if not isinstance(group, (dict, list, tuple)):
            continue
        inner = []
        for key, item in group.items() if isinstance(group, dict) else enumerate(group):
            seen += 1
            name = f"{prefix}{key}" if len(str(key)) <= MAX_TEXT else None
            if seen > MAX_ITEMS or depth > MAX_DEPTH or name is None:
                raise FormatError(f"{path}: its dictionaries are too long, too deep or hostile")
            if isinstance(item, Tensor):
                if name in found:
                    raise FormatError(f"{path}: two tensors are called {name!r}")
                found[name] = item
            else:
                inner.append((f"{name}.", item, depth + 1))
        todo.extend(reversed(inner))
    return found
