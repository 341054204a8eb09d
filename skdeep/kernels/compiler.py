"""How kernels are compiled, cached and found.

A CPU kernel is a function ``kernel(p, tile)``: ``p`` points to the int64 operands of one row of a
program (addresses in bytes, sizes), ``tile`` says which part of the output to compute. Each is
compiled once, as a C callback, on first use; the machine code is kept on disk under a key that
carries a hash of all kernel sources, so that an upgrade never runs stale code.
"""

import hashlib
import os
import tempfile
import threading
from functools import cache, cached_property
from pathlib import Path

import numba
from numba import types
from numba.core import caching, config
from numba.core.ccallback import CFunc

from . import isa

SIGNATURE = types.void(types.CPointer(types.int64), types.int64)
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "boundscheck": False, "nogil": True}

KERNELS = {}
_lock = threading.RLock()
_compiled_now = []  # names of what this process had to compile, for messages and tests


@cache
def source_hash():
    """Hash of every kernel source, the vector path and the versions that shape machine code."""
    import llvmlite

    h = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        h.update(path.read_bytes())
    h.update(f"{isa.current().name} {numba.__version__} {llvmlite.__version__}".encode())
    return h.hexdigest()[:16]


def _writable(path):
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


@cache
def cache_directory():
    """Folder that keeps machine code, or None when no candidate can be written to.

    ``NUMBA_CACHE_DIR`` first, then ``__pycache__`` beside the kernels, then the user's cache folder.
    """
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    bases = [Path(__file__).parent / "__pycache__", Path(user)]
    if config.CACHE_DIR:
        bases.insert(0, Path(config.CACHE_DIR))
    for base in bases:
        folder = base / f"skdeep-{source_hash()}"
        if _writable(folder):
            return folder
    return None


class _Locator(caching._CacheLocator):
    """Keeps one kernel's files in our folder; the folder's name is the stamp of the sources."""

    def __init__(self, name):
        self.name = name

    def get_cache_path(self):
        return str(cache_directory())

    def get_source_stamp(self):
        return source_hash()

    def get_disambiguator(self):
        return None


def _disk_cache(function, name):
    """Numba's function cache, keyed by the kernel's name instead of file, line and closure."""

    class Impl(caching.CompileResultCacheImpl):
        def __init__(self, py_func):
            self._lineno = 0
            self._locator = _Locator(name)
            self._filename_base = name

    class Cache(caching.FunctionCache):
        _impl_class = Impl

        def _index_key(self, sig, codegen):
            return sig, codegen.magic_tuple(), name

    return Cache(function)


class CPUKernel:
    """A kernel that is compiled, or loaded from disk, when its address is first asked for."""

    def __init__(self, function, name):
        self.function, self.name = function, name
        self.__doc__ = function.__doc__

    @cached_property
    def callback(self):
        with _lock:
            built = CFunc(self.function, (SIGNATURE.args, SIGNATURE.return_type), locals={},
                          options=dict(OPTIONS))  # fmt: skip
            if cache_directory() is not None:
                built._cache = _disk_cache(self.function, self.name)
            built.compile()
            if not built.cache_hits:
                _compiled_now.append(self.name)
            return built

    @property
    def address(self):
        """Address of the machine code, an int. Valid for the life of the process."""
        return self.callback.address

    @property
    def on_disk(self):
        """Whether compiled code for this kernel is waiting on disk."""
        folder = cache_directory()
        return folder is not None and (folder / f"{self.name}.nbi").exists()


def kernel(function=None, *, name=None):
    """Register a CPU kernel ``f(p, tile)`` under its function's name (or ``name``)."""

    def register(f):
        key = name or f.__name__
        if key in KERNELS:
            raise ValueError(f"a kernel named {key!r} exists already")
        KERNELS[key] = CPUKernel(f, key)
        return KERNELS[key]

    return register if function is None else register(function)


def inline(function):
    """A helper that kernels call; it is compiled into each of them."""
    return numba.njit(function, forceinline=True, **OPTIONS)


def cached_njit(signature, **options):
    """An ``njit`` function of exactly one signature, compiled on first call and kept on disk."""

    def wrap(function):
        return _LazyFunction(function, signature, {**OPTIONS, **options})

    return wrap


class _LazyFunction:
    def __init__(self, function, signature, options):
        self.function, self.signature, self.options = function, signature, options
        self.__doc__ = function.__doc__

    @cached_property
    def compiled(self):
        with _lock:
            dispatcher = numba.njit(self.function, **self.options)
            if cache_directory() is not None:
                dispatcher._cache = _disk_cache(self.function, self.function.__name__)
            dispatcher.compile(self.signature)
            if not sum(dispatcher.stats.cache_hits.values()):
                _compiled_now.append(self.function.__name__)
            dispatcher.disable_compile()
            return dispatcher

    def __call__(self, *args):
        return self.compiled(*args)


def compiled_in_this_process():
    """Names of the kernels this process compiled rather than loaded, in order."""
    return list(_compiled_now)
