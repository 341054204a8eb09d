"""Features of pictures, kept in a folder by what they are features of."""

import hashlib
import os
import threading
from functools import lru_cache
from pathlib import Path

from joblib import Memory

from .. import __version__
from .segments import Store

__all__ = ["FeatureCache"]

# One per folder and process, so that clones of an estimator share what is known of the folder.
_stores, _stores_lock = {}, threading.Lock()
STORES = 16


def _store(folder):
    with _stores_lock:
        store = _stores.pop(folder, None) or Store(folder)
        _stores[folder] = store
        if len(_stores) > STORES:
            del _stores[next(iter(_stores))]
        return store


@lru_cache(64)
def _begun(extractor):
    """What a digest begins with, gone through once for all pictures of an extractor."""
    text = f"{__version__} {extractor}".encode()
    return hashlib.blake2b(f"{len(text)} ".encode() + text, digest_size=32)


class FeatureCache:
    """A folder of features, for several processes at once.

    What cannot be written, because the disk is full or the folder read-only, is not kept: there is
    a warning, and features are computed as without a cache. What was not written whole, or has
    changed since, is not found.

    Parameters
    ----------
    location : path
        The folder; made when something is kept first.
    max_bytes : int, default=4 * 2**30
        When there would be more, what was written longest ago is removed, an eighth of it or
        64 MiB at a time.

    Raises
    ------
    ValueError
        For a location that is a file, or a ``max_bytes`` that is not positive.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdeep.features import FeatureCache
    >>> cache = FeatureCache(tempfile.mkdtemp())
    >>> keys = [cache.key(picture, "resnet18 pool") for picture in (b"one", b"another")]
    >>> cache.put_many(keys[:1], [np.ones(3, np.float32)])
    >>> cache.get_many(keys)
    [array([1., 1., 1.], dtype=float32), None]
    >>> len(cache)
    1
    >>> cache.clear()
    >>> len(cache)
    0
    """

    def __init__(self, location, max_bytes=4 * 2**30):
        self.location = Path(location).expanduser().absolute()
        if self.location.is_file():
            raise ValueError(f"the location of the cache, {str(self.location)!r}, is a file.")
        if not max_bytes > 0:
            raise ValueError(f"max_bytes={max_bytes!r} must be positive.")
        self.max_bytes = int(max_bytes)

    def __repr__(self):
        return f"FeatureCache({str(self.location)!r}, max_bytes={self.max_bytes})"

    def __eq__(self, other):
        return isinstance(other, FeatureCache) and self.__dict__ == other.__dict__

    def __hash__(self):
        return hash((self.location, self.max_bytes))

    def __bool__(self):
        return True  # also when it is empty

    def __len__(self):
        store = _store(self.location)
        with store.lock():
            store.scan()
            return len(store.index)

    @property
    def nbytes(self):
        """Bytes on disk."""
        return sum(size for _, size, _ in _store(self.location).segments())

    @classmethod
    def of(cls, cache):
        """What an estimator's parameter ``cache`` means.

        Parameters
        ----------
        cache : path, FeatureCache or joblib.Memory
            In a Memory's folder features have one of their own.

        Returns
        -------
        FeatureCache

        Raises
        ------
        ValueError
            For anything else, and a Memory without a folder.
        """
        if isinstance(cache, cls):
            return cache
        if isinstance(cache, Memory) and cache.location is not None:
            return cls(Path(cache.location, "skdeep_features"))
        if isinstance(cache, (str, os.PathLike)):
            return cls(cache)
        raise ValueError(
            f"cache={cache!r} must be the path of a folder, a FeatureCache or a joblib.Memory that "
            "has a folder."
        )

    @staticmethod
    def key(picture, extractor):
        """What features are found by.

        Parameters
        ----------
        picture : bytes
            A hash of its contents, as :meth:`Pictures.fingerprint` gives it.
        extractor : str
            All else the features depend on: the hash of the weights, layers, pooling,
            preprocessing, precision, and what decides their last bits: the device, and the
            ``memory`` of :func:`skdeep.set_config`. The version of skdeep is added.

        Returns
        -------
        bytes
            32 of them.
        """
        digest = _begun(extractor).copy()
        digest.update(picture)
        return digest.digest()

    def get_many(self, keys):
        """Features that are kept.

        Parameters
        ----------
        keys : list of bytes
            As :meth:`key` makes them.

        Returns
        -------
        list of ndarray or None
            Read-only; None for what is not kept.
        """
        store = _store(self.location)
        with store.lock():
            found = store.get(set(keys))
        return [found.get(key) for key in keys]

    def put_many(self, keys, arrays):
        """Keep features; those that are kept already stay as they are.

        Parameters
        ----------
        keys : list of bytes
        arrays : list of ndarray
            float16, float32 or float64, of at most eight dimensions.

        Raises
        ------
        ValueError
            For other arrays or keys, or another number of them.
        """
        store = _store(self.location)
        with store.lock():
            store.put(dict(zip(keys, arrays, strict=True)), self.max_bytes)

    def clear(self):
        """Remove everything. Who reads meanwhile gets what it has open, or nothing."""
        store = _store(self.location)
        with store.lock():
            store.clear()
