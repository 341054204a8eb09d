"""Training programs: one step of gradient descent on a batch, run in chunks of many steps."""

import numpy as np

from .. import ops
from ..graph.differentiate import gradients
from ..graph.passes import fuse_mask, optimize, rewrite
from ..graph.program import compile_program
from ..graph.tensor import Tensor
from ..ops.elementwise import Copy
from ..ops.optimizers import ClipScale, LossTotal, NormalizeWeights, Penalty
from .weights import Weights, place

REGISTERS = 16
FIRST_VALUE = 2  # registers[0] is the seed, [1] the step number


class Trainer:
    """Owns the memory of a network in training and the programs that change it.

    Parameters
    ----------
    network : Network
    objective : callable
        ``objective(y, output)`` gives the loss of every sample, (n,).
    data : Data
    vectors : dict of str to ndarray
        Start values, as :meth:`Network.initialize` gives them.
    device : CPU or CUDA
    optimizer : Optimizer or None
        None: programs compute loss and gradient only (for L-BFGS).
    seed : int
    """

    def __init__(self, network, objective, data, vectors, device, optimizer=None, seed=0):
        self.network, self.objective, self.data = network, objective, data
        self.device, self.optimizer, self.seed = device, optimizer, seed
        size = network.parameters.sizes["parameter"]
        self.memories = {role: place(device, v) for role, v in vectors.items()}
        self.weights = Weights(device, dict(self.memories))
        self.memories["gradient"] = device.zeros(size)
        self.slots = optimizer.update.slots if optimizer is not None else 0
        for k in range(self.slots):
            self.memories[f"slot{k}"] = device.zeros(size)
        self.memories["loss"] = device.zeros(1)
        self.memories.update(data.upload(device))
        self.memories["registers"] = device.upload(np.zeros(REGISTERS, np.int32))
        self.steps_done = 0
        self.momentum = 0.0  # the largest of the running averages that a step updates, if any
        self._tables = {}

    def vectors(self):
        """The weights now, as host arrays that share memory with the device where it can."""
        return {role: self.device.download(self.memories[role]) for role in ("parameter", "state")}

    # -- building -------------------------------------------------------------------------------

    def build(self, n):
        """Program of one step on a batch of ``n`` rows."""
        index = Tensor((n,), "int32", role="index")
        x, y, weight = self.data.chosen(index)
        memory = "fast" if self.device.winograd else "low"
        output, trace = self.network.trace(x, training=True, memory=memory)
        loss = self.objective(y, output)
        share = ops.full((n,), 1.0 / n) if weight is None else NormalizeWeights(weight).output
        self.momentum = max((t.op.momentum for t in trace.updates), default=0.0)
        loss, *statistics = optimize([loss, *trace.updates], training=True)

        specs = [s for s in self.network.parameters if s.trainable]
        leaves = [trace.leaf(s) for s in specs]
        found = gradients(loss, leaves, seed=share)
        found = [g if g is not None else ops.full(t.shape, 0.0) for g, t in zip(found, leaves)]
        loss, share, *rest = rewrite([loss, share, *statistics, *found], fuse_mask)
        statistics, found = rest[: len(statistics)], rest[len(statistics) :]

        pinned = {}
        for spec, g in zip(specs, found):
            if g.op is None or g.op.shares() or g in pinned:
                g = Copy(g).output
            pinned[g] = ("gradient", spec.offset)
        penalties = self._penalties(specs, leaves, list(pinned), n, weight)
        done = [*pinned, *penalties]
        if self.optimizer is not None:
            own = [p for p in penalties if self._adds(p.op)]
            penalties = [p for p in penalties if p not in own]
            done = [self._update([*pinned, *penalties], [p.op for p in own])]
            penalties += done if own else []
        total = LossTotal(self._reported(loss, share), *penalties).output
        return compile_program([*statistics, total, *done], {**pinned, total: ("loss", 0)})

    def _penalties(self, specs, leaves, gradients, n, weight):
        """Operations that add penalties to the gradients, and whose outputs add to the loss."""
        return [
            Penalty(leaf, g, l1=spec.l1, l2=spec.l2).output
            for spec, leaf, g in zip(specs, leaves, gradients)
            if spec.l1 or spec.l2
        ]

    def _reported(self, loss, share):
        """The loss of the batch, before penalties, as it is reported."""
        return ops.sum(loss * share)

    def _adds(self, penalty):
        """Whether the optimizer's kernel can add the gradient of a penalty itself."""
        unclipped = self.optimizer.clip_norm is None  # the norm is that of the whole gradient
        return unclipped and penalty.l1 == 0 and len(penalty.inputs) == 2

    def _update(self, wait_for, penalties):
        def whole(role):
            return Tensor((self.network.parameters.sizes["parameter"],), role=role)

        gradient = whole("gradient")
        limit = self.optimizer.clip_norm
        scale = None
        if limit is not None:
            scale = ClipScale(gradient, *wait_for, limit=float(limit)).output
        slots = [whole(f"slot{k}") for k in range(self.slots)]
        registers = Tensor((REGISTERS,), "int32", role="registers")
        update = self.optimizer.update
        parts = tuple((p.inputs[0].offset, p.inputs[0].size, p.l2) for p in penalties)
        return update(
            whole("parameter"), gradient, *slots, registers, scale, *wait_for, penalties=parts
        ).output

    def _table(self, n):
        """(table, memories) for batches of ``n`` rows, built on first use."""
        if n not in self._tables:
            program = self.build(n)
            memories = {
                **self.memories,
                "arena": self.device.empty(program.arena_size),
                "constants": self.device.upload(program.constants),
                "index": self.device.upload(np.zeros(n, np.int32)),
            }
            addresses = {role: self.device.address(m) for role, m in memories.items()}
            self._tables[n] = program.bind(self.device, addresses), memories
        return self._tables[n]

    # -- running --------------------------------------------------------------------------------

    def run(self, orders, values, n_threads):
        """Run one step per row of ``orders``.

        Parameters
        ----------
        orders : ndarray of int32, shape (n_steps, n)
            Row numbers of every batch.
        values : ndarray of float32, shape (n_steps, k)
            What the optimizer reads from the registers.
        n_threads : int

        Returns
        -------
        ndarray of float64
            Loss of every step done; shorter than asked when a loss was not finite.
        """
        table, memories = self._table(orders.shape[1])
        steps = len(orders)
        filled = np.empty((steps, FIRST_VALUE + values.shape[1]), np.int32)
        filled[:, 0] = self.seed
        filled[:, 1] = np.arange(self.steps_done, self.steps_done + steps)
        filled[:, FIRST_VALUE:] = np.ascontiguousarray(values).view(np.int32)
        losses = np.empty(steps)
        done = self.device.run_steps(
            table,
            memories["registers"],
            filled,
            memories["index"],
            orders,
            memories["loss"],
            losses,
            n_threads,
        )
        self.steps_done += done
        return losses[:done]

    def loss_and_gradient(self, theta, rows, n_threads):
        """Loss over the given rows at a flat parameter vector, and its gradient, in float64."""
        self.device.write(self.memories["parameter"], theta)
        self.steps_done = 0  # dropout draws the same mask every time: one function is minimised
        loss = self.run(rows[None], np.zeros((1, 0), np.float32), n_threads)[0]
        gradient = self.device.download(self.memories["gradient"])
        return loss, gradient[: theta.size].astype(np.float64)

    def state(self):
        """What a later trainer needs to go on: optimizer slots and the number of steps."""
        slots = [self.device.download(self.memories[f"slot{k}"]).copy() for k in range(self.slots)]
        return {"slots": slots, "steps_done": self.steps_done}

    def restore(self, state):
        """Go on from :meth:`state` of another trainer, where the optimizer keeps the same slots."""
        size = self.memories["gradient"].size
        if [len(s) for s in state["slots"]] != [size] * self.slots:
            return
        for k, slot in enumerate(state["slots"]):
            self.device.write(self.memories[f"slot{k}"], slot)
        self.steps_done = state["steps_done"]
