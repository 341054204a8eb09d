"""Layers: what they compute and what they learn."""

import inspect
import pickle

import numpy as np
import pytest
from scipy.special import erf
from sklearn.base import clone

from skdeep import NeuralNetClassifier, NeuralNetRegressor, layers, ops
from skdeep.graph.differentiate import gradients
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.layers import (
    Activation,
    AveragePool2D,
    BatchNorm,
    ChannelShuffle,
    Constant,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    Glorot,
    He,
    Initializer,
    Layer,
    LayerNorm,
    LayerScale,
    LeCun,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Orthogonal,
    Parallel,
    Reshape,
    Residual,
    SelectToken,
    Sequential,
    SqueezeExcite,
    TokenEmbedding,
    TokenMap,
)
from skdeep.layers.activation import ACTIVATIONS
from skdeep.layers.initializers import INITIALIZERS
from skdeep.layers.network import Network
from skdeep.training import SGD, Adam

# -- naive twins, float64 ------------------------------------------------------------------------

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def naive_softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


NAIVE = {
    "identity": lambda x: x,
    "linear": lambda x: x,
    "relu": lambda x: np.where(x > 0, x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "softmax": naive_softmax,
}


def naive_conv(x, w, b, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    n, h, width, c = x.shape
    kh, kw, cg, filters = w.shape
    image = np.zeros((n, h + sum(padding[0]), width + sum(padding[1]), c))
    image[:, padding[0][0] :, padding[1][0] :][:, :h, :width] = x
    rows = (image.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    columns = (image.shape[2] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, rows, columns, filters)) + b
    for i in range(rows):
        for j in range(columns):
            for f in range(filters):
                first = f // (filters // groups) * cg
                for p in range(kh):
                    for q in range(kw):
                        pixel = image[
                            :, i * stride[0] + p * dilation[0], j * stride[1] + q * dilation[1]
                        ]
                        y[:, i, j, f] += pixel[:, first : first + cg] @ w[p, q, :, f]
    return y


def naive_pool(x, size, stride, reduce):
    """Windows that fit; a last one that hangs over is cut, where ``ceil`` keeps it."""
    rows, columns = ((s - k) // t + 1 for s, k, t in zip(x.shape[1:3], size, stride))
    y = np.zeros((len(x), rows, columns, x.shape[3]))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride[0] :, j * stride[1] :][:, : size[0], : size[1]]
            y[:, i, j] = reduce(window, axis=(1, 2))
    return y


def naive_gate(x, w, activation, gate):
    y = activation(x.mean(axis=(1, 2)) @ w["fc1.W"][0, 0] + w["fc1.b"])
    return x * gate(y @ w["fc2.W"][0, 0] + w["fc2.b"])[:, None, None]


def naive_norm(x, w, training):
    axes = tuple(range(x.ndim - 1))
    mean, var = (x.mean(axes), x.var(axes)) if training else (w["mean"], w["var"])
    return (x - mean) / np.sqrt(var + 1e-5) * w["gamma"] + w["beta"]


def naive_layer_norm(x, w):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * w["gamma"] + w["beta"]


def naive_local_response_norm(x):
    squares = np.pad(x**2, [(0, 0)] * (x.ndim - 1) + [(1, 1)])
    return x / (1 + 0.1 * (squares[..., :-2] + squares[..., 1:-1] + squares[..., 2:])) ** 0.75


def naive_attention(x, w, heads):
    qkv = x @ w["in_proj.W"] + w.get("in_proj.b", 0)
    q, k, v = np.split(qkv.reshape(*x.shape[:2], 3 * heads, -1), 3, axis=2)
    weights = naive_softmax(np.einsum("nihc,njhc->nhij", q, k) / np.sqrt(q.shape[3]))
    y = np.einsum("nhij,njhc->nihc", weights, v).reshape(x.shape)
    return y @ w["out_proj.W"] + w.get("out_proj.b", 0)


def naive_tokens(x, w):
    x = x.reshape(len(x), -1, x.shape[-1])
    if "class_token" in w:
        first = np.repeat(w["class_token"], len(x), axis=0)
        x = np.concatenate([first, x], axis=1)
    return x + w["position"]


def dense(x, w):
    return x.reshape(len(x), -1) @ w["W"] + w["b"]


ROWS, IMAGES, TOKENS = (5, 7), (3, 6, 5, 4), (2, 5, 6)
SHUFFLED = [0, 2, 1, 3]
SAME = ((1, 1), (1, 1))

# (layer, input shape, naive twin of (x, weights, training))
CASES = [
    (Dense(6), ROWS, lambda x, w, t: dense(x, w)),
    (Dense(6, "tanh", use_bias=False), ROWS, lambda x, w, t: np.tanh(x @ w["W"])),
    (Dense(6, "softplus"), IMAGES, lambda x, w, t: NAIVE["softplus"](dense(x, w))),
    (Dense(3, lambda x: ops.square(x)), ROWS, lambda x, w, t: dense(x, w) ** 2),
    (Conv2D(3, 3), IMAGES, lambda x, w, t: naive_conv(x, w["W"], w["b"])),
    (
        Conv2D(3, (3, 2), "tanh", stride=(2, 1), padding="same", use_bias=False),
        IMAGES,
        lambda x, w, t: np.tanh(naive_conv(x, w["W"], 0, (2, 1), ((0, 1), (0, 1)))),
    ),
    (
        Conv2D(8, 3, padding=1, groups=4),
        IMAGES,
        lambda x, w, t: naive_conv(x, w["W"], w["b"], padding=SAME, groups=4),
    ),
    (
        Conv2D(2, 2, dilation=2, padding=((1, 0), (2, 1)), groups=2),
        IMAGES,
        lambda x, w, t: naive_conv(
            x, w["W"], w["b"], padding=((1, 0), (2, 1)), dilation=(2, 2), groups=2
        ),
    ),
    (MaxPool2D(2), IMAGES, lambda x, w, t: naive_pool(x, (2, 2), (2, 2), np.max)),
    (MaxPool2D((3, 2), stride=1), IMAGES, lambda x, w, t: naive_pool(x, (3, 2), (1, 1), np.max)),
    (
        MaxPool2D(2, ceil_mode=True),
        IMAGES,
        lambda x, w, t: naive_pool(
            np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 0)], constant_values=-9e9),
            (2, 2), (2, 2), np.max,
        ),
    ),  # fmt: skip
    (AveragePool2D(2), IMAGES, lambda x, w, t: naive_pool(x, (2, 2), (2, 2), np.mean)),
    (
        AveragePool2D(3, stride=1, padding="same"),
        IMAGES,
        lambda x, w, t: naive_pool(
            np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=np.nan),
            (3, 3), (1, 1), np.nanmean,
        ),
    ),  # fmt: skip
    (
        AveragePool2D(3, stride=1, padding=1, count_include_pad=True),
        IMAGES,
        lambda x, w, t: naive_pool(
            np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), (3, 3), (1, 1), np.mean
        ),
    ),
    (SqueezeExcite(3), IMAGES, lambda x, w, t: naive_gate(x, w, NAIVE["relu"], NAIVE["sigmoid"])),
    (
        SqueezeExcite(2, "silu", "hardsigmoid"),
        IMAGES,
        lambda x, w, t: naive_gate(x, w, NAIVE["silu"], NAIVE["hardsigmoid"]),
    ),
    (ChannelShuffle(2), IMAGES, lambda x, w, t: x[..., SHUFFLED]),
    (GlobalAveragePool2D(), IMAGES, lambda x, w, t: x.mean(axis=(1, 2))),
    (GlobalMaxPool2D(), IMAGES, lambda x, w, t: x.max(axis=(1, 2))),
    (Flatten(), IMAGES, lambda x, w, t: x.reshape(len(x), -1)),
    (Reshape((5, -1)), IMAGES, lambda x, w, t: x.reshape(len(x), 5, -1)),
    (Dropout(0.0), ROWS, lambda x, w, t: x),
    (BatchNorm(), ROWS, naive_norm),
    (BatchNorm("sigmoid"), IMAGES, lambda x, w, t: NAIVE["sigmoid"](naive_norm(x, w, t))),
    (BatchNorm(trainable=False), ROWS, lambda x, w, t: naive_norm(x, w, False)),
    (Dense(4, flatten=False), TOKENS, lambda x, w, t: x @ w["W"] + w["b"]),
    (LayerNorm(), ROWS, lambda x, w, t: naive_layer_norm(x, w)),
    (LayerNorm("tanh"), TOKENS, lambda x, w, t: np.tanh(naive_layer_norm(x, w))),
    (LocalResponseNorm(3, 0.3), IMAGES, lambda x, w, t: naive_local_response_norm(x)),
    (MultiHeadAttention(3), TOKENS, lambda x, w, t: naive_attention(x, w, 3)),
    (MultiHeadAttention(1, use_bias=False), TOKENS, lambda x, w, t: naive_attention(x, w, 1)),
    (TokenEmbedding(), IMAGES, lambda x, w, t: naive_tokens(x, w)),
    (TokenEmbedding(False), TOKENS, lambda x, w, t: naive_tokens(x, w)),
    (LayerScale(0.5), ROWS, lambda x, w, t: x * w["scale"]),
    (LayerScale(0.5, "tanh"), IMAGES, lambda x, w, t: np.tanh(x * w["scale"])),
    (TokenMap(), TOKENS, lambda x, w, t: x[:, 1:].reshape(2, 2, 2, 6)),
    (TokenMap(1, first=2), TOKENS, lambda x, w, t: x[:, 2:].reshape(2, 1, 3, 6)),
    (SelectToken(), TOKENS, lambda x, w, t: x[:, 0]),
    (SelectToken(3), TOKENS, lambda x, w, t: x[:, 3]),
    (Activation("leaky_relu", alpha=0.3), ROWS, lambda x, w, t: np.where(x > 0, x, 0.3 * x)),
    (Activation("elu", alpha=0.5), ROWS, lambda x, w, t: np.where(x > 0, x, 0.5 * np.expm1(x))),
    (Activation(ops.square), ROWS, lambda x, w, t: x**2),
    *(
        (Activation(name), ROWS, lambda x, w, t, name=name: NAIVE[name](x))
        for name in ACTIVATIONS
    ),
    (
        Sequential([("a", Dense(4, "tanh")), "passthrough", Dense(3)]),
        ROWS,
        lambda x, w, t: np.tanh(x @ w["a.W"] + w["a.b"]) @ w["dense1.W"] + w["dense1.b"],
    ),
    (
        Residual([Dense(7, "tanh")], activation="sigmoid"),
        ROWS,
        lambda x, w, t: NAIVE["sigmoid"](x + np.tanh(x @ w["dense1.W"] + w["dense1.b"])),
    ),
    (
        Residual([Conv2D(2, 3, padding="same")], shortcut=Conv2D(2, 1)),
        IMAGES,
        lambda x, w, t: naive_conv(x, w["conv2d1.W"], w["conv2d1.b"], padding=SAME)
        + naive_conv(x, w["shortcut.W"], w["shortcut.b"]),
    ),
    (
        Parallel([Conv2D(2, 1), Conv2D(3, 3, padding="same"), "passthrough"]),
        IMAGES,
        lambda x, w, t: np.concatenate(
            [
                naive_conv(x, w["conv2d1.W"], w["conv2d1.b"]),
                naive_conv(x, w["conv2d2.W"], w["conv2d2.b"], padding=SAME),
                x,
            ],
            axis=-1,
        ),
    ),
    (
        Parallel([Conv2D(3, 1), "passthrough"], split=True),
        IMAGES,
        lambda x, w, t: np.concatenate(
            [naive_conv(x[..., :2], w["conv2d1.W"], w["conv2d1.b"]), x[..., 2:]], axis=-1
        ),
    ),
    *(
        (
            Parallel([("a", Dense(3)), ("b", Dense(3, "tanh"))], join=join),
            ROWS,
            lambda x, w, t, share=share: share
            * (x @ w["a.W"] + w["a.b"] + np.tanh(x @ w["b.W"] + w["b.b"])),
        )
        for join, share in (("sum", 1.0), ("mean", 0.5))
    ),
]  # fmt: skip


def identify(case):
    return f"{case[0]!r}-{len(case[1])}d"[:80]


def is_layer(value):
    return isinstance(value, type) and issubclass(value, Layer) and value is not Layer


def test_every_layer_has_a_case():
    public = {value for name, value in vars(layers).items() if is_layer(value)}
    assert {type(case[0]) for case in CASES} == public
    assert public <= {getattr(layers, name) for name in layers.__all__}


def fed(layer, shape, training, seed=0):
    """A layer's graph with random input and weights: (output, {leaf: array}, {name: array})."""
    rng = np.random.RandomState(seed)
    network = Network([("it", clone(layer))], shape[1:])
    x = Tensor(shape, role="data")
    output, trace = network.trace(x, training)
    feeds = {x: rng.uniform(-2, 2, shape).astype(np.float32)}
    named = {}
    for spec in network.parameters:
        value = rng.uniform(0.3, 1.2, spec.shape) * rng.choice([-1, 1], spec.shape)
        if spec.name.endswith("var"):
            value = np.abs(value)
        feeds[trace.leaf(spec)] = named[spec.name.removeprefix("it.")] = value.astype(np.float32)
    return output, feeds, named


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", CASES, ids=identify)
def test_forward_and_gradient_agree_with_naive(case, training):
    layer, shape, naive = case
    output, feeds, named = fed(layer, shape, training)
    leaves, names = list(feeds), ["x", *named]
    values = {name: feeds[leaf].astype(np.float64) for name, leaf in zip(names, leaves)}
    seed = Tensor(output.shape, role="data")
    cotangent = np.random.RandomState(1).uniform(-1, 1, output.shape).astype(np.float32)
    found = gradients(output, leaves, seed=seed)
    used = [k for k, g in enumerate(found) if g is not None]
    results = evaluate([output, *(found[k] for k in used)], {**feeds, seed: cotangent})

    def twin(values):
        return naive(values["x"], {k: v for k, v in values.items() if k != "x"}, training)

    expected = twin(values)
    assert results[0].shape == expected.shape
    np.testing.assert_allclose(results[0], expected, rtol=2e-5, atol=2e-5)
    got = dict(zip((names[k] for k in used), results[1:]))
    rng = np.random.RandomState(2)
    for name, value in values.items():
        direction = rng.choice([-1.0, 1.0], value.shape)
        ends = [twin({**values, name: value + h * direction}) for h in (1e-6, -1e-6)]
        slope = np.sum((ends[0] - ends[1]) * cotangent) / 2e-6
        gradient = got.get(name, np.zeros(value.shape))
        scale = np.abs(gradient).sum() + 1e-3
        assert abs(np.sum(gradient * direction) - slope) < 1e-4 * scale, name


@pytest.mark.parametrize("case", CASES, ids=identify)
def test_layers_are_cloned_pickled_and_printed(case):
    layer, shape, _ = case
    public = {name: getattr(layers, name) for name in layers.__all__}
    copies = [clone(layer)]
    if "<function" not in repr(layer):
        copies += [pickle.loads(pickle.dumps(layer)), eval(repr(layer), public)]
    output, feeds, _ = fed(layer, shape, training=False)
    (expected,) = evaluate([output], feeds)
    for copied in copies:
        assert copied is not layer and type(copied) is type(layer)
        output, feeds, _ = fed(copied, shape, training=False)
        np.testing.assert_array_equal(evaluate([output], feeds)[0], expected)


@pytest.mark.parametrize("case", CASES, ids=identify)
def test_layers_only_assign_in_init(case):
    layer = case[0]
    own = set(inspect.signature(type(layer)).parameters)
    assert set(vars(layer)) == own == set(type(layer)._get_param_names())
    for name in own - {"layers", "branches"}:
        marker = object()
        assert getattr(type(layer)(**{name: marker}), name) is marker


# -- initializers --------------------------------------------------------------------------------


def deviation(kind, fan_in, fan_out):
    return {
        Glorot: np.sqrt(2 / (fan_in + fan_out)), He: np.sqrt(2 / fan_in), LeCun: np.sqrt(1 / fan_in)
    }[kind]  # fmt: skip


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("kind", [Glorot, He, LeCun])
@pytest.mark.parametrize("shape,fans", [((300, 200), (300, 200)), ((3, 3, 40, 80), (360, 720))])
def test_variance_scaling(kind, distribution, shape, fans):
    w = kind(distribution, gain=3.0)(shape, np.random.RandomState(0))
    expected = 3 * deviation(kind, *fans)
    assert w.dtype == np.float32 and w.shape == shape
    assert w.std() == pytest.approx(expected, rel=0.02)
    assert abs(w.mean()) < 0.02 * expected
    if distribution == "uniform":
        assert np.abs(w).max() == pytest.approx(np.sqrt(3) * expected, rel=1e-2)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 3, 2, 7)])
def test_orthogonal(shape):
    w = Orthogonal(gain=2.0)(shape, np.random.RandomState(0)).reshape(-1, shape[-1]) / 2
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_every_initializer_is_checked_and_has_a_name():
    public = {getattr(layers, n) for n in layers.__all__ if n not in ("Initializer", "Layer")}
    public = {v for v in public if issubclass(v, Initializer)}
    assert public == {Glorot, He, LeCun, Orthogonal, Constant}
    assert {type(v) for v in INITIALIZERS.values()} == public


@pytest.mark.parametrize(
    "init", [*INITIALIZERS, "auto", 0.25, Constant(2.0), He("normal")], ids=str
)
def test_weights_start_as_told(init, iris):
    parameters = {"layers": [Dense(40, "relu", weight_init=init)], "max_epochs": 1}
    first, second, other = (
        NeuralNetClassifier(**parameters, random_state=s, optimizer=SGD(0.0)).fit(*iris)
        for s in (0, 0, 1)
    )
    w = first.weights_["dense1.W"]
    np.testing.assert_array_equal(w, second.weights_["dense1.W"])
    fixed = {"zeros": 0.0, "ones": 1.0, 0.25: 0.25}.get(
        init if isinstance(init, (str, float)) else ""
    )
    if isinstance(init, Constant):
        fixed = init.value
    if fixed is not None:
        assert np.all(w == np.float32(fixed))
    else:
        assert np.all(w != other.weights_["dense1.W"])
    np.testing.assert_array_equal(first.weights_["dense1.b"], 0)


def test_bias_can_start_anywhere(iris):
    start = np.linspace(-1, 1, 5)
    net = NeuralNetClassifier([Dense(5, bias_init=start)], max_epochs=1, optimizer=SGD(0.0))
    np.testing.assert_array_equal(net.fit(*iris).weights_["dense1.b"], start.astype(np.float32))


# -- freezing and penalties ----------------------------------------------------------------------


def test_frozen_layers_keep_their_bits(digits):
    X, y = digits

    def fit(epochs, **changes):
        parts = [
            ("conv", Conv2D(4, 3, "relu", trainable=False)),
            ("norm", BatchNorm(trainable=False)),
            ("block", Sequential([Dense(9, "tanh"), BatchNorm()], trainable=False)),
            ("free", Dense(8, "relu", l2=0.1)),
        ]
        net = NeuralNetClassifier(
            parts, input_shape=(8, 8, 1), max_epochs=epochs, random_state=0, optimizer=Adam(1e-2)
        )
        return net.set_params(**changes).fit(X, y).weights_

    start, end = fit(1, optimizer__learning_rate=0.0), fit(4)
    assert start.keys() == end.keys()
    for name in start:
        same = start[name].tobytes() == end[name].tobytes()
        assert same == name.startswith(("conv", "norm", "block")), name


def test_a_network_may_be_frozen_altogether(iris):
    net = NeuralNetClassifier(
        [Dense(4, trainable=False)], head=Dense(3, trainable=False), max_epochs=2, random_state=0
    ).fit(*iris)
    assert net.history_[0]["train_loss"] == pytest.approx(net.history_[1]["train_loss"], rel=1e-5)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_penalties_add_to_loss_and_gradient(kind, digits):
    X, y = digits[0][:32], digits[1][:32]
    l1, l2, rate = 3e-2, 5e-2, 0.1
    make = {"dense": lambda **k: Dense(6, **k), "conv": lambda **k: Conv2D(3, 3, **k)}[kind]

    def fit(rate, **penalty):
        net = NeuralNetClassifier([("it", make(**penalty))], input_shape=(8, 8, 1), max_epochs=1,
                                  optimizer=SGD(rate), random_state=0)  # fmt: skip
        return net.fit(X, y)

    plain, penalised = fit(rate), fit(rate, l1=l1, l2=l2)
    w = fit(0.0).weights_["it.W"].astype(np.float64)
    extra = l1 * np.abs(w).sum() + l2 * (w**2).sum()
    difference = penalised.history_[0]["train_loss"] - plain.history_[0]["train_loss"]
    assert difference == pytest.approx(extra, rel=1e-4)
    step = penalised.weights_["it.W"] - plain.weights_["it.W"]
    np.testing.assert_allclose(step, -rate * (l1 * np.sign(w) + 2 * l2 * w), rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(penalised.weights_["it.b"], plain.weights_["it.b"])


# -- batch norm over a training ------------------------------------------------------------------


def test_running_statistics(iris):
    X, y = iris[0][:100], iris[1][:100]
    net = NeuralNetRegressor(
        [BatchNorm(momentum=0.8)], max_epochs=3, batch_size=40, shuffle=False, random_state=0
    ).fit(X, y)
    mean, var = np.zeros(4), np.ones(4)
    for _ in range(3):
        for first in (0, 40, 80):
            batch = X[first : first + 40].astype(np.float64)
            mean = 0.8 * mean + 0.2 * batch.mean(axis=0)
            var = 0.8 * var + 0.2 * batch.var(axis=0, ddof=1)
    np.testing.assert_allclose(net.weights_["batchnorm1.mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.weights_["batchnorm1.var"], var, rtol=1e-5)


def test_dropout_rate_and_scale(iris):
    X = np.ones((400, 50), np.float32)
    seen = []

    class Watch(Dense):
        pass

    net = NeuralNetRegressor(
        [Dropout(0.3)], head=Watch(1, use_bias=False, weight_init="ones"), optimizer=SGD(0.0),
        batch_size=1, max_epochs=1, random_state=0, loss="squared_error",
    )  # fmt: skip
    net.fit(X, np.full(400, 50.0))
    seen.append(net.history_[0]["train_loss"])
    # variance of a sum of 50 kept-or-dropped ones scaled by 1 / 0.7
    assert seen[0] == pytest.approx(50 * 0.3 / 0.7, rel=0.3)
    np.testing.assert_allclose(net.predict(X), 50.0)


# -- whole networks ------------------------------------------------------------------------------


def test_a_convolutional_network_agrees_with_numpy(digits):
    X, y = digits
    net = NeuralNetClassifier(
        [
            ("stem", Conv2D(4, 3, padding="same")),
            ("norm", BatchNorm("relu")),
            ("block", Residual([("c", Conv2D(4, 3, padding="same"))], activation="relu")),
            MaxPool2D(2),
            ("drop", Dropout(0.3)),
            ("hidden", Dense(16, "tanh")),
        ],
        input_shape=(8, 8, 1), max_epochs=3, random_state=0, optimizer=Adam(1e-2),
    ).fit(X, y)  # fmt: skip
    w = {k: v.astype(np.float64) for k, v in net.weights_.items()}
    h = naive_conv(
        X[:50].reshape(-1, 8, 8, 1).astype(float), w["stem.W"], w["stem.b"], padding=SAME
    )
    h = (h - w["norm.mean"]) / np.sqrt(w["norm.var"] + 1e-5) * w["norm.gamma"] + w["norm.beta"]
    h = np.maximum(h, 0)
    h = np.maximum(h + naive_conv(h, w["block.c.W"], w["block.c.b"], padding=SAME), 0)
    h = naive_pool(h, (2, 2), (2, 2), np.max)
    h = np.tanh(h.reshape(50, -1) @ w["hidden.W"] + w["hidden.b"])
    np.testing.assert_allclose(net.transform(X[:50]), h, rtol=1e-4, atol=1e-5)
    logits = h @ w["head.W"] + w["head.b"]
    np.testing.assert_allclose(net.decision_function(X[:50]), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net.predict_proba(X[:50]), naive_softmax(logits), atol=1e-5)


def resnet():
    body = [Conv2D(4, 3, padding="same", use_bias=False), BatchNorm("relu"),
            Conv2D(8, 3, stride=2, padding="same", use_bias=False), BatchNorm()]  # fmt: skip
    shortcut = Sequential([Conv2D(8, 1, stride=2, use_bias=False), BatchNorm()])
    return [Residual(body, shortcut=shortcut, activation="relu"), GlobalAveragePool2D()]


def inception():
    branches = [
        ("one", Conv2D(3, 1, "relu")),
        ("three", Sequential([Conv2D(2, 1, "relu"), Conv2D(3, 3, "relu", padding="same")])),
        ("pool", Sequential([MaxPool2D(3, stride=1, padding="same"), Conv2D(2, 1, "relu")])),
    ]
    return [("mixed", Parallel(branches)), AveragePool2D(2), Dense(16, "relu")]


@pytest.mark.parametrize("blocks", [resnet, inception])
def test_blocks_learn_and_keep(blocks, digits):
    X, y = digits
    net = NeuralNetClassifier(blocks(), input_shape=(8, 8, 1), max_epochs=25, batch_size=32,
                              optimizer=Adam(2e-2), random_state=0).fit(X, y)  # fmt: skip
    assert net.score(X, y) > 0.9
    kept = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(kept.predict_proba(X), net.predict_proba(X))


def test_nested_layers_have_names(digits):
    net = NeuralNetClassifier(inception(), input_shape=(8, 8, 1), max_epochs=1)
    net.set_params(
        mixed__three__conv2d2__filters=5, mixed__pool="passthrough", mixed__one=Conv2D(2)
    )
    net.set_params(mixed__one__padding="same")
    net.fit(*digits)
    assert net.weights_["mixed.three.conv2d2.W"].shape == (3, 3, 2, 5)
    assert net.set_params(output_layer="mixed.three").transform(digits[0]).shape == (300, 320)
    assert "mixed.pool.conv2d1.W" not in net.weights_
