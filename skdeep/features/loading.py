"""Pictures in batches: decoded and resized in the background while the caller computes."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .._config import configured_threads
from ..kernels.cpu import resolve_threads
from ..kernels.resize import resize_floats, resize_levels
from .pictures import PictureError, Pictures

__all__ = ["stream"]


def stream(pictures, preprocessing, batch_size=32, n_threads=None, *, indices=None, out=None):
    """Prepare pictures batch by batch, the next one while the caller works on the current.

    Threads take picture after picture: read, decode, resize and normalise straight into the batch.
    Each holds one decoded picture, and there are two batches, so that memory stays the same
    however many pictures there are. The order and the bits of the results do not depend on the
    number of threads.

    Parameters
    ----------
    pictures : Pictures or what it takes
    preprocessing : Preprocessing
    batch_size : int, default=32
    n_threads : int or None, default=None
        Threads that prepare pictures; None: the default of ``skdeep.set_config``, else all cores.
    indices : sequence of int or None, default=None
        Which pictures, in which order; None: all.
    out : ndarray of shape (>= number of pictures, h, w, 3), float32, C-contiguous, or None
        Write the batches one after another into this array, instead of using two by turns.

    Returns
    -------
    iterator of (indices, batch, errors)
        ``indices``, an ndarray of int, says which pictures these are; ``batch``, an ndarray of
        shape (n, h, w, 3) and float32, is valid until the next one is asked for; ``errors`` is a
        dict of :class:`PictureError` by index: the rows of these pictures are zero. Its threads
        end with it, also when it is closed or dropped before its end.

    Raises
    ------
    ValueError
        When an argument makes no sense, or pictures would come out in different sizes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features import Preprocessing, stream
    >>> X = [np.zeros((9, 7, 3), np.uint8), np.ones((8, 8)), np.full((8, 8), 2.0)]
    >>> for indices, batch, errors in stream(X, Preprocessing(resize=4, crop=4), batch_size=2):
    ...     print(indices, batch.shape, list(errors))
    [0 1] (2, 4, 4, 3) []
    [2] (1, 4, 4, 3) [2]
    """
    pictures = pictures if isinstance(pictures, Pictures) else Pictures(pictures)
    order = np.arange(len(pictures)) if indices is None else np.asarray(indices, np.int64)
    if order.ndim != 1 or (len(order) and not (0 <= order.min() and order.max() < len(pictures))):
        raise ValueError(f"indices must be a sequence of numbers from 0 to {len(pictures) - 1}.")
    if int(batch_size) != batch_size or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be a positive integer.")
    shape = _shape(pictures, preprocessing)
    if out is not None and not (
        out.dtype == np.float32
        and out.flags.c_contiguous
        and out.flags.writeable
        and out.shape[1:] == shape
        and len(out) >= len(order)
    ):
        raise ValueError(
            f"out must be a C-contiguous float32 array of shape {(len(order), *shape)}, "
            f"got {out.dtype} of shape {out.shape}."
        )
    threads = resolve_threads(configured_threads(n_threads))
    return _batches(pictures, preprocessing, order, int(batch_size), threads, shape, out)


def _shape(pictures, preprocessing):
    """What all pictures come out as."""
    shape = preprocessing.output_shape
    if None in shape and pictures.size is not None:
        shape = preprocessing.shape_of(*pictures.size)
    if None in shape and len(pictures):
        raise ValueError(
            "The pictures would come out in different sizes: give Preprocessing a crop, or "
            "resize=(height, width)."
        )
    return shape


def _batches(pictures, preprocessing, order, batch_size, threads, shape, out):
    if not len(order):
        return
    if len(order) == 1:  # nothing to do meanwhile, and threads take longer to start
        batch, errors = np.empty((1, *shape), np.float32) if out is None else out[:1], {}
        _fill(pictures, preprocessing, enumerate(order.tolist()), batch, errors, [])
        yield order, batch, errors
        return
    resize_levels.address, resize_floats.address  # noqa: B018  (compile them once, not per thread)
    own = [np.empty((min(batch_size, len(order)), *shape), np.float32) for _ in range(2)]
    pool = ThreadPoolExecutor(threads, "skdeep-pictures")
    stopped = []

    def begin(start):
        chosen = order[start : start + batch_size]
        batch = own[start // batch_size % 2] if out is None else out[start:]
        batch, errors = batch[: len(chosen)], {}
        waiting = iter(enumerate(chosen.tolist()))  # one iterator: each picture goes to one thread
        jobs = [
            pool.submit(_fill, pictures, preprocessing, waiting, batch, errors, stopped)
            for _ in range(min(threads, len(chosen)))
        ]
        return chosen, batch, errors, jobs

    try:
        following = begin(0)
        for start in range(batch_size, len(order) + batch_size, batch_size):
            chosen, batch, errors, jobs = following
            for job in jobs:
                job.result()
            if start < len(order):
                following = begin(start)
            yield chosen, batch, errors
    finally:
        stopped.append(True)
        pool.shutdown(wait=True, cancel_futures=True)


def _fill(pictures, preprocessing, waiting, batch, errors, stopped):
    """One thread's work on a batch: pictures, as long as there are any."""
    for row, i in waiting:
        if stopped:
            return
        try:
            preprocessing.write(pictures.load(i), batch[row])
        except PictureError as error:
            batch[row] = 0
            errors[i] = error
        except MemoryError as error:
            batch[row] = 0
            errors[i] = PictureError(f"{pictures.name(i)} does not fit into memory")
            errors[i].__cause__ = error
