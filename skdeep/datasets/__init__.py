"""Data that work offline: pictures and textures out of random numbers."""

from .generator import PictureGenerator, make_pictures
from .textures import make_textures

__all__ = ["PictureGenerator", "make_pictures", "make_textures"]
