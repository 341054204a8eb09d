"""What to paste into a bug report."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("skdeep", "scikit-learn", "numpy", "scipy", "numba", "llvmlite", "joblib", "numba-cuda")


def show_versions():
    """Print versions, the CPU and the code paths in use.

    Examples
    --------
    >>> import skdeep
    >>> skdeep.show_versions()  # doctest: +ELLIPSIS
    skdeep...
    """
    for name, value in versions().items():
        print(f"{name:22s} {value}")


def versions():
    """The same facts as a dict of strings."""

    from ._config import get_config
    from .kernels import compiler, isa
    from .kernels.cpu import available_threads

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    if found["skdeep"] == "not installed":
        from . import __version__

        found["skdeep"] = __version__
    current = isa.current()
    usable = [c.name for c in isa.usable()]
    found["python"] = sys.version.split()[0]
    found["platform"] = platform.platform()
    found["instruction set"] = (
        f"{current.name} ({current.width} lanes; usable: {', '.join(usable)})"
    )
    found["bfloat16"] = ", ".join(
        ["products of tiles"] * current.tiles
        + ["products of pairs" if current.bfloat16 else "widened to float32"]
    )
    found["threads"] = str(available_threads())
    found["device"] = get_config()["device"]
    folder = compiler.cache_directory()
    found["kernel cache"] = "none writable, compiling in memory" if folder is None else str(folder)
    return found
