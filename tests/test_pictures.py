"""From what a user has to what a network takes: kinds of pictures, bad files, rules, batches."""

import io
import os
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from skdeep.features import PictureError, Pictures, Preprocessing, loading, stream
from skdeep.features.preprocessing import INTERPOLATIONS


def random_levels(h=9, w=7, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (h, w) if channels == 0 else (h, w, channels)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def rgb():
    return random_levels()


@pytest.fixture
def files(tmp_path, rgb):
    """Five PNG files of different sizes, the third of them damaged."""
    paths = []
    for k in range(5):
        paths.append(tmp_path / f"picture{k}.png")
        Image.fromarray(random_levels(8 + k, 11, seed=k)).save(paths[-1])
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    return paths


# ---- every kind of X -----------------------------------------------------------------------------


def test_arrays_lists_images_paths_and_bytes_give_the_same_pixels(rgb, tmp_path):
    import pandas

    path = tmp_path / "a.png"
    image = Image.fromarray(rgb)
    image.save(path)
    column = np.empty((1, 1), object)
    column[0, 0] = str(path)
    own = np.empty(1, object)
    own[0] = rgb
    for X in (
        rgb[None],
        [rgb],
        (rgb,),
        own,
        [image],
        [str(path)],
        [path],
        [path.read_bytes()],
        [bytearray(path.read_bytes())],
        np.array([str(path)]),
        np.array([[str(path)]]),
        np.array([str(path)], np.dtypes.StringDType()),
        column,
        pandas.Series([str(path)]),
        pandas.DataFrame({"file": [path]}),
        Pictures([rgb]),
        np.asfortranarray(rgb[None]),
        rgb[None].view(np.memmap),
    ):
        pictures = Pictures(X)
        assert len(pictures) == 1
        found = pictures.load(0)
        assert found.dtype == np.uint8 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, rgb)
        np.testing.assert_array_equal(next(iter(pictures)), rgb)


def test_float_pictures_are_float32_from_0_to_1(rgb):
    for dtype in (np.float16, np.float32, np.float64, ">f8"):
        found = Pictures((rgb / 255).astype(dtype)[None]).load(0)
        assert found.dtype == np.float32 and found.dtype.isnative
        np.testing.assert_allclose(found, rgb / 255, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_grey_is_repeated(dtype):
    grey = random_levels(channels=0).astype(dtype) // np.uint8(2)
    grey = grey if dtype == np.uint8 else grey / np.float32(255)
    for X in (grey[None], grey[None, :, :, None], [grey], [grey[:, :, None]]):
        np.testing.assert_array_equal(Pictures(X).load(0), np.stack([grey] * 3, axis=2))


def test_transparent_pixels_are_composited_over_white():
    x = random_levels(40, 40, 4)
    x[:9, :, 3], x[9:18, :, 3] = 0, 255
    alpha = x[:, :, 3:] / 255
    exact = x[:, :, :3] * alpha + 255 * (1 - alpha)
    found = Pictures(x[None]).load(0)
    assert np.abs(found - exact).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(found[:9], 255)
    np.testing.assert_array_equal(found[9:18], x[9:18, :, :3])
    image = Image.fromarray(x)
    np.testing.assert_array_equal(Pictures([image]).load(0), found)
    np.testing.assert_array_equal(Pictures([encoded(image)]).load(0), found)
    floats = Pictures((x / 255).astype(np.float32)[None]).load(0)
    np.testing.assert_allclose(floats, exact / 255, atol=1e-6)
    white = Image.new("RGBA", image.size, "white")
    pillow = np.asarray(Image.alpha_composite(white, image).convert("RGB")).astype(int)
    assert np.abs(pillow - found).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_modes_of_pil(mode, rgb):
    image = Image.fromarray(rgb).convert(mode)
    np.testing.assert_array_equal(Pictures([image]).load(0), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_transparent_modes_of_pil(mode):
    straight = Image.fromarray(random_levels(channels=4))
    if mode in ("LA", "La"):
        straight = straight.convert("LA")
    image = straight.convert("P").convert("PA") if mode == "PA" else straight.convert(mode)
    back = image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert("RGBA")
    np.testing.assert_array_equal(
        Pictures([image]).load(0), Pictures(np.asarray(back)[None]).load(0)
    )


def test_one_transparent_colour_of_a_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    found = Pictures([encoded(image, transparency=1)]).load(0)
    np.testing.assert_array_equal(found, [[[10, 20, 30], [255, 255, 255]]])
    found = Pictures([encoded(image, transparency=b"\xff\x00")]).load(0)
    np.testing.assert_array_equal(found, [[[10, 20, 30], [255, 255, 255]]])


def test_sixteen_bits_of_grey_are_divided_by_their_range(tmp_path):
    levels = np.array([[0, 1000], [40000, 65535]], np.uint16)
    image = Image.fromarray(levels)
    assert image.mode == "I;16"
    for X in ([image], [encoded(image)]):
        found = Pictures(X).load(0)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.stack([levels / 65535] * 3, axis=2), atol=1e-7)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_modes_without_a_range_are_refused(mode):
    with pytest.raises(PictureError, match=f"picture 0 .*mode {mode} has no agreed range"):
        Pictures([Image.new(mode, (3, 3))]).load(0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "TGA"])
def test_formats(kind):
    smooth = np.linspace(30, 220, 24 * 20 * 3).reshape(24, 20, 3).astype(np.uint8)
    found = Pictures([encoded(Image.fromarray(smooth), kind)]).load(0)
    assert np.abs(found.astype(int) - smooth).mean() < 12


def test_first_picture_of_an_animation():
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(Pictures([data]).load(0)[0, 0], [255, 0, 0])


def test_orientation_of_cameras_is_not_applied(rgb):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(rgb), exif=exif)
    assert ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size == (9, 7)
    np.testing.assert_array_equal(Pictures([data]).load(0), rgb)


# ---- what is refused -----------------------------------------------------------------------------

ONE = r"wrap .* in a list: \[X\]"


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((5, 6, 3), np.uint8), ONE),
        (np.zeros((5, 6, 4)), ONE),
        (np.zeros((5, 6), np.uint8), ONE),
        ("cat.jpg", ONE),
        (Path("cat.jpg"), ONE),
        (b"\x89PNG", ONE),
        (Image.new("RGB", (2, 2)), ONE),
        (np.zeros((2, 64)), "reshape"),
        (np.zeros((2, 3, 8, 9), np.uint8), r"Move the channels to the end.*transpose"),
        (np.zeros((2, 8, 9, 2), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((2, 0, 9, 3), np.uint8), "no pixels"),
        (np.zeros((2, 8, 9), np.int64), "int64 have no agreed range.*uint8"),
        (np.zeros((2, 8, 9), np.uint16), "uint16 have no agreed range"),
        (np.zeros((2, 8, 9), bool), r"bool have no agreed range.*\* 255"),
        (np.zeros((2, 8, 9), complex), "complex128 have no agreed range"),
        (np.zeros(3), r"shape \(3,\)"),
        ([1, 2], "picture 0 of X is of type int"),
        ([[[1, 2], [3, 4]]], "picture 0 of X is of type list"),
        ({"a": 1}, "type dict"),
        ((x for x in "ab"), "type generator"),
        (None, "type NoneType"),
        (np.array([["a", "b"]]), "select the column"),
        (np.array([b"a.png"]), "byte strings"),
    ],
    ids=lambda v: None if isinstance(v, str) and len(v) > 8 else type(v).__name__,
)
def test_what_is_no_pictures_is_refused_with_advice(X, message):
    with pytest.raises(ValueError, match=message):
        Pictures(X)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.full((3, 3), 2.0), "between 2 and 2, and floats must be from 0 to 1"),
        (np.full((3, 3), -0.1), "divide by 255"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.full((3, 3), np.inf), "between inf and inf"),
        (np.zeros((3, 3), np.int32), "int32 have no agreed range"),
        (np.zeros((3, 3, 2)), r"shape is \(3, 3, 2\)"),
        (np.zeros(3), r"shape is \(3,\)"),
        (np.zeros((3, 0)), "no pixels"),
        (None, "missing"),
        (float("nan"), "missing"),
        ("nowhere.png", r"picture 1 \(nowhere.png\) cannot be read: No such file"),
        (".", "not a file"),
        ("https://example.org/a.png", "not fetched"),
        ("a\0b", "null"),
        (b"", "empty"),
        (b"just text", "not a picture in a format that is supported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture in a format"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_a_bad_picture_is_an_error_of_its_own(item, message):
    pictures = Pictures([np.zeros((4, 4)), item])
    pictures.load(0)
    with pytest.raises(PictureError, match=message) as caught:
        pictures.load(1)
    assert str(caught.value).startswith("picture 1")


def png_header(width, height):
    """A PNG file that claims a size and holds nothing."""
    data = bytearray(encoded(Image.new("RGB", (1, 1))))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("size", [(9500, 9500), (20000, 20000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_errors_and_no_warnings(size, tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png_header(*size))
    before = list(warnings.filters)
    with pytest.raises(PictureError, match=r"picture 0 \(.*large.png\)"):
        Pictures([path]).load(0)
    assert warnings.filters == before


def test_the_limit_of_pixels_is_pillows(monkeypatch):
    data = encoded(Image.fromarray(random_levels(10, 12)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow itself would only warn
    with pytest.raises(PictureError, match="12 x 10 pixels; raise PIL.Image.MAX_IMAGE_PIXELS"):
        Pictures([data]).load(0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert Pictures([data]).load(0).shape == (10, 12, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_errors(kind):
    data = encoded(Image.fromarray(random_levels(40, 40)), kind)
    Pictures([data]).load(0)
    for part in (10, len(data) // 3, len(data) // 2):
        with pytest.raises(PictureError, match="picture 0 cannot be read"):
            Pictures([data[:part]]).load(0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "ICO", "PPM", "TGA"])
def test_damaged_files_give_pixels_or_our_error(kind):
    data = encoded(Image.fromarray(random_levels(24, 24)), kind)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), 3):
            damaged[at] = rng.integers(256)
        try:
            found = Pictures([bytes(damaged)]).load(0)
            assert found.ndim == 3 and found.shape[2] == 3
            outcomes.add("pixels")
        except PictureError as error:
            assert str(error).startswith("picture 0 cannot be read: ")
            outcomes.add("error")
    assert outcomes


def test_odd_metadata_is_no_warning():
    """A JPEG file with a segment for several pictures that is nonsense."""
    data = encoded(Image.fromarray(random_levels(16, 16)), "JPEG")
    odd = data[:2] + b"\xff\xe2\x00\x0cMPF\0nonsen" + data[2:]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(odd)).load()
        assert seen, "Pillow warns of this no more; find another file"
        del seen[:]
        before = list(warnings.filters)
        np.testing.assert_array_equal(Pictures([odd]).load(0), Pictures([data]).load(0))
        assert not seen
        assert warnings.filters == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="not a file"):
        Pictures([tmp_path / "pipe.png"]).load(0)


def test_without_pillow_arrays_work_and_files_name_the_extra(run_python):
    found = run_python(
        "import sys\n"
        "sys.modules['PIL'] = None\n"
        "import numpy as np\n"
        "from skdeep.features import Pictures\n"
        "print(Pictures(np.zeros((2, 3, 5))).load(1).shape)\n"
        "try:\n"
        "    Pictures(['a.png'])\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "(3, 5, 3)" in found and "skdeep[images]" in found


# ---- fingerprints and names ----------------------------------------------------------------------


def test_fingerprints_are_of_contents(rgb, tmp_path):
    data = encoded(Image.fromarray(rgb))
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    first.write_bytes(data)
    second.write_bytes(data)

    def of(item):
        return Pictures([item]).fingerprint(0)

    assert of(first) == of(str(second)) == of(data) == of(bytearray(data))
    assert of(rgb) == of(np.asfortranarray(rgb)) == of(rgb[::-1][::-1]) == of(Image.fromarray(rgb))
    assert of(rgb) == Pictures(np.stack([rgb, rgb])).fingerprint(1)
    floats = rgb / 255
    assert of(floats) == of(floats.astype(">f8"))
    changed = rgb.copy()
    changed[3, 3, 1] ^= 1
    different = [data, rgb, changed, floats, floats.astype(np.float32), rgb[:, :, 0]]
    different += [rgb.reshape(7, 9, 3), rgb.transpose(1, 0, 2)]
    assert len({of(item) for item in different}) == len(different)
    assert all(isinstance(of(item), bytes) and len(of(item)) == 32 for item in different)
    with pytest.raises(PictureError, match="nowhere"):
        of("nowhere.png")


def test_names(rgb):
    pictures = Pictures([rgb, "cats/cat.jpg"])
    assert pictures.name(0) == "picture 0"
    assert pictures.name(1) == "picture 1 (cats/cat.jpg)"


def test_common_size(rgb):
    assert Pictures(np.stack([rgb, rgb])).size == (9, 7)
    assert Pictures([rgb]).size is None


# ---- preprocessing -------------------------------------------------------------------------------


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


# ---- batches -------------------------------------------------------------------------------------

SMALL = Preprocessing(resize=8, crop=6)


def threads_of_streams():
    return [t for t in threading.enumerate() if t.name.startswith("skdeep-pictures")]


@pytest.mark.parametrize("n_threads", [1, 2, None])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_streams_give_what_single_calls_give(batch_size, n_threads):
    X = [random_levels(7 + k, 9 + 2 * k, seed=k) for k in range(9)]
    expected = np.stack([SMALL(x) for x in X])
    found, order = [], []
    for indices, batch, errors in stream(X, SMALL, batch_size, n_threads):
        assert not errors and len(batch) == len(indices) <= batch_size
        found.append(batch.copy())
        order.extend(indices)
    assert order == list(range(9))
    assert np.concatenate(found).tobytes() == expected.tobytes()
    assert SMALL.batch(X, n_threads=n_threads).tobytes() == expected.tobytes()
    assert not threads_of_streams()


def test_one_bad_file_does_not_lose_the_others(files):
    found = [
        (list(indices), batch.copy(), errors) for indices, batch, errors in stream(files, SMALL, 2)
    ]
    assert [f[0] for f in found] == [[0, 1], [2, 3], [4]]
    assert [list(f[2]) for f in found] == [[], [2], []]
    assert "picture2.png" in str(found[1][2][2])
    np.testing.assert_array_equal(found[1][1][0], 0)
    np.testing.assert_array_equal(found[1][1][1], SMALL(files[3]))
    with pytest.raises(PictureError, match="picture2.png"):
        SMALL.batch(files)
    assert not threads_of_streams()


def test_streams_take_chosen_pictures_and_write_where_told(files):
    X = np.stack([random_levels(seed=k) for k in range(6)])
    out = np.full((5, 6, 6, 3), np.nan, np.float32)
    order = [5, 0, 3, 3]
    for indices, batch, _ in stream(X, SMALL, 3, indices=order, out=out):
        assert np.shares_memory(batch, out) and len(indices) == len(batch)
    for k, i in enumerate(order):
        np.testing.assert_array_equal(out[k], SMALL(X[i]))
    assert np.isnan(out[4]).all()
    assert SMALL.batch(X, out=np.empty((6, 6, 6, 3), np.float32)).shape == (6, 6, 6, 3)
    assert list(stream(X, SMALL, indices=[])) == []
    assert SMALL.batch([]).shape == (0, 6, 6, 3)


def test_pictures_of_one_size_need_no_crop():
    X = np.stack([random_levels(seed=k) for k in range(3)])
    as_they_are = Preprocessing(resize=None, crop=None)
    assert as_they_are.batch(X).shape == (3, 9, 7, 3)
    with pytest.raises(ValueError, match="different sizes"):
        stream(list(X), as_they_are)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"indices": [0, 9]}, "indices"),
        ({"indices": [-1]}, "indices"),
        ({"out": np.empty((3, 6, 6, 3))}, "float32"),
        ({"out": np.empty((2, 6, 6, 3), np.float32)}, "shape"),
    ],
)
def test_arguments_of_streams_are_checked_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        stream(np.zeros((3, 9, 9)), SMALL, **options)


class Watched(Pictures):
    """Notes which pictures were loaded, and how many at the same time."""

    def __init__(self, X):
        super().__init__(X)
        self.loaded, self.now, self.most = [], 0, 0
        self.lock, self.enough = threading.Lock(), threading.Event()

    def load(self, i):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        found = super().load(i)
        with self.lock:
            self.now -= 1
            self.loaded.append(i)
            if len(self.loaded) >= 8:
                self.enough.set()
        return found


def test_the_next_batch_is_prepared_meanwhile_and_no_more():
    pictures = Watched(np.zeros((40, 9, 9)))
    batches = stream(pictures, SMALL, 4, 2)
    first = next(batches)[1]
    assert pictures.enough.wait(60)  # the second batch, though nobody asked for it
    assert sorted(pictures.loaded) == list(range(8))
    assert pictures.most <= 2
    assert not np.shares_memory(first, next(batches)[1])
    assert np.shares_memory(first, next(batches)[1])
    batches.close()
    assert len(pictures.loaded) <= 16
    assert not threads_of_streams()


def test_an_interrupted_stream_leaves_no_thread():
    with pytest.raises(KeyboardInterrupt):
        for _ in stream(np.zeros((40, 9, 9)), SMALL, 4, 2):
            raise KeyboardInterrupt
    batches = stream(np.zeros((40, 9, 9)), SMALL, 4, 2)
    next(batches)
    del batches
    assert not threads_of_streams()


def test_closing_waits_for_pictures_that_are_begun_only(monkeypatch):
    begun, go, loaded = threading.Event(), threading.Event(), []

    class Slow(Pictures):
        def load(self, i):
            if i >= 4:
                begun.set()
                go.wait(60)
            loaded.append(i)
            return super().load(i)

    shutdown = loading.ThreadPoolExecutor.shutdown
    monkeypatch.setattr(
        loading.ThreadPoolExecutor, "shutdown", lambda *a, **k: (go.set(), shutdown(*a, **k))
    )
    batches = stream(Slow(np.zeros((8, 9, 9))), SMALL, 4, 1)
    next(batches)
    assert begun.wait(60)
    batches.close()
    assert loaded == [0, 1, 2, 3, 4]


def test_other_errors_of_a_picture_are_not_hidden():
    class Broken(Pictures):
        def load(self, i):
            raise RuntimeError("a mistake of the program")

    with pytest.raises(RuntimeError, match="a mistake"):
        list(stream(Broken(np.zeros((5, 9, 9))), SMALL, 2))
    assert not threads_of_streams()


def test_images_that_pil_has_not_read_yet(files):
    images = [Image.open(path) for path in (files[0], files[1], files[3])]
    again = [Image.open(path) for path in (files[0], files[1], files[3])]
    try:
        expected = SMALL.batch([files[0], files[1], files[3]] * 3)
        np.testing.assert_array_equal(SMALL.batch(images * 3, n_threads=2), expected)
        assert [im.size for im in images] == [im.size for im in again]
    finally:
        for image in images + again:
            image.close()
