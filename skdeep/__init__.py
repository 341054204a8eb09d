"""Neural networks that are scikit-learn estimators, computed by Numba kernels."""

from importlib import import_module

from ._config import config_context, get_config, set_config

__version__ = "0.1.0.dev0"

_LAZY = {
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "NeuralNetClassifier": "estimators",
    "NeuralNetRegressor": "estimators",
    "show_versions": "_versions",
}
_ROOMS = ("datasets", "estimators", "features", "formats", "graph", "layers", "ops", "training")

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "NeuralNetClassifier",
    "NeuralNetRegressor",
    "config_context",
    "get_config",
    "set_config",
    "show_versions",
]


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'skdeep' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY})
