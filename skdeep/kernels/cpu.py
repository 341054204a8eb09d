"""The CPU as a device: memory, kernel addresses, and runs that respect every thread pool.

A device object offers ``name, winograd, cache, workers, empty, zeros, discard, upload, write,
download, address, handles, run, run_steps, run_blocks``;
the CUDA device of :mod:`skdeep.kernels.cuda` offers the same.
"""

import ctypes
import logging
import mmap
import sys
import threading
from functools import cache

import numba
import numpy as np

from . import runner
from .compiler import KERNELS, cache_directory

ALIGNMENT = 64
WORTH_A_TEAM = 300_000  # ns of work in rows to share: starting a thread takes about 100 us
SLACK = 32  # elements readable past the end of every buffer


def available_threads():
    """Threads a parallel run may use here: Numba's limit, which joblib lowers in its workers."""
    return numba.config.NUMBA_NUM_THREADS


def resolve_threads(n_threads):
    """Number of threads to use for a requested one (None: all, but 1 in a thread of a pool)."""
    if n_threads is None:
        in_main = threading.current_thread() is threading.main_thread()
        return available_threads() if in_main else 1
    return max(1, min(int(n_threads), available_threads()))


class CPU:
    """Runs programs on the host."""

    name = "cpu"
    winograd = True  # whether convolutions may take Winograd's algorithms
    cache = 2**20  # bytes that the order over the batch reckons with

    def workers(self, n_threads):
        """Programs that run side by side when ``n_threads`` are asked for."""
        return n_threads

    def empty(self, n):
        """Uninitialised float32 memory for ``n`` elements, aligned, with slack for reading."""
        return self._aligned(np.empty, n)

    def zeros(self, n):
        """As :meth:`empty`, filled with zeros; large ones take memory only where it is written."""
        return self._aligned(np.zeros, n)

    def _aligned(self, make, n):
        raw = make(4 * (n + SLACK) + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + 4 * n].view(np.float32)

    def discard(self, memory, n):
        """Give the first ``n`` elements of a memory back to the system; nobody reads them again."""
        if advise := _advise_function():
            begin = -(-self.address(memory) // mmap.PAGESIZE) * mmap.PAGESIZE
            size = (self.address(memory) + 4 * n - begin) // mmap.PAGESIZE * mmap.PAGESIZE
            if size > 0:
                advise(begin, size, mmap.MADV_DONTNEED)

    def upload(self, array):
        """Memory that holds a C-contiguous float32 or int32 array. On the CPU: the array itself."""
        return array

    def write(self, memory, array):
        """Copy an array of the same type to the begin of a memory."""
        memory[: array.size] = array

    def download(self, memory):
        """Memory as a NumPy array. On the CPU: no copy."""
        return memory

    def address(self, memory):
        """What a program stores to refer to the memory."""
        return memory.ctypes.data

    def handles(self, names):
        """Addresses of kernels by name, compiling the missing ones and saying so."""
        missing = [n for n in names if not (KERNELS[n].loaded or KERNELS[n].on_disk)]
        if missing:
            logging.getLogger("skdeep").warning(
                "skdeep: compiling %d kernel%s, %s: %s",
                len(missing),
                "s" if len(missing) > 1 else "",
                "once for this machine"
                if cache_directory() is not None
                else "with nowhere to keep them (set NUMBA_CACHE_DIR)",
                ", ".join(missing),
            )
        return {name: KERNELS[name].address for name in names}

    def run(self, table, n_threads=1):
        """Walk a program once; the threads share the tiles of large rows."""
        if n_threads > 1 and table[:, 2].any():
            registers, nothing = np.zeros(16, np.int32), np.zeros((1, 0), np.int32)
            zero = np.zeros(1, np.float32)
            runner.steps(
                table, registers, nothing, nothing[0], nothing, zero, np.zeros(1), team=n_threads
            )
        else:
            runner.launch(runner.run_serial, table, *table.shape)

    def run_steps(self, table, registers, values, index, orders, loss, losses, n_threads=1,
                  flush=True):  # fmt: skip
        """Walk a training program once per row of ``orders``; returns the number of steps done.

        Numbers below the normal ones are zero meanwhile, unless ``flush`` is false.
        """
        shared = len(orders) * int(table[:, 2].sum())
        team = n_threads if shared > WORTH_A_TEAM else 1
        arguments = table, registers, values, index, orders, loss, losses
        return runner.steps(*arguments, team=team, flush=flush)

    def run_blocks(self, tables, registers, block, first, last, n_threads=1):
        """Run blocks of rows, one table per thread; one after another where there is one table.

        Then ``n_threads`` share the tiles of large rows, as in training.
        """
        if len(tables) > 1 and last - first > 1:
            runner.blocks(tables, registers, block, first, last)
            return
        starts = block * np.arange(first, last, dtype=np.int32)[:, None]
        nothing = np.zeros((len(starts), 0), np.int32)
        zero = np.zeros(1, np.float32)
        self.run_steps(
            tables[0], registers[0], starts, nothing[0], nothing, zero, np.zeros(len(starts)),
            n_threads, flush=False,
        )  # fmt: skip


@cache
def _advise_function():
    """The system's madvise, where it frees memory at once; else None."""
    if sys.platform != "linux":
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return advise
