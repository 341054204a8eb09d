"""Features of pictures, kept in a folder by what they are features of."""

import hashlib
import os
import threading
from pathlib import Path

from joblib import Memory

from .segments import Store

__all__ = ["FeatureCache", "as_cache"]

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


def as_cache(cache):
    """What a parameter ``cache`` means.

    Parameters
    ----------
    cache : None, path, FeatureCache or joblib.Memory

    Returns
    -------
    FeatureCache or None
    """
    if cache is None or isinstance(cache, FeatureCache):
        return cache
    if isinstance(cache, Memory):
        where = cache.location
        return None if where is None else FeatureCache(Path(where, "skdeep_features"))
    if isinstance(cache, (str, os.PathLike)):
        return FeatureCache(cache)
    raise ValueError(
        f"cache={cache!r} must be None, the path of a folder, a FeatureCache or a joblib.Memory."
    )


def _digests(keys):
    """A digest of each key; what they have in common is gone through once."""
    begun, digests = {}, []
    for picture, extractor in keys:
        if extractor not in begun:
            text = extractor.encode()
            begun[extractor] = hashlib.blake2b(f"{len(text)} ".encode() + text, digest_size=32)
        digest = begun[extractor].copy()
        digest.update(picture)
        digests.append(digest.digest())
    return digests


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
    >>> keys = [(b"picture 1", "resnet18 pool"), (b"picture 2", "resnet18 pool")]
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

    def __len__(self):
        store = _store(self.location)
        with store.lock():
            store.scan()
            return len(store.index)

    @property
    def nbytes(self):
        """Bytes on disk."""
        return sum(size for _, size, _ in _store(self.location).segments())

    def get_many(self, keys):
        """Features that are kept.

        Parameters
        ----------
        keys : list of (bytes, str)
            What a picture is known by (its fingerprint), and all else its features depend on.

        Returns
        -------
        list of ndarray or None
            Read-only; None for what is not kept.
        """
        digests, store = _digests(keys), _store(self.location)
        with store.lock():
            found = store.get(set(digests))
        return [found.get(digest) for digest in digests]

    def put_many(self, keys, arrays):
        """Keep features; those that are kept already stay as they are.

        Parameters
        ----------
        keys : list of (bytes, str)
        arrays : list of ndarray
            float16, float32 or float64, of at most eight dimensions.

        Raises
        ------
        ValueError
            For other arrays, or another number of them.
        """
        digests, store = _digests(keys), _store(self.location)
        with store.lock():
            store.put(dict(zip(digests, arrays, strict=True)), self.max_bytes)

    def clear(self):
        """Remove everything. Who reads meanwhile gets what it has open, or nothing."""
        store = _store(self.location)
        with store.lock():
            store.clear()
