"""Whole ONNX graphs, written as exporters write them, against the onnx package's evaluator."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skdeep import NeuralNetClassifier
from skdeep.features import ImageFeatures, Preprocessing, from_onnx, network
from skdeep.features.steps import Steps
from skdeep.formats import Graph, Node, WeightsFile
from skdeep.formats.onnx import read
from skdeep.graph.op import topological
from skdeep.graph.passes import optimize, split_static
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor

onnx = pytest.importorskip("onnx", reason="graphs are written and evaluated with the onnx package")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx.reference.op_run import OpRun  # noqa: E402


class LRN(OpRun):
    """Of every channel; the package's own goes over as many channels as there are samples."""

    op_domain = ""

    def _run(self, x, alpha=None, beta=None, bias=None, size=None):
        squares = np.zeros_like(x)
        for c in range(x.shape[1]):
            first, last = max(0, c - (size - 1) // 2), c + size // 2
            squares[:, c] = (x[:, first : last + 1] ** 2).sum(axis=1)
        return (x / (bias + alpha / size * squares) ** beta,)


class Writer:
    """An ONNX graph in the making; every call adds a node and gives the name of its output."""

    def __init__(self, shape=("n", 3, 16, 16), opset=17):
        self.rng = np.random.default_rng(0)
        self.nodes, self.tensors, self.shape, self.opset = [], [], shape, opset

    def __call__(self, op, *inputs, name=None, outputs=1, **attributes):
        name = name or f"/{op}_{len(self.nodes)}"
        names = [f"{name}_output_{k}" for k in range(outputs)]
        names_in = [i if isinstance(i, str) else self.array(np.asarray(i)) for i in inputs]
        self.nodes.append(helper.make_node(op, names_in, names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def array(self, array):
        name = f"t{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def random(self, *shape):
        scale = np.sqrt(2 / max(1, np.prod(shape[1:])))
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def conv(self, x, c, f, k, bias=True, **attributes):
        if "auto_pad" not in attributes:
            attributes.setdefault("pads", [k // 2] * 4)
        w = self.random(f, c // attributes.get("group", 1), k, k)
        return self("Conv", x, w, *([self.random(f)] if bias else []), **attributes)

    def norm(self, x, c):
        positive = self.rng.uniform(0.5, 1.5, (2, c)).astype(np.float32)
        vectors = positive[0], self.random(c), self.random(c), positive[1]
        return self("BatchNormalization", x, *vectors)

    def linear(self, x, c, f):
        return self("Add", self.random(f), self("MatMul", x, self.random(f, c).T.copy()))

    def model(self, output):
        graph = helper.make_graph(
            self.nodes, "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], self.tensors,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])


def numbers(*values):
    return np.array(values, np.int64)


def residual():
    g = Writer()
    x = g("Relu", g.norm(g.conv("x", 3, 8, 3, bias=False, strides=[2, 2]), 8))
    x = g("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stride, c in ((1, 8), (2, 16)):
        y = g("Relu", g.norm(g.conv(x, 8, c, 3, bias=False, strides=[stride] * 2), c))
        y = g.norm(g.conv(y, c, c, 3, bias=False), c)
        if stride > 1:
            x = g.norm(g.conv(x, 8, c, 1, bias=False, strides=[stride] * 2, pads=[0] * 4), c)
        x = g("Relu", g("Add", y, x))
    x = g("Flatten", g("GlobalAveragePool", x, name="pool"), axis=1)
    x = g("Gemm", x, g.random(5, 16), g.random(5), transB=1, name="fc")
    return g.model(g("Softmax", x, axis=1, name="probabilities"))


def squeeze_excite():
    g = Writer(("n", 3, 17, 15), opset=14)
    x = g("HardSwish", g.norm(g.conv("x", 3, 8, 3, strides=[2, 2]), 8))
    y = g("Clip", g.conv(x, 8, 24, 1, pads=[0] * 4), np.float32(0), np.float32(6))
    y = g.norm(g.conv(y, 24, 24, 3, group=24, auto_pad="SAME_UPPER"), 24)
    s = g("ReduceMean", y, axes=[2, 3], keepdims=1)
    s = g("Relu", g.conv(s, 24, 6, 1, pads=[0] * 4))
    s = g("HardSigmoid", g.conv(s, 6, 24, 1, pads=[0] * 4), alpha=1 / 6)
    y = g("Mul", s, y)
    x = g("Add", x, g.conv(y, 24, 8, 1, pads=[0] * 4))
    x = g("Mul", x, g("Sigmoid", x))
    x = g("Concat", x, g("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4), axis=1)
    x = g("Squeeze", g("GlobalAveragePool", x), numbers(2, 3))
    return g.model(g.linear(x, 16, 4))


def layer_norm(g, x, c, written_out=True):
    scale, shift = g.random(c), g.random(c)
    if not written_out:
        return g("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-6)
    away = g("Sub", x, g("ReduceMean", x, axes=[-1]))
    square = g("Pow", away, np.float32(2))
    deviation = g("Sqrt", g("Add", g("ReduceMean", square, axes=[-1]), np.float32(1e-6)))
    return g("Add", g("Mul", g("Div", away, deviation), scale), shift)


def gelu(g, x):
    y = g("Erf", g("Div", x, np.float32(np.sqrt(2))))
    y = g("Mul", x, g("Add", y, np.float32(1)))
    return g("Mul", y, np.float32(0.5))


def transformer():
    """Patches, a class token, positions, attention; shapes computed in the graph."""
    g, width, heads = Writer(), 12, 2
    x = g.conv("x", 3, width, 4, strides=[4, 4], pads=[0] * 4)
    n, c = (g("Gather", g("Shape", x), numbers(k).reshape(())) for k in (0, 1))
    shape = g("Concat", *(g("Unsqueeze", v, numbers(0)) for v in (n, c)), numbers(-1), axis=0)
    x = g("Transpose", g("Reshape", x, shape), perm=[0, 2, 1])
    some = g("ConstantOfShape", g("Unsqueeze", numbers(3).reshape(()), numbers(0)),
             value=numpy_helper.from_array(numbers(1)))  # fmt: skip
    wanted = g("Concat", g("Unsqueeze", n, numbers(0)), numbers(-1), numbers(-1), axis=0)
    same = g("Equal", wanted, g("Mul", some, numbers(-1)))
    token = g("Expand", g.random(1, 1, width), g("Where", same, some, wanted))
    x = g("Add", g("Concat", token, x, axis=1), g.random(1, 17, width))
    for k in range(2):
        y = g.linear(layer_norm(g, x, width, k == 0), width, 3 * width)
        y = g("Reshape", y, numbers(0, 17, 3, heads, width // heads))
        y = g("Transpose", y, perm=[2, 0, 3, 1, 4])
        if k == 0:
            q, kk, v = (g("Gather", y, numbers(i).reshape(()), axis=0) for i in range(3))
        else:
            parts = g("Split", y, numbers(1, 1, 1), axis=0, outputs=3)
            q, kk, v = (g("Squeeze", p, numbers(0)) for p in parts)
        kk = g("Transpose", kk, perm=[0, 1, 3, 2])
        if k == 0:
            scores = g("Mul", g("MatMul", q, kk), np.float32(0.3))
        else:
            q, kk = (g("Mul", v_, np.float32(np.sqrt(0.3))) for v_ in (q, kk))
            scores = g("MatMul", q, kk)
        y = g("MatMul", g("Softmax", scores, axis=-1), v)
        y = g("Reshape", g("Transpose", y, perm=[0, 2, 1, 3]), numbers(0, 17, width))
        x = g("Add", x, g.linear(y, width, width))
        y = gelu(g, g.linear(layer_norm(g, x, width, k == 0), width, 20))
        x = g("Add", x, g.linear(y, 20, width))
    x = g("Gather", layer_norm(g, x, width), numbers(0).reshape(()), axis=1)
    return g.model(g("Gemm", x, g.random(width, 7), g.random(7), name="head"))


def masked_attention():
    """What is no plain attention: scores with a bias of their own."""
    g = Writer()
    x = g("Reshape", g.conv("x", 3, 8, 4, strides=[4, 4], pads=[0] * 4), numbers(1, 2, 4, 16))
    scores = g("MatMul", g("Transpose", x, perm=[0, 1, 3, 2]), x)
    shares = g("Softmax", g("Add", scores, g.random(1, 2, 16, 16)), axis=-1)
    y = g("MatMul", shares, g("Transpose", x, perm=[0, 1, 3, 2]))
    return g.model(g("ReduceMean", y, axes=[2], keepdims=0))


def channels_last_blocks():
    g = Writer()
    x = g.conv("x", 3, 8, 4, strides=[4, 4], pads=[0] * 4)
    x = g("Transpose", x, perm=[0, 2, 3, 1])
    x = g("Transpose", layer_norm(g, x, 8, written_out=False), perm=[0, 3, 1, 2])
    y = g("Transpose", g.conv(x, 8, 8, 7, group=8), perm=[0, 2, 3, 1])
    y = g.linear(layer_norm(g, y, 8), 8, 32)
    y = g("Transpose", g.linear(gelu(g, y), 32, 8), perm=[0, 3, 1, 2])
    x = g("Add", x, g("Mul", g.random(8, 1, 1), y))
    x = g("GlobalAveragePool", x)
    return g.model(g("Gemm", g("Flatten", x), g.random(8, 3), g.random(3)))


def shuffled_channels():
    """Channels are shuffled and split; the batch is written into shapes as 1."""
    g = Writer((1, 3, 16, 16), opset=14)
    x = g("Relu", g.conv("x", 3, 12, 3, strides=[2, 2]))
    for _ in range(2):
        a = g("Slice", x, numbers(0), numbers(6), numbers(1))
        b = g("Slice", x, numbers(6), numbers(12), numbers(1))
        b = g.conv(g.conv(b, 6, 6, 1, pads=[0] * 4), 6, 6, 3, group=6)
        x = g("Concat", a, g("Relu", b), axis=1)
        x = g("Reshape", x, numbers(1, 2, 6, 8, 8))
        x = g("Reshape", g("Transpose", x, perm=[0, 2, 1, 3, 4]), numbers(1, -1, 8, 8))
    x = g.norm(g.conv(x, 12, 12, 3, group=12), 12)
    x = g.conv(g("Relu", x), 12, 8, 3, group=2)
    x = g("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    x = g("Reshape", x, numbers(1, -1))
    return g.model(g("Gemm", x, g.random(4, 128), g.random(4), transB=1, alpha=0.5, beta=2.0))


def classic():
    """Of the years of AlexNet: local response norm, groups, dropout, dense layers on a map."""
    g = Writer((1, 3, 19, 19), opset=8)
    x = g("Relu", g.conv("x", 3, 8, 5, strides=[2, 2], pads=[0] * 4))
    x = g("LRN", x, size=5, alpha=1e-2)
    x = g("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    x = g("LeakyRelu", g.conv(x, 8, 8, 3, group=2), alpha=0.2)
    x = g("PRelu", x, g.rng.uniform(0.1, 0.9, (8, 1, 1)).astype(np.float32))
    x = g("Dropout", g("Flatten", x), ratio=0.5)
    x = g("Elu", g("Gemm", x, g.random(10, 128), g.random(10), transB=1))
    return g.model(g("LogSoftmax", g("Gemm", x, g.random(10, 4), g.random(4)), axis=1))


def resized():
    """A pyramid: maps of two sizes meet, after padding and resizing."""
    g = Writer(("n", 3, 12, 12))
    x = g("Pad", "x", numbers(0, 0, 1, 2, 0, 0, 1, 0), np.float32(0.5))
    x = g("Relu", g.conv(x, 3, 6, 3))
    y = g.conv(g("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), 6, 6, 1, pads=[0] * 4)
    none = np.zeros(0, np.float32)
    y = g("Resize", y, none, np.array([1, 1, 2, 2], np.float32), mode="nearest",
          coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    x = g("Add", x, y)
    y = g("Resize", x, none, none, numbers(1, 6, 5, 9), mode="linear")
    y = g("InstanceNormalization", y, g.random(6), g.random(6))
    y = g("Concat", g("ReduceMax", y, axes=[2, 3]), g("ReduceMean", y, axes=[2, 3]), axis=1)
    y = g("Div", g("Flatten", y), g("ReduceL2", g("Flatten", y), axes=[1]))
    return g.model(g("Tanh", y))


WRITERS = (residual, squeeze_excite, transformer, masked_attention, channels_last_blocks,
           shuffled_channels, classic, resized)  # fmt: skip
MODELS = {f.__name__: f for f in WRITERS}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def imported(model, tmp_path, **options):
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return from_onnx(read(path), **options)


def compute(net, x, names=()):
    """Output and activations of a network for pictures, with what prediction fuses."""
    network = net.network()
    leaf = Tensor(x.shape, role="data")
    output, trace = network.trace(leaf, training=False)
    feeds = {trace.leaf(s): np.ascontiguousarray(net.weights[s.name]) for s in network.parameters}
    wanted = [output, *(trace.activations[name] for name in names)]
    return evaluate(optimize(wanted, training=False), {**feeds, leaf: x})


def pictures(net, n):
    return np.random.default_rng(1).standard_normal((n, *net.input_shape)).astype(np.float32)


def reference(model, x):
    """Every output of every node, picture by picture: a dict by node name and output name."""
    names = [o for n in model.graph.node for o in n.output]
    first = {n.name: n.output[0] for n in model.graph.node}
    with_all = onnx.ModelProto()
    with_all.CopyFrom(model)
    del with_all.graph.output[:]
    with_all.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ReferenceEvaluator(with_all, new_ops=[LRN])
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for picture in x.transpose(0, 3, 1, 2):
            rows.append(session.run(None, {"x": picture[None]}))
    found = dict(zip(names, zip(*rows)))
    return found | {name: found[output] for name, output in first.items()}


def assert_close(mine, theirs, what):
    assert mine.shape == theirs.shape, f"{what}: {mine.shape}, not {theirs.shape}"
    error = np.abs(mine - theirs).max() / np.abs(theirs).max()
    assert error < 2e-5, f"{what}: relative error {error:.1e}"


def test_outputs_and_all_activations(model, tmp_path):
    net = imported(model, tmp_path)
    x = pictures(net, 3)
    expected = reference(model, x)
    network = net.network()
    shapes = network.probe()
    names = [node.name for node in model.graph.node if node.name in shapes]
    assert len(names) > len(model.graph.node) // 2
    output, *found = compute(net, x, names)
    assert_close(output, np.concatenate(expected[model.graph.output[0].name]), "output")
    for name, mine in zip(names, found):
        theirs = np.stack(expected[name])
        theirs = theirs[:, 0] if theirs.shape[1] == 1 else theirs
        if theirs.ndim == 4 and not is_close(mine, theirs):
            theirs = theirs.transpose(0, 2, 3, 1)
        assert_close(mine, theirs, name)


def is_close(mine, theirs):
    return mine.shape == theirs.shape and np.abs(mine - theirs).max() < 2e-5 * np.abs(theirs).max()


def test_a_picture_does_not_depend_on_its_batch(model, tmp_path):
    net = imported(model, tmp_path)
    x = pictures(net, 3)
    (together,) = compute(net, x)
    for k in range(3):
        (alone,) = compute(net, x[k : k + 1])
        assert_close(alone[0], together[k], k)


POINTS = {
    "residual": {"stem": "/Relu_2", "stage1": "/Relu_10", "stage2": "/Relu_19",
                 "pool": "/Flatten_21", "penultimate": "/Flatten_21", "logits": "fc"},
    "classic": {"stem": "/LRN_2", "stage1": "/PRelu_6", "pool": "/PRelu_6",
                "penultimate": "/Elu_10", "logits": "/Gemm_11"},
    "transformer": {"penultimate": "/Gather", "logits": "head", "pool": "/Gather"},
    "channels_last_blocks": {"pool": "/Flatten", "penultimate": "/Flatten", "logits": "/Gemm"},
}  # fmt: skip


@pytest.mark.parametrize("name", POINTS)
def test_points(name, tmp_path):
    net = imported(MODELS[name](), tmp_path)
    points = dict(net.points)
    shapes = net.network().probe()
    for word, layer in POINTS[name].items():
        assert points[word].startswith(layer), (word, points)
    assert set(points.values()) <= set(shapes)
    maps = [shapes[points[w]] for w in ("stem", "stage1", "stage2") if w in points]
    assert [m[0] for m in maps] == sorted((m[0] for m in maps), reverse=True)


class TestFusing:
    def operations(self, model, tmp_path):
        """What runs for every picture."""
        net = imported(model, tmp_path)
        x = Tensor((2, *net.input_shape), role="data")
        y, _ = net.network().trace(x, training=False)
        outputs, *_ = split_static(optimize([y], training=False))
        return topological(outputs)

    def kinds(self, model, tmp_path):
        return [type(op).__name__ for op in self.operations(model, tmp_path)]

    def test_batch_norm_and_residuals_are_part_of_convolutions(self, tmp_path):
        kinds = set(self.kinds(residual(), tmp_path))
        assert not {"BatchNorm", "Add", "Relu", "SwapBlocks"} & kinds

    def test_written_out_attention_gelu_and_layer_norm_are_found(self, tmp_path):
        found = self.operations(transformer(), tmp_path)
        kinds = [type(op).__name__ for op in found]
        assert kinds.count("Attention") == 2 and kinds.count("LayerNorm") == 5
        assert not {"Erf", "Gelu", "Softmax", "BatchMatMul", "SwapBlocks", "Sqrt"} & set(kinds)
        assert all(len(op.inputs) == 1 for op in found if type(op).__name__ == "Attention")

    def test_attention_with_a_bias_is_not_taken_for_plain(self, tmp_path):
        kinds = self.kinds(masked_attention(), tmp_path)
        assert "Attention" not in kinds and kinds.count("BatchMatMul") == 2

    def test_transpositions_and_layer_scales_cost_nothing(self, tmp_path):
        kinds = set(self.kinds(channels_last_blocks(), tmp_path))
        assert not {"SwapBlocks", "Multiply", "Add"} & kinds


class TestLayers:
    def test_pieces_end_where_one_tensor_goes_on(self, tmp_path):
        net = imported(residual(), tmp_path)
        names = [name for name, _ in net.layers()]
        assert names[:3] == ["/Conv_0", "/BatchNormalization_1", "/Relu_2"]
        assert len(names) == len(set(names)) > 6

    def test_copies_and_pickles(self, tmp_path):
        net = imported(shuffled_channels(), tmp_path)
        again = pickle.loads(pickle.dumps(net))
        x = pictures(net, 2)
        assert compute(net, x)[0].tobytes() == compute(again, x)[0].tobytes()
        for (name, layer), (_, other) in zip(net.layers(), net.layers()):
            assert isinstance(layer, Steps) and layer is not other
            assert clone(layer).get_params().keys() == layer.get_params().keys(), name

    def test_weights_are_views_of_the_file(self, tmp_path):
        net = imported(transformer(), tmp_path)
        large = [w for w in net.weights.values() if w.size > 100 and w.ndim == 2]
        assert large and not any(w.flags.owndata for w in large)

    def test_statistics_are_not_trained(self, tmp_path):
        network = imported(residual(), tmp_path).network()
        kept = {p.name.rpartition(".")[2] for p in network.parameters if not p.trainable}
        assert kept == {"mean", "var"}


class TestUse:
    @pytest.mark.parametrize("name", ["residual", "transformer", "squeeze_excite"])
    def test_trains(self, name, tmp_path):
        net = imported(MODELS[name](), tmp_path)
        X, y = pictures(net, 12), np.arange(12) % 2
        for body in (network(tmp_path / "net.onnx"), net.layers()[:-1]):
            classifier = NeuralNetClassifier(body, input_shape=net.input_shape, random_state=0)
            classifier.set_params(max_epochs=2).fit(X, y)
            assert classifier.score(X, y) >= 0.5

    def test_features(self, tmp_path):
        path = tmp_path / "net.onnx"
        path.write_bytes(residual().SerializeToString())
        X = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
        recipe = Preprocessing(resize=16, crop=16)
        features = ImageFeatures(path, layer=["stage1", "/Relu_19", "pool"], preprocessing=recipe)
        found = features.fit_transform(X)
        prepared = np.stack([(p / 255 - recipe.mean) / recipe.std for p in X]).astype(np.float32)
        expected = reference(residual(), prepared)
        maps = [np.concatenate(expected[n]).mean(axis=(2, 3)) for n in ("/Relu_10", "/Relu_19")]
        assert_close(found, np.hstack([*maps, maps[1]]), "features")


class TestInput:
    def test_size_of_the_user(self, tmp_path):
        g = Writer(("n", 3, "h", "w"))
        x = g("GlobalAveragePool", g.conv("x", 3, 4, 3))
        model = g.model(g("Flatten", x))
        with pytest.raises(ValueError, match=r"size of its input 'x' open.*input_shape"):
            imported(model, tmp_path)
        assert imported(model, tmp_path, input_shape=(9, 7, 3)).input_shape == (9, 7, 3)

    def test_channels_that_differ(self, tmp_path):
        with pytest.raises(ValueError, match="does not fit pictures"):
            imported(residual(), tmp_path, input_shape=(16, 16, 4))

    def test_channels_last_in_the_file(self, tmp_path):
        g = Writer(("n", 8, 9, 3))
        x = g("Transpose", "x", perm=[0, 3, 1, 2])
        model = g.model(g("Transpose", g.conv(x, 3, 4, 3), perm=[0, 2, 3, 1]))
        net = imported(model, tmp_path)
        assert net.input_shape == (8, 9, 3)
        x = pictures(net, 1)
        expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
        assert_close(compute(net, x)[0], expected, "output")


def graph_file(nodes, tensors=None, inputs=None, outputs=("y",), opset=17):
    inputs = {"x": (None, 3, 8, 8)} if inputs is None else inputs
    return WeightsFile("onnx", tensors or {}, {}, Graph(nodes, inputs, list(outputs), opset))


W = {"w": np.zeros((4, 3, 3, 3), np.float32), "m": np.zeros((5, 6), np.float32)}
NONSENSE = {
    "an operator that is unknown": [Node("Scan", "odd", ["x"], ["y"])],
    "a name that nothing computes": [Node("Relu", "odd", ["z"], ["y"])],
    "a cycle": [Node("Relu", "odd", ["b"], ["a"]), Node("Relu", "r", ["a"], ["b"]),
                Node("Relu", "s", ["b"], ["y"])],
    "weights that do not fit": [Node("Conv", "odd", ["x", "m"], ["y"])],
    "groups that do not divide": [Node("Conv", "odd", ["x", "w"], ["y"], {"group": 3})],
    "a window larger than the picture": [
        Node("MaxPool", "odd", ["x"], ["y"], {"kernel_shape": [9, 9]})],
    "a window without size": [Node("MaxPool", "odd", ["x"], ["y"])],
    "strides of zero": [Node("Conv", "odd", ["x", "w"], ["y"], {"strides": [0, 0]})],
    "strides that are words": [Node("Conv", "odd", ["x", "w"], ["y"], {"strides": "no"})],
    "pads of another picture": [Node("Conv", "odd", ["x", "w"], ["y"], {"pads": [1, 1]})],
    "negative pads": [Node("Conv", "odd", ["x", "w"], ["y"], {"pads": [-1] * 4})],
    "shapes that do not broadcast": [Node("Add", "odd", ["x", "m"], ["y"])],
    "matrices that do not fit": [Node("MatMul", "odd", ["x", "m"], ["y"])],
    "an axis that does not exist": [Node("Softmax", "odd", ["x"], ["y"], {"axis": 7})],
    "an order of other axes": [Node("Transpose", "odd", ["x"], ["y"], {"perm": [0, 1]})],
    "a shape that does not fit": [Node("Reshape", "odd", ["x", "s"], ["y"])],
    "a shape of absurd size": [Node("ConstantOfShape", "odd", ["s"], ["a"]),
                               Node("Add", "sum", ["x", "a"], ["y"])],
    "an input left out": [Node("Add", "odd", ["x", ""], ["y"])],
    "too few inputs": [Node("Conv", "odd", ["x"], ["y"])],
    "too many inputs": [Node("Relu", "odd", ["x", "x"], ["y"])],
    "a picture as weights": [Node("Conv", "odd", ["x", "x"], ["y"])],
    "a condition on the picture": [Node("Where", "odd", ["x", "x", "x"], ["y"])],
    "a shape of the picture": [Node("Reshape", "odd", ["x", "x"], ["y"])],
    "a cast to integers": [Node("Cast", "odd", ["x"], ["y"], {"to": 7})],
}  # fmt: skip


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_refused_with_the_name_of_the_node(what):
    tensors = {**W, "s": np.array([2**40, 7])}
    with pytest.raises(ValueError, match="odd"):
        from_onnx(graph_file(NONSENSE[what], tensors))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (WeightsFile("npz", {}), "without a graph"),
        (graph_file([Node("Relu", "r", ["x"], ["z"])]), "no node computes the output 'y'"),
        (graph_file([Node("Relu", "r", ["x"], ["y"])], opset=6), "version 6"),
        (graph_file([Node("Relu", "r", ["x"], ["y"])], inputs={}), "one input"),
        (graph_file([], inputs={"x": (1, 3, 8, 8), "z": (1,)}), "one input"),
        (graph_file([], outputs=()), "at least one output"),
        (graph_file([], inputs={"x": (1, 8)}), "no batch of pictures"),
        (graph_file([Node("Relu", "r", ["w"], ["y"])], W), None),
        (graph_file([], {"y": W["w"]}), "does not depend on the picture"),
    ],
)
def test_files_that_are_no_networks(file, message):
    if message is None:  # what depends on weights alone is computed all the same
        assert from_onnx(file).network().probe()["r"] == (4, 3, 3, 3)
        return
    with pytest.raises(ValueError, match=message):
        from_onnx(file)


def test_the_message_lists_what_is_supported():
    with pytest.raises(ValueError, match=r"^Scan 'odd': .*those that are: Abs, Add, .*Conv"):
        from_onnx(graph_file([Node("Scan", "odd", ["x"], ["y"])]))


ATTRIBUTES = st.sampled_from(
    [-1, 0, 3, 2**63 - 1, 1.5, float("nan"), "no", [], [1, 1], [2**40] * 4, [-5], W["m"]]
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_graphs_are_computed_or_refused(data):
    model = MODELS[data.draw(st.sampled_from(sorted(MODELS)))]()
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = []
    for n in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in n.attribute}
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        attributes = {k: numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v
                      for k, v in attributes.items()}  # fmt: skip
        nodes.append(Node(n.op_type, n.name, list(n.input), list(n.output), attributes))
    names = ["x", "", *tensors, *(n.outputs[0] for n in nodes)]
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from(nodes))
        what = data.draw(st.sampled_from(["input", "attribute", "op", "drop"]))
        if what == "input" and node.inputs:
            place = data.draw(st.integers(0, len(node.inputs) - 1))
            node.inputs[place] = data.draw(st.sampled_from(names))
        elif what == "attribute" and node.attributes:
            key = data.draw(st.sampled_from(sorted(node.attributes)))
            node.attributes[key] = data.draw(ATTRIBUTES)
        elif what == "op":
            node.op = data.draw(st.sampled_from([n.op for n in nodes]))
        elif what == "drop" and len(nodes) > 1:
            nodes.remove(node)
    inputs = {"x": (None, 3, 16, 16)}
    file = graph_file(nodes, tensors, inputs, [model.graph.output[0].name])
    try:
        from_onnx(file).network()
    except ValueError:
        pass
