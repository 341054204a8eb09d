"""The order over the batch: parts of a graph for some samples at a time."""

import numpy as np
import pytest

from skdeep import ops
from skdeep.graph import OPS, Tensor, batching, compile_program
from skdeep.graph.batching import PER_SAMPLE, order_batch
from skdeep.graph.op import topological
from skdeep.graph.passes import optimize, split_static
from skdeep.graph.precision import to_bfloat16
from skdeep.graph.program import evaluate

RNG = np.random.RandomState(0)
LEAVES = {
    "w1": (3, 3, 3, 20),
    "b1": (20,),
    "w2": (3, 3, 20, 20),
    "w3": (1, 1, 20, 40),
    "w4": (40, 7),
}


def residual_net(batch):
    """A small net with a branch, a pool, a join of channels and a dense layer."""
    x = Tensor((batch, 12, 12, 3), role="data")
    w = {name: Tensor(shape, role="parameter", name=name) for name, shape in LEAVES.items()}
    early = ops.relu(ops.conv2d(x, w["w1"], w["b1"], padding=1))
    y = ops.relu(ops.conv2d(early, w["w2"], padding=1) + early)
    y = ops.max_pool2d(y, 2)
    y = ops.concatenate([ops.conv2d(y, w["w3"]), y], axis=-1)
    y = ops.slice_axis(y, -1, 0, 40)
    features = ops.flatten(ops.global_average_pool2d(y))
    feeds = {x: RNG.randn(*x.shape)} | {t: RNG.randn(*t.shape) for t in w.values()}
    return [ops.softmax(ops.dense(features, w["w4"])), features, early], feeds


@pytest.mark.parametrize("cache", [1, 30_000, 100_000, 2**30])
@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_the_order_changes_no_bit(batch, cache):
    outputs, feeds = residual_net(batch)
    ordered, stretches = order_batch(outputs, batch, cache)
    assert [op for s in stretches for op in s.ops] == topological(outputs)
    assert [t.shape for t in ordered] == [t.shape for t in outputs]
    for a, b in zip(evaluate(outputs, feeds), evaluate(ordered, feeds, n_threads=2)):
        assert a.tobytes() == b.tobytes()


def test_large_activations_go_one_by_one_and_many_weights_together():
    y = Tensor((8, 64, 64, 16), role="data")
    early = [Tensor((3, 3, 16, 16), role="parameter") for _ in range(3)]
    late = [Tensor((65536 // 4**k, 65536 // 4 ** (k + 1)), role="parameter") for k in range(2)]
    for w in early:
        y = ops.conv2d(y, w, padding=1)
    y = ops.reshape(y, (8, 65536))
    for w in late:
        y = ops.dense(y, w)
    outputs, *_ = split_static([y])
    ordered, stretches = order_batch(outputs, 8)
    sizes = {type(op).__name__: s.samples for s in stretches for op in s.ops}
    assert sizes["Conv2D"] < 8 and sizes["Dense"] == 8
    assert compile_program(ordered).arena_size < compile_program(outputs).arena_size


def test_what_mixes_samples_takes_the_whole_batch():
    x = Tensor((4, 32, 32, 32), role="data")
    y = ops.relu(ops.tanh(x))
    mixed = ops.sum(y, axis=0) + ops.sigmoid(y)
    outputs = [mixed]
    ordered, stretches = order_batch(outputs, 4, 1)
    names = {type(op).__name__: s.samples for s in stretches for op in s.ops}
    assert names["Tanh"] == 1 and names["Sum"] == names["Add"] == 4
    feeds = {x: RNG.randn(*x.shape)}
    assert np.array_equal(evaluate(outputs, feeds)[0], evaluate(ordered, feeds)[0])


def test_a_view_that_goes_on_is_copied():
    x = Tensor((4, 6, 6, 3), role="data")
    y = ops.tanh(x)
    flat = ops.reshape(y + y, (4, 108))
    outputs = [ops.tanh(y) + ops.reshape(flat, (4, 6, 6, 3)), flat]
    ordered, _ = order_batch(outputs, 4, 1)
    assert "Copy" in {type(op).__name__ for op in topological(ordered)}
    feeds = {x: RNG.randn(*x.shape)}
    for a, b in zip(evaluate(outputs, feeds), evaluate(ordered, feeds)):
        assert np.array_equal(a, b)


def test_rows_are_taken_and_joined_in_place():
    x = Tensor((6, 5), role="data")
    take, join = OPS["TakeRows"], OPS["JoinRows"]
    y = ops.tanh(x)
    swapped = join(*(ops.relu(take(y, start=s, stop=s + 3).output) for s in (3, 0))).output
    feeds = {x: RNG.randn(6, 5)}
    got, plain = evaluate([swapped, ops.relu(y)], feeds)
    assert np.array_equal(got, np.roll(plain, 3, axis=0))
    program = compile_program([swapped])
    assert len(program.kernels) == 3  # nothing is copied
    with pytest.raises(ValueError, match="part of"):
        compile_program([join(take(x, start=0, stop=2).output).output])


def test_groups_are_computed_when_they_are_needed():
    """Small groups inside larger ones, each loaded by itself: the arena holds a few, not all."""
    registers = Tensor((16,), "int32", role="registers")
    x = OPS["LoadRows"](Tensor((12, 64 * 64 * 8), role="data"), registers, n=8).output
    source = x.op.inputs[0]
    y = ops.tanh(ops.tanh(ops.reshape(x, (8, 64, 64, 8))))
    y = ops.tanh(ops.tanh(ops.max_pool2d(y, 4)))
    outputs = [ops.tanh(ops.flatten(ops.max_pool2d(y, 2)))]
    feeds = {source: RNG.randn(*source.shape), registers: [3, 12, *[0] * 14]}
    chosen = {(8, 64, 64, 8): 1, (8, 16, 16, 8): 2}
    with pytest.MonkeyPatch.context() as patch:
        pick = lambda names, *_: chosen.get(names[-1].output.shape, 8)  # noqa: E731
        patch.setattr(batching, "_choose", pick)
        ordered, stretches = order_batch(outputs, 8)
    assert {s.samples for s in stretches} == {1, 2, 8}
    loads = [op for op in topological(ordered) if type(op).__name__ == "LoadRows"]
    assert [(op.first, op.n) for op in loads] == [(k, 1) for k in range(8)]
    order = topological(ordered)
    first_pair = next(k for k, op in enumerate(order) if op.output.shape == (2, 16, 16, 8))
    assert first_pair < order.index(loads[2])
    for start in (3, 9):  # the second reads beyond the end of the data
        feeds[registers] = [start, 12, *[0] * 14]
        a, b = (evaluate(graph, feeds)[0] for graph in (outputs, ordered))
        assert np.abs(a[:3]).min() > 0
        assert a.tobytes() == b.tobytes()


def test_few_samples_are_taken_where_they_cost_little(monkeypatch):
    """The work of a convolution hides what its weights cost when they are read again."""
    y = Tensor((8, 28, 28, 128), role="data")
    outputs, *_ = split_static([ops.conv2d(y, weights(3, 3, 128, 128), padding=1, stride=2)])
    (usual,) = order_batch(outputs, 8)[1]
    monkeypatch.setattr(batching, "SPARE", 0)
    (fastest,) = order_batch(outputs, 8)[1]
    assert usual.samples < fastest.samples


def weights(*shape):
    return Tensor(shape, role="parameter")


IMAGES, ROWS, TOKENS = (4, 5, 6, 8), (4, 8), (4, 7, 24)
CASES = {
    "Absolute": lambda: ops.absolute(data(IMAGES)),
    "Add": lambda: data(IMAGES) + weights(8),
    "Attention": lambda: ops.attention(data(TOKENS), data(TOKENS), data(TOKENS), 2),
    "AveragePool2D": lambda: ops.average_pool2d(data(IMAGES), 2),
    "BatchMatMul": lambda: ops.batch_matmul(data((8, 5, 6)), data((8, 6, 7))),
    "BatchNorm": lambda: ops.batch_norm(data(IMAGES), *(weights(8) for _ in range(4)), 1e-3),
    "Clip": lambda: ops.clip(data(IMAGES), -0.5, 0.5),
    "Concatenate": lambda: ops.concatenate([data(IMAGES), data(IMAGES)]),
    "Conv2D": lambda: ops.conv2d(data(IMAGES), weights(3, 3, 8, 5), padding=1),
    "Copy": lambda: ops.copy(data(IMAGES)),
    "Dense": lambda: ops.dense(data(ROWS), weights(8, 5)),
    "DepthwiseConv2D": lambda: ops.conv2d(data(IMAGES), weights(3, 3, 1, 8), groups=8),
    "Divide": lambda: data(IMAGES) / 3,
    "Elu": lambda: ops.elu(data(IMAGES)),
    "Erf": lambda: ops.erf(data(IMAGES)),
    "Exp": lambda: ops.exp(data(IMAGES)),
    "ExtractPatches": lambda: patches((3, 2)),
    "Gelu": lambda: ops.gelu(data(IMAGES)),
    "Hardsigmoid": lambda: ops.hardsigmoid(data(IMAGES)),
    "Hardswish": lambda: ops.hardswish(data(IMAGES)),
    "HogBlocks": lambda: OPS["HogBlocks"](data(IMAGES), size=2, eps=0.1).output,
    "HogCells": lambda: OPS["HogCells"](data(IMAGES), cell=2, bins=9, signed=False).output,
    "LayerNorm": lambda: ops.layer_norm(data(ROWS), weights(8), weights(8)),
    "LeakyRelu": lambda: ops.leaky_relu(data(IMAGES)),
    "LocalResponseNorm": lambda: ops.local_response_norm(data(IMAGES)),
    "LogSoftmax": lambda: ops.log_softmax(data(ROWS)),
    "MaxPool2D": lambda: ops.max_pool2d(data(IMAGES), 2),
    "Maximum": lambda: ops.maximum(data(IMAGES), data(IMAGES)),
    "Minimum": lambda: ops.minimum(data(IMAGES), weights(1, 1, 1, 8)),
    "Mish": lambda: ops.mish(data(IMAGES)),
    "Multiply": lambda: data(IMAGES) * data(IMAGES),
    "Negative": lambda: -data(IMAGES),
    "PadAxis": lambda: OPS["PadAxis"](data(TOKENS), axis=1, before=2, after=1).output,
    "Pad2D": lambda: ops.pad2d(data(IMAGES), (1, 0, 2, 1)),
    "Relu": lambda: ops.relu(data(IMAGES)),
    "Reshape": lambda: round_trip(ops.tanh(data(TOKENS))),
    "Selu": lambda: ops.selu(data(IMAGES)),
    "ShuffleChannels": lambda: ops.shuffle_channels(data(IMAGES), 2),
    "Sigmoid": lambda: ops.sigmoid(data(IMAGES)),
    "QuickGelu": lambda: ops.quick_gelu(data(IMAGES)),
    "Silu": lambda: ops.silu(data(IMAGES)),
    "SliceAxis": lambda: ops.slice_axis(data(IMAGES), -1, 2, 5),
    "SoftPool": lambda: OPS["SoftPool"](data(IMAGES), grid=(2, 2), mean=True, alpha=0.2).output,
    "Softmax": lambda: ops.softmax(data(ROWS)),
    "Softplus": lambda: ops.softplus(data(IMAGES)),
    "Sqrt": lambda: ops.sqrt(ops.square(data(IMAGES))),
    "Square": lambda: ops.square(data(IMAGES)),
    "Subtract": lambda: data(IMAGES) - data(IMAGES),
    "SwapBlocks": lambda: ops.transpose(data(IMAGES), (0, 2, 1, 3)),
    "Tanh": lambda: ops.tanh(data(IMAGES)),
    "TrianglePool": lambda: triangles(patches((2, 2))),
}


def data(shape):
    return Tensor(shape, role="data")


def patches(size):
    return OPS["ExtractPatches"](data(IMAGES), size=size, stride=(1, 2), eps=0.1).output


def triangles(z):
    q = ops.dense(z, weights(z.shape[3], 5))
    return OPS["TrianglePool"](q, z, grid=(2, 1), mean=False).output


def round_trip(x):
    return x + ops.reshape(ops.tanh(ops.reshape(x, (28, 24))), x.shape)


BFLOAT16 = {name for name in PER_SAMPLE if "Bfloat16" in name} | {"Narrow", "Widen"}


@pytest.mark.parametrize("name", sorted(PER_SAMPLE - BFLOAT16))
def test_every_operation_of_the_table_treats_samples_alone(name, monkeypatch):
    monkeypatch.setattr(batching, "_choose", lambda *_: 1)
    outputs = [ops.tanh(ops.tanh(CASES[name]()))]
    ordered, stretches = order_batch(outputs, 4, 1)
    samples = {type(op).__name__: s.samples for s in stretches for op in s.ops}
    assert samples[name] == 1
    leaves = {t for op in topological(outputs) for t in op.inputs if t and t.op is None}
    feeds = {t: RNG.uniform(0.1, 1, t.shape) for t in leaves}
    assert evaluate(outputs, feeds)[0].tobytes() == evaluate(ordered, feeds)[0].tobytes()


def test_operations_of_bfloat16_treat_samples_alone(monkeypatch):
    x = data((4, 8, 8, 16))
    a = ops.conv2d(x, weights(1, 1, 16, 16))
    b = ops.conv2d(a, weights(3, 3, 1, 16), padding=1, groups=16)
    y = ops.tanh(ops.max_pool2d(ops.relu(a + b), 2))
    y = ops.conv2d(
        ops.average_pool2d(ops.conv2d(y, weights(1, 1, 16, 16)), 2), weights(1, 1, 16, 4)
    )
    y = ops.tanh(ops.dense(ops.flatten(y), weights(16, 5)))
    outputs = to_bfloat16(optimize([y], training=False))
    monkeypatch.setattr(batching, "_choose", lambda *_: 1)
    ordered, stretches = order_batch(outputs, 4, 1)
    samples = {type(op).__name__: s.samples for s in stretches for op in s.ops}
    assert {name: samples.get(name) for name in BFLOAT16} == dict.fromkeys(BFLOAT16, 1)
    leaves = {t for op in topological(outputs) for t in op.inputs if t and t.op is None}
    feeds = {t: RNG.uniform(-1, 1, t.shape) for t in leaves}
    assert evaluate(outputs, feeds)[0].tobytes() == evaluate(ordered, feeds)[0].tobytes()


def test_a_constant_as_long_as_the_batch_keeps_it_together():
    x, bias = data((4, 32, 32, 8)), weights(4, 1, 1, 8)
    outputs = [ops.tanh(ops.tanh(x) + bias)]
    ordered, stretches = order_batch(outputs, 4, 1)
    assert {type(op).__name__: s.samples for s in stretches for op in s.ops}["Add"] == 4
    feeds = {x: RNG.randn(*x.shape), bias: RNG.randn(*bias.shape)}
    assert np.array_equal(evaluate(outputs, feeds)[0], evaluate(ordered, feeds)[0])
