"""The cache of features: what was put in comes out, or nothing does."""

import errno
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from joblib import Memory, Parallel, delayed
from sklearn.base import BaseEstimator, clone

import skdeep
from skdeep.features import FeatureCache, segments
from skdeep.features.cache import _begun, _stores

SIZE = 300


def feature(i):
    """What the features of picture ``i`` are: every element tells which picture it is of."""
    return (np.arange(SIZE, dtype=np.float32) + 1000 * i).astype(np.float32)


def keys(numbers, extractor="resnet18 pool"):
    return [FeatureCache.key(i.to_bytes(8, "little"), extractor) for i in numbers]


def put(cache, numbers):
    cache.put_many(keys(numbers), [feature(i) for i in numbers])


def check(cache, numbers):
    """None or right; gives which are there."""
    found = cache.get_many(keys(numbers))
    for i, array in zip(numbers, found):
        assert array is None or np.array_equal(array, feature(i)), i
    return [i for i, array in zip(numbers, found) if array is not None]


def as_another_process():
    """Forget what this process knows of folders: the next use is a first one."""
    _stores.clear()


@pytest.fixture
def cache(tmp_path):
    yield FeatureCache(tmp_path / "cache")
    as_another_process()


def files(cache):
    return sorted(cache.location.iterdir())


# -- keys and values ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (7,), (3, 0, 2), (2, 3, 5), (1,) * 8])
def test_what_goes_in_comes_out(cache, dtype, shape):
    array = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    cache.put_many(keys([1]), [array])
    for _ in range(2):
        (found,) = cache.get_many(keys([1]))
        assert found.shape == shape and found.dtype == np.dtype(dtype).newbyteorder("<")
        np.testing.assert_array_equal(found, array)
        assert not found.flags.writeable
        as_another_process()


def test_arrays_that_are_not_contiguous(cache):
    array = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    cache.put_many(keys([1, 2]), [array[:, ::2], array.T])
    found = cache.get_many(keys([2, 1, 1]))
    np.testing.assert_array_equal(found[0], array.T)
    np.testing.assert_array_equal(found[2], array[:, ::2])


def test_many_in_any_order(cache):
    numbers = list(range(500))
    put(cache, numbers)
    order = list(np.random.default_rng(0).permutation(600))
    assert sorted(check(cache, [int(i) for i in order])) == numbers
    assert len(cache) == 500 and 500 * SIZE * 4 < cache.nbytes < 500 * (SIZE * 4 + 128)
    put(cache, numbers)  # again, for nothing
    assert len(cache) == 500 and cache.nbytes < 500 * (SIZE * 4 + 128)


def test_keys_do_not_run_together(cache):
    parts = [(b"ab", "c"), (b"a", "bc"), (b"", "abc"), (b"abc", ""), (b"c", "ab"), (b"1c", "ab")]
    made = [cache.key(*part) for part in parts]
    cache.put_many(made, [np.float32([i]) for i in range(len(made))])
    assert [float(a[0]) for a in cache.get_many(made)] == list(range(len(made)))
    assert cache.get_many([cache.key(b"b", "ac"), b"no key"]) == [None, None]
    with pytest.raises(ValueError, match="is no key"):
        cache.put_many([b"no key"], [np.zeros(3)])


def test_features_of_other_versions_are_not_found(cache, monkeypatch):
    put(cache, [1])
    monkeypatch.setattr("skdeep.features.cache.__version__", "0.0.0")
    _begun.cache_clear()
    assert check(cache, [1]) == []
    _begun.cache_clear()


def test_nothing_is_asked_for(cache):
    assert cache.get_many([]) == [] and len(cache) == 0 and cache.nbytes == 0
    cache.put_many([], [])
    cache.clear()
    assert not cache.location.exists() and cache


@pytest.mark.parametrize("array", [np.zeros(3, int), np.zeros((1,) * 9), np.array(["a"])])
def test_arrays_that_are_no_features(cache, array):
    with pytest.raises(ValueError, match="must be float16, float32 or float64"):
        cache.put_many(keys([1]), [array])
    with pytest.raises(ValueError, match="zip"):
        cache.put_many(keys([1, 2]), [np.zeros(3)])


def test_what_a_cache_may_be_given_as(tmp_path, cache):
    of, folder = FeatureCache.of, tmp_path / "a"
    assert of(cache) is cache
    assert of(str(folder)) == of(folder) == FeatureCache(folder)
    place = of(Memory(tmp_path / "m", verbose=0)).location
    assert place.name == "skdeep_features" and tmp_path / "m" in place.parents
    for other in (3, None, Memory(None)):
        with pytest.raises(ValueError, match="must be the path of a folder"):
            of(other)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        FeatureCache(tmp_path / "file")
    with pytest.raises(ValueError, match="max_bytes=0"):
        FeatureCache(tmp_path, max_bytes=0)


class Holder(BaseEstimator):
    def __init__(self, cache=None):
        self.cache = cache


def test_pickles_and_clones_share_the_folder(cache):
    put(cache, [1])
    for other in (pickle.loads(pickle.dumps(cache)), clone(Holder(cache)).cache):
        assert other == cache and hash(other) == hash(cache) and "cache" in repr(other)
        assert check(other, [1]) == [1]
    assert len(pickle.dumps(cache)) < 500
    assert cache != FeatureCache(cache.location, max_bytes=10**6)


# -- segments -------------------------------------------------------------------------------------


def test_a_segment_is_gone_on_with_by_the_next_process(cache):
    for i in range(5):
        put(cache, [i])
        as_another_process()
    assert check(cache, range(6)) == list(range(5)) and len(files(cache)) == 1


def test_writers_have_a_segment_each_and_read_each_others(cache):
    a, b = (segments.Store(cache.location) for _ in range(2))
    for i in range(0, 20, 2):
        a.put({i.to_bytes(32, "big"): feature(i)}, 10**9)
        b.put({(i + 1).to_bytes(32, "big"): feature(i + 1)}, 10**9)
    assert len(files(cache)) == 2
    wanted = {i.to_bytes(32, "big") for i in range(20)}
    assert a.get(wanted).keys() == b.get(wanted).keys() == wanted


def test_a_torn_record_is_not_found_wherever_it_ends(cache):
    put(cache, [1])
    (path,) = files(cache)
    first = path.stat().st_size
    put(cache, [2])
    whole = path.read_bytes()
    for end in {*range(first, first + 130), *range(len(whole) - 40, len(whole), 7)}:
        path.write_bytes(whole[:end])
        as_another_process()
        assert check(cache, [1, 2]) == [1]
    # What follows goes elsewhere.
    path.write_bytes(whole[:-100])
    as_another_process()
    put(cache, [2, 3])
    as_another_process()
    assert check(cache, [1, 2, 3]) == [1, 2, 3] and len(files(cache)) == 2


def test_changed_bytes_are_noticed(cache):
    put(cache, range(3))
    (path,) = files(cache)
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    lost = 0
    for at in [*range(96), *rng.integers(0, len(whole), 100)]:
        changed = whole.copy()
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        as_another_process()
        lost += len(check(cache, range(3))) < 3
    # Not noticed are only changes of what fills a record up, where they do no harm.
    assert 180 < lost <= 196
    for content in (b"", b"\0" * 5000, rng.bytes(5000), bytes(whole[32:])):
        path.write_bytes(content)
        as_another_process()
        assert check(cache, range(3)) == []


def test_what_changes_after_it_was_indexed_is_noticed(cache):
    put(cache, range(3))
    (path,) = files(cache)
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    assert check(cache, range(3)) == [0]
    path.write_bytes(whole)
    put(cache, [1, 2])  # they count as unknown by now
    assert check(cache, range(3)) == [0, 1, 2]


def test_a_record_of_another_picture_in_the_same_place_is_noticed(cache):
    """As when a segment was cut back and another process has gone on with it."""
    put(cache, [1])
    (path,) = files(cache)
    other = FeatureCache(cache.location.parent / "other")
    put(other, [2])
    path.write_bytes(files(other)[0].read_bytes())
    assert check(cache, [1]) == [] and check(cache, [1, 2]) in ([], [2])


def test_records_of_another_layout_or_program_are_left_alone(cache):
    cache.location.mkdir()
    (cache.location / "README").write_text("mine")
    put(cache, [1])
    cache.clear()
    assert [p.name for p in files(cache)] == ["README"]


# -- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_bytes", [20_000, 100_000, 300_001])
def test_the_folder_stays_within_its_bounds(tmp_path, max_bytes):
    cache = FeatureCache(tmp_path, max_bytes=max_bytes)
    record = SIZE * 4 + 96
    for i in range(0, 600, 3):
        put(cache, range(i, i + 3))
        assert cache.nbytes <= max_bytes
    found = check(cache, range(600))
    if record > max_bytes // 16:
        assert not found  # one record would be too much of it
    else:
        assert found == list(range(found[0], 600)) and len(found) * record > max_bytes / 2
    as_another_process()
    assert check(cache, range(600)) == found


def test_bounds_hold_for_all_processes_together(tmp_path):
    stores = [segments.Store(tmp_path) for _ in range(3)]
    for i in range(600):
        stores[i % 3].put({i.to_bytes(32, "big"): feature(i)}, 200_000)
    total = sum(size for _, size, _ in stores[0].segments())
    assert 100_000 < total < 200_000 + 3 * 200_000 // 16
    for store in stores:
        found = store.get({i.to_bytes(32, "big") for i in range(600)})
        assert (599).to_bytes(32, "big") in found
        for digest, array in found.items():
            np.testing.assert_array_equal(array, feature(int.from_bytes(digest, "big")))


def test_clear_while_others_read_and_write(cache):
    put(cache, range(10))
    other = segments.Store(cache.location)
    digests = {i.to_bytes(32, "big") for i in range(10)}
    other.put({d: feature(int.from_bytes(d, "big")) for d in digests}, 10**9)
    assert other.get(digests).keys() == digests
    cache.clear()
    assert len(cache) == 0 and check(cache, range(10)) == [] and not files(cache)
    found = other.get(digests)  # what it has open
    assert found.keys() == digests
    new = (10).to_bytes(32, "big")
    other.put({new: feature(10)}, 10**9)
    assert len(files(cache)) == 1 and len(cache) == 1
    assert other.get(digests | {new, b"?" * 32}).keys() >= {new}
    put(cache, [3])
    assert check(cache, range(10)) == [3]


# -- when it cannot be kept -----------------------------------------------------------------------


@pytest.mark.parametrize("written", [0, 50, 1000, 2000])
def test_a_full_disk_is_a_warning_and_no_caching(cache, monkeypatch, written):
    """``written`` bytes of the second batch find room."""
    put(cache, [1])
    room = [written]

    def write(descriptor, data, original=os.write):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = original(descriptor, data[: room[0]])
        room[0] -= count
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.warns(UserWarning, match="no longer kept in .* No space left"):
            put(cache, [2, 3])
        put(cache, [4])  # no second warning
    assert check(cache, range(5)) == [1]
    as_another_process()
    assert check(cache, range(5)) == [1]
    put(cache, [5])
    assert check(cache, range(6)) == [1, 5] and len(files(cache)) == 1


def test_a_full_disk_where_nothing_can_be_taken_back(cache, monkeypatch):
    put(cache, [1])

    def write(descriptor, data, original=os.write):
        if len(data) > 700:
            return original(descriptor, data[:700])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        patch.setattr(os, "ftruncate", lambda *_: os.write(-1, b""))
        with pytest.warns(UserWarning, match="no longer kept"):
            put(cache, [2, 3])
    as_another_process()
    assert check(cache, range(4)) in ([1], [1, 2])
    put(cache, [4])
    as_another_process()
    assert 4 in check(cache, range(5)) and len(files(cache)) == 2


LIMITED = """
import resource, sys, warnings
sys.path[:0] = {path!r}
from test_cache import FeatureCache, check, put
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
cache = FeatureCache({folder!r})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for i in range(20):
        put(cache, [i])
assert len(caught) == 1, caught
print(len(check(cache, range(20))))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_the_systems_own_refusal_to_write(cache, run_python):
    """A limit on the size of files cuts a write short and then fails, as a full disk does."""
    script = LIMITED.format(path=[str(Path(__file__).parent)], folder=str(cache.location))
    assert int(run_python(script)) == 10_000 // (96 + SIZE * 4 + -SIZE * 4 % 32)
    assert len(check(cache, range(20))) == 7
    put(cache, range(20))
    assert check(cache, range(20)) == list(range(20))


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path / "a" / "b")
    (tmp_path / "a").write_text("a file")
    with pytest.warns(UserWarning, match="no longer kept"):
        put(cache, [1])
    assert check(cache, [1]) == [] and cache.nbytes == 0
    cache.clear()
    as_another_process()


# -- several processes ----------------------------------------------------------------------------

WORK = """
import os, sys, time
sys.path[:0] = {path!r}
from test_cache import FeatureCache, check, put
cache = FeatureCache({folder!r}, max_bytes={max_bytes})
write = os.write
def slow_write(descriptor, data):
    time.sleep(1e-4)
    return write(descriptor, data[:100])
if {slow}:
    os.write = slow_write
print("ready", flush=True)
for k in range({rounds}):
    for i in range({start}, 400, 8):
        put(cache, range(i, i + 8))
        check(cache, range(i - 20, i + 20))
    {after}
"""


def work(cache, max_bytes=10**9, rounds=1, start=20, after="pass", slow=False):
    script = WORK.format(
        path=[str(Path(__file__).parent), str(Path(skdeep.__file__).parents[1])],
        folder=str(cache.location),
        max_bytes=max_bytes,
        rounds=rounds,
        start=start,
        after=after,
        slow=slow,
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def finish(process):
    _, err = process.communicate()
    assert process.returncode == 0, err


def test_two_processes_write_and_read_at_once(cache):
    processes = [work(cache, start=20), work(cache, start=24)]
    while any(process.poll() is None for process in processes):
        check(cache, range(450))
    for process in processes:
        finish(process)
    assert check(cache, range(20, 400)) == list(range(20, 400))


def test_two_processes_in_a_small_folder_that_is_cleared(tmp_path):
    cache = FeatureCache(tmp_path, max_bytes=200_000)
    processes = [work(cache, 200_000, rounds=2, after="cache.clear()") for _ in range(2)]
    while any(process.poll() is None for process in processes):
        check(cache, range(450))
        put(cache, range(5))
    for process in processes:
        finish(process)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_kill_in_mid_write_leaves_nothing_wrong(cache):
    """The process writes in pieces of 100 bytes, so that a kill leaves half a record behind."""
    rng, torn = np.random.default_rng(0), 0
    for _ in range(4):
        process = work(cache, rounds=10**6, after="cache.clear()", slow=True)
        deadline = time.monotonic() + rng.uniform(0, 0.05)
        while time.monotonic() < deadline:
            check(cache, range(450))
        process.kill()
        process.communicate()
        as_another_process()
        torn += any(path.stat().st_size % 1312 for path in files(cache))
        check(cache, range(450))
        put(cache, range(450))
        assert check(cache, range(450)) == list(range(450))
    assert torn


FORK = """
import os, sys
sys.path[:0] = {path!r}
from test_cache import FeatureCache, check, put
cache = FeatureCache({folder!r})
put(cache, range(10))
child = os.fork()
for i in range(10, 30):
    put(cache, [i + 100 * (child == 0)])
if child == 0:
    assert check(cache, range(10)) == list(range(10))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(len(check(cache, range(200))), len(os.listdir({folder!r})))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_the_child_of_a_fork_writes_elsewhere(cache, run_python):
    script = FORK.format(path=[str(Path(__file__).parent)], folder=str(cache.location))
    assert run_python(script).split() == ["50", "2"]


def _put_and_check(cache, i):
    put(cache, [i])
    return check(cache, [i]) == [i]


def test_workers_of_joblib(cache):
    assert all(Parallel(n_jobs=2)(delayed(_put_and_check)(cache, i) for i in range(8)))
    assert check(cache, range(10)) == list(range(8))


def test_threads(cache):
    failed = []

    def run(start):
        try:
            for i in range(start, 200, 4):
                put(cache, [i])
                check(cache, range(i - 4, i + 4))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(4 + k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and check(cache, range(4, 200)) == list(range(4, 200))
    assert len(files(cache)) == 1
