"""The training loop: a ladder of small steps. fit -> epochs -> chunks of steps -> the program."""

import time
from functools import partial

import numpy as np

from .._warnings import warn
from .schedules import rates

CHUNK_SECONDS = 0.1  # how long compiled code runs before Python may react


class Loop:
    """Runs epochs over a :class:`Trainer`, keeps the history, calls the callbacks.

    Parameters
    ----------
    net : estimator
        What callbacks see.
    trainer : Trainer
    batch_size : int
    max_epochs : int
    shuffle : bool
    random_state : RandomState
        Shuffles.
    callbacks : list of Callback
    evaluate : callable or None
        Returns a dict to add to the epoch's record, from validation data.
    n_threads : int
    verbose : int
        Above 0, print a line per epoch.
    history : list of dict
        Appended to; earlier entries (warm start) are kept.
    epochs_done, planned_epochs : int
        Where a schedule of learning rates stands and how long it is, when this loop is a piece of
        a longer training. None: this loop is all of it.
    """

    def __init__(
        self,
        net,
        trainer,
        *,
        batch_size,
        max_epochs,
        shuffle,
        random_state,
        callbacks=(),
        evaluate=None,
        n_threads=1,
        verbose=0,
        history=None,
        epochs_done=0,
        planned_epochs=None,
    ):
        self.net, self.trainer = net, trainer
        self.batch_size, self.max_epochs, self.shuffle = batch_size, max_epochs, shuffle
        self.random_state, self.callbacks, self.evaluate = random_state, callbacks, evaluate
        self.n_threads, self.verbose = n_threads, verbose
        self.history = [] if history is None else history
        self.epochs_done = epochs_done
        self.planned_epochs = max_epochs if planned_epochs is None else planned_epochs
        self.snapshots = {}  # vectors by position of the callback that asked to keep them
        self.stopped_by = None  # position of the callback that ended the training
        self.seen, self._least = None, np.inf  # vectors of the best validation loss, and that loss
        self.interrupted = False
        self._chunk = 1
        self._weights = trainer.data.arrays.get("weight")

    def run(self):
        """Train; returns True when the user interrupted it."""
        self._call("on_fit_begin", max_epochs=self.max_epochs)
        try:
            for _ in range(self.max_epochs):
                if self.epoch():
                    break
        except KeyboardInterrupt:
            self.interrupted = True
            best = "best " if self.snapshots or self.seen is not None else ""
            warn(
                f"Training interrupted after {len(self.history)} epochs; the estimator keeps "
                f"the {best}weights so far.",
            )
        finally:
            self._call("on_fit_end")
        return self.interrupted

    def epoch(self):
        """One pass over the data; returns True to stop."""
        number = len(self.history) + 1
        self._call("on_epoch_begin", epoch=number)
        begin = time.perf_counter()
        record = {"epoch": number, "train_loss": self.train_epoch(number)}
        if self.evaluate is not None:
            record.update(self.evaluate())
            self._remember(record["valid_loss"])
        record["learning_rate"] = self._rate()
        record["seconds"] = time.perf_counter() - begin
        self.history.append(record)
        self.epochs_done += 1
        if self.verbose:
            print(_line(record))
        for k, callback in enumerate(self.callbacks):
            keep = partial(self.keep, k)
            if callback.on_epoch_end(self.net, record=record, snapshot=keep):
                self.stopped_by = k if self.stopped_by is None else self.stopped_by
        return self.stopped_by is not None

    def train_epoch(self, number):
        """All steps of an epoch; returns the mean loss over samples."""
        trainer, size = self.trainer, self.batch_size
        n = trainer.data.n
        order, whole, steps = self.order(n), n - n % size, -(-n // size)
        values = trainer.optimizer.registers(
            trainer.steps_done, steps, self.epochs_done, self.planned_epochs
        )
        total = 0.0
        if whole:
            total += self._steps(number, order[:whole].reshape(-1, size), values)
        if whole < n:
            total += self._steps(number, order[whole:].reshape(1, -1), values[-1:])
        weight = n if self._weights is None else max(float(self._weights.sum()), 1e-30)
        return float(total) / weight

    def order(self, n):
        """Row numbers of an epoch, int32."""
        if self.shuffle:
            return self.random_state.permutation(n).astype(np.int32)
        return np.arange(n, dtype=np.int32)

    def _steps(self, number, orders, values):
        """Run batches in chunks; returns the sum of losses times batch weights."""
        total, first = 0.0, 0
        while first < len(orders):
            part = orders[first : first + self._chunk]
            begin = time.perf_counter()
            losses = self.trainer.run(part, values[first : first + len(part)], self.n_threads)
            took = time.perf_counter() - begin
            first += len(losses)
            if not np.isfinite(losses[-1]):
                raise ValueError(self._diverged(number, first, losses[-1]))
            if self._weights is None:
                total += losses.sum() * part.shape[1]
            else:
                total += float(losses @ self._weights[part].sum(axis=1))
            self._chunk = max(1, int(CHUNK_SECONDS * len(part) / max(took, 1e-9)))
            if self.callbacks:
                self._call("on_chunk_end", epoch=number, step=first, n_steps=len(orders))
        return total

    def _rate(self):
        """The learning rate of the last step of this epoch."""
        steps = -(-self.trainer.data.n // self.batch_size)
        t = np.array([self.epochs_done + (steps - 1) / steps])
        return float(rates(self.trainer.optimizer.learning_rate, t, self.planned_epochs)[0])

    def _diverged(self, epoch, step, loss):
        return (
            f"The training loss became {loss} in epoch {epoch}, step {step}. Try a smaller "
            f"learning rate (it is {self._rate():g}), scale the inputs (StandardScaler or "
            "MinMaxScaler in front), or pass clip_norm=1.0 to the optimizer."
        )

    def _copy(self):
        return {k: v.copy() for k, v in self.trainer.vectors().items()}

    def keep(self, k=0):
        """Remember the weights as they are now, for the callback at position ``k``."""
        self.snapshots[k] = self._copy()

    def _remember(self, loss):
        """Keep the weights of the best validation loss, in case the user interrupts."""
        if loss < self._least and not self.snapshots:
            self._least, self.seen = loss, self._copy()

    def result(self):
        """Vectors to keep.

        Those a callback remembered (the one that stopped the training, else the first that did);
        after an interruption those of the best validation loss; else the last.
        """
        if self.snapshots:
            k = self.stopped_by if self.stopped_by in self.snapshots else min(self.snapshots)
            return self.snapshots[k]
        if self.interrupted and self.seen is not None:
            return self.seen
        return self.trainer.vectors()

    def _call(self, hook, **kwargs):
        return [getattr(c, hook)(self.net, **kwargs) for c in self.callbacks]


def _line(record):
    parts = [f"epoch {record['epoch']:4d}"]
    for key, value in record.items():
        if key not in ("epoch", "learning_rate", "seconds"):
            parts.append(f"{key.replace('_', ' ')} {value:.5f}")
    parts.append(f"{record['seconds']:.2f} s")
    return "  ".join(parts)
