"""Resampling: bit for bit as Pillow does, and close to the formulas in double precision."""

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skdeep.kernels import isa
from skdeep.kernels.resize import BLOCK, FILTERS, resize_into, weights_table

PILLOW = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
ONES, ZEROS = np.ones(BLOCK, np.float32), np.zeros(BLOCK, np.float32)


def random_picture(h, w, seed=0, dtype=np.uint8):
    """Levels of which many are 0 or 255, so that the filters overshoot; or floats from 0 to 1."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(-100, 356, (h, w, 3)).clip(0, 255).astype(np.uint8)
    return levels if dtype == np.uint8 else (levels / np.float32(255)).astype(np.float32)


def resized(x, size, interpolation, window=None, scales=ONES, shifts=ZEROS, **options):
    """What the kernel writes for a window of the resized picture."""
    window = window or (0, 0, *size)
    out = np.full((window[2] - window[0], window[3] - window[1], 3), np.nan, np.float32)
    resize_into(x, size, window, interpolation, scales, shifts, out, **options)
    return out


def rows_first(x, size, interpolation):
    """Pillow's result, rows before columns as all versions do when the shape is kept."""
    image = Image.fromarray(x)
    if interpolation != "nearest":
        image = image.resize((size[1], x.shape[0]), PILLOW[interpolation])
    return np.asarray(image.resize((size[1], size[0]), PILLOW[interpolation])).astype(np.float32)


# ---- the naive twin ------------------------------------------------------------------------------


def kernel_value(name, x):
    x = abs(x)
    if name == "bilinear":
        return max(0.0, 1 - x)
    if name == "bicubic":
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0
    if x >= 3:
        return 0.0
    return (
        1.0
        if x == 0
        else 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2
    )


def naive_axis(x, out, name):
    """Resize the first axis, in float64: a weighted mean over the filter, stretched to the step."""
    size = len(x)
    step = size / out
    stretch = max(1.0, step)
    radius = {"bilinear": 1, "bicubic": 2, "lanczos": 3}[name] * stretch
    y = np.zeros((out, *x.shape[1:]))
    for j in range(out):
        centre, total = (j + 0.5) * step, 0.0
        for k in range(size):
            if abs(k + 0.5 - centre) < radius + 0.5:
                weight = kernel_value(name, (k + 0.5 - centre) / stretch)
                y[j] += weight * x[k]
                total += weight
        y[j] /= total
    return y


def naive(x, size, name, levels):
    y = np.moveaxis(naive_axis(np.moveaxis(x.astype(np.float64), 1, 0), size[1], name), 0, 1)
    if levels:
        y = np.floor(y.clip(0, 255) + 0.5)
    y = naive_axis(y, size[0], name)
    return np.floor(y.clip(0, 255) + 0.5) if levels else y


# ---- bytes ---------------------------------------------------------------------------------------

SIDE = st.one_of(st.integers(1, 20), st.integers(1, 90))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from(sorted(PILLOW)), st.integers(0, 99), st.data())
def test_bytes_equal_pillow_bit_for_bit(h, w, height, width, interpolation, seed, data):
    x = random_picture(h, w, seed)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom = data.draw(st.integers(top + 1, height))
    right = data.draw(st.integers(left + 1, width))
    y = resized(x, (height, width), interpolation, (top, left, bottom, right))
    expected = rows_first(x, (height, width), interpolation)[top:bottom, left:right]
    share = np.mean(y != expected)
    assert share == 0, f"{share:.2%} of the levels differ, by up to {np.abs(y - expected).max()}"


@pytest.mark.parametrize("interpolation", sorted(PILLOW))
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 3000), (2, 5)),
        ((3000, 1), (5, 2)),
        ((2, 3), (300, 2)),
        ((3, 2), (2, 300)),
        ((1, 1), (7, 19)),
        ((1, 1), (1, 1)),
        ((17, 5), (17, 5)),
        ((16, 6), (1, 1)),
        ((700, 40), (3, 90)),
    ],
)
def test_extreme_sizes(shape, size, interpolation):
    x = random_picture(*shape)
    np.testing.assert_array_equal(
        resized(x, size, interpolation), rows_first(x, size, interpolation)
    )


@pytest.mark.parametrize("interpolation", sorted(PILLOW))
@pytest.mark.parametrize("shape", [(50, 37), (37, 50), (108, 192), (61, 45), (20, 13)])
def test_one_call_of_pillow_gives_the_same_where_the_shape_is_kept(shape, interpolation):
    h, w = shape
    short = 32
    size = (int(short * h / min(shape)), int(short * w / min(shape)))
    x = random_picture(h, w)
    whole = np.asarray(Image.fromarray(x).resize(size[::-1], PILLOW[interpolation]))
    np.testing.assert_array_equal(resized(x, size, interpolation), whole)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(13, 11), (40, 35), (9, 60)])
def test_bytes_agree_with_double_precision(size, interpolation):
    x = random_picture(29, 23)
    y, expected = resized(x, size, interpolation), naive(x, size, interpolation, True)
    assert np.abs(y - expected).max() <= 1
    # Bilinear sums are often exactly a half, which whole weights may miss by 2**-22.
    assert np.mean(y != expected) < (0.03 if interpolation == "bilinear" else 0.001)


def test_weights_of_levels_add_up_to_one():
    for interpolation in FILTERS:
        table = weights_table(375, 256, interpolation, 0, 256, True)
        assert np.abs(table[:, 2:].sum(axis=1) - 2**22).max() <= table.shape[1]
        assert (table[:, 0] + table[:, 1] <= 375).all()


# ---- floats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(13, 11), (40, 35), (9, 60), (29, 23)])
def test_floats_agree_with_double_precision(size, interpolation):
    x = random_picture(29, 23, dtype=np.float32)
    expected = naive(x, size, interpolation, False)
    np.testing.assert_allclose(resized(x, size, interpolation), expected, atol=2e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from(sorted(PILLOW)))
def test_floats_agree_with_pillow(h, w, height, width, interpolation):
    x = random_picture(h, w, dtype=np.float32)
    size = width, height
    planes = [
        Image.fromarray(np.ascontiguousarray(x[:, :, c])).resize(size, PILLOW[interpolation])
        for c in range(3)
    ]
    expected = np.stack([np.asarray(plane) for plane in planes], axis=2)
    np.testing.assert_allclose(resized(x, size[::-1], interpolation), expected, atol=3e-6)


# ---- crop, normalisation, memory -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("width", [1, 5, 15, 16, 17, 31, 32, 33])
def test_scales_shifts_and_reversed_channels(width, dtype):
    x = random_picture(30, 40, dtype=dtype)
    scales = np.tile(np.float32([0.5, 2, 3]), 16)
    shifts = np.tile(np.float32([1, -4, 0.25]), 16)
    plain = resized(x, (24, 33), "bilinear", (3, 0, 20, width))
    y = resized(x, (24, 33), "bilinear", (3, 0, 20, width), scales, shifts)
    np.testing.assert_allclose(y, plain * scales[:3] + shifts[:3], rtol=1e-6, atol=1e-6)
    turned = resized(x, (24, 33), "bilinear", (3, 0, 20, width), scales, shifts, reverse=True)
    np.testing.assert_allclose(turned, plain[:, :, ::-1] * scales[:3] + shifts[:3], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(5, 7), (19, 16), (20, 33)])
def test_nothing_is_written_beside_the_picture_and_nothing_is_read_beside_it(size, dtype):
    x = random_picture(22, 9, dtype=dtype)
    around = np.full(x.size + 400, 77, dtype)
    inside = around[200 : 200 + x.size].reshape(x.shape)
    inside[...] = x
    space = np.full((size[0] + 4, size[1] + 4, 3), -7, np.float32)
    resize_into(
        inside, size, (0, 0, *size), "bicubic", ONES, ZEROS, space[2:-2, 2:-2], reverse=False
    )
    np.testing.assert_array_equal(space[2:-2, 2:-2], resized(x, size, "bicubic"))
    space[2:-2, 2:-2] = -7
    assert (space == -7).all()
    assert (around[:200] == 77).all() and (around[-200:] == 77).all()


GUARDED = """
import ctypes
import mmap
import numpy as np
from skdeep.kernels.resize import BLOCK, resize_into

ones, zeros = np.ones(BLOCK, np.float32), np.zeros(BLOCK, np.float32)
protect = ctypes.CDLL(None).mprotect
protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def between_walls(shape, dtype):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    page = mmap.PAGESIZE
    end = page + -(-size // page) * page
    memory = np.frombuffer(mmap.mmap(-1, end + page), np.uint8)
    for wall in (0, end):
        assert protect(memory.ctypes.data + wall, page, 0) == 0
    for first in (page, end - size):
        yield memory[first : first + size].view(dtype).reshape(shape)


sizes = [(1, 1, 5, 4), (2, 3, 17, 1), (16, 6, 3, 30), (15, 5, 8, 8), (33, 40, 12, 16)]
for h, w, height, width in sizes:
    for dtype in (np.uint8, np.float32):
        outs = between_walls((height, width, 3), np.float32)
        for x, out in zip(between_walls((h, w, 3), dtype), outs):
            for interpolation in ("lanczos", "nearest"):
                window = 0, 0, height, width
                resize_into(x, (height, width), window, interpolation, ones, zeros, out)
print("inside")
"""


@pytest.mark.skipif(os.name != "posix", reason="the system has no mprotect")
def test_nothing_is_read_or_written_outside_by_a_byte(run_python):
    """Pictures lie between pages that must not be touched."""
    assert "inside" in run_python(GUARDED)


def test_threads_do_not_disturb_each_other():
    x = [random_picture(20 + 3 * k, 70 - 2 * k, k) for k in range(12)]
    alone = [resized(p, (31, 29), "lanczos").tobytes() for p in x]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda p: resized(p, (31, 29), "lanczos").tobytes(), x * 4)
        assert list(together) == alone * 4


SCRIPT = """
import hashlib
import numpy as np
from skdeep.kernels.resize import BLOCK, resize_into

rng = np.random.default_rng(0)
ones, zeros = np.ones(BLOCK, np.float32), np.zeros(BLOCK, np.float32)
bits = hashlib.sha256()
for h, w, height, width in [(40, 50, 23, 31), (5, 3, 17, 40), (90, 7, 8, 8)]:
    x = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
    out = np.empty((height, width, 3), np.float32)
    for interpolation in ("bilinear", "lanczos"):
        resize_into(x, (height, width), (0, 0, height, width), interpolation, ones, zeros, out)
        bits.update(out.astype(np.uint8))
        values = (x / 255).astype(np.float32)
        near = np.empty_like(out)
        resize_into(values, (height, width), (0, 0, height, width), interpolation, 255 * ones,
                    zeros, near)
        if interpolation == "bilinear":
            assert np.abs(near - out).max() < 1.1
print(bits.hexdigest())
"""


def test_every_instruction_set_gives_the_same_levels(run_python, tmp_path):
    usable = [i.name for i in isa.usable()]
    found = {run_python(SCRIPT, SKDEEP_ISA=name) for name in usable}
    found.add(
        run_python(
            SCRIPT,
            NUMBA_CPU_NAME="generic",
            NUMBA_CPU_FEATURES="",
            NUMBA_CACHE_DIR=tmp_path,
            SKDEEP_ISA="portable",
        )
    )
    assert len(found) == 1
