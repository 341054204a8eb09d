"""Running a fitted network over many rows: blocks of the batch, spread over threads."""

import numpy as np

from ..graph.batching import order_batch
from ..graph.passes import STATIC_ROLES, optimize, split_static
from ..graph.program import compile_program
from ..graph.tensor import Tensor
from ..ops.optimizers import StoreRows

CACHE_FLOATS = 2**17  # elements of the widest activation of a block: half a megabyte
MOST_ROWS = 256


def block_rows(n, widest):
    """Rows of one block: a power of two, fitting the cache, not more than needed for ``n``."""
    fit = max(1, min(MOST_ROWS, CACHE_FLOATS // max(widest, 1)))
    return 1 << min(fit.bit_length() - 1, max(0, int(n - 1).bit_length()))


class Predictor:
    """Programs that map rows of a data set to rows of results.

    Parts of the graph that depend on weights alone (packing, folded batch norm) run once, in
    :meth:`refresh`.

    Parameters
    ----------
    network : Network
    build : callable
        ``build(output, trace, y)`` returns the tensors whose rows are wanted.
    data : Data
        Only its kind and shapes matter; other data of the same kind can be run.
    memories : dict of str to memory
        "parameter" and "state" on the device.
    device : CPU or CUDA
    block : int
        Rows per block.
    """

    def __init__(self, network, build, data, memories, device, block):
        self.device, self.block, self.memories = device, block, memories
        registers = Tensor((16,), "int32", role="registers")
        x, y = data.consecutive(block, registers)
        output, trace = network.trace(x, training=False)
        wanted = build(output, trace, y)
        self.shapes = [t.shape[1:] for t in wanted]
        wanted = optimize(wanted, training=False)
        wanted, static, static_size = split_static(wanted)
        wanted, self.stretches = order_batch(
            wanted, block, lambda t: t.role in (*STATIC_ROLES, "static")
        )
        self.static = device.zeros(static_size)
        setup = compile_program(list(static), pinned=static)
        self.setup_memories = {
            **memories,
            "static": self.static,
            "constants": device.upload(setup.constants),
            "arena": device.empty(setup.arena_size),
        }
        self.setup_table = self._bind(setup, self.setup_memories)
        stores = [
            StoreRows(t, Tensor((1,), role=f"out{k}"), registers).output
            for k, t in enumerate(wanted)
        ]
        self.program = compile_program(stores)
        self.constants = device.upload(self.program.constants)
        self.arenas = []  # one per thread
        self.refresh()

    def _bind(self, program, memories):
        """Table of a program; ``memories`` must live as long as it is used."""
        addresses = {role: self.device.address(m) for role, m in memories.items()}
        return program.bind(self.device, addresses)

    def refresh(self):
        """Recompute what depends on the weights; call it after they change."""
        if len(self.setup_table):
            self.device.run(self.setup_table)

    def run(self, data, n_threads):
        """Rows of results for all rows of ``data``.

        Returns
        -------
        list of ndarray of float32, one per tensor ``build`` returned
        """
        return self.bound(data, n_threads)()

    def bound(self, data, n_threads):
        """A function that does :meth:`run` on the same data again and again, at less cost.

        Its results are overwritten by its next call.
        """
        blocks = -(-data.n // self.block)
        threads = self.device.workers(max(1, min(n_threads, blocks)))
        while len(self.arenas) < threads:
            self.arenas.append(self.device.empty(self.program.arena_size))
        outputs = [self.device.empty(data.n * int(np.prod(s))) for s in self.shapes]
        registers = np.zeros((threads, 16), np.int32)
        registers[:, 1] = data.n
        registers = self.device.upload(registers)
        shared = {
            **self.memories,
            **data.upload(self.device),
            **{f"out{k}": out for k, out in enumerate(outputs)},
            "static": self.static,
            "constants": self.constants,
        }
        tables = np.stack(
            [
                self._bind(
                    self.program, {**shared, "arena": self.arenas[t], "registers": registers[t]}
                )
                for t in range(threads)
            ]
        )

        def run():
            self.device.run_blocks(tables, registers, self.block, 0, blocks)
            return [
                self.device.download(out)[: data.n * int(np.prod(s))].reshape(data.n, *s)
                for out, s in zip(outputs, self.shapes)
            ]

        run.memories = shared  # the tables hold their addresses
        return run
