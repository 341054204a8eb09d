"""The loops that walk a program: the only compiled code that knows what a program is.

A program is an int64 table, one row per kernel call:
``[address of the kernel, tiles, work in ns if the tiles run in parallel or 0, 0 | operands ...]``.

The serial loops are kernels themselves: they take everything by address and start without Numba's
help. So is the parallel loop, which a *team* of threads walks that live as long as the call. The
first of them, the leader, goes through the rows and publishes the tiles of a large one, in equal
shares; everyone does the tiles of his share, then those that are left of others'. Who does a tile
is decided by one atomic addition, and the leader waits for tiles that are begun, never for a
thread: one that the system has put to sleep costs nothing, where OpenMP's barrier waits for it (6
ms a row were seen on busy cores). Handing over a row takes well under a microsecond.

Numba's own parallel loops are not used: the first of a process takes 0.4 s to be loaded, and its
threads go on spinning when their work is done.
"""

import ctypes
import os
import platform
import threading
from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import inline, kernel
from .cores import LINE, ask_system, keep_apart, shared_cores
from .simd import load_f32, load_i32, load_i64, store_i32, store_i64

X86 = platform.machine().lower() in ("x86_64", "amd64")
HEADER = 4  # columns before the operands

# Where things lie in what a team shares, in bytes: words that are written often are lines apart.
EPOCH, DONE, JOB, TICKETS = 0, LINE, 2 * LINE, 3 * LINE
SHIFT, LOW = 32, 2**32 - 1  # a ticket is (end of the share, next tile of it)
FLUSH = 0x8040  # bits of MXCSR: results and operands below the normal numbers are zero
PATIENCE = 500  # looks at a word before a thread offers its core to others


@intrinsic
def call(typingctx, address, operands, tile):
    """Call the kernel at an address: kernel(operands, tile)."""

    def emit(context, builder, sig, args):
        word = ir.IntType(64)
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(
            ir.IntType(32), [byte.as_pointer(), byte.as_pointer(), word.as_pointer(), word]
        )
        nothing = cgutils.alloca_once(builder, byte)
        function = builder.inttoptr(args[0], kind.as_pointer())
        where = builder.inttoptr(args[1], word.as_pointer())
        builder.call(function, [nothing, nothing, where, args[2]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@intrinsic
def store_f64(typingctx, address, value):
    """Write a float32 as a float64."""

    def emit(context, builder, sig, args):
        double = ir.DoubleType()
        place = builder.inttoptr(args[0], double.as_pointer())
        builder.store(builder.fpext(args[1], double), place)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), emit


@intrinsic
def fetch_add(typingctx, address, value):
    """Add to a word that all threads share; returns what it was."""

    def emit(context, builder, sig, args):
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), emit


@intrinsic
def read_shared(typingctx, address):
    """A word that other threads write; nothing after it is done before it."""

    def emit(context, builder, sig, args):
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(types.int64), emit


@intrinsic
def write_shared(typingctx, address, value):
    """Write a word that other threads read; everything before it is done before it."""

    def emit(context, builder, sig, args):
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store_atomic(args[1], place, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def pause(typingctx):
    """Tell the core that this thread waits in a loop."""

    def emit(context, builder, sig, args):
        if X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def flush_tiny(typingctx, wanted):
    """Take numbers below 1.2e-38 for zero in this thread if ``wanted``; returns what was.

    Running averages of gradients that are zero decay to there, and every operation on such a number
    costs as much as a hundred others. The result is for :func:`restore_tiny`.
    """

    def emit(context, builder, sig, args):
        if not X86:
            return ir.Constant(ir.IntType(64), 0)
        place = cgutils.alloca_once(builder, ir.IntType(32))
        _control_word(builder, "st", place)
        before = builder.load(place)
        flags = ir.Constant(ir.IntType(32), FLUSH)
        flags = builder.select(cgutils.is_true(builder, args[0]), flags, flags.type(0))
        builder.store(builder.or_(before, flags), place)
        _control_word(builder, "ld", place)
        return builder.zext(before, ir.IntType(64))

    return types.int64(types.int64), emit


@intrinsic
def restore_tiny(typingctx, before):
    """Undo :func:`flush_tiny`."""

    def emit(context, builder, sig, args):
        if X86:
            place = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(args[0], ir.IntType(32)), place)
            _control_word(builder, "ld", place)
        return context.get_dummy_value()

    return types.void(types.int64), emit


def _control_word(builder, what, place):
    """Load or store the word that says how this thread computes with vectors."""
    place = builder.bitcast(place, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [place.type])
    name = f"llvm.x86.sse.{what}mxcsr"
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [place])


@inline
def walk(table, rows, width):
    """Every tile of every row, in order. ``table`` is an address."""
    for r in range(rows):
        row = table + 8 * r * width
        address, tiles = load_i64(row), load_i64(row + 8)
        for tile in range(tiles):
            call(address, row + 8 * HEADER, tile)


@inline
def copy_words(source, target, n):
    """Copy n words of four bytes."""
    for k in range(n):
        store_i32(target + 4 * k, load_i32(source + 4 * k))


@kernel
def run_serial(p, tile):
    """Walk a program once. p = [table, rows, width]."""
    walk(p[0], p[1], p[2])


@inline
def wait(looks, idle, cores, me):
    """Between two looks at a word that another thread will change; returns how many there were."""
    pause()
    if looks % PATIENCE == 0:
        keep_apart(cores, me)
        ask_system(idle)
    return looks + 1


@inline
def do_tiles(shared, me, team):
    """Do tiles of the row that is published, beginning with one's own share; returns how many."""
    done = 0
    for k in range(team):
        ticket = shared + TICKETS + (me + k) % team * LINE
        while True:
            found = read_shared(ticket)
            if found & LOW >= found >> SHIFT:
                break
            found = fetch_add(ticket, 1)
            if found & LOW >= found >> SHIFT:
                break
            row = load_i64(shared + JOB)  # stays as it is until this tile is done
            call(load_i64(row), row + 8 * HEADER, found & LOW)
            done += 1
    return done


@inline
def share_row(row, shared, team, idle, cores):
    """The leader's part in a row: publish the tiles, do some, wait for the others."""
    keep_apart(cores, 0)
    tiles = load_i64(row + 8)
    store_i64(shared + JOB, row)
    write_shared(shared + DONE, 0)
    for k in range(team):
        end = (k + 1) * tiles // team
        write_shared(shared + TICKETS + k * LINE, end << SHIFT | k * tiles // team)
    fetch_add(shared + EPOCH, 1)
    fetch_add(shared + DONE, do_tiles(shared, 0, team))
    looks = 1
    while read_shared(shared + DONE) < tiles:
        looks = wait(looks, idle, cores, 0)


@kernel
def help_team(p, tile):
    """Do tiles until the leader ends the work.

    p = [shared, number in the team, team, idle, flush, cores].
    """
    shared, me, team, idle, cores = p[0], p[1], p[2], p[3], p[5]
    before = flush_tiny(p[4])
    seen, looks = 0, 1
    while True:
        epoch = read_shared(shared + EPOCH)
        if epoch < 0:
            break
        if epoch != seen:
            seen, looks = epoch, 1
            keep_apart(cores, me)
            fetch_add(shared + DONE, do_tiles(shared, me, team))
        else:
            looks = wait(looks, idle, cores, me)
    restore_tiny(before)


@kernel
def run_steps(p, tile):
    """Walk a training program once per step, until a loss is not finite.

    Before step s, ``values[s]`` goes to the registers and ``orders[s]`` to the index; after it the
    loss is kept in ``losses[s]``. p = [table, rows, width, registers, values, values per step,
    index, orders, batch, loss, losses, steps, steps done (written), shared, team, idle, flush,
    cores, number among those that share them]; the caller is the leader of the team, and alone if
    that is 1. See :func:`flush_tiny` for ``flush``.
    """
    before = flush_tiny(p[16])
    store_i64(p[12], 0)
    for s in range(p[11]):
        keep_apart(p[17], p[18])
        copy_words(p[4] + 4 * s * p[5], p[3], p[5])
        copy_words(p[7] + 4 * s * p[8], p[6], p[8])
        if p[14] == 1:
            walk(p[0], p[1], p[2])
        else:
            for r in range(p[1]):
                row = p[0] + 8 * r * p[2]
                if load_i64(row + 16) != 0:
                    share_row(row, p[13], p[14], p[15], p[17])
                else:
                    walk(row, 1, p[2])
        loss = load_f32(p[9])
        store_f64(p[10] + 8 * s, loss)
        store_i64(p[12], s + 1)
        if not np.isfinite(loss):
            break
    restore_tiny(before)


NATIVE = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
)


@cache
def _callable(kernel):
    return NATIVE(kernel.address)


_NOTHING = np.zeros(2, np.int64)  # where kernels put a result and an error they never have
_IGNORED = _NOTHING.ctypes.data


def launch(kernel, *operands):
    """Call a kernel from Python, with the interpreter free for other threads meanwhile.

    An operand is an int or an array, of which the kernel gets the address.
    """
    block = np.array([o if isinstance(o, int) else o.ctypes.data for o in operands], np.int64)
    _callable(kernel)(_IGNORED, _IGNORED + 8, block.ctypes.data, 0)


@cache
def _idle_function():
    """The system's function that lets other threads run, as ctypes sees it."""
    if os.name == "nt":
        return ctypes.windll.kernel32.SwitchToThread
    return ctypes.CDLL(None).sched_yield


def steps(table, registers, values, index, orders, loss, losses, team=1, flush=False, cores=None,
          me=0):  # fmt: skip
    """Walk a training program once per row of ``orders``, as :func:`run_steps` says.

    The threads of the team live as long as this call, and can be started from any thread. With
    ``flush`` they take numbers below the normal ones for zero. A team of one may be number ``me``
    of several that share ``cores``.

    Returns
    -------
    int
        Steps done.
    """
    done = np.zeros(1, np.int64)
    shared = np.zeros((TICKETS + (team + 1) * LINE) // 8, np.int64)
    shared = shared[-shared.ctypes.data % LINE // 8 :]
    cores = shared_cores(team) if cores is None else cores
    idle = ctypes.cast(_idle_function(), ctypes.c_void_p).value
    helpers = [
        threading.Thread(
            target=launch, args=(help_team, shared, k, team, idle, int(flush), cores), daemon=True
        )
        for k in range(1, team)
    ]
    try:
        for thread in helpers:
            thread.start()
        launch(run_steps, table, *table.shape, registers, values, values.shape[1], index, orders,
               orders.shape[1], loss, losses, len(orders), done, shared, team, idle,
               int(flush), cores, me)  # fmt: skip
    finally:
        shared[EPOCH // 8] = -1
        for thread in helpers:
            if thread.ident is not None:
                thread.join()
    return int(done[0])


def blocks(tables, registers, block, first, last):
    """Run blocks first .. last-1, each thread with its own table, registers and arena.

    Before each, ``registers[t, 0]`` says at which row it starts. The threads live as long as this
    call, and can be started from any thread.
    """
    threads = min(len(tables), last - first)
    loss, cores = np.zeros(1, np.float32), shared_cores(threads)

    def work(t):
        starts = block * np.arange(first + t, last, threads, dtype=np.int32)[:, None]
        nothing = np.zeros((len(starts), 0), np.int32)
        losses = np.zeros(len(starts))
        steps(tables[t], registers[t], starts, nothing[0], nothing, loss, losses, cores=cores, me=t)

    helpers = [threading.Thread(target=work, args=(t,), daemon=True) for t in range(1, threads)]
    try:
        for thread in helpers:
            thread.start()
        work(0)
    finally:
        for thread in helpers:
            if thread.ident is not None:
                thread.join()
