"""How kernels are compiled, kept on disk, and found.

A CPU kernel is a function ``kernel(p, tile)``: ``p`` points to the int64 operands of one row of a
program (addresses in bytes, sizes), ``tile`` says which part of the output to compute. Each is
compiled once, on first use. The machine code is kept on disk, in a folder whose name carries a
hash of all kernel sources, the CPU and the versions, so that an upgrade never runs stale code;
loading it needs LLVM's linker only and takes well under a millisecond, where a first load through
Numba's own cache costs a new process 0.15 s.
"""

import hashlib
import inspect
import os
import tempfile
import threading
from functools import cache, cached_property
from pathlib import Path

import numba
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.core.ccallback import _CFuncCompiler
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from . import isa

SIGNATURE = types.void(types.CPointer(types.int64), types.int64)
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "boundscheck": False, "nogil": True}

KERNELS = {}
SHARED = {}  # functions that kernels call, by name
_lock = threading.RLock()
_compiled_now = []  # names of what this process had to compile, for messages and tests


@cache
def source_hash():
    """Hash of every kernel source, the vector path, the CPU and the versions of the compilers."""
    import llvmlite

    h = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        h.update(path.read_bytes())
    cpu = f"{binding.get_host_cpu_name()} {sorted(isa.host_flags())}"
    h.update(f"{isa.current().name} {cpu} {numba.__version__} {llvmlite.__version__}".encode())
    return h.hexdigest()[:16]


def _writable(path):
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


@cache
def _candidates():
    """Folders where machine code may be: ``NUMBA_CACHE_DIR``, beside the kernels, the user's."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    bases = [Path(__file__).parent / "__pycache__"]
    if config.CACHE_DIR:
        bases.insert(0, Path(config.CACHE_DIR))
    if Path(home).is_absolute():
        bases.append(Path(home))
    return [base / f"skdeep-{source_hash()}" for base in bases]


@cache
def cache_directory():
    """Folder that machine code is written to, or None when no candidate can be written to."""
    return next((folder for folder in _candidates() if _writable(folder)), None)


def _find(file):
    """Path of a kept file, in any candidate folder (also one that is read-only), or None."""
    for folder in _candidates():
        try:
            if (folder / file).exists():
                return folder / file
        except OSError:
            continue
    return None


# ---- one kernel: function -> object code -> address ---------------------------------------------


class _NativeCompiler(_CFuncCompiler):
    """Compiles a function alone, without the wrappers that Python would call it through."""

    def _customize_flags(self, flags):
        flags.no_cpython_wrapper = True
        flags.no_cfunc_wrapper = True
        return flags


def _compile(function, signature=SIGNATURE):
    """Symbol, names of the shared functions it calls, and object code of a function."""
    compiler = _NativeCompiler(function, cpu_target, dict(OPTIONS), {}, Compiler)
    result = compiler.compile(signature.args, signature.return_type)
    return _finished(result.fndesc.llvm_func_name, result.library)


def _finished(symbol, library):
    """The same of a library that is compiled; what it calls is what it declares, inlined or not."""
    _, _, (code, _) = library.serialize_using_object_code()
    declared = (f.name for f in library._final_module.functions if f.is_declaration)
    return [symbol, *(name for name in declared if name in SHARED)], code


def _read(name):
    """Symbol, shared functions and object code from disk; None when it is not there or damaged."""
    path = _find(f"{name}.kernel")
    try:
        data = path.read_bytes() if path is not None else b""
    except OSError:
        return None
    digest, _, rest = data.partition(b"\n")
    if digest.decode("ascii", "replace") != hashlib.sha256(rest).hexdigest():
        return None
    symbols, _, code = rest.partition(b"\n")
    return symbols.decode().split(), code


def _write(name, symbols, code):
    """Keep object code on disk, in one atomic step; a full disk costs nothing but the file."""
    folder = cache_directory()
    if folder is None:
        return
    rest = " ".join(symbols).encode() + b"\n" + code
    own = folder / f"{name}.{os.getpid()}.{threading.get_ident()}.tmp"
    try:
        own.write_bytes(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
        os.replace(own, folder / f"{name}.kernel")
    except OSError:
        own.unlink(missing_ok=True)


@cache
def _linker():
    """The LLVM engine that all kernels of this process are linked into."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)


class Native:
    """Machine code that is compiled, or loaded from disk, when its address is first asked for."""

    def __init__(self, name):
        self.name = name

    @cached_property
    def address(self):
        """Address of the machine code, an int. Valid for the life of the process."""
        with _lock:
            if self.loaded:
                return vars(self)["address"]
            found = _read(self.name)
            if found is None:
                found = self._compile()
                _compiled_now.append(self.name)
                _write(self.name, *found)
            (symbol, *called), code = found
            for name in called:
                SHARED[name].address  # noqa: B018  (a cached property that makes the name known)
            engine = _linker()
            engine.add_object_file(binding.ObjectFileRef.from_data(code))
            engine.finalize_object()
            return engine.get_function_address(symbol)

    @property
    def loaded(self):
        """Whether this process has the machine code already."""
        return "address" in vars(self)

    @property
    def on_disk(self):
        """Whether compiled code is waiting on disk."""
        return _find(f"{self.name}.kernel") is not None


class CPUKernel(Native):
    """A kernel.

    Its code has Numba's own calling convention: ``int32(void** result, void** error, int64* p,
    int64 tile)``.
    """

    def __init__(self, function, name):
        super().__init__(name)
        self.function, self.__doc__ = function, function.__doc__

    def _compile(self):
        return _compile(self.function)


class SharedFunction(Native):
    """A function in LLVM's language that kernels call: compiled once, not into each of them.

    Parameters
    ----------
    name : str
        Symbol, the same for all kernels of a process.
    arguments : list of llvmlite types
    define : callable
        ``define(function)`` gives the function its blocks.
    about : str
        What it does.
    """

    def __init__(self, name, arguments, define, about):
        super().__init__(name)
        self.kind = ir.FunctionType(ir.VoidType(), arguments)
        self.define, self.__doc__ = define, about
        SHARED[name] = self

    @cached_property
    def address(self):
        """As of a kernel; once it is known, code that calls the function can be linked."""
        address = super().address
        binding.add_symbol(self.name, address)
        return address

    def _compile(self):
        with global_compiler_lock:
            library = cpu_target.target_context.codegen().create_library(self.name)
            library.enable_object_caching()
            module = library.create_ir_module(self.name)
            self.define(ir.Function(module, self.kind, self.name))
            library.add_ir_module(module)
            library.finalize()
            return _finished(self.name, library)

    def call(self, builder, args):
        """Emit a call in a kernel that is being compiled."""
        self.address  # noqa: B018
        function = cgutils.get_or_insert_function(builder.module, self.kind, self.name)
        builder.call(function, args)


class SharedHelper(SharedFunction):
    """The same, of a function that Numba compiles; it returns nothing.

    Its arguments are addresses and sizes, but ``p``, which is the one of a kernel.
    """

    def __init__(self, function):
        word, byte = ir.IntType(64), ir.IntType(8).as_pointer()
        self.names = list(inspect.signature(function).parameters)
        own = [word.as_pointer() if name == "p" else word for name in self.names]
        kinds = [byte.as_pointer(), byte.as_pointer(), *own]
        super().__init__(f"skdeep_{function.__name__}", kinds, function, function.__doc__)
        self.kind = ir.FunctionType(ir.IntType(32), kinds)
        self.signature = types.void(
            *[SIGNATURE.args[0] if name == "p" else types.int64 for name in self.names]
        )

    def _compile(self):
        return _compile(self.define, self.signature)

    def emit(self, context, builder, sig, args):
        """As intrinsics do it."""
        nothing = cgutils.alloca_once(builder, ir.IntType(8).as_pointer())
        self.call(builder, [nothing, nothing, *args])
        return context.get_dummy_value()


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
    return numba.njit(
        function, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS
    )


def expand(function):
    """A large helper of a single kernel, merged into its source: compiled once, not twice."""
    return numba.njit(function, inline="always", **OPTIONS)


def shared(function):
    """A large helper of kernels: compiled once, apart from them; see :class:`SharedHelper`."""
    helper = SharedHelper(function)

    def call(typingctx, *args):
        return helper.signature, helper.emit

    names = ["typingctx", *helper.names]
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    call.__signature__ = inspect.Signature(parameters)  # Numba looks at it for their number
    return intrinsic(call)


def compiled_in_this_process():
    """Names of the kernels this process compiled rather than loaded, in order."""
    return list(_compiled_now)
