"""Where on a large picture a pretrained network finds its classes."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import softmax
from sklearn.base import BaseEstimator

from .._validation import POSITIVE, SHARE
from ..training.progress import counting
from .image_features import PretrainedMixin
from .pictures import PictureError, Pictures

__all__ = ["ImageLocalizer", "Location"]

WINDOWS = 256  # that the head looks at together


@dataclass(frozen=True)
class Location:
    """A place on a picture.

    Parameters
    ----------
    label : object
        One of ``classes_``.
    probability : float
        That the network gives the class there.
    left, top, right, bottom : int
        Corners in pixels of the picture as it was given; right and bottom are outside.

    Examples
    --------
    >>> from skdeep.features import Location
    >>> Location("tabby", 0.7, 10, 20, 110, 120).right
    110
    """

    label: object
    probability: float
    left: int
    top: int
    right: int
    bottom: int

    def overlap(self, other):
        """Area of what two places share over the area that they cover together."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(width, 0) * max(height, 0)
        return shared / (self._area() + other._area() - shared)

    def _area(self):
        return (self.right - self.left) * (self.bottom - self.top)


class ImageLocalizer(PretrainedMixin, BaseEstimator):
    """Slide a pretrained network over pictures and say where it finds given classes.

    The convolutions run once over a whole picture; the rest of the network looks at every window
    of their result that is as large as the network was trained for. Windows in the middle of a
    picture see what lies around them, so that probabilities are near to those of the window cut
    out, not equal to them.

    Parameters
    ----------
    model : str or Architecture, default="resnet50"
        With convolutions to its end: no transformer.
    classes : list of labels or None, default=None
        Which to look for; None: all.
    weights : str, path, WeightsRecord or dict of arrays, default="default"
    preprocessing : Preprocessing or "auto", default="auto"
    scales : tuple of float, default=(1.0, 2.0)
        How many times as large as for classification a picture is looked at.
    threshold : float, default=0.5
        Least probability.
    overlap : float, default=0.3
        Of two places of one class that share more than this part, the better one stays.
    precision : {"float32", "bfloat16"} or None, default=None
    device : {"cpu", "cuda"} or None, default=None
    n_threads : int or None, default=None
    on_error : {"raise", "nan"}, default="raise"
        With "nan" a picture that cannot be read has no places, a window of NaN, and a warning.
    verbose : int, default=0
        Above 0 a bar shows the progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features import ImageLocalizer
    >>> picture = np.random.RandomState(0).randint(0, 256, (300, 400, 3), np.uint8)
    >>> localizer = ImageLocalizer("squeezenet1_1", weights="random", scales=(1.0,))
    >>> localizer.window_probabilities([picture])[0].shape
    (3, 9, 1000)
    """

    batch_size = 1  # pictures have different sizes

    def __init__(
        self,
        model="resnet50",
        classes=None,
        *,
        weights="default",
        preprocessing="auto",
        scales=(1.0, 2.0),
        threshold=0.5,
        overlap=0.3,
        precision=None,
        device=None,
        n_threads=None,
        on_error="raise",
        verbose=0,
    ):
        self.model = model
        self.classes = classes
        self.weights = weights
        self.preprocessing = preprocessing
        self.scales = scales
        self.threshold = threshold
        self.overlap = overlap
        self.precision = precision
        self.device = device
        self.n_threads = n_threads
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X=None, y=None):
        """Read the weights and check the parameters.

        Parameters
        ----------
        X, y : ignored

        Returns
        -------
        self
        """
        self._forget()
        self._wanted()
        self._window()
        return self

    @property
    def classes_(self):
        """Names, or numbers where the weights have none."""
        extractor, layer = self._logits("choose weights with one: ImageLocalizer finds its classes")
        if extractor.labels is not None:
            return extractor.labels
        return np.arange(math.prod(extractor.shapes[layer]))

    def _wanted(self):
        """Numbers of the classes to look for."""
        self._check()
        for name, rule in (("threshold", SHARE), ("overlap", SHARE)):
            if not rule.holds(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r} must be {rule.text}.")
        if not isinstance(self.scales, (tuple, list)) or not self.scales:
            raise ValueError(f"scales={self.scales!r} must be a tuple of numbers of at least 1.")
        for scale in self.scales:
            _check_scale(scale)
        known = self.classes_
        if self.classes is None:
            return np.arange(len(known))
        if isinstance(self.classes, str):
            raise ValueError(f"classes={self.classes!r} must be a list of labels, or None.")
        places = {label: k for k, label in enumerate(known.tolist())}
        missing = [label for label in self.classes if label not in places]
        if missing:
            raise ValueError(f"classes={missing!r} are not among the {len(known)} in `classes_`.")
        return np.array([places[label] for label in self.classes])

    def _window(self):
        """Name of the last map, its (height, width) for a picture of the usual size, its stride."""
        extractor = self._load()
        shapes = extractor.shapes
        maps = [name for name in extractor.network.names if len(shapes[name]) == 3]
        maps = [name for name in maps if math.prod(shapes[name][:2]) > 1]
        if not maps:
            raise ValueError(f"{extractor.name} has no maps to slide over; take a CNN.")
        stride = next(p.stride for p in extractor.layers if p.name == maps[-1])
        return maps[-1], shapes[maps[-1]][:2], stride

    def window_probabilities(self, X, scale=1.0):
        """Probabilities of all classes in every window.

        Parameters
        ----------
        X : sequence of pictures, as of :meth:`ImageFeatures.transform`
        scale : float, default=1.0
            At least 1.

        Returns
        -------
        list of ndarray of float32 of shape (rows, columns, n_classes)
            One per picture; with ``on_error="nan"`` one window of NaN for a picture that cannot be
            read.
        """
        self._wanted()
        _check_scale(scale)
        unread = np.full((1, 1, len(self.classes_)), np.nan, np.float32)
        return self._each(X, lambda picture: self._probabilities(picture, scale)[0], unread.copy)

    def _each(self, X, work, unread):
        """``work(picture)`` of every picture, and ``unread()`` for those that cannot be read."""
        pictures = Pictures(X)
        results, failed = [], {}
        with counting(len(pictures), "picture", self.verbose) as advance:
            for k in range(len(pictures)):
                try:
                    results.append(work(pictures.load(k)))
                except PictureError as error:
                    if self.on_error == "raise":
                        raise
                    failed[k] = error
                    results.append(unread())
                advance(1)
        self._warn(failed, len(pictures))
        return results

    def _probabilities(self, picture, scale):
        """Probabilities of every window, and the shape of the picture they were taken from."""
        extractor = self._load()
        cut, (rows, columns), _ = self._window()
        recipe = extractor.preprocessing
        if isinstance(recipe.resize, tuple):  # windows keep the ratio of the sides
            recipe = replace(recipe, resize=min(recipe.resize))
        size = recipe.resized(*picture.shape[:2])
        scale = max(scale, *(s / have for s, have in zip(extractor.network.input_shape, size)))
        size = tuple(round(have * scale) for have in size)
        prepared = replace(recipe, resize=size, crop=None)(picture)
        trunk, head = extractor.split(cut, prepared.shape)
        run = self._run_options()
        (maps,) = trunk.run(prepared[None], (cut,), None, **run)
        windows = sliding_window_view(maps[0], (rows, columns), axis=(0, 1))
        high, wide = windows.shape[:2]
        windows = windows.reshape(high * wide, -1, rows, columns)
        last = head.network.names[-1]
        logits = []
        for start in range(0, len(windows), WINDOWS):
            part = np.ascontiguousarray(windows[start : start + WINDOWS].transpose(0, 2, 3, 1))
            logits.append(head.run(part, (last,), "flatten", **run)[0].copy())
        p = softmax(np.concatenate(logits), axis=1)
        return p.reshape(high, wide, -1), prepared.shape[:2]

    def predict(self, X):
        """Places where the classes are found.

        Parameters
        ----------
        X : sequence of pictures, as of :meth:`ImageFeatures.transform`

        Returns
        -------
        list of list of Location
            One list per picture, the most probable place first.
        """
        wanted, labels = self._wanted(), self.classes_.tolist()

        def find(picture):
            found = [p for s in self.scales for p in self._places(picture, s, wanted, labels)]
            return suppress(found, self.overlap)

        return self._each(X, find, list)

    def _places(self, picture, scale, wanted, labels):
        p, (height, width) = self._probabilities(picture, scale)
        side_y, side_x = self._load().network.input_shape[:2]
        *_, stride = self._window()
        for i, j, c in zip(*np.nonzero(p[:, :, wanted] >= self.threshold)):
            top, bottom = _span(i * stride, side_y, height, picture.shape[0])
            left, right = _span(j * stride, side_x, width, picture.shape[1])
            yield Location(labels[wanted[c]], float(p[i, j, wanted[c]]), left, top, right, bottom)

    def __sklearn_is_fitted__(self):
        return True


def _check_scale(scale):
    if not (POSITIVE.holds(scale) and scale >= 1):
        raise ValueError(f"scale {scale!r} must be a number of at least 1.")


def _span(start, side, prepared, size):
    """First pixel, and the one after the last, of a window in a picture as it was given."""
    ratio = size / prepared
    first = min(round(start * ratio), size - 1)
    return first, max(first + 1, min(round((start + side) * ratio), size))


def suppress(places, overlap):
    """Of places of one class that overlap, the most probable; all in falling order."""
    kept = []
    for place in sorted(places, key=lambda p: -p.probability):
        if all(k.label != place.label or k.overlap(place) <= overlap for k in kept):
            kept.append(place)
    return kept
