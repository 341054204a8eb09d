"""Pictures as users have them: arrays, lists, PIL images, files or bytes, behind one view."""

import hashlib
import io
import os
import stat
import sys
import threading
import warnings
from contextlib import contextmanager

import numpy as np

__all__ = ["PictureError", "Pictures"]

COMMON = ("JPEG", "PNG", "BMP", "GIF", "PPM")  # what Pillow knows without importing much
# Others; not those for which Pillow calls a program (EPS) or that are no pictures of pixels.
FORMATS = ("WEBP", "TIFF", "JPEG2000", "AVIF", "MPO", "ICO", "TGA", "PCX", "SGI", "QOI")
TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
STRAIGHT = {"La": "LA", "RGBa": "RGBA"}  # modes whose colours are multiplied by alpha already
WHITE = 255  # what shows through transparent pixels
SIXTEEN_BITS = 65535
MODULE = r"PIL(\.|$)"
SINGLE = "X is one picture, {}; wrap it in a list: [X]."

_loading = [threading.Lock() for _ in range(64)]
_quiet_lock = threading.Lock()
_quiet_depth = 0


class PictureError(ValueError):
    """A picture that cannot be used: a damaged or missing file, values out of range.

    The message names the picture, what is wrong, and what to do about it where something can be
    done.

    Examples
    --------
    >>> from skdeep.features import PictureError, Pictures
    >>> try:
    ...     Pictures([b"no picture"]).load(0)
    ... except PictureError as error:
    ...     print(error)
    picture 0 cannot be read: not a picture in a format that is supported
    """


class Pictures:
    """One view over everything that is accepted as X by the extractors.

    Nothing is decoded before it is asked for, and nothing decoded is kept.

    Parameters
    ----------
    X : array, list, or column
        - an array (n, h, w) or (n, h, w, c) with c = 1 (grey), 3 (RGB) or 4 (RGB and alpha), of
          uint8 levels or of floats from 0 to 1;
        - a list, a tuple, an object array or a column (n,) or (n, 1) of a data frame, of arrays
          (h, w) or (h, w, c), which may differ in size, of PIL images, paths, or the bytes of
          encoded files.

    Raises
    ------
    ValueError
        For anything else, one picture that is not in a list among it.

    Notes
    -----
    Floats are levels divided by 255: each picture is checked to lie within 0 and 1, none is
    rescaled. Boolean arrays and integers other than uint8 have no agreed range and are refused.

    Grey is repeated for the three channels. What is transparent is composited over white. Sixteen
    bits of grey (PIL's mode ``I;16``) are divided by 65535 and come as float32; 32-bit modes are
    refused. Of animations the first picture counts. The orientation that a camera notes in EXIF is
    not applied, as PIL, torchvision and what the networks were trained with do not apply it: use
    ``PIL.ImageOps.exif_transpose`` for photographs that lie on their side. JPEG is always decoded
    at its full size: PIL's ``draft``, which is faster for large photographs, gives other pixels.

    Files have one of Pillow's formats JPEG, PNG, GIF, BMP, PPM, WebP, TIFF, JPEG 2000, AVIF, MPO,
    ICO, TGA, PCX, SGI or QOI, as their content says. Truncated ones are errors, and so are pictures
    of more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features import Pictures
    >>> grey = np.linspace(0, 1, 12).reshape(3, 4)
    >>> pictures = Pictures([grey, np.zeros((5, 5, 3), np.uint8)])
    >>> len(pictures), pictures.name(1)
    (2, 'picture 1')
    >>> pictures.load(0).shape, pictures.load(1).dtype
    ((3, 4, 3), dtype('uint8'))
    """

    def __init__(self, X):
        self._items = X._items if isinstance(X, Pictures) else _items(X)
        if not isinstance(self._items, np.ndarray) and any(map(_is_file, self._items)):
            _pillow()

    def __len__(self):
        return len(self._items)

    def __iter__(self):
        return (self.load(i) for i in range(len(self)))

    @property
    def size(self):
        """Height and width when all pictures are one array, None otherwise."""
        return self._items.shape[1:3] if isinstance(self._items, np.ndarray) else None

    def name(self, i):
        """What messages call a picture.

        Parameters
        ----------
        i : int

        Returns
        -------
        str
            "picture 17", with the path in parentheses if there is one.
        """
        item = self._items[i]
        known = isinstance(item, (str, os.PathLike))
        return f"picture {i} ({os.fspath(item)})" if known else f"picture {i}"

    def load(self, i):
        """A picture as RGB.

        Parameters
        ----------
        i : int

        Returns
        -------
        ndarray of shape (h, w, 3), C-contiguous
            uint8, or float32 from 0 to 1. It may be the user's own memory.

        Raises
        ------
        PictureError
        """
        item = self._items[i]
        with self._named(i):
            if _is_file(item):
                return _decode(_contents(item))
            if _is_pil(item):
                with _loading[id(item) // 64 % len(_loading)], _quiet():
                    item.load()
                    return _pixels(item)
            return _from_array(_as_array(item))

    def fingerprint(self, i):
        """A hash of what a picture holds, whatever it is called and wherever it lies.

        Parameters
        ----------
        i : int

        Returns
        -------
        bytes
            32 of them: of the encoded file, or of shape, type and pixels.

        Raises
        ------
        PictureError
        """
        item = self._items[i]
        if _is_pil(item):
            item = self.load(i)
        with self._named(i):
            if isinstance(item, (str, os.PathLike)):
                with _open_regular(item) as file:
                    return hashlib.file_digest(file, _file_hash).digest()
            if _is_file(item):
                found = _file_hash()
                found.update(item)
                return found.digest()
            array = _as_array(item)
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
            found = hashlib.blake2b(digest_size=32, person=b"skdeep pixels")
            found.update(f"{array.dtype.str[1:]} {array.shape}".encode())
            found.update(array.reshape(-1).view(np.uint8))
            return found.digest()

    @contextmanager
    def _named(self, i):
        """Turn whatever goes wrong into an error that names the picture."""
        try:
            yield
        except MemoryError as error:
            raise PictureError(f"{self.name(i)} does not fit into memory") from error
        except Exception as error:
            text = str(error) or type(error).__name__
            if isinstance(error, OSError) and error.strerror:
                text = error.strerror
            raise PictureError(f"{self.name(i)} cannot be read: {text}") from error


def _file_hash():
    return hashlib.blake2b(digest_size=32, person=b"skdeep file")


# ---- what X may be -------------------------------------------------------------------------------


def _is_file(item):
    return isinstance(item, (str, os.PathLike, bytes, bytearray, memoryview))


def _is_pil(item):
    module = sys.modules.get("PIL.Image")  # no object is one before it is imported
    return module is not None and isinstance(item, module.Image)


def _is_missing(item):
    return item is None or (isinstance(item, float) and item != item)


def _items(X):
    """A stacked array, or a list of pictures."""
    if isinstance(X, (str, os.PathLike)):
        if os.path.isdir(X):
            raise ValueError(
                f"X is the folder {os.fspath(X)!r}; pass a list of its files, such as "
                "sorted(pathlib.Path(X).rglob('*.jpg'))."
            )
        raise ValueError(SINGLE.format(f"the path {os.fspath(X)!r}"))
    if _is_file(X) or _is_pil(X):
        raise ValueError(SINGLE.format(f"of type {type(X).__name__}"))
    if hasattr(X, "to_numpy"):  # a column, or a data frame of one
        X = X.to_numpy()
    if not isinstance(X, (list, tuple)):
        if not hasattr(X, "__array__"):
            raise ValueError(
                f"X is of type {type(X).__name__}; pass an array of pictures, or a list of arrays, "
                "PIL images, paths or bytes."
            )
        X = np.asarray(X)
        if X.dtype.kind == "S":
            raise ValueError(
                "X is an array of byte strings, which lose trailing zeros; pass a list of bytes, "
                "or X.astype(str) if these are file names."
            )
        if X.dtype.kind not in "OUT":
            return _stack(X)
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
        if X.ndim != 1:
            raise ValueError(
                f"X is an array of objects of shape {X.shape}; pictures come as (n,) or (n, 1): "
                "select the column that holds them."
            )
    items = list(X)
    for i, item in enumerate(items):
        if not (_is_file(item) or _is_pil(item) or _is_missing(item) or _is_arraylike(item)):
            raise ValueError(
                f"picture {i} of X is of type {type(item).__name__}; pass an array, a PIL image, "
                "a path or the bytes of a file."
            )
    return items


def _is_arraylike(item):
    return hasattr(item, "__array__") and getattr(item, "ndim", 0) > 0


def _stack(X):
    """Check the shape and type of an array of pictures; the values are checked one by one."""
    if X.ndim == 3 and X.shape[2] in (1, 3, 4):
        raise ValueError(
            f"X of shape {X.shape} may be one picture or {X.shape[0]} grey ones; wrap one picture "
            "in a list: [X]; give grey ones a last axis: X[..., None]."
        )
    if X.ndim == 2:
        raise ValueError(
            f"X of shape {X.shape} may be one grey picture, wrap it in a list: [X]; or pictures "
            "laid out as rows of numbers, reshape them: X.reshape(-1, height, width)."
        )
    if X.ndim not in (3, 4) or (X.ndim == 4 and X.shape[3] not in (1, 3, 4)):
        first = X.ndim == 4 and X.shape[1] in (1, 3, 4)
        hint = " Move the channels to the end: X.transpose(0, 2, 3, 1)." if first else ""
        raise ValueError(
            f"X has shape {X.shape}; pictures come as (n, h, w) or (n, h, w, c) with 1, 3 or 4 "
            f"channels.{hint}"
        )
    if 0 in X.shape[1:]:
        raise ValueError(f"X has shape {X.shape}: the pictures have no pixels.")
    _check_kind(X.dtype)
    return X


def _check_kind(dtype):
    """Refuse types whose range nobody has agreed on."""
    if dtype == np.uint8 or dtype.kind == "f":
        return
    advice = {
        "b": "multiply by 255 as uint8, (X * 255).astype(np.uint8), or convert to float32",
        "iu": "pass levels 0 .. 255 as uint8, or divide by the largest level there is and pass "
        "floats from 0 to 1",
    }
    hints = [text for kinds, text in advice.items() if dtype.kind in kinds]
    hint = hints[0] if hints else "pass uint8 levels or floats from 0 to 1"
    raise ValueError(f"pictures of {dtype} have no agreed range; {hint}")


# ---- arrays --------------------------------------------------------------------------------------


def _as_array(item):
    """An array of one picture, of a shape and type that are accepted."""
    if _is_missing(item):
        raise ValueError("it is missing")
    array = np.asarray(item)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueError(f"its shape is {array.shape}, not (h, w) or (h, w, c) with c = 1, 3 or 4")
    if 0 in array.shape:
        raise ValueError(f"its shape is {array.shape}: it has no pixels")
    _check_kind(array.dtype)
    return array


def _from_array(array):
    """RGB from an array that was checked for shape and type."""
    if array.dtype != np.uint8:
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):
            held = "not finite" if low != low else f"between {low:g} and {high:g}"
            raise ValueError(
                f"its values are {held}, and floats must be from 0 to 1; pass levels 0 .. 255 as "
                "uint8, or divide by 255"
            )
        array = array.astype(np.float32, copy=False)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] == 4:
        array = _over_white(array)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array)


def _over_white(array):
    """RGB of what is seen in front of white: c a + 255 (1 - a)."""
    colours, alpha = array[:, :, :3], array[:, :, 3:]
    if array.dtype != np.uint8:
        return colours * alpha + (1 - alpha)
    alpha = alpha.astype(np.uint16)
    mixed = colours * alpha  # at most 255 * 255, and 65279 after the rounding below
    mixed += WHITE * (WHITE - alpha) + WHITE // 2
    return (mixed // WHITE).astype(np.uint8)


# ---- files and PIL images ------------------------------------------------------------------------


def _pillow():
    """Pillow's module, or an error that says how to get it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'reading picture files needs Pillow: pip install "skdeep[images]"'
        ) from error
    return Image


@contextmanager
def _quiet():
    """Show no warning of Pillow's, in any thread, as long as one of them is in here.

    They tell of odd metadata in a file that nobody asked for, once per place in Pillow's source,
    and would stop a thread under ``-W error``. ``warnings.catch_warnings`` is no use to threads: it
    restores the filters of the moment when it was entered.
    """
    global _quiet_depth
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            warnings.filterwarnings("ignore", module=MODULE)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                ours = [f for f in warnings.filters if getattr(f[3], "pattern", f[3]) == MODULE]
                for entry in ours:
                    warnings.filters.remove(entry)


def _open_regular(path):
    """A file opened for reading; pipes and devices, which need not end, are refused."""
    text = os.fspath(path)
    start = text[:8].lower() if isinstance(text, str) else ""
    if start.startswith(("http://", "https://", "ftp://")):
        raise ValueError("addresses are not fetched; download the file and pass its path")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is not a file")
    return open(path, "rb")


def _contents(item):
    """The bytes of an encoded file."""
    if isinstance(item, (str, os.PathLike)):
        with _open_regular(item) as file:
            item = file.read()
    if not len(item):
        raise ValueError("the file is empty")
    return item


def _decode(contents):
    """RGB from the bytes of a file."""
    Image = _pillow()
    with _quiet(), _identify(Image, io.BytesIO(contents)) as image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise ValueError(
                f"it claims {image.width} x {image.height} pixels; raise "
                "PIL.Image.MAX_IMAGE_PIXELS if the file can be trusted"
            )
        image.load()
        return _pixels(image)


def _identify(Image, file):
    """An image whose header is read."""
    Image.preinit()
    try:
        return Image.open(file, formats=COMMON)
    except Image.UnidentifiedImageError:
        Image.init()
        file.seek(0)
    try:
        return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.UnidentifiedImageError:
        raise ValueError("not a picture in a format that is supported") from None


def _pixels(image):
    """RGB of a PIL image that is loaded."""
    mode = image.mode
    if mode.startswith("I;16"):
        return _from_array(np.asarray(image, np.float32) / np.float32(SIXTEEN_BITS))
    if mode in ("I", "F"):
        raise ValueError(
            f"its mode {mode} has no agreed range; pass an array of floats from 0 to 1 instead"
        )
    if mode in TRANSPARENT or "transparency" in image.info or _palette_alpha(image):
        straight = STRAIGHT.get(mode, mode)
        if straight != mode:
            image = image.convert(straight)
        if image.mode != "RGBA":
            image = image.convert("RGBA")
    elif mode != "RGB":
        image = image.convert("RGB")
    return _from_array(np.asarray(image))


def _palette_alpha(image):
    return image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")
