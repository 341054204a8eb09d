"""From a graph to a table of kernel calls: storage for every tensor, one row per kernel."""

import hashlib

import numpy as np

from ..kernels.compiler import KERNELS
from ..kernels.cpu import CPU
from ..kernels.runner import HEADER
from .op import topological
from .plan import plan_arena, storage
from .tensor import Tensor

OPERANDS = 44  # operands of one row at most
# A row of less work (in ns) runs on one thread. Handing it over takes under 1 us in training and
# about 2 us elsewhere, on idle cores; a LeNet step gained 3 % by 20 us instead of 50.
PARALLEL_ABOVE = 20_000


class Program:
    """A relocatable program.

    Operands are kept as (memory, byte offset) pairs; :meth:`bind` turns them into a table for one
    device once the memories have addresses. Literals belong to memory 0, whose address is zero.

    Attributes
    ----------
    kernels : list of str
        Kernel of each row.
    offsets, memory_of : ndarray of shape (n_rows, OPERANDS)
        Byte offset of every operand, and the position of its memory in ``memories``.
    memories : list of str
        Names: "", "arena", "constants", and the roles of the leaves.
    arena_size : int
        Words of four bytes that the arena needs.
    constants : ndarray of float32
        Values of float operands.
    live_peak : int
        Words that must be alive at once at the worst row: what no plan could go below.
    """

    def __init__(self, rows, storage, arena_size, live_peak):
        n = len(rows)
        self.kernels = [row.kernel for row in rows]
        self.offsets = np.zeros((n, OPERANDS), np.int64)
        self.memory_of = np.zeros((n, OPERANDS), np.int64)
        self.tiles = np.array([row.tiles for row in rows], np.int64)
        self.work = np.array([row.work for row in rows], np.float64)
        self.memories = ["", "arena", "constants"]
        self.arena_size, self.live_peak = arena_size, live_peak
        constants = {}
        position = {name: k for k, name in enumerate(self.memories)}
        for r, row in enumerate(rows):
            if len(row.operands) > OPERANDS:
                raise ValueError(f"kernel {row.kernel!r} has more than {OPERANDS} operands")
            for k, operand in enumerate(row.operands):
                if isinstance(operand, Tensor):
                    memory, offset = storage(operand)
                    if memory not in position:
                        position[memory] = len(self.memories)
                        self.memories.append(memory)
                elif isinstance(operand, float):
                    memory = "constants"
                    bits = np.float32(operand).tobytes()  # 0.0 and -0.0 are two constants
                    offset = 4 * constants.setdefault(bits, len(constants))
                elif operand is None:
                    memory, offset = "", 0
                else:
                    memory, offset = "", int(operand)
                self.offsets[r, k] = offset
                self.memory_of[r, k] = position[memory]
        self.constants = np.zeros(max(len(constants), 1) + 16, np.float32)
        for value, place in constants.items():
            self.constants[place] = np.frombuffer(value, np.float32)[0]

    def fingerprint(self):
        """Bytes that are equal for programs that do the same to the same memories."""
        arrays = self.offsets, self.memory_of, self.tiles, self.constants
        names = repr((self.kernels, self.memories, self.arena_size)).encode()
        return hashlib.sha256(b"".join([names, *(a.tobytes() for a in arrays)])).digest()

    def first_read(self, memory, row):
        """First element of a memory that a row from ``row`` on refers to; None where none does."""
        if memory not in self.memories:
            return None
        here = self.memory_of[row:] == self.memories.index(memory)
        return int(self.offsets[row:][here].min()) // 4 if here.any() else None

    def bind(self, device, addresses):
        """Table for a device.

        Parameters
        ----------
        device : CPU or CUDA
            Gives kernel handles.
        addresses : dict of str to int
            Address of every memory in ``memories`` (but the first).

        Returns
        -------
        ndarray of int64, shape (n_rows, HEADER + OPERANDS)
        """
        handles = device.handles(dict.fromkeys(self.kernels))
        base = np.array([0] + [addresses[name] for name in self.memories[1:]], np.int64)
        table = np.zeros((len(self.kernels), HEADER + OPERANDS), np.int64)
        table[:, 0] = [handles[name] for name in self.kernels]
        table[:, 1] = self.tiles
        table[:, 2] = np.where((self.tiles > 1) & (self.work > PARALLEL_ABOVE), self.work, 0)
        np.add(self.offsets, base[self.memory_of], out=table[:, HEADER:])
        return table


def compile_program(outputs, pinned=None, guard=0):
    """Lay out the operations that ``outputs`` need as a :class:`Program`.

    Parameters
    ----------
    outputs : list of Tensor
        What must be computed, in this order where the graph leaves a choice.
    pinned : dict of Tensor to (str, int)
        Outputs of operations that are to be written to a named memory at an element offset,
        instead of the arena.
    guard : int
        For tests: leave this many elements free after each tensor and share no memory.

    Returns
    -------
    Program
        Its attribute ``place`` maps a tensor to (memory, byte offset).
    """
    pinned = pinned or {}
    order = topological(outputs)
    root = storage(order)
    for t in pinned:
        if root(t)[0] is not t or t.op is None:
            raise ValueError(f"{t} cannot be placed: it shares another tensor's memory")
    offsets, size, peak = plan_arena(order, outputs, root, pinned, guard)

    def place(t):
        t, inside = root(t)
        if t.op is None:
            return t.role, 4 * (t.offset + inside)
        if t in pinned:
            memory, offset = pinned[t]
            return memory, 4 * (offset + inside)
        return "arena", 4 * (offsets[id(t)] + inside)

    rows = [row for op in order for row in op.rows()]
    for row in rows:
        if row.kernel not in KERNELS:
            raise ValueError(f"no kernel is named {row.kernel!r}")
    program = Program(rows, place, size, peak)
    program.place, program.root = place, root
    program.order = order
    return program


BITS = {"float32": np.float32, "bfloat16": np.uint16}
CANARY = np.uint32(0x7FC0BEEF).view(np.float32)  # a NaN nobody computes


def evaluate(outputs, feeds, n_threads=1, guard=True, device=None):
    """Compute tensors of a graph once; a tool for tests and for exploring.

    Parameters
    ----------
    outputs : list of Tensor
    feeds : dict of Tensor to ndarray
        Values of the leaves; float arrays are cast to float32, integer ones to int32. bfloat16 is
        fed and returned as its bits, uint16.
        Leaves that an operation overwrites are copied back into the given arrays.
    n_threads : int
    guard : bool
        Also run with a canary after every tensor and memory full of NaN, and raise AssertionError
        if a canary died or the bits differ.
    device : CPU, CUDA or None
        None: the CPU.

    Returns
    -------
    list of ndarray
    """
    device = device or CPU()
    leaves = {}
    for k, (t, value) in enumerate(feeds.items()):
        t.role, t.offset = f"leaf{k}", 0
        value = np.asarray(value, BITS.get(t.dtype, np.int32))
        if value.shape != t.shape:
            raise ValueError(f"{t} is fed with an array of shape {value.shape}")
        leaves[t] = value

    def run(guard_size):
        program = compile_program(outputs, guard=guard_size)
        contents = {"arena": np.full(program.arena_size, CANARY), "constants": program.constants}
        for t, value in leaves.items():
            contents[t.role] = np.full(t.words + 64, CANARY)
            contents[t.role].view(value.dtype)[: t.size] = value.ravel()
        memories = {name: device.empty(array.size) for name, array in contents.items()}
        for name, array in contents.items():
            device.write(memories[name], array)
        addresses = {name: device.address(m) for name, m in memories.items()}
        table = program.bind(device, addresses)
        table[:, 2] = table[:, 1] > 1  # also small rows run in parallel, to see whether they can
        device.run(table, n_threads)
        memories = {name: device.download(m) for name, m in memories.items()}
        if guard_size:
            _check_canaries(program, memories["arena"], guard_size)
            for t in leaves:
                tail = memories[t.role][t.words :].view(np.uint32)
                assert (tail == CANARY.view(np.uint32)).all(), f"write past the end of {t}"
        results = []
        for t in outputs:
            memory, offset = program.place(t)
            values = memories[memory][offset // 4 : offset // 4 + t.words]
            values = values.view(BITS.get(t.dtype, np.int32))[: t.size]
            results.append(values.reshape(t.shape).copy())
        return results, memories

    results, memories = run(0)
    if guard:
        guarded, _ = run(64)
        for t, a, b in zip(outputs, results, guarded):
            assert a.tobytes() == b.tobytes(), f"{t} depends on the memory plan"
    for t, value in feeds.items():
        if (
            isinstance(value, np.ndarray)
            and value.dtype == leaves[t].dtype
            and value.flags.writeable
        ):
            value[...] = memories[t.role].view(value.dtype)[: t.size].reshape(t.shape)
    return results


def _check_canaries(program, arena, guard):
    bits = arena.view(np.uint32)
    for op in program.order:
        for t in op.outputs:
            memory, offset = program.place(t)
            if memory == "arena" and program.root(t)[0] is t:
                end = offset // 4 + t.words
                alive = (bits[end : end + guard] == CANARY.view(np.uint32)).all()
                assert alive, f"{type(op).__name__} writes past the end of {t}"
