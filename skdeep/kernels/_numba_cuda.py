"""The only module that imports numba-cuda (or, under NUMBA_ENABLE_CUDASIM=1, its simulator)."""

import math
import sys
import threading
from functools import cache
from importlib.util import find_spec

import numpy as np
from numba import config, types

from . import maths
from .cuda import TWINS, rebuild
from .runner import HEADER

SIMULATED = bool(config.ENABLE_CUDASIM)
INSTALLED = find_spec("numba_cuda") is not None

# numba-cuda 0.30 looks up np.row_stack, which NumPy 2.5 removed, while it is imported.
_missing = not hasattr(np, "row_stack")
if _missing:
    np.row_stack = np.vstack
try:
    from numba import cuda

    if INSTALLED and not SIMULATED:
        import numba.cuda.np.arrayobj  # noqa: F401
except ImportError:
    cuda = None
finally:
    if _missing:
        del np.row_stack

# A simulated thread is a thread of the operating system: few of them.
THREADS, EDGE = (16, 4) if SIMULATED else (256, 16)

FLOATS = types.Array(types.float32, 1, "C")
INTS = types.Array(types.int32, 1, "C")
TABLE = types.Array(types.int64, 2, "C")
SIGNATURE = FLOATS, INTS, TABLE, types.int64


def require_gpu():
    """Raise unless programs can run: on a GPU, or in the simulator."""
    if SIMULATED:
        return
    if not INSTALLED:
        raise ImportError("device='cuda' needs numba-cuda: pip install \"skdeep[gpu]\"")
    if not cuda.is_available():
        raise RuntimeError("device='cuda': no CUDA GPU was found; use device='cpu'.")


def empty(n):
    """Uninitialised float32 array on the device."""
    return cuda.device_array(n, np.float32)


def to_device(array):
    """Copy of an array on the device."""
    return cuda.to_device(array)


# ---- what twins refer to by name ---------------------------------------------------------------


def where(condition, a, b):
    """Either of two numbers."""
    return a if condition else b


def maximum(a, b):
    """The larger number; ``a`` when either is NaN, as for vectors."""
    return b if b > a else a


def minimum(a, b):
    """The smaller number; ``a`` when either is NaN, as for vectors."""
    return b if b < a else a


def fma(a, b, c):
    """a * b + c, rounded once."""
    return cuda.fma(a, b, c)


def block_sum(value):
    """Sum over the threads of the block, in pairs; all threads must come here."""
    parts = cuda.shared.array(THREADS, types.float32)
    lane = cuda.threadIdx.x
    cuda.syncthreads()  # until nobody reads the result of an earlier call
    parts[lane] = value
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if lane < half:
            parts[lane] += parts[lane + half]
        cuda.syncthreads()
        half //= 2
    return parts[0]


def block_max(value):
    """Maximum over the threads of the block; all threads must come here."""
    parts = cuda.shared.array(THREADS, types.float32)
    lane = cuda.threadIdx.x
    cuda.syncthreads()
    parts[lane] = value
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if lane < half:
            a, b = parts[lane], parts[lane + half]
            parts[lane] = b if b > a or b != b else a
        cuda.syncthreads()
        half //= 2
    return parts[0]


LIBRARY = {
    "absolute": abs,
    "erf": math.erf,
    "exp": math.exp,
    "expm1": math.expm1,
    "fill": np.float32,
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "tanh": math.tanh,
}


class _SimulatedShared:
    """``cuda.shared`` in the simulator, whose own can give two threads two different arrays."""

    lock = threading.Lock()

    def array(self, shape, dtype):
        """The array of the block for the line of code that asks."""
        caller = sys._getframe(1)
        key = caller.f_code, caller.f_lineno
        with self.lock:
            arrays = vars(_simulated_context()).setdefault("skdeep_shared", {})
            if key not in arrays:
                arrays[key] = np.empty(shape, str(dtype))
            return arrays[key]


class _Simulated:
    """``cuda`` as code in a simulated thread sees it.

    The simulator replaces the module in a function's globals while that runs, which is not safe
    for functions that several threads call; looking it up at each use is.
    """

    shared = _SimulatedShared()

    def __getattr__(self, name):
        return getattr(_simulated_context(), name)


def _simulated_context():
    from numba.cuda.simulator.kernel import _get_kernel_context

    return _get_kernel_context()


def _finish(function):
    return function if SIMULATED else cuda.jit(function, device=True, inline="always")


@cache
def _namespace():
    """(names that twins are given, functions rebuilt so far)."""
    names = {"cuda": _Simulated() if SIMULATED else cuda, "THREADS": THREADS, "EDGE": EDGE}
    done = {}

    def add(function):
        names[function.__name__] = _finish(rebuild(function, names, _finish, done))

    if SIMULATED:
        names.update(maths.SCALAR)
    else:
        names.update(LIBRARY)
        for function in (where, maximum, minimum, fma, *maths.COMPOSED.values()):
            add(function)
    for function in (block_sum, block_max):
        add(function)
    return names, done


@cache
def python_entry(twin):
    """The function that a launch runs: ``entry(f, i, table, row)``."""
    names, done = _namespace()
    body = rebuild(twin.function, names, _finish, done)
    if SIMULATED:

        def entry(f, i, table, row):
            with np.errstate(all="ignore"):
                body(f, i, table[row, HEADER:])

    else:
        body = _finish(body)

        def entry(f, i, table, row):
            body(f, i, table[row, HEADER:])

    entry.__name__ = entry.__qualname__ = f"skdeep_{twin.name}"
    return entry


@cache
def _kernel(twin):
    return cuda.jit(python_entry(twin))


def launcher(twin, blocks):
    """A function ``launch(f, i, table, row)``; the twin is compiled at the first launch."""
    if SIMULATED:
        return lambda *args: _kernel(twin)[blocks, THREADS](*args)
    from numba.cuda.core import config as settings

    # Small grids are meant: no warnings about them.
    before = settings.CUDA_LOW_OCCUPANCY_WARNINGS
    settings.CUDA_LOW_OCCUPANCY_WARNINGS = 0
    try:
        return _kernel(twin)[blocks, THREADS]
    finally:
        settings.CUDA_LOW_OCCUPANCY_WARNINGS = before


def ptx(name, capability):
    """Assembly of a twin for a compute capability, such as (9, 0); needs no GPU."""
    text, _ = cuda.compile_ptx(python_entry(TWINS[name]), SIGNATURE, cc=capability)
    return text
