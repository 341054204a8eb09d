"""Options of the command line for what is done to pictures before a network sees them."""

import argparse
from dataclasses import replace
from fractions import Fraction

# By field of Preprocessing, which has the flag of the same name.
FIELDS = ("resize", "crop", "interpolation", "mean", "std", "scale", "channels")
EXAMPLE = "--resize 256 --crop 224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --scale 1/255"
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "box", "nearest")


def add_options(parser):
    """The flags, as a group of an argparse parser."""
    group = parser.add_argument_group(
        "pictures",
        "What is done to pictures, in features and pictures, where it differs from what is\n"
        "published with the weights; a file with a graph does not say it. What is not given is\n"
        f"as published, else as usual for ImageNet:\n{EXAMPLE}",
    )
    group.add_argument("--resize", type=_size, metavar="SIZE",
                       help="the shorter side, or HEIGHTxWIDTH, or none")  # fmt: skip
    group.add_argument("--crop", type=_size, metavar="SIZE",
                       help="cut from the middle: side, HEIGHTxWIDTH, or none")  # fmt: skip
    group.add_argument("--interpolation", choices=INTERPOLATIONS)
    group.add_argument("--mean", type=_three, metavar="M[,M,M]",
                       help="taken off each channel, after --scale")  # fmt: skip
    group.add_argument("--std", type=_three, metavar="S[,S,S]",
                       help="that each channel is divided by, after that")  # fmt: skip
    group.add_argument("--scale", type=_number, metavar="F",
                       help="of levels, which are 0 to 255: 1 or 1/255")  # fmt: skip
    group.add_argument("--channels", choices=("rgb", "bgr"))


def given_fields(options):
    """What the command line says of preprocessing, checked, as a dictionary.

    Raises
    ------
    ValueError
        For what makes no sense.
    """
    given = {name: getattr(options, name) for name in FIELDS}
    given = {name: value for name, value in given.items() if value is not None}
    given = {name: None if value == "none" else value for name, value in given.items()}
    if given:
        from ..features import Preprocessing

        Preprocessing(**given)
    return given


def source(model, weights, default="resnet50"):
    """The model and the weights that two flags mean; a graph may be given as either.

    Parameters
    ----------
    model, weights : str or None
    default : str
        The model where there is none.

    Returns
    -------
    model, weights : str
    """
    if model is None and weights is not None and holds_graph(weights):
        return weights, "default"
    return model or default, weights or "default"


def takes_part(model, weights):
    """Whether two flags name a network: weights, or a file with a graph."""
    return weights is not None or (model is not None and holds_graph(model))


def holds_graph(path):
    """Whether a file is a network by itself, as its name tells."""
    from ..features.sources import GRAPHS

    return path.endswith(GRAPHS)


def preprocessing_for(model, weights, given):
    """The Preprocessing of a network, changed as the command line says.

    Parameters
    ----------
    model, weights : str
    given : dict
        As of :func:`given_fields`.

    Returns
    -------
    Preprocessing

    Raises
    ------
    ValueError
        When nothing is given and nothing known, or for an unknown network or file.
    """
    from ..features import Preprocessing
    from ..features.sources import published_preprocessing

    known = published_preprocessing(model, weights)
    if known is None and not given:
        raise ValueError(
            f"{model} does not tell how its pictures are prepared; say it, such as with {EXAMPLE} "
            "--channels rgb."
        )
    return replace(known or Preprocessing(), **given)


def _size(text):
    if text == "none":
        return text
    try:
        sizes = tuple(int(part) for part in text.split("x"))
    except ValueError:
        sizes = ()
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a side, nor HEIGHTxWIDTH, nor none")
    return sizes if len(sizes) == 2 else sizes[0]


def _number(text):
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _three(text):
    values = tuple(_number(part) for part in text.split(","))
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} must be one number, or three with commas")
    return values * (3 // len(values))
