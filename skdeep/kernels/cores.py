"""Threads that work together keep to cores of their own.

Linux begins a thread on the core of the one that starts it, and may leave both there for a tenth of
a second while another core is idle: two threads then take as long as one. So each says which core
it is on, and looks now and then whether another of them is there too. The later one leaves, and may
be sent anywhere again at once: nothing is pinned, the system still decides.
"""

import ctypes
import os
from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiler import inline
from .simd import load_i64, store_i64

LINE = 128  # bytes between words that different threads write
WORD = 64  # bits
# What a team shares: functions of the system (or 0), bytes of a set of cores, members; the cores
# that may be used; then for each member the core it is on and a set to work with.
ASK, MOVE, BYTES, TEAM, ALLOWED = 0, 8, 16, 24, LINE


@cache
def _functions():
    """The system's ``sched_getcpu`` and ``sched_setaffinity``, or None where they are missing."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    try:
        library = ctypes.CDLL(None)
        return library.sched_getcpu, library.sched_setaffinity
    except (AttributeError, OSError):
        return None


def shared_cores(team):
    """Memory through which a team of threads keeps apart; this thread is its first member."""
    functions = _functions()
    usable = sorted(os.sched_getaffinity(0)) if functions and team > 1 else []
    words = -(-(usable[-1] + 1) // WORD) if usable else 1
    stride = -(-8 * (words + 1) // LINE) * LINE
    cores = np.zeros((stride * (team + 1) + 2 * LINE) // 8, np.int64)
    cores = cores[-cores.ctypes.data % LINE // 8 :]
    if len(usable) > 1:
        cores[:2] = [ctypes.cast(f, ctypes.c_void_p).value for f in functions]
        for core in usable:
            cores.view(np.uint64)[ALLOWED // 8 + core // WORD] |= np.uint64(1 << core % WORD)
    cores[BYTES // 8], cores[TEAM // 8] = 8 * words, team
    members = cores[(ALLOWED + stride) // 8 :][: stride * team // 8].reshape(team, -1)
    members[:, 0] = -1
    if len(usable) > 1:
        members[0, 0] = functions[0]()
    return cores


@intrinsic
def ask_system(typingctx, address):
    """Result of the system's function at an address that takes nothing and returns an int."""

    def emit(context, builder, sig, args):
        kind = ir.FunctionType(ir.IntType(32), [])
        found = builder.call(builder.inttoptr(args[0], kind.as_pointer()), [])
        return builder.sext(found, ir.IntType(64))

    return types.int64(types.int64), emit


@intrinsic
def allow_cores(typingctx, address, size, mask):
    """Call ``sched_setaffinity``, at an address, for this thread; 0 if it obeyed."""

    def emit(context, builder, sig, args):
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), word, word])
        function = builder.inttoptr(args[0], kind.as_pointer())
        found = builder.call(function, [ir.Constant(ir.IntType(32), 0), args[1], args[2]])
        return builder.sext(found, ir.IntType(64))

    return types.int64(types.int64, types.int64, types.int64), emit


@inline
def member(cores, k):
    """Where member k says which core it is on."""
    stride = -(-(load_i64(cores + BYTES) + 8) // LINE) * LINE
    return cores + ALLOWED + stride * (k + 1)


@inline
def leave(cores, me, ask):
    """Go to a core that no other member is on, if there is one."""
    size, mask = load_i64(cores + BYTES), member(cores, me) + 8
    for at in range(0, size, 8):
        store_i64(mask + at, load_i64(cores + ALLOWED + at))
    for k in range(load_i64(cores + TEAM)):
        core = load_i64(member(cores, k))
        if k != me and 0 <= core < 8 * size:
            at = mask + core // WORD * 8
            store_i64(at, load_i64(at) & ~(1 << core % WORD))
    left = 0
    for at in range(0, size, 8):
        left |= load_i64(mask + at)
    if left == 0:
        return
    move, before = load_i64(cores + MOVE), load_i64(member(cores, me))
    moved = allow_cores(move, size, mask)
    here = ask_system(ask)
    if allow_cores(move, size, cores + ALLOWED) != 0 or moved != 0 or here == before:
        store_i64(cores + ASK, 0)  # forbidden here, or not what the system tells
    else:
        store_i64(member(cores, me), here)


@inline
def keep_apart(cores, me):
    """Say which core member ``me`` is on, and leave it if one before it is there."""
    ask = load_i64(cores + ASK)
    if ask == 0:
        return
    here, place = ask_system(ask), member(cores, me)
    if load_i64(place) != here:
        store_i64(place, here)
    for k in range(me):
        if load_i64(member(cores, k)) == here:
            leave(cores, me, ask)
            break
