"""What is done to a picture before a network sees it: a part of the weights record."""

from dataclasses import dataclass

__all__ = ["Preprocessing"]


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, normalise: ``(level * scale - mean[c]) / std[c]``.

    Parameters
    ----------
    resize : int, (int, int) or None, default=256
        The shorter side in pixels, or height and width to squash to; None leaves the size.
    crop : int, (int, int) or None, default=224
        Height and width that are cut from the middle; None leaves all.
    interpolation : {"bilinear", "bicubic", "lanczos", "box", "nearest"}, default="bilinear"
        Pillow's filters, antialiased.
    mean, std : tuple of 3 floats
        Per channel of the network's input, ImageNet's by default.
    scale : float, default=1/255
        Of a level, which is in 0 .. 255.
    channels : {"rgb", "bgr"}, default="rgb"
        Order of the network's input.

    Examples
    --------
    >>> from skdeep.features import Preprocessing
    >>> Preprocessing(resize=232).crop
    224
    """

    resize: int | tuple | None = 256
    crop: int | tuple | None = 224
    interpolation: str = "bilinear"
    mean: tuple = (0.485, 0.456, 0.406)
    std: tuple = (0.229, 0.224, 0.225)
    scale: float = 1 / 255
    channels: str = "rgb"
