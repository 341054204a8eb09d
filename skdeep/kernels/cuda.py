"""CUDA GPUs as a device: twins of the kernels, one heap for all memory, and runs.

A *twin* computes on a GPU what the kernel of the same name computes on the CPU, from the same
operands: the same program runs on both. It stands below its CPU kernel as a plain function
``twin(f, i, p)``: ``p`` are the operands of the row, ``f`` is all memory of the device as float32
and ``i`` the same memory as int32. Addresses are byte offsets, so that ``f[p[0] // 4]`` is the
first element of a float operand. Twins use, by name, ``cuda`` (of Numba), the formulas of their
file, the functions of :mod:`skdeep.kernels.maths`, and what is declared here.

numba-cuda is imported when a :class:`CUDA` device is made, never before.
"""

from collections import deque
from dis import get_instructions
from inspect import isfunction
from types import CellType, FunctionType

import numpy as np
from numba.core.dispatcher import Dispatcher

from . import maths
from .compiler import KERNELS
from .runner import HEADER

TWINS = {}

# What twins refer to by name; given to them when they are built (skdeep.kernels._numba_cuda).
cuda = None
THREADS = 256  # of a block
EDGE = 16  # of a square of a matrix, computed by one block with a thread per element


def block_sum(value):
    """Sum of a number over the threads of the block, for all of them."""


def block_max(value):
    """Maximum over the threads of the block, for all of them; NaN when any is NaN."""


# Functions that twins are given a version of their own of, whatever they are called there.
_GIVEN = {id(function): name for name, function in maths.SIMD.items()}
_GIVEN |= {id(function): function.__name__ for function in (block_sum, block_max)}


class Twin:
    """A twin and the size of its grid. Exactly one of the last three says how it is cut.

    Parameters
    ----------
    name : str
        Of the kernel.
    function : callable
        ``function(f, i, p)``.
    items : callable
        ``items(p)`` threads, in blocks of THREADS; ``cuda.grid(1)`` is the item.
    blocks : callable
        ``blocks(p)`` blocks of THREADS threads.
    squares : callable
        ``squares(p)`` is the shape of a matrix; blocks of EDGE * EDGE threads, row by row.
    """

    def __init__(self, name, function, items=None, blocks=None, squares=None):
        self.name, self.function = name, function
        self.items, self.blocks, self.squares = items, blocks, squares
        self.number = len(TWINS)

    def grid(self, p, threads, edge):
        """Number of blocks for host operands ``p``."""
        if self.items is not None:
            return -(-int(self.items(p)) // threads)
        if self.blocks is not None:
            return int(self.blocks(p))
        rows, columns = self.squares(p)
        return -(-int(rows) // edge) * -(-int(columns) // edge)


def cuda_twin(name, *, items=None, blocks=None, squares=None):
    """Decorator: the function is the CUDA twin of the kernel ``name``; see :class:`Twin`."""

    def register(function):
        key = getattr(name, "name", name)
        if key in TWINS:
            raise ValueError(f"kernel {key!r} has a CUDA twin already")
        TWINS[key] = Twin(key, function, items, blocks, squares)
        return function

    return register


def rebuild(function, namespace, finish, done):
    """A function, and the functions it calls, with names looked up in ``namespace`` first.

    Parameters
    ----------
    function : function
    namespace : dict
    finish : callable
        Applied to every function rebuilt on the way (but not to ``function``).
    done : dict
        What has been rebuilt already; filled.

    Returns
    -------
    function
    """

    def translate(value):
        if id(value) in _GIVEN:
            return namespace[_GIVEN[id(value)]]
        value = value.py_func if isinstance(value, Dispatcher) else value
        if not isfunction(value):
            return value
        if value not in done:
            done[value] = finish(rebuild(value, namespace, finish, done))
        return done[value]

    found = {"__name__": function.__module__}
    loads = (i.argval for i in get_instructions(function.__code__) if i.opname == "LOAD_GLOBAL")
    for name in loads:
        if name in namespace:
            found[name] = namespace[name]
        elif name in function.__globals__:
            found[name] = translate(function.__globals__[name])
    cells = tuple(CellType(translate(c.cell_contents)) for c in function.__closure__ or ())
    built = FunctionType(
        function.__code__, found, function.__name__, function.__defaults__, cells or None
    )
    built.__qualname__, built.__doc__ = function.__qualname__, function.__doc__
    return built


class Memory:
    """A run of elements in the heap of a device. It is free again when nobody refers to it."""

    def __init__(self, heap, start, shape, dtype, owner=None):
        self.heap, self.start, self.shape, self.dtype = heap, start, shape, np.dtype(dtype)
        self.owner = owner  # a part keeps the whole alive

    @property
    def size(self):
        """Number of elements."""
        return int(np.prod(self.shape))

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, k):
        rest = self.shape[1:]
        start = self.start + k * int(np.prod(rest))
        return Memory(self.heap, start, rest, self.dtype, owner=self)

    def __del__(self):
        if self.owner is None:
            self.heap.returned.append((self.start, self.size))


class Heap:
    """All memory of one device object: one array, so that programs can hold offsets.

    Places are given out first fit. A heap that is full moves to an array at least twice as large:
    offsets stay what they are, and so do programs. Moving needs room for both arrays.

    Parameters
    ----------
    target : module or object
        ``target.empty(n)`` makes a float32 array on the device.
    size : int
        Elements of the first array, which is made when something is first allocated.
    """

    ALIGN = 32  # elements: a line of the GPU's cache

    def __init__(self, target, size=2**16):
        self.target, self.first_size = target, size
        self.size = self.ALIGN  # nothing lives at offset 0, which stands for an absent operand
        self.floats = self.ints = None
        self.free = []
        self.returned = deque()  # filled by finalizers, at any moment

    def _rounded(self, n):
        return -(-max(n, 1) // self.ALIGN) * self.ALIGN

    def allocate(self, shape, dtype=np.float32):
        """Uninitialised memory."""
        need = self._rounded(int(np.prod(shape)))
        while self.returned:
            start, size = self.returned.popleft()
            self._release(start, self._rounded(size))
        for k, (start, size) in enumerate(self.free):
            if size >= need:
                self.free[k : k + 1] = [(start + need, size - need)] if size > need else []
                return Memory(self, start, shape, dtype)
        self._grow(need)
        return self.allocate(shape, dtype)

    def _release(self, start, size):
        merged = []
        for a, n in sorted([*self.free, (start, size)]):
            if merged and sum(merged[-1]) == a:
                merged[-1] = merged[-1][0], merged[-1][1] + n
            else:
                merged.append((a, n))
        self.free = merged

    def _grow(self, need):
        old, size = self.floats, max(2 * self.size, self.size + need, self.first_size)
        self.floats = self.target.empty(size)
        self.ints = self.floats.view(np.int32)
        if old is not None:
            self.floats[: self.size].copy_to_device(old)
        self._release(self.size, size - self.size)
        self.size = size

    def part(self, memory, n):
        """The first ``n`` elements of a memory as a device array."""
        whole = self.ints if memory.dtype == np.int32 else self.floats
        return whole[memory.start : memory.start + n]


class CUDA:
    """Runs programs on a CUDA GPU, one launch per row, in order.

    Raises
    ------
    ImportError
        When numba-cuda is not installed.
    RuntimeError
        When there is no GPU.
    """

    name = "cuda"
    winograd = False  # which have no twins
    cache = 2**62  # all samples together: many short launches cost more than they save

    def __init__(self):
        from . import _numba_cuda

        _numba_cuda.require_gpu()
        self.target = _numba_cuda
        self.heap = Heap(_numba_cuda)

    def workers(self, n_threads):
        """Programs that run side by side when ``n_threads`` are asked for: one."""
        return 1

    def empty(self, n):
        """Uninitialised float32 memory for ``n`` elements."""
        return self.heap.allocate((int(n),))

    def zeros(self, n):
        """As :meth:`empty`, filled with zeros."""
        memory = self.empty(n)
        self.write(memory, np.zeros(memory.size, np.float32))
        return memory

    def discard(self, memory, n):
        """Nothing: a memory is freed as a whole, when nobody holds it."""

    def upload(self, array):
        """Memory that holds a copy of a float32 or int32 array."""
        memory = self.heap.allocate(array.shape, array.dtype)
        self.write(memory, array)
        return memory

    def write(self, memory, array):
        """Copy an array of the same type to the begin of a memory."""
        if array.size:
            values = np.ascontiguousarray(array, memory.dtype).reshape(-1)
            self.heap.part(memory, values.size).copy_to_device(values)

    def download(self, memory):
        """A memory's elements as a new NumPy array. Waits for what runs."""
        result = np.empty(memory.shape, memory.dtype)
        if result.size:
            self.heap.part(memory, result.size).copy_to_host(result.reshape(-1))
        return result

    def address(self, memory):
        """What a program stores to refer to the memory: its byte offset in the heap."""
        return 4 * memory.start

    def handles(self, names):
        """Numbers of the twins of kernels.

        Raises
        ------
        ValueError
            When a kernel has no twin.
        """
        missing = sorted(set(names) - set(TWINS))
        if missing:
            families = {KERNELS[n].function.__module__.rpartition(".")[2] for n in missing}
            raise ValueError(
                f"this network uses {', '.join(sorted(families))}, which does not run on CUDA yet "
                f"(kernels {', '.join(missing)}); use device='cpu'."
            )
        return {name: TWINS[name].number for name in names}

    def _launches(self, table):
        """(function that launches, table on the device, row) for every row."""
        on_device = self.target.to_device(table)
        twins = list(TWINS.values())
        launches = []
        for r, row in enumerate(table):
            twin = twins[row[0]]
            blocks = twin.grid(row[HEADER:], self.target.THREADS, self.target.EDGE)
            if blocks:
                launches.append((self.target.launcher(twin, blocks), on_device, r))
        return launches

    def _launch(self, launches):
        floats, ints = self.heap.floats, self.heap.ints
        for launch, table, r in launches:
            launch(floats, ints, table, r)

    def _row(self, name, operands):
        """A table of one row, beside those of a program."""
        table = np.zeros((1, HEADER + len(operands)), np.int64)
        table[0, 0] = TWINS[name].number
        table[0, HEADER:] = [self.address(o) if isinstance(o, Memory) else o for o in operands]
        return self._launches(table)

    def run(self, table, n_threads=1):
        """Walk a program once."""
        self._launch(self._launches(table))

    def run_steps(self, table, registers, values, index, orders, loss, losses, n_threads=1):
        """Walk a training program once per row of ``orders``; returns the number of steps done.

        Everything a step needs is on the device beforehand; losses are read once, at the end.
        """
        steps = len(orders)
        before, after = self.upload(values), self.upload(orders)
        results = self.heap.allocate((steps,))
        counter = self.upload(np.zeros(1, np.int32))
        operands = [before, registers, values.shape[1], after, index, orders.shape[1],
                    loss, results, counter]  # fmt: skip
        launches = [
            *self._row("begin_step", operands),
            *self._launches(table),
            *self._row("end_step", operands),
        ]
        for _ in range(steps):
            self._launch(launches)
        losses[:] = self.download(results)
        wrong = np.flatnonzero(~np.isfinite(losses))
        return int(wrong[0]) + 1 if len(wrong) else steps

    def run_blocks(self, tables, registers, block, first, last, n_threads=1):
        """Run blocks of rows through the first table."""
        self.write(registers, np.array([first * block], np.int32))
        launches = [*self._launches(tables[0]), *self._row("next_block", [registers, block])]
        for _ in range(first, last):
            self._launch(launches)


@cuda_twin("begin_step", items=lambda p: p[2] + p[5])
def begin_step(f, i, p):
    """Take the registers and the row numbers of step ``i[p[8]]`` from those of all steps.

    p = [values, registers, their number, orders, index, its size, loss, losses, step].
    """
    t, step = cuda.grid(1), i[p[8] // 4]
    if t < p[2]:
        i[p[1] // 4 + t] = i[p[0] // 4 + step * p[2] + t]
    elif t < p[2] + p[5]:
        i[p[4] // 4 + t - p[2]] = i[p[3] // 4 + step * p[5] + t - p[2]]


@cuda_twin("end_step", items=lambda p: 1)
def end_step(f, i, p):
    """Keep the loss, go on to the next step. Operands as for ``begin_step``."""
    if cuda.grid(1) == 0:
        step = i[p[8] // 4]
        f[p[7] // 4 + step] = f[p[6] // 4]
        i[p[8] // 4] = step + 1


@cuda_twin("next_block", items=lambda p: 1)
def next_block(f, i, p):
    """Move the register that says where a block of rows starts. p = [registers, rows]."""
    if cuda.grid(1) == 0:
        i[p[0] // 4] += p[1]
