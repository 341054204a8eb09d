"""Weights of keras.applications, computed as Keras does in plain NumPy, and by networks here."""

import hashlib
from dataclasses import replace

import h5py
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from skdeep.features import (
    FetchError,
    ImageClassifier,
    ImageFeatures,
    Preprocessing,
    WeightsRecord,
    fetch,
    find_network,
    find_weights,
)
from skdeep.features.networks.keras_names import (
    KERAS_DENSENET,
    KerasNaming,
    is_keras,
    refuse_keras,
)
from skdeep.formats import read_weights, write_weights

NORM = ("gamma", "beta", "moving_mean", "moving_variance")
SIDE = 32
PICTURE = np.random.RandomState(5).randint(0, 256, (SIDE, SIDE, 3), np.uint8)


class Naive:
    """Layers of Keras in float64, for one picture, channels last; weights are drawn as they come.

    Parameters
    ----------
    weights : dict
        Of (layer, part), filled by the first run.
    """

    def __init__(self, seed=0):
        self.rng, self.weights = np.random.RandomState(seed), {}

    def weight(self, layer, part, shape, low, high):
        known = self.weights.setdefault(layer, {})
        if part not in known:
            known[part] = self.rng.uniform(low, high, shape).astype(np.float32)
        return known[part].astype(np.float64)

    def conv(self, x, name, filters, size=1, stride=1, padding=0, bias=False):
        x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
        limit = np.sqrt(6 / (size * size * x.shape[2]))
        kernel = self.weight(name, "kernel", (size, size, x.shape[2], filters), -limit, limit)
        windows = sliding_window_view(x, (size, size), (0, 1))[::stride, ::stride]
        y = np.einsum("ijcpq,pqcf->ijf", windows, kernel, optimize=True)
        return y + self.weight(name, "bias", filters, -0.1, 0.1) if bias else y

    def norm(self, x, name):
        gamma, beta, mean, var = (
            self.weight(name, part, x.shape[2], low, high)
            for part, low, high in zip(NORM, (0.5, -0.2, -0.2, 0.5), (0.9, 0.2, 0.2, 1.5))
        )
        return np.maximum((x - mean) / np.sqrt(var + 1.001e-5) * gamma + beta, 0)

    @staticmethod
    def pool(x, size, stride, reduce, padding=0):
        x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
        return reduce(sliding_window_view(x, (size, size), (0, 1))[::stride, ::stride], axis=(3, 4))


def naive_vgg(net, x, counts):
    for block, (filters, count) in enumerate(zip((64, 128, 256, 512, 512), counts), 1):
        for k in range(1, count + 1):
            name = f"block{block}_conv{k}"
            x = np.maximum(net.conv(x, name, filters, 3, padding=1, bias=True), 0)
        x = net.pool(x, 2, 2, np.max)
    return x


def naive_densenet(net, x, counts):
    """With the names of the published files; "conv1/" is "conv1_" since."""
    x = net.conv(x, "conv1/conv", 64, 7, stride=2, padding=3)
    x = net.pool(net.norm(x, "conv1/bn"), 3, 2, np.max, padding=1)
    for stage, count in enumerate(counts, 2):
        for k in range(1, count + 1):
            name = f"conv{stage}_block{k}"
            y = net.conv(net.norm(x, f"{name}_0_bn"), f"{name}_1_conv", 128)
            y = net.conv(net.norm(y, f"{name}_1_bn"), f"{name}_2_conv", 32, 3, padding=1)
            x = np.concatenate([x, y], axis=2)
        if stage < 5:
            x = net.conv(net.norm(x, f"pool{stage}_bn"), f"pool{stage}_conv", x.shape[2] // 2)
            x = net.pool(x, 2, 2, np.mean)
    return net.norm(x, "bn")


def write_legacy(path, layers, root="", model=None):
    """As Keras 1 and 2 write {layer: {part: array}}; in a model of that name inside another."""
    with h5py.File(path, "w") as file:
        group = file.create_group(root) if root else file
        group.attrs["layer_names"] = [model.encode()] if model else [n.encode() for n in layers]
        if model:
            inner = group.create_group(model)
            inner.attrs["weight_names"] = [f"{n}/{p}:0".encode() for n in layers for p in layers[n]]
        for name, parts in layers.items():
            at = inner if model else group.create_group(name)
            if not model:
                at.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in parts]
            for part, array in parts.items():
                at[f"{name}/{part}:0"] = array
    return path


def write_keras_3(path, layers):
    """As Keras 3 does: variables by numbers, names of layers in attributes."""
    with h5py.File(path, "w") as file:
        for k, (name, parts) in enumerate(layers.items()):
            group = file.create_group(f"layers/layer_{k}/vars")
            group.attrs["name"] = name
            for number, array in enumerate(parts.values()):
                group[str(number)] = array
    return path


def features(model, path, layer="stage4"):
    """What a network gives for the picture, prepared as the weights want but for the size."""
    recipe = find_weights(model, path).preprocessing
    recipe = replace(recipe, resize=(SIDE, SIDE), crop=None)
    return ImageFeatures(model, layer, weights=path, preprocessing=recipe).transform([PICTURE])[0]


def assert_near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.fixture(scope="module")
def vgg():
    net = Naive()
    mean = [103.939, 116.779, 123.68]  # of blue, green and red levels
    expected = naive_vgg(net, PICTURE[..., ::-1] - np.array(mean), (2, 2, 3, 3, 3))
    return net.weights, expected.mean((0, 1))


@pytest.mark.parametrize("kind", ["legacy", "whole model", "Keras 3", "model in a model"])
def test_vgg_is_computed_as_keras_does(vgg, tmp_path, kind):
    layers, expected = vgg
    path = tmp_path / "net.weights.h5"
    if kind == "Keras 3":
        write_keras_3(path, layers)
    else:
        root = "" if kind == "legacy" else "model_weights"
        write_legacy(path, layers, root, "vgg16" if kind == "model in a model" else None)
    assert_near(features("vgg16", path), expected)


def test_densenet_is_computed_as_keras_does(tmp_path):
    net = Naive()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = naive_densenet(net, (PICTURE / 255 - mean) / std, (6, 12, 24, 16))
    path = write_legacy(tmp_path / "net.h5", net.weights)
    assert_near(features("densenet121", path), x.mean((0, 1)))
    names = {"fc1000": {"kernel": np.ones((1024, 7), np.float32), "bias": np.arange(7.0)}}
    path = write_legacy(path, {**net.weights, **names})
    expected = x.mean((0, 1)).sum() + np.arange(7)
    assert_near(features("densenet121", path, "logits"), expected)
    old = read_weights(path).tensors
    new = {k.replace("conv1/", "conv1_").replace("fc1000", "predictions"): old[k] for k in old}
    assert list(KERAS_DENSENET(old)) == list(KERAS_DENSENET(new)) and len(new) == len(old) == 606


def test_dense_layers_of_vgg_go_over_the_map_as_torchvisions():
    (naming,) = (n for n in find_network("vgg16").namings if isinstance(n, KerasNaming))
    rng = np.random.RandomState(0)
    kernel, x = rng.rand(7 * 7 * 512, 2), rng.rand(7, 7, 512)  # height, width, channels
    state = naming({"fc1/kernel": kernel, "fc2/kernel": rng.rand(3, 2)})
    by_torchvision = state["classifier.0.weight"] @ x.transpose(2, 0, 1).reshape(-1)
    np.testing.assert_allclose(by_torchvision, x.reshape(-1) @ kernel)
    assert state["classifier.3.weight"].shape == (2, 3)
    # Of maps of another size, as in a network for smaller pictures, nothing is known.
    assert naming({"fc1/kernel": kernel[:512]})["classifier.0.weight"].shape == (2, 512)


def test_heads_of_ones_own(vgg, tmp_path):
    layers, expected = vgg
    own = {
        "dense_1": {"kernel": np.ones((512, 4), np.float32), "bias": np.ones(4, np.float32)},
        "batch_normalization": dict.fromkeys(NORM, np.ones(4, np.float32)),
        "top": {"kernel": np.ones((4, 2), np.float32)},
    }
    path = write_legacy(tmp_path / "tuned.h5", {**layers, **own})
    assert_near(features("vgg16", path), expected)
    with pytest.raises(ValueError, match="has no head with these weights"):
        ImageClassifier("vgg16", path).fit()


def test_what_belongs_to_another_network(vgg, tmp_path):
    layers, _ = vgg
    wide = {"block5_conv4": {"kernel": np.zeros((3, 3, 512, 512), np.float32)}}
    path = write_legacy(tmp_path / "net.h5", {**layers, **wide})
    with pytest.raises(ValueError, match=r"net\.h5: vgg16 has no use for 'block5_conv4\.weight'"):
        features("vgg16", path)
    with pytest.raises(ValueError, match="densenet121 needs"):
        features("densenet121", path)
    twice = {f"{model}/{name}/kernel": np.zeros((1, 1)) for model in "ab" for name in ("fc1",)}
    assert KerasNaming(("fc1", "fc"), head="head")(twice) is None
    assert KERAS_DENSENET({"features.conv0.weight": np.zeros(1)}) is None


def test_preprocessing_goes_with_the_names(vgg, tmp_path):
    """Whatever the file is called, and for arrays, too."""
    layers, _ = vgg
    flat = {f"{n}/{p}": array for n, parts in layers.items() for p, array in parts.items()}
    oxford = Preprocessing(mean=(103.939, 116.779, 123.68), std=(1, 1, 1), scale=1, channels="bgr")
    for name in ("net.npz", "net.safetensors"):
        write_weights(tmp_path / name, flat)
    write_legacy(tmp_path / "unnamed", layers)
    for name in ("net.npz", "net.safetensors", "unnamed"):
        assert find_weights("vgg16", tmp_path / name).preprocessing == oxford, name
    model = ImageFeatures("vgg16", "stage4", weights=flat)
    assert model._load().preprocessing == oxford
    assert ImageFeatures("vgg16", weights="random")._load().preprocessing == Preprocessing()
    # Other names in the same format are not of Keras.
    with h5py.File(tmp_path / "state.h5", "w") as file:
        file["features.0.weight"] = np.zeros((64, 3, 3, 3), np.float32)
    assert find_weights("vgg16", tmp_path / "state.h5").preprocessing == Preprocessing()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("resnet50", "stride in the first convolution of a block"),
        ("mobilenet_v2", "pad unevenly"),
        ("efficientnet_b0", "pad unevenly"),
        ("inception_v3", "leave borders out"),
        ("vgg11", "no network of keras.applications is known to compute the same"),
    ],
)
def test_networks_that_differ_are_refused(tmp_path, model, reason):
    state = {"conv1_conv": {"kernel": np.zeros((7, 7, 3, 64), np.float32)}}
    path = write_legacy(tmp_path / "net.h5", state)
    message = rf"{model} takes no weights of Keras: .*{reason}.* ONNX"
    flat = {"conv1_conv/kernel": state["conv1_conv"]["kernel"]}
    for weights in (path, flat):
        with pytest.raises(ValueError, match=message):
            ImageFeatures(model, weights=weights).fit()
    with pytest.raises(ValueError, match=message):
        find_network(model).from_state(flat)
    with pytest.raises(ValueError, match=message):
        refuse_keras(model)


def test_names_of_keras_are_told_from_others():
    assert is_keras(["a/b/kernel"]) and is_keras(["x", "bn/moving_variance"])
    assert not is_keras(["conv1/7x7_s2.0", "features.0.weight", "kernel", "a/kernel.x"])


def test_weights_that_keras_left_here(tmp_path, monkeypatch):
    monkeypatch.setenv("SKDEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    content = b"some weights"
    facts = {"md5": hashlib.md5(content).hexdigest(), "naming": "keras"}
    record = WeightsRecord("vgg16", "mine", "https://example.org/net.h5", **facts)
    path = tmp_path / "keras" / "models" / "net.h5"
    with pytest.raises(FetchError, match=f"MD5 {facts['md5']}"):
        fetch(record, offline=True)
    path.write_bytes(b"others")
    with pytest.raises(FetchError):
        fetch(record, offline=True)
    path.write_bytes(content)
    assert fetch(record, offline=True) == path
    assert find_weights("vgg16", "keras").file == "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
    with pytest.raises(ValueError, match="md5='12' of weights 'mine' must be 32 digits"):
        WeightsRecord("vgg16", "mine", md5="12")


def test_names_in_old_files(tmp_path):
    path = write_legacy(tmp_path / "net.h5", {"conv1/conv": {"kernel": np.zeros((1, 2, 3, 4))}})
    assert list(read_weights(path).tensors) == ["conv1/conv/kernel"]
