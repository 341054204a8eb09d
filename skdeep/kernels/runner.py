"""The loops that walk a program: the only compiled code that knows what a program is.

A program is an int64 table, one row per kernel call:
``[address of the kernel, tiles, run tiles in parallel?, 0 | operands ...]``.

The serial loops are kernels themselves: they take everything by address and start without Numba's
help. The parallel ones are Numba functions, with its thread pool.
"""

import ctypes
from functools import cache

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import cached_njit, inline, kernel
from .simd import load_f32, load_i32, load_i64, store_i32, store_i64

HEADER = 4  # columns before the operands

TABLE = types.Array(types.int64, 2, "C")
TABLES = types.Array(types.int64, 3, "C")
INT_ROW = types.Array(types.int32, 1, "C")
INT_ROWS = types.Array(types.int32, 2, "C")
LOSS = types.Array(types.float32, 1, "C")
LOSSES = types.Array(types.float64, 1, "C")


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


@kernel
def steps_serial(p, tile):
    """Walk a training program once per step, until a loss is not finite.

    Before step s, ``values[s]`` goes to the registers and ``orders[s]`` to the index; after it the
    loss is kept in ``losses[s]``. p = [table, rows, width, registers, values, values per step,
    index, orders, batch, loss, losses, steps, steps done (written)].
    """
    store_i64(p[12], 0)
    for s in range(p[11]):
        copy_words(p[4] + 4 * s * p[5], p[3], p[5])
        copy_words(p[7] + 4 * s * p[8], p[6], p[8])
        walk(p[0], p[1], p[2])
        loss = load_f32(p[9])
        store_f64(p[10] + 8 * s, loss)
        store_i64(p[12], s + 1)
        if not np.isfinite(loss):
            break


@kernel
def blocks_serial(p, tile):
    """Run blocks first .. last-1, telling the program in registers[0] at which row each starts.

    p = [table, rows, width, registers, rows per block, first, last].
    """
    for b in range(p[5], p[6]):
        store_i32(p[3], b * p[4])
        walk(p[0], p[1], p[2])


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


@cached_njit(types.void(TABLE), parallel=True)
def run_parallel(table):
    """Walk a program once; rows marked parallel spread their tiles over the threads."""
    width = table.shape[1]
    for r in range(table.shape[0]):
        operands = table.ctypes.data + 8 * (r * width + HEADER)
        address = table[r, 0]
        if table[r, 2]:
            for tile in prange(table[r, 1]):
                call(address, operands, tile)
        else:
            for tile in range(table[r, 1]):
                call(address, operands, tile)


_STEPS = types.int64(TABLE, INT_ROW, INT_ROWS, INT_ROW, INT_ROWS, LOSS, LOSSES)


@cached_njit(_STEPS, parallel=True)
def steps_parallel(table, registers, values, index, orders, loss, losses):
    """As :func:`steps_serial`, with the tiles of large rows spread over the threads."""
    width = table.shape[1]
    for s in range(orders.shape[0]):
        for k in range(values.shape[1]):
            registers[k] = values[s, k]
        for k in range(orders.shape[1]):
            index[k] = orders[s, k]
        for r in range(table.shape[0]):
            operands = table.ctypes.data + 8 * (r * width + HEADER)
            address = table[r, 0]
            if table[r, 2]:
                for tile in prange(table[r, 1]):
                    call(address, operands, tile)
            else:
                for tile in range(table[r, 1]):
                    call(address, operands, tile)
        losses[s] = loss[0]
        if not np.isfinite(loss[0]):
            return s + 1
    return orders.shape[0]


_BLOCKS = types.void(TABLES, INT_ROWS, types.int64, types.int64, types.int64)


@cached_njit(_BLOCKS, parallel=True)
def blocks_parallel(tables, registers, block, first, last):
    """As :func:`blocks_serial`, each thread with its own table, registers and arena."""
    threads = tables.shape[0]
    size = 8 * tables.shape[1] * tables.shape[2]
    for t in prange(threads):
        for b in range(first + t, last, threads):
            registers[t, 0] = b * block
            walk(tables.ctypes.data + t * size, tables.shape[1], tables.shape[2])
