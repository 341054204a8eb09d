"""Resizing of ONNX graphs, as a matrix for every axis."""

import math

import numpy as np

from .onnx_constants import evaluates, given, integers, limited, one_axis

__all__ = []


def resize_matrices(shape, attributes, inputs, opset):
    """What Resize and Upsample do to every axis.

    Returns
    -------
    list of (int, ndarray of shape (size, new size))
        Axes that change, and the weights of what is there in what will be.
    """
    old = opset < 11  # Upsample, and the first Resize
    scales = given(attributes, inputs, 1 if old else 2, "scales")
    sizes = None if old else given({}, inputs, 3, "sizes")
    axes = attributes.get("axes")
    axes = range(len(shape)) if axes is None else [one_axis(a, len(shape)) for a in integers(axes)]
    if sizes is not None and np.size(sizes):
        sizes = integers(sizes)
        scales = _kept(shape, axes, sizes, attributes.get("keep_aspect_ratio_policy", "stretch"))
        if scales is None:
            scales = [size / shape[a] for size, a in zip(sizes, axes)]
        else:
            sizes = [math.floor(s * shape[a] + 0.5) for s, a in zip(scales, axes)]
    elif scales is not None and np.size(scales):
        scales = [float(s) for s in np.asarray(scales).ravel()]
        sizes = [math.floor(s * shape[a]) for s, a in zip(scales, axes)]
    else:
        raise ValueError("neither scales nor sizes are given")
    if len(sizes) != len(axes) or min(sizes) < 1:
        raise ValueError(f"sizes {sizes} do not fit a tensor of shape {shape}")
    found = []
    for axis, size, scale in zip(axes, sizes, scales):
        limited([shape[axis], size])
        if size != shape[axis] or scale != 1:
            found.append((axis, _matrix(shape[axis], size, scale, attributes, old)))
    return found


def _kept(shape, axes, sizes, policy):
    if policy == "stretch":
        return None
    pick = {"not_larger": min, "not_smaller": max}[policy]
    return [pick(s / shape[a] for s, a in zip(sizes, axes))] * len(sizes)


def _places(n, size, scale, attributes, old):
    """Where the new elements lie among the old ones."""
    kind = attributes.get("coordinate_transformation_mode", "half_pixel")
    k = np.arange(size, dtype=np.float64)
    if old or kind == "asymmetric":
        return k / scale
    if kind == "align_corners":
        return k * (n - 1) / (scale * n - 1) if size > 1 else 0 * k
    if kind == "half_pixel" or (kind == "pytorch_half_pixel" and size > 1):
        return (k + 0.5) / scale - 0.5
    if kind == "pytorch_half_pixel":
        return 0 * k
    if kind == "half_pixel_symmetric":
        adjusted = size / (scale * n)
        return n / 2 * (1 - adjusted) + (k + 0.5) / scale - 0.5
    raise ValueError(f"coordinate_transformation_mode {kind!r} is not supported")


def _nearest(at, attributes, old):
    kind = "floor" if old else attributes.get("nearest_mode", "round_prefer_floor")
    rules = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda a: np.ceil(a - 0.5),
        "round_prefer_ceil": lambda a: np.floor(a + 0.5),
    }
    if kind not in rules:
        raise ValueError(f"nearest_mode {kind!r} is not supported")
    return rules[kind](at)


def _kernel(mode, attributes):
    """(weight of a distance, half of the width)."""
    if mode == "linear":
        return (lambda d: np.maximum(0, 1 - d)), 1
    a = float(attributes.get("cubic_coeff_a", -0.75))

    def cubic(d):
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return cubic, 2


def _matrix(n, size, scale, attributes, old):
    mode = attributes.get("mode", "nearest")
    at = _places(n, size, scale, attributes, old)
    matrix = np.zeros((n, size))
    columns = np.arange(size)
    if mode == "nearest":
        places = np.clip(_nearest(at, attributes, old), 0, n - 1).astype(int)
        matrix[places, columns] = 1
        return matrix
    if mode not in ("linear", "cubic"):
        raise ValueError(f"mode {mode!r} is not supported")
    weight, reach = _kernel(mode, attributes)
    stretch = max(1.0, 1 / scale) if attributes.get("antialias") else 1.0
    first = np.floor(at).astype(int)
    reach = math.ceil(reach * stretch)
    total = np.zeros(size)
    for k in range(-reach, reach + 2):
        places = first + k
        share = weight(np.abs(places - at) / stretch)
        if attributes.get("exclude_outside"):
            share = share * ((places >= 0) & (places < n))
        np.add.at(matrix, (np.clip(places, 0, n - 1), columns), share)
        total += share
    return matrix / total


@evaluates("Resize", "Upsample")
def resize(attributes, arrays, opset):
    """A resized array, such as embeddings of positions."""
    array = arrays[0].astype(np.float64)
    for axis, matrix in resize_matrices(array.shape, attributes, arrays, opset):
        array = np.moveaxis(np.moveaxis(array, axis, -1) @ matrix, -1, axis)
    return array.astype(arrays[0].dtype)
