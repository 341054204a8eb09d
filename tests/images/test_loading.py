"""Batches of pictures that threads prepare: order, bad files, memory, closing."""

import threading

import numpy as np
import pytest
from PIL import Image
from random_pictures import SMALL, random_levels

from skdeep.features import PictureError, Pictures, Preprocessing, loading, stream


@pytest.fixture
def files(tmp_path):
    """Five PNG files of different sizes, the third of them damaged."""
    paths = []
    for k in range(5):
        paths.append(tmp_path / f"picture{k}.png")
        Image.fromarray(random_levels(8 + k, 11, seed=k)).save(paths[-1])
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    return paths


def threads_of_streams():
    return [t for t in threading.enumerate() if t.name.startswith("skdeep-pictures")]


@pytest.mark.parametrize("n_threads", [1, 2, None])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_streams_give_what_single_calls_give(batch_size, n_threads):
    X = [random_levels(7 + k, 9 + 2 * k, seed=k) for k in range(9)]
    expected = np.stack([SMALL(x) for x in X])
    found, order = [], []
    for indices, batch, errors in stream(X, SMALL, batch_size, n_threads):
        assert not errors and len(batch) == len(indices) <= batch_size
        found.append(batch.copy())
        order.extend(indices)
    assert order == list(range(9))
    assert np.concatenate(found).tobytes() == expected.tobytes()
    assert SMALL.batch(X, n_threads=n_threads).tobytes() == expected.tobytes()
    assert not threads_of_streams()


def test_one_bad_file_does_not_lose_the_others(files):
    found = [
        (list(indices), batch.copy(), errors) for indices, batch, errors in stream(files, SMALL, 2)
    ]
    assert [f[0] for f in found] == [[0, 1], [2, 3], [4]]
    assert [list(f[2]) for f in found] == [[], [2], []]
    assert "picture2.png" in str(found[1][2][2])
    np.testing.assert_array_equal(found[1][1][0], 0)
    np.testing.assert_array_equal(found[1][1][1], SMALL(files[3]))
    with pytest.raises(PictureError, match="picture2.png"):
        SMALL.batch(files)
    assert not threads_of_streams()


def test_streams_take_chosen_pictures_and_write_where_told(files):
    X = np.stack([random_levels(seed=k) for k in range(6)])
    out = np.full((5, 6, 6, 3), np.nan, np.float32)
    order = [5, 0, 3, 3]
    for indices, batch, _ in stream(X, SMALL, 3, indices=order, out=out):
        assert np.shares_memory(batch, out) and len(indices) == len(batch)
    for k, i in enumerate(order):
        np.testing.assert_array_equal(out[k], SMALL(X[i]))
    assert np.isnan(out[4]).all()
    assert SMALL.batch(X, out=np.empty((6, 6, 6, 3), np.float32)).shape == (6, 6, 6, 3)
    assert list(stream(X, SMALL, indices=[])) == []
    assert SMALL.batch([]).shape == (0, 6, 6, 3)


def test_pictures_of_one_size_need_no_crop():
    X = np.stack([random_levels(seed=k) for k in range(3)])
    as_they_are = Preprocessing(resize=None, crop=None)
    assert as_they_are.batch(X).shape == (3, 9, 7, 3)
    with pytest.raises(ValueError, match="different sizes"):
        stream(list(X), as_they_are)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"indices": [0, 9]}, "indices"),
        ({"indices": [-1]}, "indices"),
        ({"out": np.empty((3, 6, 6, 3))}, "float32"),
        ({"out": np.empty((2, 6, 6, 3), np.float32)}, "shape"),
    ],
)
def test_arguments_of_streams_are_checked_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        stream(np.zeros((3, 9, 9)), SMALL, **options)


class Watched(Pictures):
    """Notes which pictures were loaded, and how many at the same time."""

    def __init__(self, X):
        super().__init__(X)
        self.loaded, self.now, self.most = [], 0, 0
        self.lock, self.enough = threading.Lock(), threading.Event()

    def load(self, i):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        found = super().load(i)
        with self.lock:
            self.now -= 1
            self.loaded.append(i)
            if len(self.loaded) >= 8:
                self.enough.set()
        return found


def test_the_next_batch_is_prepared_meanwhile_and_no_more():
    pictures = Watched(np.zeros((40, 9, 9)))
    batches = stream(pictures, SMALL, 4, 2)
    first = next(batches)[1]
    assert pictures.enough.wait(60)  # the second batch, though nobody asked for it
    assert sorted(pictures.loaded) == list(range(8))
    assert pictures.most <= 2
    assert not np.shares_memory(first, next(batches)[1])
    assert np.shares_memory(first, next(batches)[1])
    batches.close()
    assert len(pictures.loaded) <= 16
    assert not threads_of_streams()


def test_an_interrupted_stream_leaves_no_thread():
    with pytest.raises(KeyboardInterrupt):
        for _ in stream(np.zeros((40, 9, 9)), SMALL, 4, 2):
            raise KeyboardInterrupt
    batches = stream(np.zeros((40, 9, 9)), SMALL, 4, 2)
    next(batches)
    del batches
    assert not threads_of_streams()


def test_closing_waits_for_pictures_that_are_begun_only(monkeypatch):
    begun, go, loaded = threading.Event(), threading.Event(), []

    class Slow(Pictures):
        def load(self, i):
            if i >= 4:
                begun.set()
                go.wait(60)
            loaded.append(i)
            return super().load(i)

    shutdown = loading.ThreadPoolExecutor.shutdown
    monkeypatch.setattr(
        loading.ThreadPoolExecutor, "shutdown", lambda *a, **k: (go.set(), shutdown(*a, **k))
    )
    batches = stream(Slow(np.zeros((8, 9, 9))), SMALL, 4, 1)
    next(batches)
    assert begun.wait(60)
    batches.close()
    assert loaded == [0, 1, 2, 3, 4]


def test_other_errors_of_a_picture_are_not_hidden():
    class Broken(Pictures):
        def load(self, i):
            raise RuntimeError("a mistake of the program")

    with pytest.raises(RuntimeError, match="a mistake"):
        list(stream(Broken(np.zeros((5, 9, 9))), SMALL, 2))
    assert not threads_of_streams()


def test_images_that_pil_has_not_read_yet(files):
    images = [Image.open(path) for path in (files[0], files[1], files[3])]
    again = [Image.open(path) for path in (files[0], files[1], files[3])]
    try:
        expected = SMALL.batch([files[0], files[1], files[3]] * 3)
        np.testing.assert_array_equal(SMALL.batch(images * 3, n_threads=2), expected)
        assert [im.size for im in images] == [im.size for im in again]
    finally:
        for image in images + again:
            image.close()
