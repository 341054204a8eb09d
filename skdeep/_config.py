"""Package-wide defaults: device and threads."""

import os
import threading

__all__ = ["get_config", "set_config"]

_lock = threading.Lock()
_config = {"device": None, "n_threads": None}
DEVICES = ("cpu", "cuda")


def get_config():
    """Current defaults.

    Returns
    -------
    dict
        "device": "cpu" or "cuda", from :func:`set_config`, else the environment variable
        ``SKDEEP_DEVICE``, else "cpu"; "n_threads": int or None (all cores).

    Examples
    --------
    >>> import skdeep
    >>> sorted(skdeep.get_config())
    ['device', 'n_threads']
    """
    with _lock:
        config = dict(_config)
    config["device"] = config["device"] or os.environ.get("SKDEEP_DEVICE") or "cpu"
    return config


def set_config(*, device=None, n_threads=None):
    """Set defaults for estimators whose own ``device`` or ``n_threads`` is None.

    Parameters
    ----------
    device : {"cpu", "cuda"} or None
        None leaves it as it is.
    n_threads : int or None
        None leaves it as it is; 0 means all cores again.

    Examples
    --------
    >>> import skdeep
    >>> skdeep.set_config(n_threads=1)
    >>> skdeep.get_config()["n_threads"]
    1
    >>> skdeep.set_config(n_threads=0)
    """
    if device is not None and device not in DEVICES:
        raise ValueError(f"device={device!r} is unknown; choose one of {DEVICES}.")
    if n_threads is not None and (int(n_threads) != n_threads or n_threads < 0):
        raise ValueError(f"n_threads={n_threads!r} must be a non-negative integer.")
    with _lock:
        if device is not None:
            _config["device"] = device
        if n_threads is not None:
            _config["n_threads"] = int(n_threads) or None
