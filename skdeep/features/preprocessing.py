"""What is done to a picture before a network sees it: a part of the weights record."""

import math
import operator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..kernels.resize import FILTERS, LANES, NEAREST, resize_into
from .pictures import Pictures

__all__ = ["Preprocessing"]

INTERPOLATIONS = (*FILTERS, NEAREST)
CHANNELS = ("rgb", "bgr")
WHITE = 255  # the level that floats of 1 stand for


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, normalise: ``(level * scale - mean[c]) / std[c]``.

    Parameters
    ----------
    resize : int, (int, int) or None, default=256
        The shorter side in pixels, or height and width to squash to; None leaves the size.
    crop : int, (int, int) or None, default=224
        Height and width that are cut from the middle; None leaves all. A picture that is smaller
        gets a border of level 0.
    interpolation : {"bilinear", "bicubic", "lanczos", "box", "nearest"}, default="bilinear"
        Pillow's filters, antialiased.
    mean, std : tuple of 3 floats
        Per channel of the network's input, ImageNet's by default.
    scale : float, default=1/255
        Of a level, which is in 0 .. 255.
    channels : {"rgb", "bgr"}, default="rgb"
        Order of the network's input.

    Raises
    ------
    ValueError
        When a field makes no sense.

    Notes
    -----
    Sizes and offsets are rounded as in torchvision's ``Resize`` and ``CenterCrop``. Bytes are
    resized as Pillow does, bit for bit, always rows first. So did Pillow before version 13; since
    then it takes the columns first when they lose more than twice as many pixels as the rows (tall
    pictures, mostly squashed ones), which rounds some levels differently. Floats from 0 to 1 are
    resized in float32, without limits to what the filters overshoot.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features import Preprocessing
    >>> preprocessing = Preprocessing(resize=8, crop=6)
    >>> preprocessing.output_shape
    (6, 6, 3)
    >>> x = preprocessing(np.full((10, 20, 3), 255, np.uint8))
    >>> x.shape
    (6, 6, 3)
    >>> [round(float(v), 3) for v in x[0, 0]]
    [2.249, 2.429, 2.64]
    """

    resize: int | tuple | None = 256
    crop: int | tuple | None = 224
    interpolation: str = "bilinear"
    mean: tuple = (0.485, 0.456, 0.406)
    std: tuple = (0.229, 0.224, 0.225)
    scale: float = 1 / 255
    channels: str = "rgb"

    def __post_init__(self):
        checked = {
            "resize": _size("resize", self.resize),
            "crop": _size("crop", self.crop),
            "interpolation": _choice("interpolation", self.interpolation, INTERPOLATIONS),
            "mean": _numbers("mean", self.mean, 3),
            "std": _numbers("std", self.std, 3),
            "scale": _numbers("scale", (self.scale,), 1)[0],
            "channels": _choice("channels", self.channels, CHANNELS),
        }
        if min(checked["std"]) <= 0 or checked["scale"] <= 0:
            raise ValueError(
                f"Preprocessing: std={self.std!r} and scale={self.scale!r} must be positive."
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __call__(self, picture):
        """Prepare one picture.

        Parameters
        ----------
        picture : array, PIL image, path or bytes
            As an element of what :class:`Pictures` takes.

        Returns
        -------
        ndarray of shape (h, w, 3), float32
        """
        picture = Pictures([picture]).load(0)
        out = np.empty(self.shape_of(*picture.shape[:2]), np.float32)
        self.write(picture, out)
        return out

    @property
    def output_shape(self):
        """(h, w, 3), with None where it depends on the picture."""
        fixed = self.crop or (self.resize if isinstance(self.resize, tuple) else (None, None))
        return (*_pair(fixed), 3)

    def shape_of(self, height, width):
        """Shape that a picture of a given size is brought to.

        Parameters
        ----------
        height, width : int

        Returns
        -------
        tuple
            (h, w, 3).
        """
        return (*(_pair(self.crop) if self.crop else self.resized(height, width)), 3)

    def resized(self, height, width):
        """Size of a picture after resizing, before the crop.

        Parameters
        ----------
        height, width : int

        Returns
        -------
        (int, int)
        """
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        longer = int(self.resize * max(height, width) / min(height, width))
        return (self.resize, longer) if height <= width else (longer, self.resize)

    def write(self, picture, out):
        """Prepare a picture in place.

        Parameters
        ----------
        picture : ndarray of shape (h, w, 3), uint8 or float32, C-contiguous
            From :meth:`Pictures.load`.
        out : ndarray of shape ``shape_of(h, w)``, float32, C-contiguous
            Another shape takes the place of ``crop``.

        Raises
        ------
        ValueError
            When an array is not as described.
        """
        _check_layout("picture", picture, (np.uint8, np.float32))
        _check_layout("out", out, (np.float32,))
        size = self.resized(*picture.shape[:2])
        offsets, inner = [0, 0], [0, 0]
        ends = list(size)
        for axis, (have, want) in enumerate(zip(size, out.shape)):
            if want < have:
                offsets[axis] = int(round((have - want) / 2.0))
                ends[axis] = offsets[axis] + want
            else:
                inner[axis] = (want - have) // 2
        scales, shifts = coefficients(self, picture.dtype == np.uint8)
        (rows, columns), part = (e - o for e, o in zip(ends, offsets)), out
        if (rows, columns) != out.shape[:2]:
            out[...] = shifts[:3]
            part = out[inner[0] : inner[0] + rows, inner[1] : inner[1] + columns]
        window, reverse = (*offsets, *ends), self.channels == "bgr"
        resize_into(picture, size, window, self.interpolation, scales, shifts, part, reverse)

    def batch(self, pictures, out=None, n_threads=None):
        """Prepare several pictures.

        Parameters
        ----------
        pictures : Pictures or what it takes
            They must come out in the same size, as they do with ``crop``.
        out : ndarray of shape (n, h, w, 3), float32, C-contiguous, or None
            Where to write them.
        n_threads : int or None, default=None
            None: the default of ``skdeep.set_config``, else all cores.

        Returns
        -------
        ndarray of shape (n, h, w, 3), float32

        Raises
        ------
        PictureError
            Of the first picture that cannot be used.
        """
        from .loading import stream

        pictures = Pictures(pictures)
        if not len(pictures):
            return np.empty((0, *(n or 0 for n in self.output_shape)), np.float32)
        with closing(stream(pictures, self, len(pictures), n_threads, out=out)) as batches:
            _, batch, errors = next(batches)
        for i in sorted(errors):
            raise errors[i]
        return batch

    def ten_crops(self, picture):
        """Corners, centre, and the same of the mirrored picture, in torchvision's order.

        Parameters
        ----------
        picture : array, PIL image, path or bytes
            As an element of what :class:`Pictures` takes.

        Returns
        -------
        ndarray of shape (10, h, w, 3), float32
            Top left, top right, bottom left, bottom right, centre; then of the mirrored picture.

        Raises
        ------
        ValueError
            When there is no crop, or the resized picture is smaller than it.
        """
        if self.crop is None:
            raise ValueError("ten_crops needs a crop; this Preprocessing has none.")
        picture = Pictures([picture]).load(0)
        (height, width), (h, w) = self.resized(*picture.shape[:2]), _pair(self.crop)
        if height < h or width < w:
            raise ValueError(
                f"The picture has {height} x {width} pixels after resizing, too few for crops of "
                f"{h} x {w}."
            )
        whole = np.empty((height, width, 3), np.float32)
        self.write(picture, whole)
        bottom, right = height - h, width - w
        middle = int(round(bottom / 2.0)), int(round(right / 2.0))
        places = [(0, 0), (0, right), (bottom, 0), (bottom, right), middle]
        return np.stack(
            [x[i : i + h, j : j + w] for x in (whole, whole[:, ::-1]) for i, j in places]
        )


def _pair(size):
    return size if isinstance(size, tuple) else (size, size)


def _size(name, value):
    """A positive int, a pair of them, or None."""
    if value is None:
        return None
    try:
        several = isinstance(value, (tuple, list))
        numbers = tuple(operator.index(v) for v in (value if several else (value,)))
        fits = min(numbers) > 0 and len(numbers) == 1 + several and not isinstance(value, bool)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"Preprocessing: {name}={value!r} must be a positive int, (height, width) or None."
        )
    return numbers if several else numbers[0]


def _numbers(name, values, count):
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        shown = values if count > 1 else values[0]
        wanted = f"{count} finite numbers" if count > 1 else "a finite number"
        raise ValueError(f"Preprocessing: {name}={shown!r} must be {wanted}.")
    return numbers


def _choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"Preprocessing: {name}={value!r} is unknown; choose one of {choices}.")
    return value


def _check_layout(name, array, dtypes):
    """The kernel goes by addresses: what it is given must be what it takes it for."""
    fits = array.ndim == 3 and array.shape[2] == 3 and array.size and array.flags.c_contiguous
    if not fits or array.dtype not in dtypes or (name == "out" and not array.flags.writeable):
        kinds = " or ".join(np.dtype(d).name for d in dtypes)
        raise ValueError(
            f"{name} must be a C-contiguous array (h, w, 3) of {kinds}, got {array.dtype} of shape "
            f"{array.shape}."
        )


@lru_cache(64)
def coefficients(preprocessing, whole):
    """Factor and shift of every channel, sixteen times over, for levels or for floats from 0 to 1.

    Parameters
    ----------
    preprocessing : Preprocessing
    whole : bool
        The picture holds levels.

    Returns
    -------
    scales, shifts : ndarray of shape (48,), float32
    """
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    scale = preprocessing.scale * (1 if whole else WHITE) / std
    return tuple(np.tile(v, LANES).astype(np.float32) for v in (scale, -mean / std))
