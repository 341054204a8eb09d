"""From what a user has to pixels: kinds of pictures, bad files, fingerprints."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from random_pictures import random_levels

from skdeep.features import PictureError, Pictures


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def rgb():
    return random_levels()


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
        (os.curdir, r"X is the folder '\.'; pass a list of its files"),
        (Path(os.curdir), "X is the folder"),
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
