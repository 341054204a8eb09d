"""Caffe networks against the reader of Caffe files in OpenCV 4, where that is installed."""

import numpy as np
import pytest
from caffe_files import PARAMETERS, write_net
from test_caffe import LENET_SHAPE, conv, dense, inception, lenet, pool, relu, residual
from test_caffe_networks import LAYERS, filled
from test_networks import assert_near, computed

from skdeep.features import find_network, random_weights
from skdeep.features.caffe_network import from_caffe
from skdeep.formats import read_weights

cv2 = pytest.importorskip(
    "cv2", reason="a second opinion on Caffe's files: pip install 'opencv-python-headless<5'"
)
if not hasattr(cv2.dnn, "readNetFromCaffe"):
    pytest.skip("OpenCV 5 reads Caffe's files no more", allow_module_level=True)

RNG = np.random.default_rng(0)
MESSAGES = {
    "BatchNorm": "batch_norm_param", "Concat": "concat_param", "Convolution": "convolution_param",
    "Dropout": "dropout_param", "Eltwise": "eltwise_param", "InnerProduct": "inner_product_param",
    "LRN": "lrn_param", "PReLU": "prelu_param", "Pooling": "pooling_param", "Power": "power_param",
    "ReLU": "relu_param", "Scale": "scale_param",
}  # fmt: skip


def description(layers, shape):
    """The network as text, which OpenCV wants beside the weights."""
    high, wide, c = shape
    lines = ['name: "net"', 'input: "data"', *(f"input_dim: {size}" for size in (1, c, high, wide))]
    for kind, name, bottoms, tops, values, _ in layers:
        fields = [f'bottom: "{b}"' for b in bottoms] + [f'top: "{t}"' for t in tops]
        if values:
            inner = []
            for key, value in values.items():
                assert key in PARAMETERS[kind][2]
                items = value if isinstance(value, (tuple, list)) else [value]
                inner += [f"{key}: {item}" for item in items]
            fields.append(f"{MESSAGES[kind]} {{ {' '.join(inner)} }}")
        lines.append(f'layer {{ name: "{name}" type: "{kind}" {" ".join(fields)} }}')
    return "\n".join(lines)


def windows():
    """Windows that hang over, with and without padding."""
    return [
        conv("conv", "data", "conv", 3, 4, 3, pad=1, dilation=2),
        pool("a", "conv", "a", pool=1, kernel_size=3, stride=2, pad=1),
        pool("b", "a", "b", kernel_size=2, stride=2, pad=1),
        pool("c", "b", "c", pool=1, kernel_size=3, stride=2),
        ("Power", "d", ["c"], ["d"], {"power": 1.0, "scale": 0.5, "shift": 1.0}, []),
        ("PReLU", "e", ["d"], ["e"], None, [np.float32([0.1, 0.2, 0.3, 0.4])]),
        relu("f", "e", negative_slope=0.2),
        ("Eltwise", "g", ["c", "e"], ["g"], {"operation": 2}, []),
        ("Eltwise", "h", ["g", "d", "e"], ["h"], {"coeff": [1.0, -2.0, 0.5]}, []),
        dense("i", "h", "i", 4 * 3 * 3, 6),
        ("Sigmoid", "j", ["i"], ["j"], None, []),
    ]


def deployed(layers):
    """Without what only training has."""
    aliases, found = {}, []
    for kind, name, bottoms, tops, values, blobs in layers:
        bottoms = [aliases.get(b, b) for b in bottoms]
        if kind == "Split":
            aliases.update((top, bottoms[0]) for top in tops)
        elif kind not in ("Data", "SoftmaxWithLoss") and not name.startswith("loss1"):
            found.append((kind, name, bottoms, tops, values, blobs))
    return found


def published(name):
    """As far as the dense layers of AlexNet, which are large."""
    layers, shape, last_map = LAYERS[name]
    weights = random_weights(find_network(name).network(shape))
    return [one for one in filled(layers, weights, last_map) if "fc" not in one[1]], shape


CASES = {
    "lenet": lambda: (lenet(), LENET_SHAPE),
    "residual": lambda: (residual()[:-1], (21, 27, 3)),
    "inception": lambda: (deployed(inception()), (17, 17, 3)),
    "windows": lambda: (windows(), (20, 26, 3)),
    "bvlc_alexnet": lambda: published("bvlc_alexnet"),
    "caffenet": lambda: published("caffenet"),
    "bvlc_googlenet": lambda: published("bvlc_googlenet"),
}


@pytest.mark.parametrize("name", CASES)
def test_same_numbers(tmp_path, name):
    layers, shape = CASES[name]()
    path = write_net(tmp_path / "net.caffemodel", layers, 1 if "bvlc" in name else 2)
    text = tmp_path / "net.prototxt"
    text.write_text(description(layers, shape))
    images = np.float32(RNG.normal(size=(1, *shape)) * (60 if name in LAYERS else 1))
    theirs = cv2.dnn.readNetFromCaffe(str(text), str(path))
    theirs.setInput(images.transpose(0, 3, 1, 2).copy())
    expected = theirs.forward()
    net = from_caffe(read_weights(path), shape)
    output, _ = computed(net.network(), net.weights, images)
    expected = np.moveaxis(expected, 1, -1).reshape(output.shape)
    assert_near(output, expected.astype(np.float64), name, 1e-5)
    error = np.linalg.norm(output - expected) / np.linalg.norm(expected)
    print(f"{name}: relative error {error:.1e}")
