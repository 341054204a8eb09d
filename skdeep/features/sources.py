"""From the names of a network and of its weights to arrays in memory, once per process."""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from ..formats import read_weights
from ..layers.network import Network
from .caffe_network import from_caffe
from .download import fetch
from .extraction import Extractor, digest_of
from .labels import labels
from .networks import NETWORKS, Architecture, find_network, random_weights
from .networks.stated import stated_activation
from .onnx_network import from_onnx
from .preprocessing import Preprocessing
from .records import WeightsRecord, find_weights, list_weights, record_of_arrays

GRAPHS = (".onnx", ".caffemodel")  # files that hold a network, not only its weights
# By format, a function of (WeightsFile, input_shape) that gives an ImportedNetwork.
GRAPH_READERS = {"caffemodel": from_caffe, "onnx": from_onnx}
RANDOM = re.compile(r"random(?::(\d+))?")  # weights, with the seed of a RandomFeatures
KEPT = 4  # networks whose weights stay in memory


@dataclass(frozen=True)
class Loaded:
    """A network and its weights.

    Attributes
    ----------
    name : str
    layers : callable
        Gives a new list of (name, layer) pairs.
    input_shape : tuple of int
    weights : dict of str to ndarray
        By our names.
    points : tuple of (str, str)
    labels : ndarray of str or None
    """

    name: str
    layers: object
    input_shape: tuple
    weights: dict
    points: tuple
    labels: np.ndarray | None

    def layer(self, name):
        """The network's own name of a layer."""
        return dict(self.points).get(name, name)

    def before(self, name):
        """Paths of the layers that run before one, or before a canonical part, or of all for None.

        A part begins after the last layer of the part before it.
        """
        paths = list(Network(self.layers(), self.input_shape).probe())
        if name is None:
            return paths
        words = [word for word, _ in self.points]
        if name in words:
            earlier = [p for _, p in self.points[: words.index(name)] if p != self.layer(name)]
            return paths[: paths.index(earlier[-1]) + 1] if earlier else []
        inside = [k for k, p in enumerate(paths) if p == name or p.startswith(f"{name}.")]
        if not inside:
            raise ValueError(f"{name!r} is no layer of {self.name}, which has {words} and {paths}.")
        return paths[: inside[0]]


class Recent:
    """The results of the last few calls, one computation at a time.

    Parameters
    ----------
    size : int
    """

    def __init__(self, size):
        self._size, self._known, self._lock = size, OrderedDict(), threading.RLock()

    def get(self, key, make):
        """What is known under a key, made if it is not; None as key: made anew."""
        if key is None:
            return make()
        with self._lock:
            if key not in self._known:
                self._known[key] = make()
            self._known.move_to_end(key)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
            return self._known[key]

    def clear(self):
        """Forget everything."""
        with self._lock:
            self._known.clear()


_weights, _extractors = Recent(1), Recent(KEPT)


def clear_loaded():
    """Forget all weights that this process has loaded, to free their memory.

    Transformers that hold a network keep it; the next one reads its file anew.

    Examples
    --------
    >>> from skdeep.features import clear_loaded
    >>> clear_loaded()
    """
    _weights.clear()
    _extractors.clear()


def load_weights(model, weights, input_shape):
    """A network and its weights on the host, for those who train them further.

    Parameters
    ----------
    model, weights : as of ImageFeatures
    input_shape : tuple of int
        Of a prepared picture.

    Returns
    -------
    Loaded
    """
    source = _source(model, weights, False).locate()
    key = source.key and (*source.key, input_shape)

    def make():
        with source.unchanged():
            return source.load(input_shape)

    return _weights.get(key, make)


def load_extractor(model, weights, preprocessing, progress=False):
    """A network with its weights and its programs, shared by all who ask for the same.

    Parameters
    ----------
    model, weights, preprocessing : as of ImageFeatures
    progress : bool, default=False
        Show the progress of a download.

    Returns
    -------
    Extractor
    """
    source = _source(model, weights, progress).locate()
    recipe = source.recipe(preprocessing)

    def make():
        with source.unchanged():
            known = source.load(recipe.output_shape)
        network = Network(known.layers(), known.input_shape)
        network.probe()
        at_hand = [known.weights]

        def fill(vectors):
            try:
                weights = at_hand.pop()
            except IndexError:
                with source.unchanged():
                    weights = source.load(recipe.output_shape).weights
            network.gather(weights, vectors)

        return Extractor(
            known.name, network, fill, known.points, recipe, known.labels, source.digest
        )

    return _extractors.get(source.key and (*source.key, recipe), make)


def preprocessing_of(model, weights, preprocessing):
    """What pictures go through for a network, without reading its weights."""
    return _source(model, weights, False).recipe(preprocessing)


def published_preprocessing(model, weights):
    """The Preprocessing that belongs to the weights of a network, or None where none is known."""
    return _source(model, weights, False).published


class Source:
    """Where a network and its weights come from.

    Attributes
    ----------
    key : tuple or None
        The same for the same contents; None when that cannot be told.
    """

    key = path = None
    published = None  # Preprocessing that belongs to the weights

    def locate(self):
        """Make sure that the file is there; after that ``key`` is known."""
        return self

    def digest(self):
        """Hash of the contents that ``locate`` found."""
        found = self.key[1:]
        if found not in _digests:
            with self.unchanged(), open(self.path, "rb") as file:
                computed = hashlib.file_digest(file, "sha256").hexdigest()
            _digests[found] = computed
        return _digests[found]

    @contextmanager
    def unchanged(self):
        """Complain when what is read inside is not the file that ``locate`` found."""
        try:
            yield
            same = self.path is None or identity(self.path) == self.key[1:]
        except FileNotFoundError:
            same = False
        if not same:
            raise ValueError(f"{self.path} was changed or removed while it was in use; fit again.")

    def recipe(self, preprocessing):
        """The preprocessing to use; ValueError when none is known, or sizes would differ."""
        if preprocessing != "auto":
            if not isinstance(preprocessing, Preprocessing):
                raise ValueError(
                    f"preprocessing={preprocessing!r} must be a Preprocessing, or 'auto' for what "
                    "the weights were trained with."
                )
            if None in preprocessing.output_shape:
                raise ValueError(
                    f"{preprocessing} leaves pictures of different sizes; give it a crop, or "
                    "resize=(height, width)."
                )
            return preprocessing
        if self.published is None:
            raise ValueError(
                f"{self.name} does not tell how its pictures are prepared; pass "
                "preprocessing=Preprocessing(resize=..., crop=..., mean=..., std=...)."
            )
        return self.published


class KnownNetwork(Source):
    """A described network with weights of a file, a state dict, or random ones."""

    def __init__(self, architecture, weights, progress):
        self.architecture, self.name = architecture, architecture.name
        self.weights, self.progress = weights, progress
        self.random = isinstance(weights, str) and RANDOM.fullmatch(weights)
        known = bool(list_weights(self.name)) or isinstance(weights, WeightsRecord)
        given = self.random or isinstance(weights, Mapping)
        if known or not given:
            self.record = find_weights(self.name, "default" if given else weights)
        told = record_of_arrays(self.name, weights) if isinstance(weights, Mapping) else None
        if told is not None:
            self.record, known = told, True
        if known:
            self.published = self.record.preprocessing
        self.path = None
        if self.random:
            self.seed = int(self.random[1] or 0)
            self.key = ("random", self.seed, architecture)

    def locate(self):
        """Find the file, or fetch it."""
        if self.path is None and not self.random and not isinstance(self.weights, Mapping):
            self.path = fetch(self.record, progress=self.progress)
            if self.record.path is not None and self.architecture.activations:
                self._take_activation(stated_activation(self.path))
            self.key = (self.architecture, *identity(self.path))
        return self

    def _take_activation(self, stated):
        """Go by what a configuration beside a local file says."""
        if stated in (None, self.architecture.activations[0]):
            return
        try:
            self.architecture = self.architecture.with_activation(stated)
        except ValueError as error:
            raise ValueError(
                f"the configuration beside {self.path} does not fit: {error}"
            ) from None

    def load(self, shape):
        """Read the weights, for prepared pictures of a shape."""
        names = None
        if self.random:
            architecture = self.architecture
            weights = random_weights(architecture.network(shape), self.seed)
        else:
            state = self.weights if self.path is None else read_weights(self.path).tensors
            try:
                architecture, weights = self.architecture.from_state(state, shape)
            except ValueError as error:
                raise ValueError(f"{self.path or 'weights'}: {error}") from error
            if self.published and self.record.labels:
                names = labels(self.record.labels)
                names = names if len(names) == architecture.n_outputs else None
        return Loaded(self.name, architecture.layers, shape, weights, architecture.points, names)

    def digest(self):
        """Hash of the weights, and what the network makes of them."""
        variant = self.architecture.variant and f" {self.architecture.variant}"
        if self.random:
            return f"random {self.name}" + (f" {self.seed}" if self.seed else "") + variant
        weights = digest_of(self.weights) if self.path is None else super().digest()
        return weights + variant


class GraphFile(Source):
    """A file that holds a network and its weights."""

    def __init__(self, path, weights):
        if weights != "default":
            raise ValueError(f"{path} holds its own weights; leave weights='default'.")
        self.path, self.name = Path(path).expanduser(), Path(path).name
        if not self.path.is_file():
            raise ValueError(f"there is no file {fspath(path)!r}, which is to be the model.")
        self.key = ("graph", *identity(self.path))
        same = (r.preprocessing for r in list_weights() if r.file == self.path.name)
        self.published = next(same, None)

    def load(self, shape):
        """Read the graph and its weights, for prepared pictures of a shape."""
        file = read_weights(self.path)
        graph = GRAPH_READERS[file.format](file, shape)
        return Loaded(self.name, graph.layers, shape, graph.weights, graph.points, None)


def _source(model, weights, progress):
    if isinstance(model, Architecture):
        return KnownNetwork(model, weights, progress)
    if isinstance(model, str) and model in NETWORKS:
        return KnownNetwork(find_network(model), weights, progress)
    if isinstance(model, (str, PathLike)) and fspath(model).endswith(GRAPHS):
        return GraphFile(model, weights)
    if isinstance(model, str):
        find_network(model)  # says which there are
    raise ValueError(
        f"model={model!r} must be the name of a network, or an .onnx or .caffemodel file."
    )


def identity(path):
    """What changes when a file is replaced."""
    path = Path(path).resolve()
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


_digests = {}  # SHA-256 by identity, computed once per process
