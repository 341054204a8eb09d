"""The kernel cache, the choice of instruction set, and the loops that run programs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from skdeep.kernels import compiler, isa, runner
from skdeep.kernels.cpu import CPU
from skdeep.kernels.simd import load_i64, store_i64

SCRIPT = """
import json, sys
import numpy as np
import skdeep.ops
from skdeep.graph.tensor import Tensor
from skdeep.graph.program import evaluate
from skdeep.kernels import compiler, isa
from skdeep.ops.optimizers import AdamUpdate
x = Tensor((37,), role="data")
(y,) = evaluate([skdeep.ops.exp(x)], {x: np.linspace(-5, 5, 37)})
vectors, registers = [Tensor((40,)) for _ in range(4)], Tensor((16,), "int32")
w, g, m, v = (np.random.default_rng(0).random((4, 40)) + 0.5).astype(np.float32)
step = AdamUpdate(*vectors, registers, None).output
settings = np.full(16, 0.1, np.float32).view(np.int32)
evaluate([step], {**dict(zip(vectors, (w, g, m, v))), registers: settings}, guard=False)
folder = compiler.cache_directory()
print(json.dumps({
    "compiled": compiler.compiled_in_this_process(),
    "isa": isa.current().name,
    "folder": None if folder is None else str(folder),
    "bits": y.tobytes().hex(),
    "adam": w.tobytes().hex(),
}))
"""


def run_script(**environment):
    """Run SCRIPT in a new process and return what it found."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_compiled_once_then_loaded(tmp_path):
    """A second process loads what the first compiled, and computes the same bits."""
    first = run_script(NUMBA_CACHE_DIR=str(tmp_path))
    second = run_script(NUMBA_CACHE_DIR=str(tmp_path))
    assert "exp" in first["compiled"]
    assert second["compiled"] == []
    assert first["bits"] == second["bits"]
    assert first["folder"].startswith(str(tmp_path))


def double_all(address, n):
    """Double some words of eight bytes."""
    for k in range(n):
        store_i64(address + 8 * k, 2 * load_i64(address + 8 * k))


def test_a_shared_helper_is_named_by_every_kernel_that_calls_it(monkeypatch, tmp_path):
    """Also by those that inline the same caller: each must find it when loaded alone."""
    monkeypatch.setattr(compiler, "SHARED", {})
    monkeypatch.setattr(compiler, "_candidates", lambda: [tmp_path])
    monkeypatch.setattr(compiler, "cache_directory", lambda: tmp_path)
    helper = compiler.shared(double_all)
    twice = compiler.inline(lambda address, n: helper(address, n))
    kernels = [compiler.CPUKernel(f, f"trial{k}") for k, f in enumerate(callers(twice))]
    words = np.arange(4)
    for kernel in kernels:
        runner.launch(kernel, words, 3)
        assert "skdeep_double_all" in compiler._read(kernel.name)[0]
    np.testing.assert_array_equal(words, [0, 4, 4, 3])


def callers(function):
    """Two kernels that call it: with all of the words, and with one less."""

    def whole(p, tile):
        function(p[0], p[1])

    def shorter(p, tile):
        function(p[0], p[1] - 1)

    return whole, shorter


def test_damaged_files_are_compiled_again(tmp_path):
    """Cut and altered machine code is never run."""
    first = run_script(NUMBA_CACHE_DIR=str(tmp_path))
    for path in tmp_path.rglob("*.kernel"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(bytes(data[:-7]))
    again = run_script(NUMBA_CACHE_DIR=str(tmp_path))
    assert set(again["compiled"]) == set(first["compiled"])
    assert again["bits"] == first["bits"]


def test_every_instruction_set_has_its_own_code(tmp_path):
    """All usable vector widths agree closely and do not share files."""
    usable = [i.name for i in isa.usable()]
    found = [run_script(NUMBA_CACHE_DIR=str(tmp_path), SKDEEP_ISA=name) for name in usable]
    assert [f["isa"] for f in found] == usable
    assert len({f["folder"] for f in found}) == len(usable)
    values = [np.frombuffer(bytes.fromhex(f["bits"]), np.float32) for f in found]
    for v in values[1:]:
        np.testing.assert_allclose(v, values[0], rtol=3e-7)
    widest = {f["adam"] for f in found if f["isa"].startswith("avx512")}
    assert len(widest) <= 1, "the sets of 512 bits compute float32 with the same instructions"


def test_unknown_instruction_set():
    """The message lists the choices."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_script(SKDEEP_ISA="mmx")
    assert "choose one of" in caught.value.stderr


def test_names_are_unique():
    """Registering a second kernel under a name is a mistake."""
    with pytest.raises(ValueError, match="exists already"):
        compiler.kernel(lambda p, tile: None, name="run_serial")


def test_steps_stop_at_a_loss_that_is_not_finite():
    """The loop reports how many steps were done and keeps the bad loss."""
    loss = np.array([1.0], np.float32)
    empty = np.zeros((0, runner.HEADER + 4), np.int64)
    registers, index = np.zeros(4, np.int32), np.zeros(2, np.int32)
    values = np.arange(12, dtype=np.int32).reshape(3, 4)
    orders = np.arange(6, dtype=np.int32).reshape(3, 2)
    losses = np.zeros(3)
    arguments = (empty, registers, values, index, orders, loss, losses)
    assert CPU().run_steps(*arguments) == 3
    np.testing.assert_array_equal(losses, 1)
    np.testing.assert_array_equal(registers, values[2])
    np.testing.assert_array_equal(index, orders[2])
    loss[0] = np.nan
    assert CPU().run_steps(*arguments) == 1
    assert np.isnan(losses[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_parallel_and_serial_loops_agree(threads):
    """The loop with threads treats registers, index and losses as the serial one does."""
    loss = np.array([2.0], np.float32)
    table = np.zeros((0, runner.HEADER + 4), np.int64)
    values, orders = np.ones((2, 3), np.int32), np.ones((2, 5), np.int32)
    registers, index, losses = np.zeros(3, np.int32), np.zeros(5, np.int32), np.zeros(2)
    arguments = (table, registers, values, index, orders, loss, losses)
    assert runner.steps(*arguments, team=threads) == 2
    assert registers.tolist() == [1, 1, 1] and index.tolist() == [1] * 5
    assert losses.tolist() == [2.0, 2.0]


def test_kept_code_is_used_where_nothing_can_be_written(tmp_path):
    """A folder filled ahead of time serves readers."""
    code = "from skdeep.kernels import compiler\ncompiler._writable = lambda path: False\n" + SCRIPT
    run_script(NUMBA_CACHE_DIR=str(tmp_path))

    def read_only(folder):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1]), done.stderr

    found, said = read_only(tmp_path)
    assert found["folder"] is None and found["compiled"] == [] and "compiling" not in said
