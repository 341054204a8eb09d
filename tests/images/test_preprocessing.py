"""From pixels to what a network takes: the rules, against Pillow step by step."""

import pickle

import numpy as np
import pytest
from PIL import Image, ImageOps
from random_pictures import SMALL, random_levels

from skdeep.features import Preprocessing
from skdeep.features.preprocessing import INTERPOLATIONS


def by_pillow(x, p):
    """The same rules, step by step with Pillow (rows first) and NumPy."""
    h, w = x.shape[:2]
    size = p.resize
    if size is None:
        size = h, w
    elif isinstance(size, int):
        size = (size, int(size * w / h)) if h <= w else (int(size * h / w), size)
    image = Image.fromarray(x)
    how = Image.Resampling[p.interpolation.upper()]
    if p.interpolation != "nearest":
        image = image.resize((size[1], h), how)
    image = image.resize(size[::-1], how)
    if p.crop is not None:
        th, tw = p.crop if isinstance(p.crop, tuple) else (p.crop, p.crop)
        left, top = max(0, (tw - image.width) // 2), max(0, (th - image.height) // 2)
        right = max(0, (tw - image.width + 1) // 2)
        bottom = max(0, (th - image.height + 1) // 2)
        image = ImageOps.expand(image, (left, top, right, bottom), fill=0)
        top, left = int(round((image.height - th) / 2.0)), int(round((image.width - tw) / 2.0))
        image = image.crop((left, top, left + tw, top + th))
    y = np.asarray(image).astype(np.float64)
    y = y[:, :, ::-1] if p.channels == "bgr" else y
    return (y * p.scale - np.array(p.mean)) / np.array(p.std)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(resize=20, crop=16),
        Preprocessing(resize=21, crop=(16, 13), interpolation="bicubic"),
        Preprocessing(resize=12, crop=17),
        Preprocessing(resize=10, crop=(7, 31)),
        Preprocessing(resize=(19, 24), crop=(16, 17), interpolation="lanczos"),
        Preprocessing(
            resize=(20, 20), crop=17, mean=(104, 117, 123.5), std=(1, 1, 1), scale=1, channels="bgr"
        ),
        Preprocessing(resize=None, crop=9),
        Preprocessing(resize=None, crop=None, mean=(0, 0, 0), std=(1, 2, 4), channels="bgr"),
        Preprocessing(resize=14, crop=None, interpolation="box"),
        Preprocessing(resize=(5, 60), crop=None, interpolation="nearest"),
    ],
    ids=lambda p: f"{p.resize}-{p.crop}-{p.interpolation}-{p.channels}",
)
@pytest.mark.parametrize("shape", [(30, 20), (20, 31), (9, 8), (50, 17), (16, 16), (1, 2), (3, 40)])
def test_preprocessing_follows_the_rules(preprocessing, shape):
    x = random_levels(*shape)
    expected = by_pillow(x, preprocessing)
    y = preprocessing(x)
    assert y.dtype == np.float32 and y.shape == expected.shape == preprocessing.shape_of(*shape)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=2e-6 * np.abs(expected).max())
    near = preprocessing(x / 255)
    if preprocessing.interpolation in ("bilinear", "box", "nearest"):  # no overshoot to limit
        unit = preprocessing.scale / min(preprocessing.std)
        np.testing.assert_allclose(near, expected, atol=1.02 * unit)


def test_fields_are_checked():
    for field, value in [
        ("resize", 0),
        ("resize", -3),
        ("resize", 2.5),
        ("resize", True),
        ("resize", (3, 4, 5)),
        ("crop", (0, 3)),
        ("crop", "large"),
        ("interpolation", "cubic"),
        ("mean", (1, 2)),
        ("mean", 3),
        ("mean", (1, 2, float("nan"))),
        ("std", (1, 0, 1)),
        ("scale", 0),
        ("scale", "x"),
        ("channels", "gbr"),
    ]:
        with pytest.raises(ValueError, match=f"Preprocessing: .*{field}="):
            Preprocessing(**{field: value})


@pytest.mark.parametrize(
    ("x", "out"),
    [
        (np.zeros((9, 9)), None),
        (np.zeros((9, 9, 4), np.uint8), None),
        (np.zeros((9, 9, 3)), None),
        (np.zeros((9, 9, 3), ">f4"), None),
        (np.zeros((9, 9, 3), np.uint8)[:, ::2], None),
        (np.zeros((0, 9, 3), np.uint8), None),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((6, 6, 3))),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((6, 9, 3), np.float32)[:, :6]),
        (np.zeros((9, 9, 3), np.uint8), np.broadcast_to(np.float32(0), (6, 6, 3))),
    ],
)
def test_arrays_that_the_kernel_cannot_take_are_refused(x, out):
    with pytest.raises(ValueError, match="must be a C-contiguous array"):
        SMALL.write(x, np.zeros((6, 6, 3), np.float32) if out is None else out)


def test_preprocessing_is_a_value():
    a = Preprocessing(resize=[np.int64(8), 9], crop=np.int32(4), mean=[0, 0, 0])
    b = Preprocessing(resize=(8, 9), crop=4, mean=(0, 0, 0))
    assert a == b and hash(a) == hash(b)
    assert pickle.loads(pickle.dumps(a)) == a
    assert set(INTERPOLATIONS) == {"bilinear", "bicubic", "lanczos", "box", "nearest"}


def test_output_shape():
    assert Preprocessing().output_shape == (224, 224, 3)
    assert Preprocessing(crop=(5, 6)).output_shape == (5, 6, 3)
    assert Preprocessing(resize=(7, 8), crop=None).output_shape == (7, 8, 3)
    assert Preprocessing(resize=7, crop=None).output_shape == (None, None, 3)
    assert Preprocessing(resize=7, crop=None).shape_of(10, 20) == (7, 14, 3)
    assert Preprocessing(resize=None, crop=None).shape_of(10, 20) == (10, 20, 3)


@pytest.mark.parametrize("shape", [(20, 31), (31, 20), (17, 17), (40, 24)])
def test_ten_crops(shape):
    x = random_levels(*shape)
    p = Preprocessing(resize=17, crop=(12, 11))
    crops = p.ten_crops(x)
    assert crops.shape == (10, 12, 11, 3)
    whole = by_pillow(x, Preprocessing(resize=17, crop=None))
    h, w = whole.shape[:2]
    for k, side in enumerate((whole, whole[:, ::-1])):
        corners = [
            side[:12, :11],
            side[:12, w - 11 :],
            side[h - 12 :, :11],
            side[h - 12 :, w - 11 :],
        ]
        top, left = int(round((h - 12) / 2.0)), int(round((w - 11) / 2.0))
        corners.append(side[top : top + 12, left : left + 11])
        np.testing.assert_allclose(crops[5 * k : 5 * k + 5], corners, atol=1e-5)
    np.testing.assert_array_equal(crops[4], p(x))
    with pytest.raises(ValueError, match="too few"):
        Preprocessing(resize=8, crop=9).ten_crops(x)
    with pytest.raises(ValueError, match="needs a crop"):
        Preprocessing(crop=None).ten_crops(x)
