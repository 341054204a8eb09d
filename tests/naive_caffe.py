"""Caffe's layers in float64, channels first, in plain loops: what networks of the tests give."""

import numpy as np


def pairs(values, key, default):
    """(vertical, horizontal) of a parameter that is given once, twice or by axis."""
    short = key.split("_")[0]
    if f"{short}_h" in values:
        return values[f"{short}_h"], values[f"{short}_w"]
    given = values.get(key, default)
    return tuple(given) if isinstance(given, (tuple, list)) else (given, given)


def convolution(x, values, blobs):
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (
        pairs(values, key, default)
        for key, default in (("kernel_size", 0), ("stride", 1), ("pad", 0), ("dilation", 1))
    )
    groups, w = values.get("group", 1), blobs[0]
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    high = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    wide = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((len(x), len(w), high, wide))
    each_in, each_out = x.shape[1] // groups, len(w) // groups
    for f in range(len(w)):
        first = f // each_out * each_in
        for i in range(high):
            for j in range(wide):
                window = x[:, first : first + each_in, i * sh :, j * sw :]
                window = window[:, :, : dh * kh : dh, : dw * kw : dw]
                y[:, f, i, j] = np.sum(window * w[f], axis=(1, 2, 3))
    return y + (blobs[1].reshape(1, -1, 1, 1) if len(blobs) > 1 else 0)


def inner_product(x, values, blobs):
    w = blobs[0].reshape(blobs[0].shape[-2:])
    w = w.T if values.get("transpose") else w
    return x.reshape(len(x), -1) @ w.T + (blobs[1].reshape(-1) if len(blobs) > 1 else 0)


def pooling(x, values, blobs):
    _, _, high, wide = x.shape
    (kh, kw), (sh, sw), (ph, pw) = (
        pairs(values, key, default)
        for key, default in (("kernel_size", 0), ("stride", 1), ("pad", 0))
    )
    if values.get("global_pooling"):
        kh, kw = high, wide

    def count(length, taps, step, pad):
        round_ = np.floor if values.get("round_mode") else np.ceil
        windows = int(round_((length + 2 * pad - taps) / step)) + 1
        return windows - 1 if (ph or pw) and (windows - 1) * step >= length + pad else windows

    y = np.zeros((*x.shape[:2], count(high, kh, sh, ph), count(wide, kw, sw, pw)))
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            top, left = i * sh - ph, j * sw - pw
            bottom, right = min(top + kh, high + ph), min(left + kw, wide + pw)
            size = (bottom - top) * (right - left)
            window = x[:, :, max(top, 0) : bottom, max(left, 0) : right]
            mean = values.get("pool", 0) == 1
            y[:, :, i, j] = window.sum((2, 3)) / size if mean else window.max((2, 3))
    return y


def lrn(x, values, blobs):
    size, alpha, beta = (
        values.get("local_size", 5),
        values.get("alpha", 1),
        values.get("beta", 0.75),
    )
    y, half = np.zeros_like(x), size // 2
    if values.get("norm_region"):
        square = np.pad(x**2, ((0, 0), (0, 0), (half, half), (half, half)))
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                mean = square[:, :, i : i + size, j : j + size].sum((2, 3)) / size**2
                y[:, :, i, j] = x[:, :, i, j] / (1 + alpha * mean) ** beta
        return y
    for c in range(x.shape[1]):
        total = (x[:, max(0, c - half) : c + half + 1] ** 2).sum(1)
        y[:, c] = x[:, c] / (values.get("k", 1) + alpha / size * total) ** beta
    return y


def channels(values, x):
    """A vector with one number per channel (axis 1), to be broadcast."""
    return values.reshape(1, -1, *[1] * (x.ndim - 2))


def batch_norm(x, values, blobs):
    mean, var, factor = blobs
    factor = 1 / factor.item() if factor.item() else 0
    x = x - channels(mean * factor, x)
    return x / np.sqrt(channels(var * factor, x) + values.get("eps", 1e-5))


def scale(x, values, blobs):
    return x * channels(blobs[0], x) + (channels(blobs[1], x) if len(blobs) > 1 else 0)


def softmax(x, values, blobs):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def relu(x, values, blobs):
    return np.where(x > 0, x, x * values.get("negative_slope", 0))


def dropout(x, values, blobs):
    return x if values.get("scale_train", True) else x * (1 - values.get("dropout_ratio", 0.5))


def power(x, values, blobs):
    return (values.get("shift", 0) + values.get("scale", 1) * x) ** values.get("power", 1)


def eltwise(inputs, values):
    operation = values.get("operation", 1)
    if operation == 1:
        coefficients = values.get("coeff", [1] * len(inputs))
        return sum(c * x for c, x in zip(coefficients, inputs))
    return np.prod(inputs, axis=0) if operation == 0 else np.max(inputs, axis=0)


ONE = {
    "AbsVal": lambda x, values, blobs: np.abs(x),
    "BatchNorm": batch_norm,
    "Bias": lambda x, values, blobs: x + channels(blobs[0], x),
    "Convolution": convolution,
    "Dropout": dropout,
    "ELU": lambda x, values, blobs: np.where(x > 0, x, values.get("alpha", 1) * np.expm1(x)),
    "Flatten": lambda x, values, blobs: x.reshape(len(x), -1),
    "InnerProduct": inner_product,
    "LRN": lrn,
    "PReLU": lambda x, values, blobs: np.where(x > 0, x, x * channels(blobs[0], x)),
    "Pooling": pooling,
    "Power": power,
    "ReLU": relu,
    "Scale": scale,
    "Sigmoid": lambda x, values, blobs: 1 / (1 + np.exp(-x)),
    "Softmax": softmax,
    "TanH": lambda x, values, blobs: np.tanh(x),
}
TRAINING = ("Data", "Accuracy", "SoftmaxWithLoss", "Silence")


def run(layers, x, name="data"):
    """Blobs of a network after a batch (n, c, h, w), and what each layer gave."""
    blobs, given = {name: x.astype(np.float64)}, {}
    for kind, name, bottoms, tops, values, weights in layers:
        if kind in TRAINING:
            continue
        values, weights = values or {}, [np.asarray(w, np.float64) for w in weights]
        inputs = [blobs[b] for b in bottoms]
        if kind == "Split":
            blobs.update((top, inputs[0]) for top in tops)
            continue
        if kind == "Concat":
            y = np.concatenate(inputs, values.get("axis", values.get("concat_dim", 1)))
        elif kind == "Eltwise":
            y = eltwise(inputs, values)
        elif kind == "Scale" and len(inputs) == 2:
            y = inputs[0] * inputs[1].reshape(*inputs[0].shape[:2], 1, 1)
        else:
            y = ONE[kind](inputs[0], values, weights)
        blobs[tops[0]] = given[name] = y
    return blobs, given
