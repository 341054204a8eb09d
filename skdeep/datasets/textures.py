"""Families of textures with labels, none of which is among the generator's kinds of pictures."""

import numpy as np

from .._validation import COUNT, Rule
from .seeds import seed_of

__all__ = ["make_textures"]

WAVES = 48  # Gabor functions in a picture
LEAST_CONTRAST = 0.3  # between the brightness of a texture's two colours
SIZE = Rule("an integer from 8 to 512", lambda v: COUNT.holds(v) and 8 <= v <= 512)


def make_textures(n_classes=10, n_per_class=100, size=64, *, random_state=None):
    """Make pictures of textures to tell apart, to measure features with.

    A class is a family of textures with parameters of its own: wavelengths, directions, shapes of
    cells, the way threads cross. The pictures of a class differ in place, by up to 15 degrees and
    15 % of scale, in light and in colours, which say nothing about the class. None of the
    families is among the kinds of :func:`make_pictures`.

    Parameters
    ----------
    n_classes : int, default=10
        Classes c and c + 5 are of the same family, of Gabor functions, of spots and labyrinths,
        of woven threads, of Voronoi cells, of grains of wood and veins of marble.
    n_per_class : int, default=100
        Pictures of each.
    size : int, default=64
        Height and width in pixels, from 8 to 512.
    random_state : int, RandomState, Generator or None, default=None
        Pass an int for the same pictures each time.

    Returns
    -------
    X : ndarray of shape (n_classes * n_per_class, size, size, 3), uint8
    y : ndarray of shape (n_classes * n_per_class,), int64
        Class of each, in turns: 0, 1, ..., 0, 1, ...

    Raises
    ------
    ValueError
        When a parameter makes no sense.

    Examples
    --------
    >>> from skdeep.datasets import make_textures
    >>> X, y = make_textures(5, 2, 32, random_state=0)
    >>> X.shape, y.tolist()
    ((10, 32, 32, 3), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    """
    rules = {"n_classes": (n_classes, COUNT), "n_per_class": (n_per_class, COUNT)}
    for name, (value, rule) in (rules | {"size": (size, SIZE)}).items():
        if not rule.holds(value):
            raise ValueError(f"make_textures: {name}={value!r} must be {rule.text}.")
    seed = seed_of(random_state)
    families = list(FAMILIES.values())
    classes = []
    for c in range(n_classes):
        parameters, field = families[c % len(families)]
        classes.append((field, parameters(np.random.default_rng([seed, c]))))
    X = np.empty((n_classes * n_per_class, size, size, 3), np.uint8)
    for i, picture in enumerate(X):
        field, chosen = classes[i % n_classes]
        picture[...] = _texture(field, chosen, size, np.random.default_rng([seed, n_classes, i]))
    return X, np.tile(np.arange(n_classes), n_per_class)


def _texture(field, chosen, size, rng):
    """One picture: the field of a class, seen from somewhere, in two colours and some light."""
    angle, scale = np.deg2rad(rng.uniform(-15, 15)), rng.uniform(0.87, 1.15)
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    u = scale * (np.cos(angle) * x - np.sin(angle) * y) + rng.uniform(-50, 50)
    v = scale * (np.sin(angle) * x + np.cos(angle) * y) + rng.uniform(-50, 50)
    z = field(u, v, chosen, rng)[..., None]
    while True:
        one, two = rng.uniform(0, 1, (2, 3))
        if abs(one.mean() - two.mean()) > LEAST_CONTRAST:
            break
    slope = rng.uniform(-0.4, 0.4, 2)
    light = 1 + slope[0] * x[..., None] + slope[1] * y[..., None]
    colour = (one + (two - one) * z) * light + rng.normal(0, 0.02, (size, size, 3))
    return np.round(255 * np.clip(colour, 0, 1))


def _step(x, softness):
    """From 0 to 1 where x passes 0."""
    return np.clip(0.5 + x / softness, 0, 1)


# ---- noise in places -----------------------------------------------------------------------------


def _smooth_noise(size, rng, wavelength, angle=0.0, stretch=1.0, band=0.25):
    """Noise of a band of wavelengths (in pictures), longer by ``stretch`` along one direction."""
    y, x = np.fft.fftfreq(size, 1 / size)[:, None], np.fft.fftfreq(size, 1 / size)
    along = (x * np.cos(angle) + y * np.sin(angle)) * stretch
    frequency = np.hypot(along, y * np.cos(angle) - x * np.sin(angle)) * wavelength
    gain = np.exp(-0.5 * ((frequency - 1) / band) ** 2)
    gain[0, 0] = 0
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * gain).real
    return noise / (noise.std() + 1e-12)


# ---- families: the parameters of a class, and the field of a picture -----------------------------


def gabor_parameters(rng):
    return {
        "frequency": rng.uniform(4, 14),
        "width": rng.uniform(0.06, 0.16),
        "angle": rng.uniform(0, np.pi),
        "fan": rng.choice([0.1, 0.5, 1.5]),
    }


def gabor_field(u, v, chosen, rng):
    """A sum of waves under bells, at random places."""
    total = np.zeros_like(u)
    x = rng.uniform(u.min(), u.max(), WAVES)
    y = rng.uniform(v.min(), v.max(), WAVES)
    angle = chosen["angle"] + rng.uniform(-1, 1, WAVES) * chosen["fan"]
    phase = rng.uniform(0, 2 * np.pi, WAVES)
    for k in range(WAVES):
        du, dv = u - x[k], v - y[k]
        bell = np.exp(-0.5 * (du * du + dv * dv) / chosen["width"] ** 2)
        along = du * np.cos(angle[k]) + dv * np.sin(angle[k])
        total += bell * np.cos(2 * np.pi * chosen["frequency"] * along + phase[k])
    return _step(total / (total.std() + 1e-12), 4.0)


def spots_parameters(rng):
    return {
        "wavelength": rng.uniform(0.09, 0.22),
        "level": rng.choice([-0.9, 0.0, 0.9]),
        "angle": rng.uniform(0, np.pi),
        "stretch": rng.choice([1.0, 1.0, 2.0]),
        "softness": rng.uniform(0.2, 1.0),
    }


def spots_field(u, v, chosen, rng):
    """What passes a level of noise of one wavelength: spots, holes, or a labyrinth between."""
    wavelength = chosen["wavelength"] * rng.uniform(0.87, 1.15)
    angle = chosen["angle"] + np.deg2rad(rng.uniform(-15, 15))
    noise = _smooth_noise(len(u), rng, wavelength, angle, chosen["stretch"], band=0.15)
    return _step(noise - chosen["level"], chosen["softness"])


def weave_parameters(rng):
    return {
        "threads": rng.uniform(5, 11),
        "aspect": rng.uniform(0.6, 1.6),
        "period": int(rng.integers(2, 6)),
        "over": int(rng.integers(1, 3)),
        "shift": int(rng.integers(1, 3)),
        "tint": rng.uniform(0.1, 0.6),
        "angle": rng.uniform(0, np.pi),
    }


def weave_field(u, v, chosen, rng):
    """Threads that go over and under each other, bright in their middle."""
    c, s = np.cos(chosen["angle"]), np.sin(chosen["angle"])
    x, y = (
        chosen["threads"] * (c * u - s * v),
        chosen["threads"] * chosen["aspect"] * (s * u + c * v),
    )
    i, j = np.floor(x), np.floor(y)
    over = (i + chosen["shift"] * j) % chosen["period"] < chosen["over"]
    across, along = np.where(over, x - i, y - j), np.where(over, y - j, x - i)
    round_ = np.sin(np.pi * across) * (0.75 + 0.25 * np.sin(np.pi * along))
    return np.where(over, round_, round_ * (1 - chosen["tint"]))


def cells_parameters(rng):
    return {
        "cells": rng.uniform(4, 9),
        "jitter": rng.uniform(0.3, 1.0),
        "look": rng.choice(["edges", "domes", "tiles"]),
        "stretch": rng.uniform(0.6, 1.6),
        "power": rng.choice([1.0, 2.0]),
        "angle": rng.uniform(0, np.pi),
    }


def cells_field(u, v, chosen, rng):
    """Cells of the points that are nearest, seen as edges, as domes, or in shades of their own."""
    c, s = np.cos(chosen["angle"]), np.sin(chosen["angle"])
    x, y = chosen["cells"] * (c * u - s * v), chosen["cells"] * chosen["stretch"] * (s * u + c * v)
    i, j = np.meshgrid(
        np.arange(np.floor(x.min()) - 1, np.floor(x.max()) + 3),
        np.arange(np.floor(y.min()) - 1, np.floor(y.max()) + 3),
    )
    shake = chosen["jitter"] * rng.uniform(-0.5, 0.5, (2, i.size))
    px, py, shade = i.ravel() + shake[0], j.ravel() + shake[1], rng.uniform(0, 1, i.size)
    nearest, second = np.full(u.shape, np.inf), np.full(u.shape, np.inf)
    tint = np.zeros_like(u)
    p = chosen["power"]
    for k in range(i.size):
        d = (np.abs(x - px[k]) ** p + np.abs(y - py[k]) ** p) ** (1 / p)
        closer = d < nearest
        second = np.where(closer, nearest, np.minimum(second, d))
        nearest, tint = np.where(closer, d, nearest), np.where(closer, shade[k], tint)
    if chosen["look"] == "edges":
        return _step(second - nearest - 0.15, 0.15)
    if chosen["look"] == "domes":
        return np.clip(1 - 1.3 * nearest, 0, 1)
    return tint * _step(second - nearest - 0.08, 0.1)


def grain_parameters(rng):
    return {
        "wood": bool(rng.integers(2)),
        "frequency": rng.uniform(4, 11),
        "warp": rng.uniform(0.3, 1.2),
        "stretch": rng.uniform(3, 8),
        "sharp": rng.uniform(0.5, 3),
        "angle": rng.uniform(0, np.pi),
    }


def grain_field(u, v, chosen, rng):
    """Rings of a tree cut along, or veins: waves that noise bends."""
    c, s = np.cos(chosen["angle"]), np.sin(chosen["angle"])
    x, y = c * u - s * v, s * u + c * v
    angle = chosen["angle"] + np.pi / 2
    if chosen["wood"]:
        bend = _smooth_noise(len(u), rng, 0.5, angle, chosen["stretch"], band=0.5)
        rings = chosen["frequency"] * x + 0.5 * chosen["warp"] * bend
        rings += 0.8 * np.sin(2 * np.pi * (y * 0.7 + rng.uniform()))
        return (rings % 1.0) ** chosen["sharp"]
    bend = _smooth_noise(len(u), rng, 0.5, band=0.5) + 0.5 * _smooth_noise(len(u), rng, 0.2)
    veins = np.abs(np.sin(np.pi * (0.6 * chosen["frequency"] * x + chosen["warp"] * bend)))
    return veins ** (0.5 * chosen["sharp"])


FAMILIES = {
    "gabor": (gabor_parameters, gabor_field),
    "spots": (spots_parameters, spots_field),
    "weave": (weave_parameters, weave_field),
    "cells": (cells_parameters, cells_field),
    "grain": (grain_parameters, grain_field),
}
