"""The loops that walk a program: the only compiled code that knows what a program is.

A program is an int64 table, one row per kernel call:
``[address of the kernel, tiles, run tiles in parallel?, 0 | operands ...]``.
"""

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from .compiler import cached_njit, inline

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
        kind = ir.FunctionType(ir.VoidType(), [word.as_pointer(), word])
        builder.call(
            builder.inttoptr(args[0], kind.as_pointer()),
            [builder.inttoptr(args[1], word.as_pointer()), args[2]],
        )
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@inline
def walk(table, first, width, rows):
    """Every tile of every row, in order. ``table`` is the address of the first row."""
    for r in range(rows):
        row = table + 8 * r * width
        address = first[r, 0]
        for tile in range(first[r, 1]):
            call(address, row + 8 * HEADER, tile)


@cached_njit(types.void(TABLE))
def run_serial(table):
    """Walk a program once on the calling thread."""
    walk(table.ctypes.data, table, table.shape[1], table.shape[0])


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


@cached_njit(_STEPS)
def steps_serial(table, registers, values, index, orders, loss, losses):
    """Walk a training program once per row of ``orders``.

    Before step s ``values[s]`` is copied to ``registers`` and ``orders[s]`` to ``index``; after it
    the loss is kept in ``losses[s]``. Stops after a step whose loss is not finite.

    Returns
    -------
    int
        Number of steps done.
    """
    for s in range(orders.shape[0]):
        for k in range(values.shape[1]):
            registers[k] = values[s, k]
        for k in range(orders.shape[1]):
            index[k] = orders[s, k]
        walk(table.ctypes.data, table, table.shape[1], table.shape[0])
        losses[s] = loss[0]
        if not np.isfinite(loss[0]):
            return s + 1
    return orders.shape[0]


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


@cached_njit(_BLOCKS)
def blocks_serial(tables, registers, block, first, last):
    """Run blocks ``first .. last-1`` of ``block`` rows each through ``tables[0]``.

    ``registers[t, 0]`` tells the program of table t at which row its block starts.
    """
    for b in range(first, last):
        registers[0, 0] = b * block
        walk(tables.ctypes.data, tables[0], tables.shape[2], tables.shape[1])


@cached_njit(_BLOCKS, parallel=True)
def blocks_parallel(tables, registers, block, first, last):
    """As :func:`blocks_serial`, each thread with its own table, registers and arena."""
    threads = tables.shape[0]
    size = 8 * tables.shape[1] * tables.shape[2]
    for t in prange(threads):
        for b in range(first + t, last, threads):
            registers[t, 0] = b * block
            walk(tables.ctypes.data + t * size, tables[t], tables.shape[2], tables.shape[1])
