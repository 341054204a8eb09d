"""Package-wide defaults: device, threads, and how prediction computes."""

import os
import threading
from contextlib import contextmanager

__all__ = ["config_context", "get_config", "set_config"]

_lock = threading.Lock()
_config = {"device": None, "n_threads": None, "precision": "float32", "memory": "fast"}
DEVICES = ("cpu", "cuda")
CHOICES = {"device": DEVICES, "precision": ("float32", "bfloat16"), "memory": ("fast", "low")}


def get_config():
    """Current defaults.

    Returns
    -------
    dict
        "device": "cpu" or "cuda", from :func:`set_config`, else the environment variable
        ``SKDEEP_DEVICE``, else "cpu"; "n_threads": int or None (all cores); "precision" and
        "memory" as set.

    Examples
    --------
    >>> import skdeep
    >>> sorted(skdeep.get_config())
    ['device', 'memory', 'n_threads', 'precision']
    """
    with _lock:
        config = dict(_config)
    config["device"] = config["device"] or os.environ.get("SKDEEP_DEVICE") or "cpu"
    return config


def set_config(*, device=None, n_threads=None, precision=None, memory=None):
    """Set defaults of this process; None leaves one as it is.

    Parameters
    ----------
    device : {"cpu", "cuda"} or None
        For estimators whose own ``device`` is None.
    n_threads : int or None
        For estimators whose own ``n_threads`` is None; 0 means all cores again.
    precision : {"float32", "bfloat16"} or None
        What prediction computes with, on a CPU, and pretrained networks whose own ``precision`` is
        None; training is always in float32, and so are PatchFeatures and HOGFeatures. bfloat16
        keeps eight bits of each number between layers: outputs differ by about 1e-2 of their size.
        Where the CPU multiplies such numbers (AVX512-BF16) it is faster.
    memory : {"fast", "low"} or None
        "low" declines convolutions by Winograd's algorithm in prediction: slower, with up to four
        times less memory for packed weights.

    Examples
    --------
    >>> import skdeep
    >>> skdeep.set_config(n_threads=1)
    >>> skdeep.get_config()["n_threads"]
    1
    >>> skdeep.set_config(n_threads=0)
    """
    given = {"device": device, "precision": precision, "memory": memory}
    for name, value in given.items():
        if value is not None and value not in CHOICES[name]:
            raise ValueError(f"{name}={value!r} is unknown; choose one of {CHOICES[name]}.")
    if n_threads is not None and (int(n_threads) != n_threads or n_threads < 0):
        raise ValueError(f"n_threads={n_threads!r} must be a non-negative integer.")
    with _lock:
        _config.update((name, value) for name, value in given.items() if value is not None)
        if n_threads is not None:
            _config["n_threads"] = int(n_threads) or None


def configured_threads(n_threads):
    """An estimator's own number of threads, or the configured one; None where neither says."""
    return get_config()["n_threads"] if n_threads is None else n_threads


@contextmanager
def config_context(*, device=None, n_threads=None, precision=None, memory=None):
    """Set defaults for a while, for all threads of this process; not for worker processes.

    Parameters
    ----------
    device, n_threads, precision, memory
        As for :func:`set_config`.

    Examples
    --------
    >>> import skdeep
    >>> with skdeep.config_context(precision="bfloat16"):
    ...     skdeep.get_config()["precision"]
    'bfloat16'
    >>> skdeep.get_config()["precision"]
    'float32'
    """
    with _lock:
        before = dict(_config)
    set_config(device=device, n_threads=n_threads, precision=precision, memory=memory)
    try:
        yield
    finally:
        with _lock:
            _config.update(before)
