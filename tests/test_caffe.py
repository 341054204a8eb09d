"""Caffe's files: read, run, compared with plain loops; and files that are none."""

import pickle
import random
from dataclasses import replace

import naive_caffe
import numpy as np
import pytest
from caffe_files import blob, counted, declared_input, layer, number, varint, write_net
from test_networks import assert_near, computed

from skdeep import NeuralNetClassifier, ops
from skdeep.features import (
    ImageFeatures,
    ImageLoader,
    ImageLocalizer,
    Preprocessing,
    find_network,
    find_weights,
    from_caffe,
    network,
)
from skdeep.features.imported import Wired
from skdeep.formats import FormatError, write_weights
from skdeep.formats.caffe import read, read_mean
from skdeep.layers.network import Network
from skdeep.training import Adam

RNG = np.random.default_rng(0)


def draw(*shape, scale=None):
    """Weights whose sums stay near one."""
    spread = scale or (2 / max(1, np.prod(shape[1:]))) ** 0.5
    return np.float32(RNG.normal(size=shape) * spread)


def conv(name, bottom, top, channels, filters, kernel, **values):
    """A convolution with random weights."""
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    sizes = {"kernel_h": kh, "kernel_w": kw} if kh != kw else {"kernel_size": kh}
    weights = [draw(filters, channels // values.get("group", 1), kh, kw)]
    if values.get("bias_term", True):
        weights.append(draw(filters))
    return (
        "Convolution",
        name,
        [bottom],
        [top],
        {"num_output": filters, **sizes, **values},
        weights,
    )


def dense(name, bottom, top, inputs, units, **values):
    """An inner product with random weights."""
    weights = [draw(units, inputs), draw(units)]
    return ("InnerProduct", name, [bottom], [top], {"num_output": units, **values}, weights)


def relu(name, blob_name, **values):
    return ("ReLU", name, [blob_name], [blob_name], values, [])


def pool(name, bottom, top, **values):
    return ("Pooling", name, [bottom], [top], values, [])


def lenet():
    """In place, LRN, groups, overhanging windows, a dense layer on a map that is not square."""
    return [
        conv("conv1", "data", "conv1", 3, 6, 3, stride=2),
        relu("relu1", "conv1"),
        pool("pool1", "conv1", "pool1", kernel_size=3, stride=2),
        ("LRN", "norm1", ["pool1"], ["norm1"], {"alpha": 0.5, "beta": 0.75}, []),
        conv("conv2", "norm1", "conv2", 6, 8, 3, pad=1, group=2),
        relu("relu2", "conv2"),
        pool("pool2", "conv2", "pool2", pool=1, kernel_size=3, stride=2, pad=1),
        dense("fc6", "pool2", "fc6", 8 * 3 * 4, 10),
        relu("relu6", "fc6"),
        ("Dropout", "drop6", ["fc6"], ["fc6"], {"dropout_ratio": 0.5}, []),
        dense("fc8", "fc6", "fc8", 10, 5),
    ]


LENET_SHAPE = (19, 27, 3)


def residual():
    """Batch norm and scale in place, a projection, sums."""

    def normed(name, bottom, channels, filters, kernel, **values):
        statistics = [draw(filters, scale=1.0), draw(filters) ** 2 + 1, [2.0]]
        affine = [draw(filters, scale=0.3) + 1, draw(filters)]
        return [
            conv(name, bottom, name, channels, filters, kernel, bias_term=False, **values),
            ("BatchNorm", f"bn_{name}", [name], [name], {"use_global_stats": 1}, statistics),
            ("Scale", f"scale_{name}", [name], [name], {"bias_term": 1}, affine),
        ]

    return [
        *normed("conv1", "data", 3, 8, 5, stride=2, pad=2),
        relu("conv1_relu", "conv1"),
        pool("pool1", "conv1", "pool1", kernel_size=3, stride=2),
        *normed("res2a_branch1", "pool1", 8, 12, 1, stride=2),
        *normed("res2a_branch2a", "pool1", 8, 4, 1, stride=2),
        relu("res2a_branch2a_relu", "res2a_branch2a"),
        *normed("res2a_branch2b", "res2a_branch2a", 4, 12, 3, pad=1),
        ("Eltwise", "res2a", ["res2a_branch1", "res2a_branch2b"], ["res2a"], None, []),
        relu("res2a_relu", "res2a"),
        pool("pool5", "res2a", "pool5", pool=1, global_pooling=1),
        dense("fc", "pool5", "fc", 12, 5),
        ("Softmax", "prob", ["fc"], ["prob"], None, []),
    ]


def inception():
    """Branches joined, auxiliary classifiers, splits that Caffe inserts, names with a slash."""
    return [
        ("Data", "data", [], ["data", "label"], {"crop_size": 17}, []),
        conv("conv1/3x3", "data", "conv1", 3, 8, 3, pad=1),
        relu("conv1/relu", "conv1"),
        ("Split", "conv1_split", ["conv1"], ["conv1_0", "conv1_1", "conv1_2"], None, []),
        conv("3a/1x1", "conv1_0", "3a/1x1", 8, 4, 1),
        conv("3a/5x5", "conv1_1", "3a/5x5", 8, 6, 5, pad=2),
        relu("3a/relu_5x5", "3a/5x5"),
        pool("3a/pool", "conv1_2", "3a/pool", kernel_size=3, stride=1, pad=1),
        ("Concat", "3a/output", ["3a/1x1", "3a/5x5", "3a/pool"], ["3a/output"], None, []),
        pool("loss1/pool", "3a/output", "loss1/pool", pool=1, kernel_size=5, stride=3),
        dense("loss1/classifier", "loss1/pool", "loss1/classifier", 18 * 25, 5),
        ("SoftmaxWithLoss", "loss1", ["loss1/classifier", "label"], ["loss1"], None, []),
        pool("pool5", "3a/output", "pool5", pool=1, kernel_size=17, stride=1),
        dense("classifier", "pool5", "classifier", 18, 5),
        ("SoftmaxWithLoss", "loss", ["classifier", "label"], ["loss"], None, []),
    ]


def oddments():
    """Dilation, windows of two sizes, and the smaller layers."""
    return [
        conv("conv1", "data", "conv1", 2, 4, (3, 2), dilation=2, stride_h=2, stride_w=1,
             pad_h=1, pad_w=2),
        ("PReLU", "prelu", ["conv1"], ["prelu"], None, [draw(4)]),
        ("ELU", "elu", ["conv1"], ["elu"], {"alpha": 0.5}, []),
        ("AbsVal", "abs", ["conv1"], ["abs"], None, []),
        relu("leaky", "conv1", negative_slope=0.1),
        ("Eltwise", "sum", ["prelu", "elu", "abs"], ["sum"], {"coeff": [1.0, -0.5, 2.0]}, []),
        ("Eltwise", "product", ["sum", "conv1"], ["product"], {"operation": 0}, []),
        ("Eltwise", "largest", ["product", "elu"], ["largest"], {"operation": 2}, []),
        pool("pool", "largest", "pool", kernel_h=3, kernel_w=2, stride_h=2, stride_w=2,
             pad_h=1, pad_w=0),
        pool("floor", "largest", "floor", pool=1, kernel_size=2, stride=2, round_mode=1),
        ("Power", "power", ["pool"], ["power"], {"power": 2.0, "scale": 0.5, "shift": 1.0}, []),
        ("LRN", "within", ["power"], ["within"], {"norm_region": 1, "local_size": 3}, []),
        ("Bias", "bias", ["within"], ["within"], None, [draw(4)]),
        ("TanH", "tanh", ["within"], ["tanh"], None, []),
        pool("gate", "tanh", "gate", pool=1, global_pooling=1),
        ("Sigmoid", "sigmoid", ["gate"], ["gate"], None, []),
        ("Scale", "excite", ["tanh", "gate"], ["excite"], {"axis": 0}, []),
        ("Concat", "down", ["excite", "floor"], ["down"], {"axis": 2}, []),
        ("BatchNorm", "norm", ["down"], ["norm"], {"eps": 0.01},
         [draw(4), draw(4) ** 2 + 1, [0.0]]),
        ("Dropout", "old dropout", ["norm"], ["norm"], {"scale_train": 0}, []),
        ("Flatten", "flat", ["norm"], ["flat"], None, []),
        ("Scale", "all", ["flat"], ["all"], {"bias_term": 0}, [draw(4 * 5 * 7)]),
        dense("fc.1", "all", "fc.1", 4 * 5 * 7, 6, transpose=0),
        ("InnerProduct", "fc__2", ["fc.1"], ["fc__2"],
         {"num_output": 3, "bias_term": 0, "transpose": 1}, [draw(6, 3)]),
    ]  # fmt: skip


ODD_SHAPE = (11, 12, 2)
NETWORKS = {
    "lenet": (lenet, LENET_SHAPE),
    "residual": (residual, (21, 27, 3)),
    "inception": (inception, (17, 17, 3)),
    "oddments": (oddments, ODD_SHAPE),
}
V1 = ("lenet", "inception")  # the old generation knows no batch norm, scale or PReLU


def imported(tmp_path, layers, shape=None, version=2, head=b"", form=None):
    path = write_net(tmp_path / "net.caffemodel", layers, version, head, form)
    return from_caffe(read(path), shape)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_against_plain_loops(tmp_path, name, version):
    if version == 1 and name not in V1:
        with pytest.raises(KeyError):
            write_net(tmp_path / "net.caffemodel", NETWORKS[name][0](), version)
        return
    make, shape = NETWORKS[name]
    layers = make()
    net = imported(tmp_path, layers, shape, version)
    network = net.network()
    assert set(net.weights) == {p.name for p in network.parameters}
    images = np.float32(RNG.normal(size=(2, *shape)))
    blobs, given = naive_caffe.run(layers, images.transpose(0, 3, 1, 2))
    output, values = computed(network, net.weights, images)
    last = layers[-1][3][0] if name != "inception" else "classifier"

    def near(ours, theirs, what):
        theirs = np.moveaxis(theirs, 1, -1) if theirs.ndim == 4 else theirs
        if theirs.ndim == 2 and what in ("flat", "all"):  # rows, columns, channels in ours
            theirs = theirs.reshape(2, 4, 5, 7).transpose(0, 2, 3, 1).reshape(2, -1)
        assert_near(ours, theirs, what)

    near(output, blobs[last], "output")
    compared = []
    for kind, layer_name, bottoms, tops, _, _ in layers:
        ours = layer_name.replace(".", "_").replace("__", "_")
        if ours not in values or kind == "Data" or (kind == "BatchNorm" and name == "residual"):
            continue
        # What is worked on in place is seen as what comes out in the end.
        theirs = given[layer_name] if bottoms == tops else blobs[tops[0]]
        near(values[ours], theirs, layer_name)
        compared.append(layer_name)
    assert len(compared) >= len(layers) - 6
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(computed(again.network(), again.weights, images)[0], output)


def test_points_and_names(tmp_path):
    net = imported(tmp_path, lenet(), LENET_SHAPE)
    assert net.points == (
        ("stem", "conv1"),
        ("stage1", "conv2"),
        ("stage2", "pool2"),
        ("pool", "pool2"),
        ("penultimate", "fc6"),
        ("logits", "fc8"),
    )
    net = imported(tmp_path, residual(), (21, 27, 3))
    assert net.points[-3:] == (("pool", "pool5"), ("penultimate", "pool5"), ("logits", "fc"))
    assert net.input_shape == (21, 27, 3)
    assert net.name == "net"
    net = imported(tmp_path, oddments(), ODD_SHAPE)
    assert [name for name, _ in net.layers()][-2:] == ["fc_1", "fc_2"]


def test_windows_larger_than_maps(tmp_path):
    layers = [
        pool("wide", "data", "wide", kernel_size=3, stride=2),
        pool("padded", "wide", "padded", pool=1, kernel_size=5, stride=3, pad=1),
    ]
    net = imported(tmp_path, layers, (2, 5, 3))
    images = np.float32(RNG.normal(size=(2, 2, 5, 3)))
    blobs, _ = naive_caffe.run(layers, images.transpose(0, 3, 1, 2))
    output, _ = computed(net.network(), net.weights, images)
    assert_near(output, np.moveaxis(blobs["padded"], 1, -1), "output")


def test_other_sizes_where_no_dense_layer_reads_a_map(tmp_path):
    net = imported(tmp_path, residual(), (21, 27, 3))
    other = net.network((41, 33, 3))
    images = np.float32(RNG.normal(size=(1, 41, 33, 3)))
    blobs, _ = naive_caffe.run(residual(), images.transpose(0, 3, 1, 2))
    assert computed(other, net.weights, images)[0].shape == blobs["prob"].shape


# -- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["shape", "legacy", "unpacked", "double"])
def test_forms_of_blobs(tmp_path, form):
    layers = lenet()
    file = read(write_net(tmp_path / "net.caffemodel", layers, form=form))
    assert file.format == "caffemodel"
    assert file.metadata == {"name": "net", "version": "V2"}
    for _, name, _, _, _, blobs in layers:
        for k, theirs in enumerate(blobs):
            ours = file.tensors[f"{name}.{k}"]
            shape = (1,) * (4 - theirs.ndim) + theirs.shape if form == "legacy" else theirs.shape
            assert ours.shape == shape
            assert ours.dtype == (np.float64 if form == "double" else np.float32)
            np.testing.assert_array_equal(ours.reshape(-1), theirs.reshape(-1))
    net = from_caffe(file, LENET_SHAPE)
    np.testing.assert_array_equal(net.weights["conv1.W"], layers[0][5][0].transpose(2, 3, 1, 0))


def test_graph(tmp_path):
    graph = read(write_net(tmp_path / "net.caffemodel", inception(), 1)).graph
    assert graph.inputs == {"data": (None, None, 17, 17)}
    assert graph.outputs == ["loss1/classifier", "classifier"]
    by_name = {node.name: node for node in graph.nodes}
    assert by_name["conv1/relu"].outputs == ["conv1@conv1/relu"]
    assert by_name["3a/1x1"].inputs == ["conv1@conv1/relu"]
    assert by_name["3a/output"].inputs == ["3a/1x1", "3a/5x5@3a/relu_5x5", "3a/pool"]
    assert by_name["3a/pool"].attributes == {
        "pool": "MAX",
        "global_pooling": False,
        "round_mode": "CEIL",
        "kernel_size": [3, 3],
        "stride": [1, 1],
        "pad": [1, 1],
        "blobs": [],
    }
    net = from_caffe(read(tmp_path / "net.caffemodel"))
    assert net.input_shape == (17, 17, 3)
    assert "loss1/classifier.W" not in net.weights


def test_inputs(tmp_path):
    layers = [relu("relu", "data")]
    for head in (
        declared_input("data", (1, 3, 8, 9)),
        counted(3, "data") + counted(8, b"".join(number(1, size) for size in (1, 3, 8, 9))),
        layer(2, "Input", "data", [], ["data"], extra=counted(143, counted(
            1, counted(1, b"".join(map(varint, (1, 3, 8, 9))))
        ))),
    ):  # fmt: skip
        file = read(write_net(tmp_path / "net.caffemodel", layers, head=head))
        assert file.graph.inputs == {"data": (None, 3, 8, 9)}
        assert from_caffe(file).input_shape == (8, 9, 3)
    file = read(write_net(tmp_path / "net.caffemodel", layers))
    assert file.graph.inputs == {"data": None}
    with pytest.raises(FormatError, match=r"give input_shape=\(height, width, channels\)"):
        from_caffe(file)


def test_layers_of_training_are_left_out(tmp_path):
    train, test = counted(8, number(1, 0)), counted(8, number(1, 1))
    body = b"".join(
        [
            layer(2, "ReLU", "a", ["data"], ["a"]),
            layer(2, "TanH", "train", ["a"], ["a"], extra=train),
            layer(2, "AbsVal", "test", ["a"], ["a"], extra=test),
            layer(2, "AbsVal", "stage", ["a"], ["a"], extra=counted(8, counted(4, "deploy"))),
            layer(2, "AbsVal", "not in tests", ["a"], ["a"], extra=counted(9, number(1, 1))),
            layer(2, "Accuracy", "accuracy", ["a", "label"], ["accuracy"]),
            layer(2, "HingeLoss", "loss", ["a", "label"], ["loss"]),
        ]
    )
    path = tmp_path / "net.caffemodel"
    path.write_bytes(body)
    assert [node.name for node in read(path).graph.nodes] == ["a", "test"]


def test_mean_pictures(tmp_path):
    path = tmp_path / "mean.binaryproto"
    mean = np.float32(RNG.uniform(90, 130, (3, 4, 5)))
    for form in ("legacy", "shape", "double", "unpacked"):
        path.write_bytes(blob(mean, form))
        np.testing.assert_array_equal(read_mean(path), mean.transpose(1, 2, 0))
    path.write_bytes(blob(mean[0], "shape"))
    with pytest.raises(FormatError, match=r"mean\.binaryproto: .*\(4, 5\) is no mean picture"):
        read_mean(path)
    path.write_bytes(b"abc")
    with pytest.raises(FormatError, match=r"mean\.binaryproto: "):
        read_mean(path)


# -- what cannot be read -------------------------------------------------------------------------


def test_the_generation_before(tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(counted(2, counted(1, counted(1, "conv1") + counted(2, "conv"))))
    with pytest.raises(FormatError, match=r"net\.caffemodel: .*\(V0\); convert it"):
        read(path)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (counted(1, "net"), "no layers were found"),
        (b"\x89PNG\r\n\x1a\n", "wire type|over the end|cut short"),
        (counted(2, number(5, 77)), "of type 77, which is unknown"),
        (layer(2, "Pooling", "pool", ["a"], ["b"], {"pool": 9}), "'pool': pool is 9"),
        (layer(2, "Pooling", "pool", ["a"], ["b"]), r"'pool': kernel_size is \[\]"),
        (
            layer(2, "Convolution", "c", ["a"], ["b"], {"kernel_size": [3, 3, 3]}),
            "'c': kernel_size is",
        ),
        (layer(2, "Convolution", "c", ["a"], ["b"], {"kernel_h": 3}), "no height or no width"),
        (layer(2, "LRN", "n", ["a"], ["b"], {"alpha": float("nan")}), "'n': alpha is nan"),
        (
            layer(
                2,
                "Bias",
                "b",
                ["a"],
                ["b"],
                extra=counted(7, number(1, 5) + number(2, 2) + number(3, 1) + number(4, 1)),
            ),
            r"'b': a blob of shape \(5, 2, 1, 1\) has 0 numbers",
        ),
        (
            layer(2, "Bias", "b", ["a"], ["b"], extra=counted(7, counted(7, number(1, 2**62)))),
            "has 0 numbers",
        ),
    ],
)
def test_damaged_files(tmp_path, body, match):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(body)
    with pytest.raises(FormatError, match=match) as caught:
        read(path)
    assert "net.caffemodel" in str(caught.value)


@pytest.mark.parametrize(
    ("layers", "shape", "match"),
    [
        ([conv("c", "data", "c", 4, 8, 3)], (9, 9, 3), "'c.W' needs shape .* is input_shape"),
        ([conv("c", "data", "c", 3, 8, 3, group=2)], (9, 9, 3), "cannot take pictures"),
        ([conv("c", "data", "c", 3, 8, 3, axis=2)], (9, 9, 3), "axis 2"),
        ([conv("c", "data", "c", 3, 8, 3)], (2, 2, 3), "cannot take pictures"),
        ([dense("fc", "data", "fc", 10, 5)], (2, 2, 3), "its weights are for 10 inputs"),
        ([pool("p", "data", "p", pool=2, kernel_size=2)], (9, 9, 3), "stochastic"),
        ([pool("p", "data", "p", kernel_size=2, stride=0)], (9, 9, 3), "a size of it is zero"),
        ([pool("p", "data", "p", kernel_size=1, stride=5)], (5, 5, 3), "cannot take pictures"),
        ([("LRN", "n", ["data"], ["n"], {"local_size": 4}, [])], (9, 9, 3), "must be odd"),
        ([("BatchNorm", "b", ["data"], ["b"], None, [draw(3)])], (9, 9, 3), "not three"),
        ([("Softmax", "s", ["data"], ["s"], {"axis": 2}, [])], (9, 9, 3), "softmax over axis 2"),
        ([("Flatten", "f", ["data"], ["f"], {"axis": 2}, [])], (9, 9, 3), "flattening"),
        ([("Scale", "s", ["data"], ["s"], {"axis": 2}, [draw(9)])], (9, 9, 3), "axis 2"),
        ([("Eltwise", "e", ["data"], ["e"], {"coeff": [1.0, 2.0]}, [])], (9, 9, 3), "2 coeff"),
        (
            [
                ("Flatten", "f", ["data"], ["f"], None, []),
                ("Concat", "c", ["f", "f"], ["c"], None, []),
            ],
            (4, 4, 3),
            "reads flattened maps",
        ),
        ([("Eltwise", "e", ["data", "other"], ["e"], None, [])], (9, 9, 3), "one input"),
    ],
)
def test_networks_that_are_not_known(tmp_path, layers, shape, match):
    with pytest.raises(FormatError, match=match):
        imported(tmp_path, layers, shape)


@pytest.mark.parametrize("shape", [(0, 8, 3), (8, 3), (8, 8, 3.5), "large"])
def test_shapes_that_are_none(tmp_path, shape):
    with pytest.raises(ValueError, match="input_shape must be height, width and channels"):
        imported(tmp_path, [relu("relu", "data")], shape)


def test_many_layers_of_one_name(tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(layer(2, "ReLU", "a.b", ["data"], ["data"]) * 3000)
    names = [name for name, _ in from_caffe(read(path), (2, 2, 3)).layers()]
    assert len(names) == len(set(names)) == 3001


def test_unknown_layer_types(tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(layer(2, "Deconvolution", "up", ["data"], ["up"]))
    with pytest.raises(FormatError, match="'up' is of type 'Deconvolution', which is not known"):
        from_caffe(read(path), (8, 8, 3))


def test_damaged_files_give_our_error(tmp_path):
    """Cut short and with wrong bits, a file is refused or gives a network of another kind."""
    path = write_net(tmp_path / "net.caffemodel", inception())
    whole = path.read_bytes()
    # Most bytes are numbers of weights: those of the description are hit more often.
    places = [k for k in range(len(whole)) if k % 50 == 0]
    start = 0
    for name in (b"conv1/3x3", b"3a/1x1", b"3a/pool", b"3a/output", b"pool5", b"classifier"):
        start = whole.index(name, start)
        places += range(start - 8, start + 60)
    rng = random.Random(0)
    refused = 0
    for k in range(400):
        bad = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            bad[min(rng.choice(places), len(bad) - 1)] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(bad[: rng.randrange(len(bad))] if k % 4 == 0 else bad))
        try:
            from_caffe(read(path), (17, 17, 3))
        except FormatError as error:
            assert str(error)
            refused += 1
    assert refused > 100


# -- in use --------------------------------------------------------------------------------------


def test_features_of_a_file(tmp_path):
    """Levels, blue first, less a mean, go in; what Caffe's layers give comes out."""
    layers = lenet()
    path = write_net(tmp_path / "net.caffemodel", layers)
    mean = np.array([104.0, 117.0, 123.0])
    recipe = Preprocessing(
        LENET_SHAPE[:2], None, mean=tuple(mean), std=(1, 1, 1), scale=1.0, channels="bgr"
    )
    pictures = RNG.integers(0, 256, (3, *LENET_SHAPE), np.uint8)
    images = pictures[..., ::-1] - mean
    blobs, _ = naive_caffe.run(layers, images.transpose(0, 3, 1, 2))
    features = ImageFeatures(str(path), "penultimate", preprocessing=recipe)
    assert_near(features.fit_transform(pictures), blobs["fc6"], "fc6")
    features = ImageFeatures(str(path), "norm1", preprocessing=recipe, pool="avg")
    assert_near(features.fit_transform(pictures), blobs["norm1"].mean((2, 3)), "norm1")
    with pytest.raises(ValueError, match=r"net\.caffemodel does not tell how its pictures"):
        ImageFeatures(str(path)).fit(pictures)


def test_training_goes_on(tmp_path):
    """The layers of a file, with their weights, are trained further; frozen ones stay."""
    path = write_net(tmp_path / "net.caffemodel", inception())
    X = np.float32(RNG.normal(size=(40, 17, 17, 3)))
    y = np.arange(40) % 2
    X[y == 1, :, :, 0] += 1
    trunk = network(str(path), layer="pool", trainable_from="3a/1x1")
    model = NeuralNetClassifier(
        trunk, input_shape=X.shape[1:], max_epochs=12, batch_size=10, optimizer=Adam(1e-2),
        random_state=0,
    ).fit(X, y)  # fmt: skip
    assert model.score(X, y) > 0.9
    start = from_caffe(read(path)).weights
    kept = {name.removeprefix("trunk."): array for name, array in model.weights_.items()}
    np.testing.assert_array_equal(kept["conv1/3x3.W"], start["conv1/3x3.W"])
    assert np.abs(kept["3a/5x5.W"] - start["3a/5x5.W"]).max() > 1e-3


def test_sliding_over_a_large_picture(tmp_path):
    """The convolutions once, the rest of the network for every window of their result."""
    layers = residual()[:-1]  # without softmax
    path = write_net(tmp_path / "net.caffemodel", layers)
    recipe = Preprocessing((21, 27), None, mean=(0, 0, 0), std=(60, 60, 60), scale=1.0)
    localizer = ImageLocalizer(str(path), preprocessing=recipe)
    picture = RNG.integers(0, 256, (84, 96, 3), np.uint8)
    (found,) = localizer.window_probabilities([picture], scale=4.0)
    prepared = replace(recipe, resize=84)(picture)
    blobs, _ = naive_caffe.run(layers, prepared[None].transpose(0, 3, 1, 2))
    maps, weights = blobs["res2a"], layers[-1][5]
    rows, columns = 3, 4
    assert found.shape == (maps.shape[2] - rows + 1, maps.shape[3] - columns + 1, 5)
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            mean = maps[0, :, i : i + rows, j : j + columns].mean((1, 2))
            scores = np.exp(mean @ weights[0].T + weights[1])
            np.testing.assert_allclose(found[i, j], scores / scores.sum(), rtol=1e-4)


def test_a_part_that_cannot_stand_alone():
    layers = [("a", Wired(("start",), ops.tanh)), ("b", Wired(("a", "elsewhere"), ops.add))]
    with pytest.raises(ValueError, match="Wired 'b': it reads 'elsewhere', which is not among"):
        Network(layers, (4,)).probe()
    assert Network(layers[:1], (4,)).probe() == {"start": (4,), "a": (4,)}


def test_files_of_caffe_are_prepared_as_caffe_does(tmp_path):
    """Whatever the file is called, and whatever format keeps its names; arrays, too."""
    path = write_net(tmp_path / "my_vgg.caffemodel", lenet())
    recipe = find_weights("vgg16", path).preprocessing
    assert (recipe.channels, recipe.scale, recipe.std) == ("bgr", 1.0, (1.0, 1.0, 1.0))
    assert find_weights("vgg16", path.rename(tmp_path / "my_vgg")).preprocessing == recipe
    state = {"conv1_1.0": np.zeros((64, 3, 3, 3), np.float32), "conv1_1.1": np.zeros(64)}
    for name in ("net.npz", "net.safetensors"):
        write_weights(tmp_path / name, state)
        assert find_weights("vgg16", tmp_path / name).preprocessing == recipe
        assert ImageLoader("vgg16", tmp_path / name)._recipe() == recipe
    assert ImageLoader("vgg16", state)._recipe() == recipe
    theirs = {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)}
    write_weights(tmp_path / "theirs.npz", theirs)
    for weights in (tmp_path / "theirs.npz", theirs, "random"):
        assert ImageLoader("vgg16", weights)._recipe() == Preprocessing()
    for model in ("vgg11", "vgg13"):  # nobody published these
        for weights in (tmp_path / "my_vgg", tmp_path / "net.npz", state):
            with pytest.raises(ValueError, match=f"{model} does not tell how its pictures"):
                ImageLoader(model, weights).fit()
            own = Preprocessing(resize=256)
            assert ImageLoader(model, weights, preprocessing=own)._recipe() == own
    for weights in (tmp_path / "net.npz", state):  # not Caffe's: the loading says what is missing
        with pytest.raises(ValueError, match=r"resnet18 needs 'conv1\.weight'"):
            ImageFeatures("resnet18", weights=weights).fit()


@pytest.mark.parametrize("model", ["caffenet", "bvlc_alexnet", "bvlc_googlenet"])
def test_networks_of_caffe_are_prepared_as_caffe_does(model, tmp_path):
    """With weights of any source: none of them was trained in another way."""
    recipe = find_weights(model).preprocessing
    assert (recipe.channels, recipe.scale, recipe.std) == ("bgr", 1.0, (1.0, 1.0, 1.0))
    names = [p.name for p in find_network(model).network().parameters]
    state = {n.replace(".W", ".0").replace(".b", ".1"): np.zeros(1) for n in names}
    torch = {n.replace(".W", ".weight").replace(".b", ".bias"): np.zeros(1) for n in names}
    for arrays in (state, torch):
        write_weights(tmp_path / "net.npz", arrays)
        for weights in (arrays, tmp_path / "net.npz", "random"):
            assert ImageLoader(model, weights)._recipe() == recipe
