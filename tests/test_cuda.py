"""The CUDA device, as far as it goes without numba-cuda, and the two lanes that need more."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import skdeep
from skdeep import NeuralNetClassifier, ops
from skdeep.features import find_network
from skdeep.graph.passes import fuse_concatenate, optimize, rewrite
from skdeep.graph.program import compile_program
from skdeep.graph.tensor import Tensor
from skdeep.kernels import _numba_cuda
from skdeep.kernels.compiler import KERNELS
from skdeep.kernels.cpu import CPU
from skdeep.kernels.cuda import CUDA, TWINS, Heap
from skdeep.layers import Conv2D
from skdeep.layers.network import Network
from skdeep.training.data import Data
from skdeep.training.inference import Predictor
from skdeep.training.trainer import Trainer

# Families whose kernels all run on CUDA, and those that do not yet.
COMPLETE = {
    "activation", "arithmetic", "attention", "conv", "dense", "depthwise", "elementwise",
    "layer_norm", "local_response_norm", "normalization", "optimizers", "panels", "pool",
    "pool_grad", "random", "reduce", "rows", "shape", "softmax",
}  # fmt: skip
CPU_ONLY = {
    "bfloat16",
    "bfloat16_conv",
    "bfloat16_pool",
    "bfloat16_tiles",
    "hog",
    "patches",
    "pictures",
    "resize",
    "sparse",
    "winograd",
}


def family(name):
    return KERNELS[name].function.__module__.rpartition(".")[2]


def test_every_kernel_of_a_complete_family_has_a_twin():
    of_the_device = {"runner"}
    assert {family(name) for name in KERNELS} <= COMPLETE | CPU_ONLY | of_the_device
    assert not [n for n in KERNELS if family(n) in COMPLETE and n not in TWINS]
    assert not [n for n in KERNELS if family(n) in CPU_ONLY and n in TWINS]


def test_twins_stand_below_their_kernels():
    for name in set(TWINS) & set(KERNELS):
        assert TWINS[name].function.__module__ == KERNELS[name].function.__module__


def test_message_without_numba_cuda(monkeypatch):
    monkeypatch.setattr(_numba_cuda, "SIMULATED", False)
    monkeypatch.setattr(_numba_cuda, "INSTALLED", False)
    net = NeuralNetClassifier(device="cuda")
    with pytest.raises(ImportError, match=r'pip install "skdeep\[gpu\]"'):
        net.fit(np.eye(4), [0, 1, 0, 1])


def test_importing_skdeep_does_not_import_cuda(run_python):
    run_python("""
import sys
import skdeep, skdeep.ops
from skdeep import NeuralNetClassifier
loaded = [m for m in sys.modules if m == "numba_cuda" or m.startswith("numba.cuda")]
assert not loaded, loaded
""")


class FakeArray(np.ndarray):
    """A NumPy array with the copying methods of device arrays."""

    def copy_to_device(self, other):
        self[...] = other

    def copy_to_host(self, other):
        other[...] = self


class FakeTarget:
    """Memory of a device that is none."""

    @staticmethod
    def empty(n):
        return np.full(n, np.nan, np.float32).view(FakeArray)


@pytest.fixture
def device():
    device = object.__new__(CUDA)
    device.heap = Heap(FakeTarget, size=256)
    return device


def test_memory_survives_growth(device):
    numbers, whole = np.arange(100, dtype=np.float32), np.arange(7, dtype=np.int32).reshape(7, 1)
    a, b = device.upload(numbers), device.upload(whole)
    before = device.address(a), device.address(b)
    assert 0 not in before  # which stands for an absent operand
    large = device.zeros(10_000)
    assert (device.address(a), device.address(b)) == before
    np.testing.assert_array_equal(device.download(a), numbers)
    np.testing.assert_array_equal(device.download(b), whole)
    assert device.download(b).dtype == np.int32
    assert not device.download(large).any()


def test_memory_is_used_again(device):
    a, b = device.empty(100), device.empty(40)
    place = a.start
    part = device.upload(np.arange(6, dtype=np.int32).reshape(2, 3))[1]
    del a
    assert device.empty(90).start == place
    assert device.empty(60).start not in range(place, place + 100) or b.start > place
    np.testing.assert_array_equal(device.download(part), [3, 4, 5])  # keeps the whole alive
    size = device.heap.size
    for _ in range(50):
        device.upload(np.zeros(60, np.float32))
    assert device.heap.size == size


def test_write_leaves_the_rest(device):
    memory = device.zeros(5)
    device.write(memory, np.ones(2, np.float32))
    np.testing.assert_array_equal(device.download(memory), [1, 1, 0, 0, 0])
    device.write(memory, np.ones(0, np.float32))


# ---- which kernels a network takes -------------------------------------------------------------


def test_convolutions_are_direct(device, monkeypatch):
    """Where the CPU takes Winograd's algorithm."""
    monkeypatch.setattr(device, "run", lambda table, n_threads: None, raising=False)
    network = Network([("conv", Conv2D(64, padding="same"))], (14, 14, 64))
    network.probe()
    data = Data(np.zeros((2, 14 * 14 * 64), np.float32), (14, 14, 64))
    vectors = network.initialize(np.random.RandomState(0))
    trainers = [
        Trainer(network, lambda y, output: ops.sum(output, axis=(1, 2, 3)), data, vectors, where)
        for where in (CPU(), device)
    ]
    on_cpu, on_cuda = (trainer.build(2).kernels for trainer in trainers)
    assert "winograd" in {family(name) for name in on_cpu}
    assert set(on_cuda) <= set(TWINS)
    predictor = Predictor(network, lambda y, trace, _: [y], data, trainers[1].weights, 2)
    assert "conv_rows" in predictor.program.kernels
    assert set(predictor.program.kernels) <= set(TWINS)


@pytest.mark.parametrize("name", ["caffenet", "googlenet", "mobilenet_v2", "resnet18", "vit_b_16"])
def test_pretrained_networks_have_twins(name):
    architecture = find_network(name)
    network = architecture.network()
    x = Tensor((2, *network.input_shape), role="data")
    _, trace = network.trace(x, training=False, memory="low")
    outputs = [trace.activations[layer] for _, layer in architecture.points]
    outputs = rewrite(optimize(outputs, training=False), fuse_concatenate)
    assert set(compile_program(outputs).kernels) <= set(TWINS)


# ---- lanes -------------------------------------------------------------------------------------


def run_lane(marker, tests, **environment):
    """Run the tests of a lane in a process of their own."""
    here = Path(skdeep.__file__).parents[1]
    path = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", marker, "-p", "no:cacheprovider",
         str(Path(__file__).parent / tests)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_simulated_networks():
    run_lane("sim", "sim", NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_assembly_for_gpus():
    run_lane("ptx", "test_ptx.py", NUMBA_ENABLE_CUDASIM="0")
