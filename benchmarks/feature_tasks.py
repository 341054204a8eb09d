"""The tasks that `features_quality.py` measures features on: pictures that need no download.

Each task is a function of a seed that returns a :class:`Split`. The seed draws the pictures that
are generated or cut out, and the split where the data leave it free.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SIDE = 64  # pixels of the pictures that are made
FULL = 3000  # training pictures, at most
TESTED = 1000  # test pictures, at most
FONTS = Path("/usr/share/fonts")
TEST_FONTS = 8  # designs of letters for the test
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
GAP = 32  # pixels between the training and the test regions of a photograph
LEAST_CONTRAST = 3  # standard deviation of the levels of a patch: less is a patch of nothing

# Designs of letters: Debian's packages, and how the names of their files begin. Fonts drawn after
# the same model (Helvetica, Times, Courier ...) or descending from each other are one design, so
# that none of them is in the training pictures while another is in the test.
DESIGNS = {
    "Helvetica": {
        "fonts-liberation": "LiberationSans",
        "fonts-freefont-ttf": "FreeSans",
        "fonts-urw-base35": "NimbusSans",
    },
    "Times": {
        "fonts-liberation": "LiberationSerif",
        "fonts-freefont-ttf": "FreeSerif",
        "fonts-urw-base35": "NimbusRoman",
    },
    "Courier": {"fonts-freefont-ttf": "FreeMono", "fonts-urw-base35": "NimbusMono"},
    "Liberation Mono": {"fonts-liberation": "LiberationMono"},
    "DejaVu Sans": {"fonts-dejavu-core": "DejaVuSans", "fonts-dejavu-extra": "DejaVuSansCond"},
    "DejaVu Serif": {"fonts-dejavu-core": "DejaVuSerif", "fonts-dejavu-extra": "DejaVuSerifCond"},
    "Lato, Carlito": {"fonts-lato": "Lato-", "fonts-crosextra-carlito": "Carlito-"},
    "Open Sans, Noto Sans": {"fonts-open-sans": "OpenSans-", "fonts-noto-core": "NotoSans-"},
    "Noto Serif": {"fonts-noto-core": "NotoSerif-"},
    "Century Schoolbook (C059)": {"fonts-urw-base35": "C059-"},
    "Palatino (P052)": {"fonts-urw-base35": "P052-"},
    "URW Bookman": {"fonts-urw-base35": "URWBookman-"},
    "URW Gothic": {"fonts-urw-base35": "URWGothic-"},
    "Z003": {"fonts-urw-base35": "Z003-"},
    "Cantarell": {"fonts-cantarell": "Cantarell-"},
    "Roboto": {"fonts-roboto-unhinted": "Roboto-"},
    "Caladea": {"fonts-crosextra-caladea": "Caladea-"},
    "Comfortaa": {"fonts-comfortaa": "Comfortaa-"},
    "GFS Didot": {"fonts-gfs-didot": "GFSDidot"},
    "Linux Libertine": {"fonts-linuxlibertine": "LinLibertine_R"},
    "Linux Biolinum": {"fonts-linuxlibertine": "LinBiolinum_R"},
    "Inconsolata": {"fonts-inconsolata": "Inconsolata"},
    "Fira Code": {"fonts-firacode": "FiraCode-"},
    "Quicksand": {"fonts-quicksand": "Quicksand-"},
    "Junicode": {"fonts-junicode": "Junicode"},
    "EB Garamond": {"fonts-ebgaramond": "EBGaramond"},
}

# Pictures inside scikit-image's package (it would download others), but for drawings, the second
# of a stereo pair, one that is too small, and those that are nearly empty (cell, clock, moon, eye).
BUNDLED = [
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png",
    "page.png", "rocket.jpg", "text.png",
]  # fmt: skip


@dataclass
class Split:
    """Pictures, uint8 of shape (n, h, w, 3), and their classes; and what to say about them."""

    X: object
    y: object
    X_test: object
    y_test: object
    facts: dict


def digits(seed):
    """Handwritten digits of scikit-learn, 8 x 8 grey levels."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X = np.round(X * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    X = np.repeat(X, 3, axis=-1)
    X, X_test, y, y_test = train_test_split(X, y, test_size=500, stratify=y, random_state=seed)
    return Split(X, y, X_test, y_test, {})


def textures(seed):
    """Families of textures, of skdeep.datasets.make_textures."""
    from skdeep.datasets import make_textures

    X, y = make_textures(20, (FULL + TESTED) // 20, SIDE, random_state=seed)
    return Split(X[:FULL], y[:FULL], X[FULL:], y[FULL:], {})


# ---- letters -------------------------------------------------------------------------------------


def installed_fonts():
    """Files by design, and the packages that are missing."""
    files = sorted(p for p in FONTS.rglob("*") if p.suffix in (".ttf", ".otf"))
    names = {p.name: p for p in files}
    found, missing = {}, set()
    for design, packages in DESIGNS.items():
        for package, begin in packages.items():
            of_it = {path for name, path in names.items() if name.startswith(begin)}
            found[design] = found.get(design, set()) | of_it
            if not of_it:
                missing.add(package)
    return {design: sorted(paths) for design, paths in found.items()}, sorted(missing)


def glyphs(seed):
    """Capital letters; the designs of the training and the test pictures are disjoint."""
    import numpy as np

    designs, missing = installed_fonts()
    if missing:
        raise SystemExit(
            f"fonts are missing in {FONTS}; install them with\n"
            f"  apt-get install {' '.join(missing)}"
        )
    rng = np.random.default_rng(seed)
    names = rng.permutation(sorted(designs))
    tested, trained = sorted(names[:TEST_FONTS]), sorted(names[TEST_FONTS:])
    X, y = _letters(designs, trained, FULL, rng)
    X_test, y_test = _letters(designs, tested, TESTED, rng)
    facts = {"designs": sorted(designs), "designs of the test": [str(name) for name in tested]}
    return Split(X, y, X_test, y_test, facts)


def _letters(designs, names, n, rng):
    import numpy as np

    y = np.arange(n) % len(LETTERS)
    X = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for i, letter in enumerate(y):
        paths = designs[names[rng.integers(len(names))]]
        X[i] = _letter(LETTERS[letter], str(paths[rng.integers(len(paths))]), rng)[..., None]
    return X, y


def _letter(letter, path, rng):
    """A dark letter on light paper: its height, place, and the two levels vary."""
    import numpy as np
    from PIL import Image, ImageDraw

    height, shift = rng.integers(22, 45), rng.integers(-3, 4, 2)
    ink, paper = rng.integers(0, 90), rng.integers(165, 256)
    font = _font(path, int(height))
    picture = Image.new("L", (SIDE, SIDE), int(paper))
    left, top, right, bottom = font.getbbox(letter)
    corner = (SIDE - left - right) // 2 + shift[0], (SIDE - top - bottom) // 2 + shift[1]
    ImageDraw.Draw(picture).text(tuple(map(int, corner)), letter, fill=int(ink), font=font)
    return np.asarray(picture)


@lru_cache(None)
def _font(path, height):
    """The font in which an H is ``height`` pixels high."""
    from PIL import ImageFont

    _, top, _, bottom = ImageFont.truetype(path, 200).getbbox("H")
    return ImageFont.truetype(path, round(200 * height / (bottom - top)))


# ---- photographs ---------------------------------------------------------------------------------


@lru_cache(None)
def photographs():
    """Name: picture, of scikit-learn and of scikit-image."""
    import numpy as np
    import skimage
    from PIL import Image
    from sklearn.datasets import load_sample_images

    sample = load_sample_images()
    names = [Path(str(name)).name for name in sample.filenames]
    found = dict(zip(names, sample.images, strict=True))
    folder = Path(skimage.__file__).parent / "data"
    for name in BUNDLED:
        found[name] = np.asarray(Image.open(folder / name).convert("RGB"))
    return found


def patches(seed):
    """Patches of photographs: which is it from?

    A photograph is four quarters with a gap between them; two that lie on a diagonal are for
    training, the other two for the test.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    pictures = photographs()
    trained, tested = [], []
    for picture in pictures.values():
        quarters = _quarters(picture)[:: rng.choice([-1, 1])]
        for part, n in zip((trained, tested), (FULL, TESTED), strict=True):
            for quarter in (quarters.pop(), quarters.pop()):
                part.append(_cut(quarter, n // len(pictures) // 2, rng))
    X, X_test = np.concatenate(trained), np.concatenate(tested)
    classes = np.arange(len(pictures))
    y, y_test = (np.repeat(classes, len(part) // len(pictures)) for part in (X, X_test))
    return Split(X, y, X_test, y_test, {"photographs": list(pictures)})


def _quarters(picture):
    """Top left, bottom right, bottom left, top right."""
    (top, bottom), (left, right) = (
        (slice(0, (side - GAP) // 2), slice((side + GAP) // 2, side)) for side in picture.shape[:2]
    )
    places = [(top, left), (bottom, right), (bottom, left), (top, right)]
    return [picture[place] for place in places]


def _cut(region, n, rng):
    """Patches at random places, but for those with nothing in them."""
    import numpy as np

    found = []
    for _ in range(100 * n):
        i, j = (rng.integers(side - SIDE + 1) for side in region.shape[:2])
        patch = region[i : i + SIDE, j : j + SIDE]
        if patch.mean(axis=-1).std() >= LEAST_CONTRAST:
            found.append(patch)
        if len(found) == n:
            return np.stack(found)
    raise ValueError(f"of {100 * n} places only {len(found)} have a contrast")


TASKS = {"digits": digits, "glyphs": glyphs, "textures": textures, "patches": patches}
