"""Operations on symbolic tensors, for layers and losses of your own.

Every function takes and returns :class:`~skdeep.graph.Tensor`; none of them computes anything yet.
Gradients are derived from these operations.
"""

from importlib import import_module

FAMILIES = (
    "activation",
    "arithmetic",
    "attention",
    "bfloat16",
    "conv",
    "dense",
    "elementwise",
    "hog",
    "layer_norm",
    "local_response_norm",
    "normalization",
    "optimizers",
    "patches",
    "pool",
    "random",
    "reduce",
    "rows",
    "shape",
    "softmax",
    "sparse",
)
# Some functions carry the name of their module (dense, softmax): import all modules first, so
# that the functions win.
_modules = [import_module(f"{__name__}.{family}") for family in FAMILIES]
__all__ = []
for _module in _modules:
    globals().update((name, getattr(_module, name)) for name in _module.__all__)
    __all__ += _module.__all__
__all__.sort()
