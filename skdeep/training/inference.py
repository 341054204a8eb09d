"""Running a fitted network over many rows: blocks of the batch, spread over threads."""

import math

import numpy as np

from ..graph.batching import order_batch
from ..graph.passes import fuse_concatenate, optimize, rewrite, split_static
from ..graph.precision import to_bfloat16
from ..graph.program import compile_program
from ..graph.tensor import Tensor
from ..ops.rows import StoreRows

MOST_ROWS = 256  # of a block
MOST_FLOATS = 2**23  # elements of the widest activation of a block: 32 MB
WORTH_SHARING = 2**17  # elements of the widest activation of all rows below which one thread works
KEPT = 8  # predictors for blocks of different sizes
FEW = 16  # rows up to which every number has its own program


def block_rows(n, widest, threads):
    """Rows of one block, so that ``threads`` blocks do ``n`` rows, or more if these are many.

    Fewer rows than threads are one block, whose work the threads share. Above a few, block sizes
    are rounded up: every size is a program of its own.

    Parameters
    ----------
    n : int
    widest : int
        Elements of the widest activation of a row.
    threads : int
    """
    fit = max(1, min(MOST_ROWS, MOST_FLOATS // max(widest, 1)))
    rows = max(1, math.ceil(n / threads) if n >= threads and n * widest >= WORTH_SHARING else n)
    if rows > FEW:
        step = 1 << (rows.bit_length() - 3)
        rows = math.ceil(rows / step) * step
    return math.ceil(rows / math.ceil(rows / fit))  # blocks of equal size


def keep_recent(predictors, key, predictor, most=KEPT):
    """Keep a predictor for later, and of all of them the few used last."""
    predictors[key] = predictor
    if len(predictors) > most:
        predictors.pop(next(iter(predictors)), None)


class Predictor:
    """Programs that map rows of a data set to rows of results.

    Parts of the graph that depend on weights alone (packing, folded batch norm) run once, for all
    predictors of the same weights. Layers take as many rows of a block at a time as suits the
    cache; ``stretches`` says which.

    Parameters
    ----------
    network : Network
    build : callable
        ``build(output, trace, y)`` returns the tensors whose rows are wanted.
    data : Data
        Only its kind and shapes matter; other data of the same kind can be run.
    weights : Weights
        On the device that computes.
    block : int
        Rows per block.
    memory : {"fast", "low"}, default="fast"
        "low" declines Winograd's convolutions, whose packed weights take four times the memory.
    precision : {"float32", "bfloat16"}, default="float32"
        Of the weights and of what layers hand to one another; sums and results are float32.
    n_threads : int, default=1
        That compute what depends on weights alone.
    """

    def __init__(self, network, build, data, weights, block, memory="fast", precision="float32",
                 n_threads=1):  # fmt: skip
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
        if precision == "bfloat16" and weights.device.name != "cpu":
            raise ValueError(
                f"precision='bfloat16' needs device='cpu', not {weights.device.name!r}"
            )
        self.device, self.block, self.weights = weights.device, block, weights
        self.network = network
        registers = Tensor((16,), "int32", role="registers")
        x, y = data.consecutive(block, registers)
        memory = memory if self.device.winograd else "low"
        output, trace = network.trace(x, training=False, memory=memory)
        wanted = build(output, trace, y)
        self.shapes = [t.shape[1:] for t in wanted]
        wanted = optimize(wanted, training=False)
        if precision == "bfloat16":
            wanted = to_bfloat16(wanted)
        wanted, self.places, static_size = split_static(wanted)
        wanted, self.stretches = order_batch(wanted, block, self.device.cache)
        wanted = rewrite(wanted, fuse_concatenate)
        self.static = weights.derive(self.places, static_size, n_threads)
        stores = [
            StoreRows(t, Tensor((1,), role=f"out{k}"), registers).output
            for k, t in enumerate(wanted)
        ]
        self.program = compile_program(stores)
        self.constants = self.device.upload(self.program.constants)
        self.arenas = []  # one per thread

    def _bind(self, program, memories):
        """Table of a program; ``memories`` must live as long as it is used."""
        addresses = {role: self.device.address(m) for role, m in memories.items()}
        return program.bind(self.device, addresses)

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
            self.device.run_blocks(tables, registers, self.block, 0, blocks, n_threads)
            return [
                self.device.download(out)[: data.n * int(np.prod(s))].reshape(data.n, *s)
                for out, s in zip(outputs, self.shapes)
            ]

        run.memories, run.tables = shared, tables  # the tables hold addresses of the memories
        return run
