"""A network with weights, and the programs that take features of prepared pictures from it."""

import hashlib
import math
import threading
from functools import cached_property, partial

import numpy as np

from .. import ops
from ..estimators.base import make_device
from ..graph.tensor import Tensor
from ..layers.network import Network
from ..training.data import Data
from ..training.inference import Predictor, block_rows, keep_recent
from ..training.summary import summarize
from ..training.weights import Weights, place
from .layer_table import layer_table

POOLS = ("auto", "avg", "max", "flatten", None)
KEPT = 3  # choices of layers whose programs, and packed weights, stay in memory
LARGE = 20_000_000  # weights of a network that takes its time for a picture, and much memory


class Extractor:
    """What an :class:`ImageFeatures` holds once its weights are loaded; shared by its clones.

    Parameters
    ----------
    name : str
        Of the network, for messages.
    network : Network
        Its parameters are declared.
    fill : callable
        ``fill(vectors)`` writes the weights to the flat vectors of the network. It is called when
        something is derived from them; they are not kept.
    points : tuple of (str, str)
        Canonical names and the layers they stand for, from early to late.
    preprocessing : Preprocessing
    labels : ndarray of str or None
        Names of the logits.
    digest : callable
        Gives a hash of what the weights are read from.
    """

    def __init__(self, name, network, fill, points, preprocessing, labels, digest):
        self.name, self.network, self.preprocessing = name, network, preprocessing
        self.points, self.labels = dict(points), labels
        self._fill, self._digest = fill, digest
        self._lock = threading.Lock()
        self._predictors, self._placed = {}, {}
        self._before, self._after = {}, None
        self.shapes = network.probe()
        self._widest = max(map(math.prod, [network.input_shape, *self.shapes.values()]))

    @property
    def digest(self):
        """Hash of what the weights are read from."""
        return self._digest()

    @cached_property
    def layers(self):
        """Every layer with shape, stride and receptive field."""
        return layer_table(self.network, tuple(self.points.items()))

    def resolve(self, layer):
        """The network's own name of a layer.

        Raises
        ------
        ValueError
            For a name that is neither canonical nor a layer's.
        """
        name = self.points.get(layer, layer)
        if name not in self.shapes:
            blocks = [n for n in self.shapes if n.count(".") < 2]
            raise ValueError(
                f"layer={layer!r} is no layer of {self.name}; choose one of {list(self.points)}, "
                f"or one of its own, such as {blocks[:4]} .. {blocks[-1]!r}; `layers_` lists all."
            )
        return name

    def feature_shape(self, name, pool):
        """Shape of what a layer gives for one picture after pooling."""
        return pooled(Tensor((1, *self.shapes[name])), pool, self._class_token()).shape[1:]

    def _class_token(self):
        return any(spec.name.endswith("class_token") for spec in self.network.parameters)

    def _weights_on(self, device):
        def read():
            cpu = make_device("cpu")
            vectors = {role: cpu.zeros(n) for role, n in self.network.parameters.sizes.items()}
            self._fill(vectors)
            if device.name == "cpu":
                return vectors
            return {role: place(device, v) for role, v in vectors.items()}

        with self._lock:
            if device.name not in self._placed:
                self._placed[device.name] = Weights(device, read)
            return self._placed[device.name]

    def split(self, name, input_shape):
        """Two extractors: for pictures of another shape as far as a layer, and for what follows.

        Parameters
        ----------
        name : str
            One of the list that makes up the network.
        input_shape : tuple of int
            Height, width and channels.

        Returns
        -------
        before, after : Extractor
            ``after`` takes maps as large as those of the usual pictures.
        """
        network = self.network
        cut = network.names.index(name) + 1
        facts = (), self.preprocessing, self.labels, self._digest
        with self._lock:
            if self._after is None:
                after = Network(network.layers[cut:], self.shapes[name])
                after.probe()

                def fill(vectors):
                    whole = network.empty_vectors()
                    self._fill(whole)
                    own = network.views(whole)
                    after.gather({spec.name: own[spec.name] for spec in after.parameters}, vectors)

                self._after = Extractor(self.name, after, fill, *facts)
            part = self._before.pop(input_shape, None)
            if part is None:
                before = Network(network.layers[:cut], input_shape)
                before.probe()
                part = Extractor(self.name, before, self._fill, *facts)
                # Its weights are the first of the whole network's, in the same places.
                part.network.parameters.sizes = network.parameters.sizes
                part._placed = self._placed
            keep_recent(self._before, input_shape, part)
            return part, self._after

    def portion(self, batch_size, *, device, n_threads, **options):
        """How many of ``batch_size`` pictures to run at a time: half, while others are prepared.

        More where not every thread would have its block. All on a GPU, whose memory they fill, and
        of networks that are not large: MobileNet V2 lost 4 % by halves, ResNet-50 nothing.
        """
        if device.name != "cpu" or self.network.parameters.sizes["parameter"] < LARGE:
            return batch_size
        blocks = n_threads * block_rows(batch_size, self._widest, n_threads)
        return min(batch_size, max(blocks, -(-batch_size // 2)))

    def prepare(self, n, layers, pool, **options):
        """Read the weights and build the program for ``n`` pictures, unless that has been done.

        :meth:`run` does so too; done before there are any pictures, it takes less memory at once.

        Parameters
        ----------
        n : int
        layers, pool, **options : as of :meth:`run`
        """
        blank = np.zeros((n, math.prod(self.network.input_shape)), np.float32)
        data = Data(blank, self.network.input_shape)
        self._keep(*self._predictor(data, layers, pool, **options))

    def run(self, pictures, layers, pool, **options):
        """Features of prepared pictures.

        Parameters
        ----------
        pictures : ndarray of float32 of shape (n, h, w, c)
        layers : tuple of str
            The network's own names.
        pool : as of ImageFeatures
        **options : device, n_threads, memory, precision
            A CPU or CUDA, an int, and what a :class:`Predictor` takes.

        Returns
        -------
        list of ndarray of float32, one per layer
        """
        n = len(pictures)
        data = Data(pictures.reshape(n, -1), self.network.input_shape)
        key, predictor = self._predictor(data, layers, pool, **options)
        results = predictor.run(data, options["n_threads"])
        self._keep(key, predictor)
        return results

    def _predictor(self, data, layers, pool, *, device, n_threads, **options):
        """A predictor that nobody else uses, and what it is kept under."""
        block = block_rows(data.n, self._widest, device.workers(n_threads))
        key = (layers, pool, device.name, *options.values())
        with self._lock:
            # Concurrent callers build their own.
            predictor = self._predictors.get(key, {}).pop(block, None)
        if predictor is None:
            build = partial(_build, layers, pool, self._class_token())
            weights = self._weights_on(device)
            predictor = Predictor(
                self.network, build, data, weights, block, n_threads=n_threads, **options
            )
        return key, predictor

    def _keep(self, key, predictor):
        with self._lock:
            blocks = self._predictors.pop(key, {})
            keep_recent(blocks, predictor.block, predictor)
            keep_recent(self._predictors, key, blocks, KEPT)

    def summary(self, layers, pool, n_samples, **options):
        """A :class:`Summary` of what runs for some layers."""
        device = make_device("cpu")
        shape = self.network.input_shape
        data = Data(np.zeros((n_samples, math.prod(shape)), np.float32), shape)
        build = partial(_build, layers, pool, self._class_token())
        weights = self._weights_on(device)
        return summarize(Predictor(self.network, build, data, weights, n_samples, **options))


def _build(layers, pool, class_token, output, trace, y):
    return [pooled(trace.activations[name], pool, class_token) for name in layers]


def pooled(t, pool, class_token):
    """Activations as features: maps and tokens become vectors, vectors stay.

    "auto" takes the class token of tokens where there is one; the other poolings leave it out.
    """
    if pool is None or t.ndim == 2:
        return t
    if pool == "flatten":
        return ops.flatten(t)
    if t.ndim == 3 and class_token:
        cut = (0, 1) if pool == "auto" else (1, t.shape[1])
        t = ops.slice_axis(t, 1, *cut)
    if t.ndim == 3:
        return ops.max(t, axis=1) if pool == "max" else ops.mean(t, axis=1)
    return ops.global_max_pool2d(t) if pool == "max" else ops.global_average_pool2d(t)


def digest_of(arrays):
    """Hash of named arrays."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        state.update(array.reshape(-1).view(np.uint8))
    return state.hexdigest()
