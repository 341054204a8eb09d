"""Weights on a device, and what programs derive from them once."""

import threading
from weakref import WeakValueDictionary

import numpy as np

from ..graph.program import compile_program

STEP = 16  # rows of a table after which weights are let go of


def place(device, vector):
    """A copy of a flat vector in a memory of a device, with the slack that kernels may read."""
    memory = device.zeros(vector.size)
    device.write(memory, vector)
    return memory


class Weights:
    """The flat vectors of a network on a device.

    Programs for prediction do not compute with weights as they are, but with packed panels, folded
    batch norm and the like. Those are computed once, and shared by all programs that need the same,
    in any thread.

    Parameters
    ----------
    device : CPU or CUDA
    memories : dict of str to memory, or callable
        "parameter" and "state" on the device. A function that gives them is called when something
        is derived, and what it gives is let go of on the way: the weights cannot change then. What
        is derived of them is kept as long as somebody uses it.
    """

    def __init__(self, device, memories):
        self.device, self.memories = device, memories
        self._passing = callable(memories)
        self._derived = WeakValueDictionary() if self._passing else {}  # memory by what is computed
        self._tables = []  # that compute it anew, and the memories they point to
        self._lock = threading.Lock()

    def derive(self, places, size, n_threads=1):
        """Memory that holds tensors computed from the weights alone.

        Parameters
        ----------
        places : dict of Tensor to (str, int)
            The tensors and where they go in the memory "static", as ``split_static`` gives them.
        size : int
            Words of that memory.
        n_threads : int, default=1
            That compute them.
        """
        program = compile_program(list(places), pinned=places)
        key = program.fingerprint()
        with self._lock:
            static = self._derived.get(key)
            if static is None:
                memories = {
                    **(self.memories() if self._passing else self.memories),
                    "static": self.device.zeros(size),
                    "constants": self.device.upload(program.constants),
                    "arena": self.device.empty(program.arena_size),
                }
                addresses = {role: self.device.address(m) for role, m in memories.items()}
                table = program.bind(self.device, addresses)
                if self._passing:
                    self._run_once(program, table, memories, n_threads)
                else:
                    self._run(table, n_threads)
                    self._tables.append((table, memories))
                self._derived[key] = static = memories["static"]
            return static

    def _run_once(self, program, table, memories, n_threads):
        """Walk a table, and let go of the weights on the way: what is derived takes their place."""
        for start in range(0, len(table), STEP):
            stop = start + STEP
            self._run(table[start:stop], n_threads)
            for role in ("parameter", "state"):
                n = program.first_read(role, stop)
                self.device.discard(memories[role], memories[role].size if n is None else n)

    def refresh(self):
        """Compute everything anew; call it after the weights have changed."""
        with self._lock:
            for table, _ in self._tables:
                self._run(table)

    def _run(self, table, n_threads=1):
        if len(table):
            self.device.run(table, n_threads)

    @property
    def derived_bytes(self):
        """Memory of everything derived."""
        return sum(4 * int(np.size(memory)) for memory in self._derived.values())
