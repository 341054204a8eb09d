"""What classes are called."""

from functools import cache
from importlib.resources import files

import numpy as np

__all__ = ["labels"]


@cache
def _names(name):
    text = files(__package__).joinpath("data", f"{name}.txt").read_text(encoding="utf-8")
    names = np.array(text.splitlines())
    names.setflags(write=False)
    return names


def labels(name="imagenet"):
    """Names of the classes that a network's outputs stand for.

    Parameters
    ----------
    name : {"imagenet"}, default="imagenet"
        The 1000 classes of ILSVRC 2012 in the order of their WordNet numbers, which is that of
        torchvision, timm, Keras and Caffe. The names are torchvision's: they are all different, so
        that they serve as ``classes_``. Lists elsewhere have "crane" for the bird and the machine
        and "maillot" for two garments; case counts here, "Cardigan" is a dog.

    Returns
    -------
    ndarray of str
        Read-only.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> from skdeep.features import labels
    >>> names = labels("imagenet")
    >>> names.shape, str(names[0]), str(names[134])
    ((1000,), 'tench', 'crane bird')
    """
    if name != "imagenet":
        raise ValueError(f"there are no labels named {name!r}; choose 'imagenet'.")
    return _names(name)
