"""Networks that came with Caffe, and OverFeat: against plain loops, and their weights' names."""

import math

import naive_caffe
import numpy as np
import pytest
from caffe_files import write_net
from test_networks import assert_near, computed

from skdeep.features import find_network, random_weights
from skdeep.features.caffe_network import from_caffe
from skdeep.features.networks.caffe_names import CaffeNaming
from skdeep.formats import FormatError, read_weights, sniff
from skdeep.formats.overfeat import LARGE, SMALL, read, size_of

NORM = {"local_size": 5, "alpha": 1e-4, "beta": 0.75}


def layer(kind, name, bottom, **values):
    bottoms = bottom if isinstance(bottom, list) else [bottom]
    return (kind, name, bottoms, [name], values, [])


def conv(name, bottom, filters, size, **values):
    """A convolution and a ReLU in place."""
    values = {"num_output": filters, "kernel_size": size, **values}
    return [layer("Convolution", name, bottom, **values), relu(name)]


def relu(name):
    return ("ReLU", f"relu {name}", [name], [name], {}, [])


def pool(name, bottom, **values):
    return layer("Pooling", name, bottom, **{"kernel_size": 3, "stride": 2, **values})


def alexnet(norm_first):
    """As in Caffe's prototxt files."""
    layers = conv("conv1", "data", 96, 11, stride=4)
    if norm_first:
        layers += [layer("LRN", "norm1", "conv1", **NORM), pool("pool1", "norm1")]
    else:
        layers += [pool("pool1", "conv1"), layer("LRN", "norm1", "pool1", **NORM)]
    layers += conv("conv2", "pool1" if norm_first else "norm1", 256, 5, pad=2, group=2)
    if norm_first:
        layers += [layer("LRN", "norm2", "conv2", **NORM), pool("pool2", "norm2")]
    else:
        layers += [pool("pool2", "conv2"), layer("LRN", "norm2", "pool2", **NORM)]
    layers += conv("conv3", "pool2" if norm_first else "norm2", 384, 3, pad=1)
    layers += conv("conv4", "conv3", 384, 3, pad=1, group=2)
    layers += [*conv("conv5", "conv4", 256, 3, pad=1, group=2), pool("pool5", "conv5")]
    for name, bottom, units in (("fc6", "pool5", 4096), ("fc7", "fc6", 4096), ("fc8", "fc7", 1000)):
        layers.append(layer("InnerProduct", name, bottom, num_output=units))
        layers += [relu(name)] if units == 4096 else []
    return layers


def googlenet():
    """As in Caffe's prototxt file."""
    layers = [
        *conv("conv1/7x7_s2", "data", 64, 7, stride=2, pad=3),
        pool("pool1/3x3_s2", "conv1/7x7_s2"),
        layer("LRN", "pool1/norm1", "pool1/3x3_s2", **NORM),
        *conv("conv2/3x3_reduce", "pool1/norm1", 64, 1),
        *conv("conv2/3x3", "conv2/3x3_reduce", 192, 3, pad=1),
        layer("LRN", "conv2/norm2", "conv2/3x3", **NORM),
        pool("pool2/3x3_s2", "conv2/norm2"),
    ]
    bottom = "pool2/3x3_s2"
    for stage, *filters in (
        ("3a", 64, 96, 128, 16, 32, 32), ("3b", 128, 128, 192, 32, 96, 64), "pool3/3x3_s2",
        ("4a", 192, 96, 208, 16, 48, 64), ("4b", 160, 112, 224, 24, 64, 64),
        ("4c", 128, 128, 256, 24, 64, 64), ("4d", 112, 144, 288, 32, 64, 64),
        ("4e", 256, 160, 320, 32, 128, 128), "pool4/3x3_s2",
        ("5a", 256, 160, 320, 32, 128, 128), ("5b", 384, 192, 384, 48, 128, 128),
    ):  # fmt: skip
        if stage == "p":
            name = f"pool{filters[3]}/3x3_s2"
            layers.append(pool(name, bottom))
            bottom = name
            continue
        one, three_in, three, five_in, five, pooled = filters
        name = f"inception_{stage}"
        layers += [
            *conv(f"{name}/1x1", bottom, one, 1),
            *conv(f"{name}/3x3_reduce", bottom, three_in, 1),
            *conv(f"{name}/3x3", f"{name}/3x3_reduce", three, 3, pad=1),
            *conv(f"{name}/5x5_reduce", bottom, five_in, 1),
            *conv(f"{name}/5x5", f"{name}/5x5_reduce", five, 5, pad=2),
            pool(f"{name}/pool", bottom, stride=1, pad=1),
            *conv(f"{name}/pool_proj", f"{name}/pool", pooled, 1),
        ]
        joined = [f"{name}/{branch}" for branch in ("1x1", "3x3", "5x5", "pool_proj")]
        bottom = f"{name}/output"
        layers.append(layer("Concat", bottom, joined))
    return [
        *layers,
        layer("Pooling", "pool5/7x7_s1", bottom, pool=1, global_pooling=1),
        layer("Dropout", "pool5/drop_7x7_s1", "pool5/7x7_s1", dropout_ratio=0.4),
        layer("InnerProduct", "loss3/classifier", "pool5/drop_7x7_s1", num_output=1000),
    ]


LAYERS = {
    "bvlc_alexnet": (alexnet(True), (67, 75, 3), (256, 1, 2)),
    "caffenet": (alexnet(False), (67, 75, 3), (256, 1, 2)),
    "bvlc_googlenet": (googlenet(), (66, 60, 3), None),
}


def filled(layers, weights, last_map):
    """The layers with weights of ours in Caffe's layout."""
    found = []
    for kind, name, bottoms, tops, values, _ in layers:
        blobs = []
        if f"{name}.W" in weights:
            w = weights[f"{name}.W"]
            if w.ndim == 4:
                w = w.transpose(3, 2, 0, 1)
            elif name == "fc6":
                c, high, wide = last_map
                w = w.reshape(high, wide, c, -1).transpose(3, 2, 0, 1).reshape(w.shape[::-1])
            else:
                w = w.T
            blobs = [w, weights[f"{name}.b"]]
        found.append((kind, name, bottoms, tops, values, blobs))
    return found


@pytest.fixture(scope="module", params=LAYERS)
def case(request):
    """A network of ours with weights, Caffe's layers with the same, pictures, Caffe's blobs."""
    layers, shape, last_map = LAYERS[request.param]
    architecture = find_network(request.param)
    weights = random_weights(architecture.network(shape))
    layers = filled(layers, weights, last_map)
    # Large numbers, so that local response normalisation has something to do.
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32) * 60
    blobs, _ = naive_caffe.run(layers, images.transpose(0, 3, 1, 2))
    return architecture, weights, layers, images, blobs


def test_every_layer(case):
    architecture, weights, _, images, blobs = case
    network = architecture.network(images.shape[1:])
    output, values = computed(network, weights, images)
    compared = 0
    for name, expected in blobs.items():
        if name in values:
            expected = np.moveaxis(expected, 1, -1).reshape(values[name].shape)
            assert_near(values[name], expected, name)
            compared += 1
    assert compared >= len(blobs) - 1
    assert_near(output, list(blobs.values())[-1], "output")


def test_the_file_gives_the_same_network(case, tmp_path):
    """The graph in a file is the network as described; dense layers of AlexNet are left out."""
    architecture, weights, layers, images, blobs = case
    layers = [one for one in layers if "fc" not in one[1]]
    path = write_net(tmp_path / "net.caffemodel", layers, version=1)
    net = from_caffe(read_weights(path), images.shape[1:])
    assert not {name for name in weights if "fc" not in name} ^ set(net.weights)
    for name, array in net.weights.items():
        np.testing.assert_array_equal(array, weights[name])
    output, _ = computed(net.network(), net.weights, images)
    assert_near(output, np.moveaxis(blobs[layers[-1][3][0]], 1, -1), "output")
    if architecture.name == "bvlc_googlenet":
        found, again = architecture.from_state(read_weights(path).tensors)
        assert found is architecture
        assert set(again) == set(weights)
        for name, array in again.items():
            np.testing.assert_array_equal(array, weights[name])


def zeros(*shape):
    """Of any size, at no cost."""
    return np.broadcast_to(np.float32(0), shape)


@pytest.mark.parametrize("name", ["bvlc_alexnet", "caffenet", "vgg16", "vgg19"])
@pytest.mark.parametrize("old", [True, False])
def test_names_of_weights(name, old):
    """Every weight has a place, of the right size, in old files with four axes everywhere."""
    architecture = find_network(name)
    expected, state = {}, {}
    naming = next(n for n in architecture.namings if isinstance(n, CaffeNaming))
    theirs = {ours: caffe for caffe, ours in naming.renames}
    for spec in architecture.network().parameters:
        layer, _, part = spec.name.rpartition(".")
        shape = spec.shape[::-1] if len(spec.shape) < 4 else [spec.shape[k] for k in (3, 2, 0, 1)]
        expected[architecture.torchvision_key(spec.name)] = tuple(shape)
        axes = (1,) * (4 - len(shape)) if old else ()
        state[f"{theirs.get(layer, layer)}.{int(part == 'b')}"] = zeros(*axes, *shape)
    if name == "vgg16":
        assert {"conv1_1.0", "conv3_3.1", "conv5_3.0", "fc6.0", "fc8.1"} <= set(state)
    if name == "vgg19":
        assert {"conv3_4.0", "conv5_4.1", "fc7.0"} <= set(state)
    found = naming(state)
    assert {key: array.shape for key, array in found.items()} == expected
    assert naming({"features.0.weight": zeros(1)}) is None


@pytest.mark.parametrize(("shapes", "name"), [(SMALL, "overfeat_small"), (LARGE, "overfeat_large")])
def test_overfeat_files(tmp_path, shapes, name):
    path = tmp_path / "net_weight"
    path.touch()
    with open(path, "r+b") as file:
        file.truncate(size_of(shapes))  # zeros that take no space
        file.write(np.arange(5, dtype="<f4").tobytes())
        file.seek(4 * math.prod(shapes[0]))
        file.write(np.float32(7).tobytes())
        file.seek(-4, 2)
        file.write(np.float32(8).tobytes())
    assert sniff(path) == "overfeat"
    found = read_weights(path)
    assert found.metadata == {"network": name}
    assert found.tensors["conv1.weight"].reshape(-1)[:6].tolist() == [0, 1, 2, 3, 4, 0]
    assert found.tensors["conv1.bias"][:2].tolist() == [7, 0]
    assert found.tensors[f"conv{len(shapes)}.bias"][-1] == 8
    architecture = find_network(name)
    expected = {
        architecture.torchvision_key(p.name): p.shape[:1] if len(p.shape) == 1
        else tuple(p.shape[k] for k in (3, 2, 0, 1))
        for p in architecture.network().parameters
    }  # fmt: skip
    assert {key: array.shape for key, array in found.tensors.items()} == expected
    path.write_bytes(b"abc")
    with pytest.raises(FormatError, match="has 3 bytes; OverFeat's files have 583683488"):
        read(path)


def test_overfeat_maps():
    shapes = find_network("overfeat_small").network().probe()
    assert [shapes[k][0] for k in ("conv1", "conv2", "conv5", "pool5", "conv6")] == [
        56,
        24,
        12,
        6,
        1,
    ]
    shapes = find_network("overfeat_large").network().probe()
    assert [shapes[k][0] for k in ("conv1", "pool1", "conv2", "pool6", "conv9")] == [
        108,
        36,
        30,
        5,
        1,
    ]
    shapes = find_network("overfeat_small").network((263, 295, 3)).probe()
    assert shapes["conv8"] == (2, 3, 1000)
