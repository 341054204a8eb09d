"""The training loop: a ladder of small steps. fit -> epochs -> chunks of steps -> the program."""

import time
import warnings

import numpy as np

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
    ):
        self.net, self.trainer = net, trainer
        self.batch_size, self.max_epochs, self.shuffle = batch_size, max_epochs, shuffle
        self.random_state, self.callbacks, self.evaluate = random_state, callbacks, evaluate
        self.n_threads, self.verbose = n_threads, verbose
        self.history = [] if history is None else history
        self.best = None  # vectors of the best epoch, when a callback asked to keep them
        self._chunk = 1
        self._weights = trainer.data.arrays.get("weight")

    def run(self):
        """Train; returns True when the user interrupted it."""
        interrupted = False
        self._call("on_fit_begin", max_epochs=self.max_epochs)
        try:
            for _ in range(self.max_epochs):
                if self.epoch():
                    break
        except KeyboardInterrupt:
            interrupted = True
            warnings.warn(
                f"Training interrupted after {len(self.history)} epochs; the estimator keeps "
                "the best weights so far.",
                stacklevel=4,
            )
        finally:
            self._call("on_fit_end")
        return interrupted

    def epoch(self):
        """One pass over the data; returns True to stop."""
        number = len(self.history) + 1
        self._call("on_epoch_begin", epoch=number)
        begin = time.perf_counter()
        record = {"epoch": number, "train_loss": self.train_epoch(number)}
        if self.evaluate is not None:
            record.update(self.evaluate())
        record["learning_rate"] = self._rate()
        record["seconds"] = time.perf_counter() - begin
        self.history.append(record)
        if self.verbose:
            print(_line(record))
        return any(self._call("on_epoch_end", record=record, snapshot=self.snapshot))

    def train_epoch(self, number):
        """All steps of an epoch; returns the mean loss over samples."""
        trainer, size = self.trainer, self.batch_size
        n = trainer.data.n
        order, whole, steps = self.order(n), n - n % size, -(-n // size)
        values = trainer.optimizer.registers(trainer.steps_done, steps, steps, self.max_epochs)
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
        from .schedules import rates

        steps_per_epoch = -(-self.trainer.data.n // self.batch_size)
        t = np.array([max(self.trainer.steps_done - 1, 0) / steps_per_epoch])
        return float(rates(self.trainer.optimizer.learning_rate, t, self.max_epochs)[0])

    def _diverged(self, epoch, step, loss):
        return (
            f"The training loss became {loss} in epoch {epoch}, step {step}. Try a smaller "
            f"learning rate (it is {self._rate():g}), scale the inputs (StandardScaler or "
            "MinMaxScaler in front), or pass clip_norm=1.0 to the optimizer."
        )

    def snapshot(self):
        """Remember the weights as they are now."""
        self.best = {k: v.copy() for k, v in self.trainer.vectors().items()}

    def result(self):
        """Vectors to keep: those of the best epoch where one was remembered, else the last."""
        return self.best if self.best is not None else self.trainer.vectors()

    def _call(self, hook, **kwargs):
        return [getattr(c, hook)(self.net, **kwargs) for c in self.callbacks]


def _line(record):
    parts = [f"epoch {record['epoch']:4d}"]
    for key, value in record.items():
        if key not in ("epoch", "learning_rate", "seconds"):
            parts.append(f"{key.replace('_', ' ')} {value:.5f}")
    parts.append(f"{record['seconds']:.2f} s")
    return "  ".join(parts)
