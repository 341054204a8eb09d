"""CUDA twins under the simulator: kernel by kernel, and networks trained end to end."""

import pickle
import sys

import numpy as np
import pytest
from numba import config

from skdeep import NeuralNetClassifier, NeuralNetRegressor, ops
from skdeep.features import ImageFeatures, Preprocessing
from skdeep.graph.differentiate import gradients
from skdeep.graph.passes import fuse_concatenate, rewrite
from skdeep.graph.program import compile_program, evaluate
from skdeep.graph.tensor import Tensor
from skdeep.kernels import activation, arithmetic, elementwise
from skdeep.kernels.arithmetic import BROADCASTS
from skdeep.kernels.attention import GRAD_BAND
from skdeep.kernels.cuda import CUDA, TWINS
from skdeep.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePool2D,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Residual,
    SelectToken,
    TokenEmbedding,
)
from skdeep.ops.arithmetic import Binary
from skdeep.ops.attention import AttentionGrad
from skdeep.ops.conv import Conv2D as Conv2DOp
from skdeep.ops.conv import Conv2DGradX, PackConv, PackConvT
from skdeep.ops.dense import Dense as DenseOp
from skdeep.ops.dense import DenseGradX, PackDense, PackDenseT
from skdeep.ops.depthwise import DepthwiseGradX
from skdeep.ops.elementwise import Map
from skdeep.ops.normalization import BatchNorm as BatchNormOp
from skdeep.ops.normalization import BatchNormTrain
from skdeep.ops.normalization import _cut as cuts
from skdeep.ops.optimizers import (
    AdamUpdate,
    ClipScale,
    LossTotal,
    MomentumUpdate,
    NormalizeWeights,
    Penalty,
    RMSpropUpdate,
)
from skdeep.ops.pool import MaxPool2D as MaxPoolOp
from skdeep.ops.rows import LoadRows, StoreRows
from skdeep.training import LBFGS, SGD, Adam

pytestmark = pytest.mark.sim

MAPS = {**elementwise.MAPS, **activation.MAPS, **arithmetic.MAPS}


@pytest.fixture(scope="module", autouse=True)
def simulator():
    """The simulator waits for its threads in a busy loop, which keeps them waiting in turn."""
    assert config.ENABLE_CUDASIM, "run this lane with NUMBA_ENABLE_CUDASIM=1"
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


# ---- kernel by kernel --------------------------------------------------------------------------

CASES = {}


def case(function):
    """Register a function of a feeder that returns the outputs to compare."""
    CASES[function.__name__] = function
    return function


class Feeder:
    """Makes leaves with values, which it keeps."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.values = {}

    def __call__(self, array):
        array = np.asarray(array)
        array = array.astype(np.int32 if array.dtype.kind == "i" else np.float32)
        leaf = Tensor(array.shape, str(array.dtype), role="data")
        self.values[leaf] = array
        return leaf

    def normal(self, *shape):
        """A leaf of random numbers."""
        return self(self.rng.normal(size=shape))


def _gradients(feed, y, *wrt):
    return [y, *gradients(y, list(wrt), seed=feed.normal(*y.shape))]


@case
def maps(feed):
    """Every formula of tensors of one shape."""
    leaves = [feed.normal(5, 7) for _ in range(3)]
    outputs = []
    for name, (_, tensors, numbers) in MAPS.items():
        attributes = dict(zip(("s", "t"), (-0.4, 0.7)[:numbers]))
        probe = type("Probe", (Map,), {"kernel": name, "numbers": tuple(attributes)})
        outputs.append(probe(*leaves[:tensors], **attributes).output)
    return outputs


@case
def broadcasts(feed):
    """Every formula of two operands, in the ways shapes can meet."""
    pairs = [((3, 1, 5), (1, 4, 5)), ((4, 6), (6,)), ((4, 6), (4, 1)), ((1, 1), (2, 3))]
    pairs = [(feed.normal(*a), feed.normal(*b)) for a, b in pairs]
    outputs = []
    for name in BROADCASTS:
        probe = type("Probe", (Binary,), {"kernel": name})
        chosen = pairs if name in ("divide", "broadcast") else pairs[:1]
        outputs += [probe(a, b).output for a, b in chosen]
        outputs.append(probe(None, pairs[1][0], number=0.3).output)
    return [*outputs, ops.full((3, 7), 2.5), ops.broadcast_to(pairs[0][0], (3, 4, 5))]


@case
def reductions(feed):
    """Along the last axis, the first, one in the middle; with a NaN."""
    x, holes = feed.normal(3, 4, 5), feed.rng.normal(size=(3, 20))
    holes[1, 7] = np.nan
    holes = feed(holes)
    axes = [2, 0, 1, (0, 1), (0, 2), None]
    outputs = [reduce(x, axis=a) for reduce in (ops.sum, ops.max) for a in axes]
    outputs += [ops.max(holes, axis=1), ops.max(ops.transpose2d(holes), axis=0)]
    return [*outputs, ops.mean(x, axis=1)]


@case
def long_reductions(feed):
    """Runs that are cut into blocks; columns that are cut into chunks."""
    return [ops.sum(feed.normal(33000)), ops.sum(feed.normal(34, 1030), axis=0)]


@case
def softmax(feed):
    """Softmax and its logarithm, few and many classes."""
    outputs = []
    for x in (feed.normal(3, 5), feed.normal(2, 40)):
        outputs += _gradients(feed, ops.softmax(x), x)
        outputs += _gradients(feed, ops.log_softmax(x), x)
    return outputs


@case
def log_losses(feed):
    """Of classes and of weights of classes."""
    z, soft = feed.normal(4, 5), feed(np.abs(feed.rng.normal(size=(4, 5))))
    classes = feed(np.array([3, 0, 4, 1]))
    return [
        *_gradients(feed, ops.softmax_log_loss(z, classes), z),
        *_gradients(feed, ops.softmax_log_loss(z, soft), z),
    ]


@case
def dense(feed):
    """Plain, with everything fused, and both gradients; sizes that are no multiple of a square."""
    x, w, b, residual = feed.normal(5, 9), feed.normal(9, 6), feed.normal(6), feed.normal(5, 6)
    dy, mask = feed.normal(5, 6), feed.normal(5, 9)
    packed = PackDense(w).output
    return [
        *_gradients(feed, ops.dense(x, w, b), x, w, b),
        ops.batch_matmul(feed.normal(2, 3, 5), feed.normal(2, 5, 4)),
        DenseOp(x, w, packed, b, residual, low=0.0, high=1.0).output,
        DenseOp(x, w, packed, None, residual).output,
        DenseGradX(dy, w, PackDenseT(w).output, mask).output,
    ]


@case
def moving(feed):
    """What moves elements, of either type."""
    x, images = feed.normal(6, 5), feed.normal(2, 3, 4, 2)
    numbers, index = feed(np.arange(6) * 1000), feed(np.array([4, 0, 4]))
    return [
        ops.concatenate([x, x, ops.slice_axis(x, 1, 1, 3)]),
        ops.slice_axis(x, 0, 2, 5),
        ops.pad2d(images, (1, 0, 2, 1), value=3.0),
        *_gradients(feed, ops.pad2d(images, (0, 1, 1, 0)), images),
        ops.transpose2d(x),
        ops.transpose(images, (0, 3, 1, 2)),
        ops.transpose(images, (0, 2, 1, 3)),
        ops.shuffle_channels(ops.transpose2d(x), 3),
        ops.gather_rows(x, index),
        ops.gather_rows(numbers, index),
    ]


@case
def rows(feed):
    """A block of rows at the end of a data set, there and back."""
    x, target = feed.normal(5, 3), feed.normal(5, 3)
    registers = feed(np.array([2, 5] + [0] * 14))
    block = LoadRows(x, registers, n=4).output
    later = LoadRows(x, registers, n=3, first=1).output
    return [block, later, StoreRows(block, target, registers).output]


@case
def optimizers(feed):
    """Every rule, on weights of its own."""
    values = np.zeros(16, np.float32)
    values[2:7] = 0.01, 0.9, 0.99, 1e-3, 0.1
    registers = feed(values.view(np.int32))
    g, scale = feed.normal(20), feed(np.array([0.6]))
    outputs = []
    for update in (AdamUpdate, MomentumUpdate, RMSpropUpdate):
        slots = [feed(np.abs(feed.rng.normal(size=20))) for _ in range(update.slots)]
        penalties = ((2, 7, 0.1), (12, 8, 0.3))
        step = update(feed.normal(20), g, *slots, registers, scale, penalties=penalties)
        outputs.append(step.output)
    return outputs


@case
def bookkeeping(feed):
    """Penalties, clipping, totals; vectors of one tile and of two."""
    g, w, weights = feed.normal(4100), feed.normal(4100), feed(np.abs(feed.rng.normal(size=9)))
    penalty = Penalty(w, g, l1=0.01, l2=0.02).output
    return [
        penalty,
        *(ClipScale(t, penalty, limit=limit).output for t, limit in ((g, 1.0), (weights, 1e3))),
        LossTotal(penalty, weights).output,
        NormalizeWeights(weights).output,
    ]


@case
def dropout(feed):
    """The same elements are dropped."""
    x, registers = feed.normal(50), feed(np.array([-5, 7] + [0] * 14))
    return [ops.dropout(x, 0.4, registers, 3)]


GEOMETRIES = [
    {"padding": 1},
    {"stride": 2, "padding": ((1, 0), (2, 1))},
    {"stride": (1, 3), "dilation": (2, 1)},
]


@case
def conv(feed):
    """Strides, paddings, dilations and groups, everything fused, parts of a wider tensor."""
    x, b, outputs = feed.normal(2, 5, 6, 4), feed.normal(6), []
    for kernel, geometry in zip(((3, 2), (3, 3), (2, 2)), GEOMETRIES):
        for groups in (1, 2):
            w = feed.normal(*kernel, 4 // groups, 6)
            y = ops.conv2d(x, w, b, groups=groups, algorithm="direct", **geometry)
            outputs += _gradients(feed, y, x, w, b)
    w, residual = feed.normal(3, 3, 4, 6), feed.normal(2, 3, 4, 6)
    geometry = Conv2DOp(x, w, None, stride=(1, 1), padding=((0, 0),) * 2, dilation=(1, 1),
                        groups=1).geometry  # fmt: skip
    packed, turned = PackConv(w, groups=1).output, PackConvT(w, **geometry).output
    outputs += [
        Conv2DOp(x, w, packed, b, residual, low=-1.0, high=1.0, **geometry).output,
        Conv2DGradX(residual, w, turned, x, shape=x.shape, **geometry).output,
    ]
    branches = [ops.conv2d(x, feed.normal(k, k, 4, 3), padding=k // 2, algorithm="direct")
                for k in (1, 3)]  # fmt: skip
    return outputs + rewrite([ops.concatenate(branches)], fuse_concatenate)


@case
def depthwise(feed):
    """The same without groups; closed by a mask."""
    x, b, outputs = feed.normal(2, 4, 5, 3), feed.normal(3), []
    for kernel, geometry in zip(((3, 2), (3, 3), (2, 2)), GEOMETRIES):
        w = feed.normal(*kernel, 1, 3)
        outputs += _gradients(feed, ops.conv2d(x, w, b, groups=3, **geometry), x, w, b)
    w, dy = feed.normal(2, 2, 1, 3), feed.normal(2, 3, 4, 3)
    geometry = ops.conv2d(x, w, groups=3).op.geometry
    return [*outputs, DepthwiseGradX(dy, w, x, shape=x.shape, **geometry).output]


@case
def pooling(feed):
    """Windows that overlap or not, few channels and more; equals, a NaN, -inf; a lower bound."""
    few, more, outputs = feed.rng.normal(size=(2, 4, 5, 2)), feed.normal(1, 4, 5, 9), []
    few = np.rint(few)
    few[1, 2, 3, 1], few[0, ..., 0] = np.nan, -np.inf
    few = feed(few)
    for x in (few, more):
        for size, stride, padding in ((3, 2, 1), ((2, 3), None, ((0, 1), (1, 0))), (2, 3, 0)):
            y = ops.max_pool2d(x, size, stride, padding, ceil_mode=True)
            outputs += _gradients(feed, y, x)
            for padded in (False, True):
                y = ops.average_pool2d(x, size, stride, padding, count_include_pad=padded)
                outputs += _gradients(feed, y, x)
    windows = ops.max_pool2d(more, 2).op.attributes
    return outputs + _gradients(feed, MaxPoolOp(more, **{**windows, "low": 0.5}).output, more)


@case
def normalization(feed):
    """Statistics of the batch and given ones; a residual, a lower bound."""
    x, residual, outputs = feed.normal(130, 3), feed.normal(130, 3), []
    x = feed(feed.values[x] + 100 * feed.rng.normal(size=3))
    gamma, beta, mean = (feed.normal(3) for _ in range(3))
    var = feed(np.abs(feed.rng.normal(size=3)))
    for low in (-np.inf, 0.0):
        op = BatchNormTrain(x, gamma, beta, eps=1e-3, low=low)
        outputs += [*op.outputs[1:3], *_gradients(feed, op.output, x, gamma, beta)]
        leaves = x, gamma, beta, mean, var
        outputs += _gradients(feed, BatchNormOp(*leaves, eps=1e-3, low=low).output, *leaves)
    y = BatchNormTrain(x, gamma, beta, residual, eps=1e-3, low=0.0).output
    return outputs + _gradients(feed, y, x, gamma, beta, residual)


@case
def averages(feed):
    """Running statistics."""
    return [ops.moving_average(feed.normal(20), feed.normal(20), momentum=0.9, scale=1.5)]


@case
def layer_norm(feed):
    """Rows shorter and longer than a block; several sums of gradients."""
    outputs = []
    for shape in ((2, 3, 5), (3, 40)):
        leaves = feed.normal(*shape), feed.normal(shape[-1]), feed.normal(shape[-1])
        outputs += _gradients(feed, ops.layer_norm(*leaves, eps=1e-3), *leaves)
    return outputs


@case
def attention(feed):
    """Few keys and more than a block has threads; more queries than a band has; side by side."""
    outputs = []
    for n, t, s, heads, h in ((2, 2, 3, 2, 3), (1, 2, 37, 1, 18)):
        leaves = feed.normal(n, t, heads * h), *(feed.normal(n, s, heads * h) for _ in range(2))
        outputs += _gradients(feed, ops.attention(*leaves, heads=heads), *leaves)
    qkv, many = feed.normal(1, 3, 12), [feed.normal(1, GRAD_BAND + 2, 1) for _ in range(2)]
    outputs += _gradients(feed, ops.self_attention(qkv, heads=2), qkv)
    few = [feed.normal(1, 2, 1) for _ in range(2)]
    return outputs + list(AttentionGrad(*many, *few, heads=1, scale=0.7).outputs[:3])


@case
def local_response_norm(feed):
    """Neighbourhoods narrower and wider than the channels."""
    x, outputs = feed.normal(2, 7), []
    for size, beta in ((4, 0.75), (13, 0.4)):
        y = ops.local_response_norm(x, size=size, alpha=0.5, beta=beta, k=1.5)
        outputs += _gradients(feed, y, x)
    return outputs


TOKENS = {"optimizers": 3, "rows": 1, "averages": 1}  # outputs that stand for "done"


@pytest.fixture
def small_tiles(monkeypatch):
    """Small tensors have several tiles, so that what combines them takes part."""
    for family, size in {"geometry": 1.0, "layer_norm": 32, "normalization": 1}.items():
        monkeypatch.setattr(sys.modules[f"skdeep.ops.{family}"], "TILE", size)
    cuts.cache_clear()
    yield
    cuts.cache_clear()


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("name", CASES)
def test_twins_agree_with_kernels(name):
    feed = Feeder()
    outputs = CASES[name](feed)
    tokens = TOKENS.get(name, 0)
    results = {}
    for device in (None, CUDA()):
        feeds = {leaf: value.copy() for leaf, value in feed.values.items()}
        computed = evaluate(outputs, feeds, device=device, guard=name != "long_reductions")
        results[device] = [*computed[: len(computed) - tokens], *feeds.values()]
    expected, actual = results.values()
    for k, (a, b) in enumerate(zip(actual, expected)):
        if b.dtype == np.int32 or name in ("dropout", "moving", "rows"):
            np.testing.assert_array_equal(a, b, err_msg=f"array {k}")
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=f"array {k}")


@pytest.mark.usefixtures("small_tiles")
def test_every_twin_is_compared():
    of_the_device = {"begin_step", "end_step", "next_block"}
    compared = {k for build in CASES.values() for k in compile_program(build(Feeder())).kernels}
    assert compared >= set(TWINS) - of_the_device


# ---- networks ----------------------------------------------------------------------------------

RNG = np.random.default_rng(1)
X = RNG.normal(size=(10, 8)).astype(np.float32)
Y = RNG.integers(0, 3, 10)


def trained(net, y, X=X, **fit):
    """The network trained on both devices: (on the CPU, on the simulated GPU)."""
    common = {"batch_size": 4, "max_epochs": 2, "random_state": 0, "n_threads": 1}
    nets = []
    for device in ("cpu", "cuda"):
        net.set_params(**common, device=device)
        nets.append(pickle.loads(pickle.dumps(net)).fit(X, y, **fit))
    return nets


def assert_same(cpu, gpu, tolerance=1e-5):
    for key, weight in cpu.weights_.items():
        np.testing.assert_allclose(gpu.weights_[key], weight, atol=tolerance, err_msg=key)
    for a, b in zip(cpu.history_, gpu.history_, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=tolerance)


def test_classifier_with_adam():
    net = NeuralNetClassifier([Dense(6, activation="relu")], optimizer=Adam(0.01))
    cpu, gpu = trained(net, Y)
    assert_same(cpu, gpu)
    expected = cpu.predict_proba(X)
    np.testing.assert_allclose(gpu.predict_proba(X), expected, atol=1e-5)
    elsewhere = pickle.loads(pickle.dumps(gpu)).set_params(device="cpu")
    np.testing.assert_allclose(elsewhere.predict_proba(X), expected, atol=1e-5)
    assert gpu.partial_fit(X, Y).n_iter_ == 3


def test_classifier_with_sgd_weights_validation_and_clipping():
    optimizer = SGD(0.05, momentum=0.9, nesterov=True, clip_norm=0.5)
    net = NeuralNetClassifier([Dense(6, activation="tanh"), Dropout(0.2)], optimizer=optimizer)
    weight = np.linspace(0.5, 2, 10)
    cpu, gpu = trained(net, Y, sample_weight=weight, X_val=X[:5], y_val=Y[:5])
    assert_same(cpu, gpu)
    assert gpu.history_[-1]["valid_loss"] == pytest.approx(cpu.history_[-1]["valid_loss"], abs=1e-5)


def test_regressor():
    net = NeuralNetRegressor([Dense(6, activation="gelu")], optimizer=SGD(0.02))
    y = X @ np.arange(8) / 8
    cpu, gpu = trained(net, y)
    assert_same(cpu, gpu)
    np.testing.assert_allclose(gpu.predict(X[:3]), cpu.predict(X[:3]), atol=1e-5)


@pytest.mark.filterwarnings("ignore:L-BFGS stopped")
def test_lbfgs():
    net = NeuralNetRegressor([Dense(3, activation="tanh")], optimizer=LBFGS())
    assert_same(*trained(net, X[:, 0] * X[:, 1]), tolerance=1e-4)


IMAGES = RNG.normal(size=(10, 6, 6, 1)).astype(np.float32)


def test_convolutional_network():
    layers = [
        Conv2D(3, padding="same", use_bias=False),  # by Winograd's algorithm on the CPU
        BatchNorm("relu"),
        MaxPool2D(2),
        Conv2D(4, 2, "relu"),
        GlobalAveragePool2D(),
    ]
    cpu, gpu = trained(NeuralNetClassifier(layers, optimizer=SGD(0.05)), Y, IMAGES)
    assert_same(cpu, gpu)
    np.testing.assert_allclose(gpu.predict_proba(IMAGES), cpu.predict_proba(IMAGES), atol=1e-5)


def test_transformer():
    layers = [
        Conv2D(4, 2, stride=2),
        Conv2D(4, 3, "relu", padding="same", groups=4),
        LocalResponseNorm(3, alpha=0.1),
        TokenEmbedding(),
        Residual([LayerNorm(), MultiHeadAttention(2)]),
        SelectToken(),
    ]
    images = IMAGES[:2, :4, :4]
    cpu, gpu = trained(NeuralNetClassifier(layers, optimizer=SGD(0.05)), [0, 1], images)
    assert_same(cpu, gpu)
    np.testing.assert_allclose(gpu.predict_proba(images), cpu.predict_proba(images), atol=1e-5)


def test_features_of_pictures():
    small = Preprocessing(resize=8, crop=8)
    pictures = RNG.integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    features = ImageFeatures("formula", "stem", preprocessing=small, pool="flatten")
    expected = features.fit_transform(pictures)
    features.set_params(device="cuda")
    np.testing.assert_allclose(features.fit_transform(pictures), expected, atol=1e-5)


def test_a_network_without_twins_says_so():
    net = NeuralNetClassifier([Conv2D(2, algorithm="winograd2")], device="cuda")
    with pytest.raises(ValueError, match=r"uses .*winograd.* not run on CUDA yet.*device='cpu'"):
        net.fit(IMAGES, Y)


def test_non_finite_loss_ends_training():
    net = NeuralNetRegressor([Dense(3)], optimizer=SGD(1e30), device="cuda", max_epochs=3)
    with pytest.raises(ValueError, match="training loss became"):
        net.fit(X, X[:, 0])
