"""The same bits whatever runs the program, and any number of programs at once."""

import os
import pickle
import shutil
import threading

import joblib
import numpy as np
import pytest
from sklearn.base import clone

import skdeep
from skdeep import NeuralNetClassifier, NeuralNetRegressor
from skdeep.kernels import cpu, runner
from skdeep.kernels.compiler import KERNELS
from skdeep.kernels.optimizers import CHUNK
from skdeep.layers import BatchNorm, Conv2D, Dense, Dropout, GlobalAveragePool2D, MaxPool2D
from skdeep.training import LBFGS, SGD

RNG = np.random.RandomState(0)
X = RNG.randn(600, 256).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > X[:, 2]) + (X[:, 3] > 1).astype(int)

# Large enough for rows that run in parallel.
NETS = {
    "dense": [Dense(300, "relu"), Dense(200, "tanh")],
    "convolution": [Conv2D(16, 3, "relu"), MaxPool2D(2), Conv2D(20, 3, groups=4), Dense(40)],
    "batch norm": [Conv2D(24, 3, padding="same"), BatchNorm("relu"), GlobalAveragePool2D()],
    "dropout": [Dropout(0.2), Dense(300, "relu"), Dropout(0.5)],
}


def net(name, **changes):
    shape = None if name in ("dense", "dropout") else (16, 16, 1)
    parameters = {"input_shape": shape, "max_epochs": 2, "random_state": 0, "batch_size": 200}
    return NeuralNetClassifier(NETS[name], **parameters | changes)


def bits(fitted):
    """Everything a fit decides, as bytes."""
    weights = b"".join(w.tobytes() for w in fitted.weights_.values())
    return weights + fitted.predict_proba(X).tobytes() + fitted.transform(X[:50]).tobytes()


@pytest.fixture
def parallel_runs(monkeypatch):
    """Names of the parallel runners, in the order they were entered."""
    entered = []

    def blocks(*args):
        entered.append("blocks")
        return apart(*args)

    def steps(*args, team=1, **options):
        if team > 1:
            entered.append("steps")
        return alone(*args, team=team, **options)

    alone, apart = runner.steps, runner.blocks
    monkeypatch.setattr(runner, "steps", steps)
    monkeypatch.setattr(runner, "blocks", blocks)
    return entered


@pytest.mark.parametrize("name", NETS)
def test_any_number_of_threads_gives_the_same_bits(name, parallel_runs):
    one = bits(net(name, n_threads=1).fit(X, Y))
    assert not parallel_runs
    two = bits(net(name, n_threads=2).fit(X, Y))
    assert two == one
    if cpu.available_threads() > 1:
        assert set(parallel_runs) == {"steps", "blocks"}
    skdeep.set_config(n_threads=1)
    assert bits(net(name).fit(X, Y)) == one
    assert bits(net(name, n_threads=1000).fit(X, Y)) == one


@pytest.mark.parametrize("team", [1, 2, 3, 8])
def test_a_team_does_every_tile_once(team):
    """Rows of many tiles and of few, one after another, whatever the number of cores."""
    steps, tiles = 5, [1, 2, 3, 7, 100] * 20
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    weights, partial = np.ones(max(tiles) * CHUNK, np.float32), np.zeros(max(tiles), np.float32)
    counts = [np.zeros(n * CHUNK, np.float32) for n in tiles]
    table = np.zeros((len(tiles), runner.HEADER + 6), np.int64)
    for row, n, count in zip(table, tiles, counts):  # count += 1
        row[:3] = KERNELS["penalty"].address, n, n > 1
        row[4:9] = [a.ctypes.data for a in (weights, count, partial, one, zero)]
        row[9] = count.size
    nothing, loss, losses = np.zeros((steps, 0), np.int32), np.zeros(1, np.float32), np.ones(steps)
    arguments = (nothing[0], nothing, nothing[0], nothing, loss, losses)
    assert runner.steps(table, *arguments, team=team) == steps
    assert all((count == steps).all() for count in counts)
    assert (losses == 0).all()


@pytest.mark.parametrize("team", [1, 2])
@pytest.mark.parametrize("flush", [False, True])
def test_tiny_numbers_are_zero_while_training(team, flush):
    """Below the normal numbers there is nothing, in all threads; afterwards it is as before."""
    tiles, tiny = 32, np.float32(1e-39)
    zero, half = np.zeros(1, np.float32), np.full(1, 0.5, np.float32)
    weights = np.full(tiles * CHUNK, tiny)
    gradient, partial = np.zeros_like(weights), np.zeros(tiles, np.float32)
    table = np.zeros((1, runner.HEADER + 6), np.int64)
    table[0, :3] = KERNELS["penalty"].address, tiles, 1
    table[0, 4:9] = [a.ctypes.data for a in (weights, gradient, partial, zero, half)]
    table[0, 9] = weights.size
    nothing, loss, losses = np.zeros((1, 0), np.int32), np.zeros(1, np.float32), np.ones(1)
    arguments = (nothing[0], nothing, nothing[0], nothing, loss, losses)
    assert runner.steps(table, *arguments, team=team, flush=flush) == 1
    assert (gradient == (0 if flush and runner.X86 else tiny)).all()
    assert (weights * np.float32(1) == tiny).all()


def test_lbfgs_and_validation_give_the_same_bits():
    fits = [
        NeuralNetRegressor([Dense(200, "tanh", l2=1e-3)], optimizer=LBFGS(tol=0.1), n_threads=n,
                           random_state=0, max_epochs=300).fit(X, X[:, :3])
        for n in (1, 2)
    ]  # fmt: skip
    assert fits[0].history_ == fits[1].history_
    fits = [net("dense", early_stopping=True, n_threads=n).fit(X, Y).history_ for n in (1, 2)]
    for a, b in zip(*fits):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


@pytest.mark.parametrize("name", NETS)
def test_a_sample_alone_or_among_others(name):
    fitted = net(name).fit(X, Y)
    together = fitted.decision_function(X)
    for size in (1, 2, 3, 7, 64, 333):
        starts = range(0, len(X), size)[:9]
        apart = np.concatenate([fitted.decision_function(X[k : k + size]) for k in starts])
        np.testing.assert_array_equal(apart, together[: len(apart)])


def fit_and_predict(estimator, X, y):
    return bits(estimator.fit(X, y))


@pytest.mark.parametrize("name", NETS)
def test_any_joblib_backend_gives_the_same_bits(name):
    alone = bits(net(name).fit(X, Y))
    for backend in ("sequential", "threading", "loky"):
        tasks = (joblib.delayed(fit_and_predict)(net(name, n_threads=n), X, Y) for n in (None, 2))
        found = joblib.Parallel(n_jobs=2, backend=backend, max_nbytes=1000)(tasks)
        assert found == [alone, alone], backend


def test_pickles_give_the_same_bits():
    fitted = net("batch norm").fit(X, Y)
    assert bits(pickle.loads(pickle.dumps(fitted))) == bits(fitted)


def test_one_estimator_predicts_in_many_threads():
    fitted = net("convolution").fit(X, Y)
    expected = bits(fitted)
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(bits(fitted) for _ in range(5)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 20


FOUR_FITS = """
import threading
import numpy as np
from skdeep import NeuralNetClassifier
from skdeep.layers import Conv2D, Dense, Dropout

X = np.random.RandomState(0).randn(400, 256).astype(np.float32)
y = (X[:, 0] > X[:, 1]).astype(int)
nets = [
    NeuralNetClassifier([Dense(300, "relu"), Dropout(0.3)], max_epochs=3, random_state=0),
    NeuralNetClassifier([Conv2D(16, 3, "relu")], input_shape=(16, 16, 1), max_epochs=1,
                        random_state=0),
]

def work(n_threads, out):
    for net in nets:
        net = type(net)(**net.get_params(deep=False)).set_params(n_threads=n_threads)
        out.append(net.fit(X, y).predict_proba(X).tobytes())

def at_once(*with_threads):
    results = [[] for _ in with_threads]
    threads = [
        threading.Thread(target=work, args=(n, out)) for n, out in zip(with_threads, results)
    ]
    for t in threads:
        t.start()
    if {also_main}:
        work(2, main := [])
        results.append(main)
    for t in threads:
        t.join()
    return results

before = at_once(2, None, 2, 1)
work(2, expected := [])
after = at_once(2, 2, 2, 2)
assert before == [expected] * len(before), "before"
assert after == [expected] * len(after), "after"
print("done")
"""


@pytest.mark.parametrize("also_main", [False, True])
def test_four_python_threads_fit_at_once(also_main, run_python):
    script = FOUR_FITS.replace("{also_main}", str(also_main))
    assert run_python(script, NUMBA_NUM_THREADS=2) == "done\n"


FORK = """
import os, warnings
import numpy as np
from skdeep import NeuralNetClassifier
from skdeep.kernels import cpu
from skdeep.layers import Dense

X = np.random.RandomState(0).randn(400, 256).astype(np.float32)
y = (X[:, 0] > X[:, 1]).astype(int)
net = NeuralNetClassifier([Dense(300, "relu")], max_epochs=3, random_state=0, n_threads=2)
if {first}:
    before = net.fit(X, y).predict_proba(X).tobytes()
read, write = os.pipe()
warnings.simplefilter("ignore", DeprecationWarning)  # fork in a process with threads
pid = os.fork()
if pid == 0:
    found = net.predict_proba(X).tobytes() if {first} else b""
    found += net.fit(X, y).predict_proba(X).tobytes()
    with os.fdopen(write, "wb") as file:
        file.write(found)
    os._exit(0)
os.close(write)
with os.fdopen(read, "rb") as file:
    found = file.read()
assert os.waitpid(pid, 0)[1] == 0
here = net.fit(X, y).predict_proba(X).tobytes()
assert found == (here + here if {first} else here)
print("done")
"""


@pytest.mark.parametrize("first", [True, False])
def test_forked_processes_give_the_same_bits(first, run_python):
    script = FORK.replace("{first}", str(first))
    assert run_python(script, NUMBA_NUM_THREADS=2) == "done\n"


def test_threads_end_with_the_call():
    before = threading.active_count()
    net("dense", n_threads=2).fit(X, Y).predict(X)
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_every_block_is_run_once(threads):
    """Each adds to where its table points, whatever number of threads there is."""
    n, one, zero = 7, np.ones(1, np.float32), np.zeros(1, np.float32)
    counts = [np.zeros(CHUNK, np.float32) for _ in range(threads)]
    weights, partial = np.ones(CHUNK, np.float32), np.zeros(1, np.float32)
    tables = np.zeros((threads, 1, runner.HEADER + 6), np.int64)
    for table, count in zip(tables, counts):  # count += 1
        table[0, :2] = KERNELS["penalty"].address, 1
        table[0, 4:9] = [a.ctypes.data for a in (weights, count, partial, one, zero)]
        table[0, 9] = CHUNK
    registers = np.zeros((threads, 16), np.int32)
    runner.blocks(tables, registers, 10, 0, n)
    assert [int(c[0]) for c in counts] == [len(range(t, n, threads)) for t in range(threads)]
    assert max(registers[:, 0]) == 10 * (n - 1)


# -- where nothing can be written, nothing can be reached ----------------------------------------

SMALL = """
import socket

def refuse(*args, **kwargs):
    raise AssertionError("no network")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

import sys
import numpy as np
import skdeep
from skdeep.kernels.compiler import cache_directory

net = skdeep.NeuralNetRegressor([], optimizer=skdeep.training.SGD(0.1), max_epochs=3)
X = np.eye(5)
net.fit(X, np.arange(5.0))
assert np.isfinite(net.predict(X)).all()
print(cache_directory(), skdeep.__file__)
"""


@pytest.mark.parametrize("home", [None, os.devnull])
def test_works_where_no_folder_is_writable(home, run_python, tmp_path):
    # A file in the place of a folder stops even root from writing there.
    package = tmp_path / "lib" / "skdeep"
    source = os.path.dirname(skdeep.__file__)
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "kernels" / "__pycache__").write_text("")
    begin = f"import os, sys; os.chdir({str(tmp_path)!r}); sys.path.insert(0, '{tmp_path}/lib')\n"
    if home is None:
        begin += "os.path.expanduser = lambda path: path  # what a user unknown here gets\n"
    found = run_python(
        begin + SMALL, NUMBA_CACHE_DIR=os.devnull + "/none", XDG_CACHE_HOME=None, HOME=home
    )
    assert found.split() == ["None", str(package / "__init__.py")]
    assert not (tmp_path / "~").exists()


def test_import_is_light(run_python):
    run_python(
        "import sys, skdeep\n"
        "heavy = {'numba', 'llvmlite', 'sklearn', 'scipy', 'numpy', 'pandas', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert set(skdeep.__all__) <= set(dir(skdeep))\n"
        "import skdeep.estimators\n"
        "assert not {'torch', 'tqdm', 'matplotlib'} & set(sys.modules)\n"
    )


def test_weights_may_be_read_while_training_goes_on():
    fitted = net("dense", optimizer=SGD(0.1)).fit(X, Y)
    kept = {name: w.copy() for name, w in fitted.weights_.items()}
    weights = fitted.weights_
    clone(fitted).fit(X, Y)
    fitted.partial_fit(X, Y)
    for name in kept:
        np.testing.assert_array_equal(weights[name], kept[name])
        assert not np.array_equal(fitted.weights_[name], kept[name])
