"""Whole networks against float64 twins, written by hand from the papers and torchvision's remarks.

The twins know nothing of layers: they take weights by name and record what every named layer gives.
"""

import pickle
import sys

import numpy as np
import pytest
from scipy.special import erf

from skdeep import ops
from skdeep.features import Architecture, find_network, random_weights
from skdeep.features.networks import NETWORKS
from skdeep.graph.passes import optimize
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.kernels.cpu import CPU
from skdeep.layers import Conv2D, Dense, Flatten
from skdeep.layers.network import Network
from skdeep.training.data import Data
from skdeep.training.inference import Predictor
from skdeep.training.weights import Weights, place

# Neither square nor powers of two: poolings hang over, registers are not full.
SHAPES = {"alexnet": (66, 74, 3)}
SHAPE = (40, 46, 3)

# -- naive twins, float64 ------------------------------------------------------------------------


def relu(x):
    return np.maximum(x, 0)


def relu6(x):
    return np.clip(x, 0, 6)


def padded(x, pad, value=0.0):
    return np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=value)


def taps(x, size, stride, rows, columns):
    """The pixels under each tap of a window, for every place of the window."""
    for p in range(size):
        for q in range(size):
            yield p, q, x[:, p::stride, q::stride][:, :rows, :columns]


def convolve(x, w, stride=1, pad=0):
    """w of shape (k, k, c, f), or (k, k, 1, c): then each channel by itself."""
    k = w.shape[0]
    rows, columns = ((s + 2 * pad - k) // stride + 1 for s in x.shape[1:3])
    one_by_one = w.shape[2] == 1 < x.shape[3]
    return sum(
        pixels * w[p, q, 0] if one_by_one else pixels @ w[p, q]
        for p, q, pixels in taps(padded(x, pad), k, stride, rows, columns)
    )


def max_pool(x, k, stride, pad=0, ceil=False):
    counts = []
    for s in x.shape[1:3]:
        count = (s + 2 * pad - k) // stride + 1
        if ceil and (s + 2 * pad - k) % stride and count * stride < s + pad:
            count += 1
        counts.append(count)
    image = padded(x, pad, -np.inf)
    image = np.pad(image, ((0, 0), (0, k), (0, k), (0, 0)), constant_values=-np.inf)
    return np.max([pixels for _, _, pixels in taps(image, k, stride, *counts)], axis=0)


class Twin:
    """Weights by name in float64, and what was computed under each name."""

    def __init__(self, weights):
        self.weights = {name: array.astype(np.float64) for name, array in weights.items()}
        self.seen = {}

    def keep(self, name, y):
        self.seen[name] = y
        return y

    def conv(self, name, x, stride=1, pad=0, after=None):
        y = convolve(x, self.weights[f"{name}.W"], stride, pad)
        y = y + self.weights.get(f"{name}.b", 0.0)
        return self.keep(name, after(y) if after else y)

    def norm(self, name, x, after=None, epsilon=1e-5):
        parts = ("gamma", "beta", "mean", "var")
        gamma, beta, mean, var = (self.weights[f"{name}.{part}"] for part in parts)
        y = (x - mean) / np.sqrt(var + epsilon) * gamma + beta
        return self.keep(name, after(y) if after else y)

    def dense(self, name, x, after=None):
        y = x.reshape(len(x), -1) @ self.weights[f"{name}.W"] + self.weights[f"{name}.b"]
        return self.keep(name, after(y) if after else y)

    def pool(self, name, *arguments, **options):
        return self.keep(name, max_pool(*arguments, **options))

    def mean(self, name, x):
        return self.keep(name, x.mean(axis=(1, 2)))


def alexnet(t, x):
    x = t.conv("features.0", x, 4, 2, relu)
    x = t.pool("features.2", x, 3, 2)
    x = t.conv("features.3", x, 1, 2, relu)
    x = t.pool("features.5", x, 3, 2)
    for k in (6, 8, 10):
        x = t.conv(f"features.{k}", x, 1, 1, relu)
    x = t.pool("features.12", x, 3, 2)
    x = t.dense("classifier.1", x, relu)
    return t.dense("classifier.6", t.dense("classifier.4", x, relu))


def vgg16(t, x):
    for convolutions, pool in (
        ((0, 2), 4), ((5, 7), 9), ((10, 12, 14), 16), ((17, 19, 21), 23), ((24, 26, 28), 30)
    ):  # fmt: skip
        for k in convolutions:
            x = t.conv(f"features.{k}", x, 1, 1, relu)
        x = t.pool(f"features.{pool}", x, 2, 2)
    x = t.dense("classifier.0", x, relu)
    return t.dense("classifier.6", t.dense("classifier.3", x, relu))


def vgg11_bn(t, x):
    pools = {3, 7, 14, 21, 28}
    at = 0
    while at < 29:
        if at in pools:
            x = t.pool(f"features.{at}", x, 2, 2)
            at += 1
        else:
            x = t.norm(f"features.{at + 1}", t.conv(f"features.{at}", x, 1, 1), relu)
            at += 3
    x = t.dense("classifier.0", x, relu)
    return t.dense("classifier.6", t.dense("classifier.3", x, relu))


def resnet(t, x, counts, depth):
    x = t.norm("bn1", t.conv("conv1", x, 2, 3), relu)
    x = t.pool("maxpool", x, 3, 2, 1)
    for stage, count in enumerate(counts, 1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            if depth == 2:
                y = t.norm(f"{name}.bn1", t.conv(f"{name}.conv1", x, stride, 1), relu)
                y = t.norm(f"{name}.bn2", t.conv(f"{name}.conv2", y, 1, 1))
            else:
                y = t.norm(f"{name}.bn1", t.conv(f"{name}.conv1", x), relu)
                y = t.norm(f"{name}.bn2", t.conv(f"{name}.conv2", y, stride, 1), relu)
                y = t.norm(f"{name}.bn3", t.conv(f"{name}.conv3", y))
            if block == 0 and (stage > 1 or depth == 3):
                x = t.norm(f"{name}.shortcut.1", t.conv(f"{name}.shortcut.0", x, stride))
            x = t.keep(name, relu(x + y))
        t.keep(f"layer{stage}", x)
    return t.dense("fc", t.mean("avgpool", x))


def googlenet(t, x):
    def conv(name, x, stride=1, pad=0):
        y = t.norm(f"{name}.bn", t.conv(f"{name}.conv", x, stride, pad), relu, 1e-3)
        return t.keep(name, y)

    def inception(name, x):
        parts = [
            conv(f"{name}.branch1", x),
            conv(f"{name}.branch2.1", conv(f"{name}.branch2.0", x), 1, 1),
            conv(f"{name}.branch3.1", conv(f"{name}.branch3.0", x), 1, 1),
            conv(f"{name}.branch4.1", t.pool(f"{name}.branch4.0", x, 3, 1, 1, ceil=True)),
        ]
        return t.keep(name, np.concatenate(parts, axis=3))

    x = t.pool("maxpool1", conv("conv1", x, 2, 3), 3, 2, ceil=True)
    x = t.pool("maxpool2", conv("conv3", conv("conv2", x), 1, 1), 3, 2, ceil=True)
    x = inception("inception3b", inception("inception3a", x))
    x = t.pool("maxpool3", x, 3, 2, ceil=True)
    for letter in "abcde":
        x = inception(f"inception4{letter}", x)
    x = t.pool("maxpool4", x, 2, 2, ceil=True)
    x = inception("inception5b", inception("inception5a", x))
    return t.dense("fc", t.mean("avgpool", x))


def squeezenet1_1(t, x):
    x = t.conv("features.0", x, 2, 0, relu)
    for k in range(2, 13):
        name = f"features.{k}"
        if k in (2, 5, 8):
            x = t.pool(name, x, 3, 2, ceil=True)
            continue
        x = t.conv(f"{name}.squeeze", x, after=relu)
        small = t.conv(f"{name}.expand.expand1x1", x, after=relu)
        large = t.conv(f"{name}.expand.expand3x3", x, 1, 1, relu)
        x = t.keep(name, np.concatenate([small, large], axis=3))
    return t.mean("classifier.3", t.conv("classifier.1", x, after=relu))


def mobilenet_v2(t, x):
    def conv(name, x, stride=1, pad=0):
        return t.keep(name, t.norm(f"{name}.1", t.conv(f"{name}.0", x, stride, pad), relu6))

    filters = [16, 24, 24, 32, 32, 32] + [64] * 4 + [96] * 3 + [160] * 3 + [320]
    strides = {2: 2, 4: 2, 7: 2, 14: 2}
    x = conv("features.0", x, 2, 1)
    for k, count in enumerate(filters, 1):
        name, first = f"features.{k}", int(k > 1)
        y = conv(f"{name}.conv.0", x) if first else x
        y = conv(f"{name}.conv.{first}", y, strides.get(k, 1), 1)
        y = t.conv(f"{name}.conv.{first + 1}", y)
        assert y.shape[3] == count
        y = t.norm(f"{name}.conv.{first + 2}", y)
        x = t.keep(name, x + y if x.shape == y.shape else y)
    x = t.mean("avgpool", conv("features.18", x))
    return t.dense("classifier.1", x)


def vit_b_16(t, x):
    def layer_norm(name, x):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        y = (x - mean) / np.sqrt(var + 1e-6)
        return t.keep(name, y * t.weights[f"{name}.gamma"] + t.weights[f"{name}.beta"])

    def dense(name, x):
        return x @ t.weights[f"{name}.W"] + t.weights[f"{name}.b"]

    def attention(name, x):
        n, tokens, width = x.shape
        qkv = t.keep(f"{name}.in_proj", dense(f"{name}.in_proj", x))
        q, k, v = (qkv.reshape(n, tokens, 3, 12, 64)[:, :, part] for part in range(3))
        scores = np.einsum("nihc,njhc->nhij", q, k) / 8
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        y = np.einsum("nhij,njhc->nihc", weights, v).reshape(n, tokens, width)
        return t.keep(name, t.keep(f"{name}.out_proj", dense(f"{name}.out_proj", y)))

    def gelu(x):
        return x * (1 + erf(x / np.sqrt(2))) / 2

    x = t.conv("conv_proj", x, 16).reshape(len(x), -1, 768)
    first = np.repeat(t.weights["tokens.class_token"], len(x), axis=0)
    x = np.concatenate([first, x], axis=1) + t.weights["tokens.position"]
    t.keep("tokens", x)
    for k in range(12):
        name = f"encoder.blocks.encoder_layer_{k}"
        attend, feed = f"{name}.attend", f"{name}.feed"
        y = attention(f"{attend}.self_attention", layer_norm(f"{attend}.ln_1", x))
        x = t.keep(attend, x + y)
        y = t.keep(f"{feed}.mlp_0", gelu(dense(f"{feed}.mlp_0", layer_norm(f"{feed}.ln_2", x))))
        x = t.keep(name, t.keep(feed, x + t.keep(f"{feed}.mlp_3", dense(f"{feed}.mlp_3", y))))
    x = t.keep("token", layer_norm("encoder.ln", x)[:, 0])
    return t.dense("heads.head", x)


TWINS = {
    "alexnet": alexnet,
    "googlenet": googlenet,
    "mobilenet_v2": mobilenet_v2,
    "resnet18": lambda t, x: resnet(t, x, (2, 2, 2, 2), 2),
    "resnet50": lambda t, x: resnet(t, x, (3, 4, 6, 3), 3),
    "squeezenet1_1": squeezenet1_1,
    "vgg11_bn": vgg11_bn,
    "vgg16": vgg16,
    "vit_b_16": vit_b_16,
}


@pytest.fixture(scope="module", params=sorted(TWINS))
def case(request):
    """A network with weights, two images, what each layer should give, and the output."""
    network = NETWORKS[request.param].network(SHAPES.get(request.param, SHAPE))
    weights = random_weights(network, seed=1)
    images = np.random.default_rng(2).standard_normal((2, *network.input_shape), np.float32)
    twin = Twin(weights)
    output = TWINS[request.param](twin, images.astype(np.float64))
    return network, weights, images, twin.seen, output


def assert_near(actual, expected, what, largest=5e-6):
    """Error relative to the whole tensor: sums of random signs cancel in single elements."""
    error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert error < largest, f"{what}: relative error {error:.2g}"
    worst = np.abs(actual - expected).max() / np.abs(expected).max()
    assert worst < 4 * largest, f"{what}: an element is off by {worst:.2g} of the largest"


# -- what is computed ----------------------------------------------------------------------------


def test_predictor(case):
    """The output alone, everything fused that can be; the same bits for any number of threads."""
    network, weights, images, _, expected = case
    device, data = CPU(), Data(images.reshape(2, -1), network.input_shape)
    memories = {k: place(device, v) for k, v in network.gather(weights).items()}
    placed = Weights(device, memories)
    predictor = Predictor(network, lambda out, trace, y: [out], data, placed, 1)
    (one,), (two,) = (predictor.run(data, threads) for threads in (1, 2))
    assert_near(one, expected, "output")
    np.testing.assert_array_equal(one, two)


def test_weights_that_are_read_anew_are_let_go_of_on_the_way():
    """They and what is derived of them are never in memory together, and no bit changes."""
    layers = [(f"fc{k}", Dense(200 + k, "relu")) for k in range(24)]
    network = Network(layers, (200,))
    network.probe()
    device, rng = CPU(), np.random.RandomState(0)
    sizes = network.parameters.sizes
    given = {k: 0.1 * rng.randn(n).astype(np.float32) for k, n in sizes.items()}
    read = {role: place(device, v) for role, v in given.items()}
    data = Data(rng.randn(3, 200).astype(np.float32), (200,))
    rows = []
    for weights in (dict(read), lambda: read):
        placed = Weights(device, weights)
        predictor = Predictor(network, lambda out, trace, y: [out], data, placed, 3)
        rows.append(predictor.run(data, 1)[0])
    assert rows[0].std() > 0
    np.testing.assert_array_equal(*rows)
    if sys.platform == "linux":  # where memory is given back at once, and then reads as zeros
        assert (read["parameter"] == 0).mean() > 0.9


def test_nothing_but_whole_pages_of_a_memory_is_discarded():
    device = CPU()
    memory = device.empty(10_000)
    memory[:] = 1
    device.discard(memory, 0)
    device.discard(memory, 9_000)
    assert (memory[9_000:] == 1).all()
    if sys.platform == "linux":
        assert 6_000 < (memory[:9_000] == 0).sum() < 9_000


def computed(network, weights, images, names=None):
    """Values of named layers (None: of all), with guards around every tensor and two threads."""
    x = Tensor(images.shape, role="data")
    output, trace = network.trace(x, training=False)
    names = [k for k in trace.activations if names is None or k in names]
    tensors = [trace.activations[k] for k in names]
    feeds = {x: images, **{trace.leaves[k]: w for k, w in weights.items()}}
    wanted = optimize([output, *(ops.flatten(t) for t in tensors)], training=False)
    output, *values = evaluate(wanted, feeds, n_threads=2)
    return output, {k: v.reshape(t.shape) for k, t, v in zip(names, tensors, values)}


def test_every_layer(case):
    """Nothing is fused into what somebody reads, so every single operation is seen."""
    network, weights, images, seen, expected = case
    output, values = computed(network, weights, images)
    assert_near(output, expected, "output")
    for name in seen:
        assert_near(values[name], seen[name], name)


def test_every_fused_layer(case):
    """Only the ends of blocks are read, so that all inside of them fuses."""
    network, weights, images, seen, expected = case
    ends = {k for k in seen if any(other.startswith(f"{k}.") for other in seen)}
    output, values = computed(network, weights, images, ends)
    assert_near(output, expected, "output")
    for name in values:
        assert_near(values[name], seen[name], name)


# -- what is described ---------------------------------------------------------------------------

PUBLISHED = {  # numbers of trained parameters, from torchvision's documentation
    "alexnet": 61100840,
    "densenet121": 7978856,
    "densenet169": 14149480,
    "densenet201": 20013928,
    "efficientnet_b0": 5288548,
    "efficientnet_b1": 7794184,
    "efficientnet_b2": 9109994,
    "efficientnet_b3": 12233232,
    "efficientnet_b4": 19341616,
    "bvlc_alexnet": 60965224,
    "bvlc_googlenet": 6998552,
    "caffenet": 60965224,
    "clip_vit_b_32": 87849216,
    "convnext_small": 50223688,
    "convnext_tiny": 28589128,
    # The authors' files hold positions of 518 px and a token for masks: 22056576 and 86580480.
    "dinov2_vitb14": 86580480 - (37**2 - 16**2 + 1) * 768,
    "dinov2_vits14": 22056576 - (37**2 - 16**2 + 1) * 384,
    "formula": 1768576,  # by hand, from its convolutions and batch norms
    "googlenet": 6624904,
    "inception_v3": 27161264 - 3326696,  # without the auxiliary classifier
    "mnasnet0_5": 2218512,
    "mnasnet1_0": 4383312,
    "mobilenet_v2": 3504872,
    "mobilenet_v3_large": 5483032,
    "mobilenet_v3_small": 2542856,
    "regnet_y_1_6gf": 11202430,
    "regnet_y_400mf": 4344144,
    "overfeat_large": 144656488,
    "overfeat_small": 145920872,
    "resnet18": 11689512,
    "resnet34": 21797672,
    "resnet50": 25557032,
    "resnet101": 44549160,
    "resnet152": 60192808,
    "resnext50_32x4d": 25028904,
    "shufflenet_v2_x0_5": 1366792,
    "shufflenet_v2_x1_0": 2278604,
    "squeezenet1_0": 1248424,
    "squeezenet1_1": 1235496,
    "vgg11": 132863336,
    "vgg11_bn": 132868840,
    "vgg13": 133047848,
    "vgg13_bn": 133053736,
    "vgg16": 138357544,
    "vgg16_bn": 138365992,
    "vgg19": 143667240,
    "vgg19_bn": 143678248,
    "vit_b_16": 86567656,
    "wide_resnet50_2": 68883240,
    "vit_s_16": 22050664,
}


POINTS = ("stem", "stage1", "stage2", "stage3", "stage4", "pool", "penultimate", "logits")


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_facts(name):
    """As many parameters as published, an output of the promised size, points that exist."""
    architecture = NETWORKS[name]
    network = architecture.network()
    assert architecture.name == name
    count = sum(int(np.prod(p.shape)) for p in network.parameters if p.trainable)
    assert count == PUBLISHED[name]
    shapes = network.probe()
    assert shapes[network.names[-1]] == (architecture.n_outputs,)
    places = [list(shapes).index(layer) for _, layer in architecture.points]
    assert places == sorted(places)
    names = [point for point, _ in architecture.points]
    assert names == [point for point in POINTS if point in names]
    assert {"stem", "stage3", "pool", "penultimate"} <= set(names)
    assert "logits" in names or name.startswith("dinov2") or name == "formula"
    for point, layer in architecture.points:
        uneven = name == "overfeat_large"  # its strides are 2, 6, 12 and 36
        if point.startswith("stage") and len(shapes[layer]) == 3 and not uneven:
            stride = 4 << (int(point[-1]) - 1)
            for size, count in zip(architecture.input_shape, shapes[layer][:2]):
                least = min(0.85 * size / stride, size // stride - 2)  # without padding
                assert least <= count <= size / stride + 1, point
    assert len(architecture.paper) > 20
    again = pickle.loads(pickle.dumps(architecture))
    assert list(again.network().parameters.by_name) == list(network.parameters.by_name)


def test_unknown_networks():
    with pytest.raises(ValueError, match=r"no network is named 'lenet'; choose one of \['alexnet'"):
        find_network("lenet")


@pytest.mark.parametrize(
    ("network", "ours", "theirs"),
    [
        ("resnet50", "layer1.0.conv1.W", "layer1.0.conv1.weight"),
        ("resnet50", "layer3.0.shortcut.1.var", "layer3.0.downsample.1.running_var"),
        ("googlenet", "inception3a.branch2.1.bn.beta", "inception3a.branch2.1.bn.bias"),
        ("squeezenet1_1", "features.3.expand.expand3x3.b", "features.3.expand3x3.bias"),
        ("mobilenet_v2", "features.2.conv.1.1.mean", "features.2.conv.1.1.running_mean"),
        ("vgg16", "classifier.6.W", "classifier.6.weight"),
        (
            "densenet121",
            "features.denseblock3.denselayer24.new.norm2.var",
            "features.denseblock3.denselayer24.norm2.running_var",
        ),
        (
            "efficientnet_b0",
            "features.1.0.block.1.fc2.b",
            "features.1.0.block.1.fc2.bias",
        ),
        (
            "inception_v3",
            "Mixed_7c.path2.both.branch3x3dbl_3b.bn.gamma",
            "Mixed_7c.branch3x3dbl_3b.bn.weight",
        ),
        ("mnasnet1_0", "layers.10.2.block.6.W", "layers.10.2.layers.6.weight"),
        ("mobilenet_v3_small", "features.1.block.1.fc1.W", "features.1.block.1.fc1.weight"),
        (
            "regnet_y_400mf",
            "trunk_output.block2.block2-0.shortcut.1.mean",
            "trunk_output.block2.block2-0.proj.1.running_mean",
        ),
        (
            "shufflenet_v2_x1_0",
            "stage2.0.halves.branch1.3.beta",
            "stage2.0.branch1.3.bias",
        ),
        ("vit_b_16", "tokens.class_token", "class_token"),
        ("vit_b_16", "tokens.position", "encoder.pos_embedding"),
        (
            "vit_b_16",
            "encoder.blocks.encoder_layer_3.attend.self_attention.in_proj.W",
            "encoder.layers.encoder_layer_3.self_attention.in_proj_weight",
        ),
        (
            "vit_b_16",
            "encoder.blocks.encoder_layer_11.feed.mlp_3.b",
            "encoder.layers.encoder_layer_11.mlp.3.bias",
        ),
        ("vit_b_16", "encoder.ln.gamma", "encoder.ln.weight"),
    ],
)
def test_names(network, ours, theirs):
    architecture = NETWORKS[network]
    names = {p.name for p in architecture.network().parameters}
    assert ours in names
    assert architecture.torchvision_key(ours) == theirs
    assert len({architecture.torchvision_key(name) for name in names}) == len(names)


def test_weights_go_to_torchvision_and_back():
    architecture = NETWORKS["squeezenet1_1"]
    weights = random_weights(architecture.network())
    state = architecture.to_torchvision(weights)
    assert state["features.3.expand3x3.weight"].shape == (64, 16, 3, 3)
    assert (
        state["features.3.expand3x3.weight"][5, 6, 1, 2]
        == (weights["features.3.expand.expand3x3.W"][1, 2, 6, 5])
    )
    back = architecture.from_torchvision({**state, "of_no_use": np.zeros(3)})
    assert list(back) == list(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)
    with pytest.raises(ValueError, match=r"'features\.0\.bias', which the state dict does not"):
        architecture.from_torchvision({k: v for k, v in state.items() if k != "features.0.bias"})
    wrong = {**state, "features.0.weight": np.zeros((64, 3, 5, 5))}
    with pytest.raises(ValueError, match=r"'features\.0\.weight' has shape \(64, 3, 5, 5\)"):
        architecture.from_torchvision(wrong)


def small_net():
    """A convolution and a dense layer that reads a whole map, as AlexNet and VGG do."""
    return [("conv", Conv2D(5, 3, padding=1)), ("flatten", Flatten()), ("fc", Dense(7))]


def test_a_flattened_map_is_read_channels_first_elsewhere():
    architecture = Architecture(
        "small",
        small_net,
        "none",
        (("logits", "fc"),),
        (2, 3, 4),
        7,
        flattened=(("fc", (5, 2, 3)),),
    )
    weights = random_weights(architecture.network())
    state = architecture.to_torchvision(weights)
    maps = np.random.default_rng(0).standard_normal((4, 2, 3, 5)).astype(np.float32)
    channels_first = maps.transpose(0, 3, 1, 2).reshape(4, -1)
    np.testing.assert_allclose(
        channels_first @ state["fc.weight"].T, maps.reshape(4, -1) @ weights["fc.W"], rtol=1e-4
    )
    back = architecture.from_torchvision(state)
    np.testing.assert_array_equal(back["fc.W"], weights["fc.W"])


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_what_is_flattened(name):
    """The map that the first dense layer reads has the shape that is written down."""
    architecture = NETWORKS[name]
    ((layer, (c, h, w)),) = architecture.flattened
    shapes = architecture.network().probe()
    assert shapes["features"] == (h, w, c)
    assert layer in shapes


def test_random_weights_are_reproducible_and_neither_grow_nor_fade():
    network = NETWORKS["squeezenet1_1"].network()
    a, b, c = (random_weights(network, seed) for seed in (3, 3, 4))
    assert all((a[k] == b[k]).all() for k in a)
    assert all((a[k] != c[k]).any() for k in a)


def test_signals_keep_their_size(case):
    """Otherwise relu6 would cut everything off, or errors drown in zeros."""
    *_, seen, output = case
    for name, values in seen.items():
        assert 1e-3 < np.sqrt(np.mean(values**2)) < 1e3, name
    assert np.std(output, axis=1).min() > 1e-3
    assert np.abs(output[0] - output[1]).max() > 1e-3
