"""The peers of ``image_features.py``: pictures to features by Pillow or OpenCV and a runtime.

A pipeline prepares pictures (resize, crop, normalise, in threads: both libraries release the
interpreter's lock) and gives them to a runtime in batches. It exists in three forms, because which
is fastest depends on the network: ``in turn`` (all cores prepare a batch, then all compute it),
``overlapped`` (the next batch is prepared while one is computed) and ``workers`` (every core
prepares and computes batches of its own; the runtime has one thread for each). The networks are
those of ``network_peers.py`` as far as their pool, so that no peer computes a head.

Nothing is converted twice: Pillow's or OpenCV's result is normalised straight into the batch,
channels first. OpenVINO is also given bytes and the normalisation as a part of its graph.
"""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import network_peers
import numpy as np

ROWS = 2  # pictures whose features are computed in float64 to compare with


def trunk(architecture, weights):
    """PyTorch's network without its head."""
    from torch import nn

    network = network_peers.torch_network(architecture, weights)
    if architecture.name == "squeezenet1_1":
        network.classifier = nn.AdaptiveAvgPool2d(1)
    elif architecture.name == "convnext_tiny":
        network.classifier = nn.Flatten()
    else:
        for head in ("classifier", "fc", "heads"):
            if hasattr(network, head):
                setattr(network, head, nn.Identity())
    return network.eval()


def in_our_order(architecture, features):
    """Features of a peer as skdeep orders them: flattened maps have their channels last."""
    for _, (c, h, w) in architecture.flattened[:1]:
        return features.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(len(features), -1)
    return features.reshape(len(features), -1)


def exported(architecture, weights, batch, folder):
    """Path of the trunk as an ONNX file for batches of one size."""
    import warnings

    import torch

    path = Path(folder) / f"{architecture.name}-trunk-{batch}.onnx"
    if not path.exists():
        h, w, c = architecture.input_shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                trunk(architecture, weights),
                torch.zeros((batch, c, h, w)),
                str(path),
                dynamo=False,
                input_names=["x"],
            )
    return path


# -- preparing pictures --------------------------------------------------------------------------


@dataclass
class Recipe:
    """What pictures go through: sizes, filter, and a factor and a shift per channel."""

    resize: int
    crop: int
    filter: str
    factor: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, preprocessing):
        """From skdeep's description."""
        mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
        return cls(
            preprocessing.resize,
            preprocessing.crop,
            preprocessing.interpolation,
            (preprocessing.scale / std).astype(np.float32),
            (-mean / std).astype(np.float32),
        )

    def size(self, width, height):
        """Width and height with the shorter side as wanted."""
        longer = int(self.resize * max(width, height) / min(width, height))
        return (self.resize, longer) if width <= height else (longer, self.resize)

    def corner(self, width, height):
        """Left and top of the crop."""
        return tuple(int(round((side - self.crop) / 2.0)) for side in (width, height))

    def write(self, picture, out):
        """Normalise a crop into a row of a batch, or copy its bytes."""
        if out.dtype == np.uint8:
            out[...] = picture
            return
        for c in range(3):
            np.multiply(picture[:, :, c], self.factor[c], out=out[c])
            out[c] += self.shift[c]


def pillow(recipe):
    """Paths or arrays by Pillow."""
    from PIL import Image

    kind = getattr(Image.Resampling, recipe.filter.upper())

    def prepare(picture, out):
        array = isinstance(picture, np.ndarray)
        image = Image.fromarray(picture) if array else Image.open(picture)
        size = recipe.size(*image.size)
        left, top = recipe.corner(*size)
        image = image.resize(size, kind).crop((left, top, left + recipe.crop, top + recipe.crop))
        recipe.write(np.asarray(image), out)

    return prepare


def opencv(recipe):
    """Paths or arrays by OpenCV, whose bilinear and bicubic filters do not smooth before."""
    import cv2

    cv2.setNumThreads(1)  # the pictures are spread over threads
    kind = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[recipe.filter]

    def prepare(picture, out):
        if not isinstance(picture, np.ndarray):
            picture = cv2.imread(str(picture), cv2.IMREAD_COLOR_RGB)
        size = recipe.size(picture.shape[1], picture.shape[0])
        left, top = recipe.corner(*size)
        picture = cv2.resize(picture, size, interpolation=kind)
        recipe.write(picture[top : top + recipe.crop, left : left + recipe.crop], out)

    return prepare


PREPARERS = {"OpenCV": opencv, "Pillow": pillow}


# -- computing batches ---------------------------------------------------------------------------


def onnxruntime_infer(path, threads):
    """``infer(batch, worker)`` by onnxruntime; several threads may call it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda batch, worker: session.run(None, {"x": batch})[0]


def openvino_infer(path, threads, streams, recipe, in_bytes):
    """``infer(batch, worker)`` by OpenVINO, one request for every worker."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    core = openvino.Core()
    model = core.read_model(str(path))
    if in_bytes:
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8)
        steps.input().tensor().set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        graph = steps.input().preprocess().convert_element_type(openvino.Type.f32)
        graph.mean((-recipe.shift / recipe.factor).tolist()).scale((1 / recipe.factor).tolist())
        model = steps.build()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(model, "CPU", settings)
    requests = [compiled.create_infer_request() for _ in range(streams)]

    def infer(batch, worker):
        requests[worker].infer([openvino.Tensor(batch)], share_outputs=True)
        return requests[worker].get_output_tensor(0).data.copy()

    return infer


def torch_infer(network, threads):
    """``infer(batch, worker)`` by PyTorch, channels last."""
    import torch

    network = network.to(memory_format=torch.channels_last)

    def infer(batch, worker):
        torch.set_num_threads(threads)
        x = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return network(x).numpy()

    return infer


# -- pipelines -----------------------------------------------------------------------------------


class Pipeline:
    """Pictures to features, batch by batch.

    Parameters
    ----------
    prepare : callable
        ``prepare(picture, row)``.
    infer : callable
        ``infer(batch, worker)``.
    batch : int
        Pictures that the runtime takes together; the number of pictures is a multiple of it.
    crop : int
    in_bytes : bool
        The batch is bytes, channels last.
    form : {"in turn", "overlapped", "workers"}
    threads : int
    """

    def __init__(self, prepare, infer, batch, crop, in_bytes, form, threads):
        self.prepare, self.infer, self.batch, self.form = prepare, infer, batch, form
        self.pool, self.threads = ThreadPoolExecutor(threads), threads
        shape = (batch, crop, crop, 3) if in_bytes else (batch, 3, crop, crop)
        self.buffers = [np.zeros(shape, np.uint8 if in_bytes else np.float32) for _ in range(2)]

    def __call__(self, pictures):
        starts = range(0, len(pictures), self.batch)
        if self.form == "workers":
            return self._by_workers(pictures, starts)
        out, jobs = [], self._begin(pictures, 0)
        for k, start in enumerate(starts):
            for job in jobs:
                job.result()
            following = start + self.batch
            more = following < len(pictures)
            if more and self.form == "overlapped":
                jobs = self._begin(pictures, following)
            out.append(self.infer(self.buffers[k % 2], 0))
            if more and self.form == "in turn":
                jobs = self._begin(pictures, following)
        return np.concatenate(out)

    def _begin(self, pictures, start):
        rows = self.buffers[start // self.batch % 2]
        waiting = iter(zip(pictures[start : start + self.batch], rows))
        return [self.pool.submit(self._fill, waiting) for _ in range(self.threads)]

    def _fill(self, waiting):
        for picture, row in waiting:
            self.prepare(picture, row)

    def _by_workers(self, pictures, starts):
        out, waiting, lock = [None] * len(starts), iter(enumerate(starts)), threading.Lock()

        def work(worker):
            rows = self.buffers[worker]
            while True:
                with lock:
                    k, start = next(waiting, (None, None))
                if k is None:
                    return
                self._fill(zip(pictures[start : start + self.batch], rows))
                out[k] = self.infer(rows, worker)

        for job in [self.pool.submit(work, w) for w in range(self.threads)]:
            job.result()
        return np.concatenate(out)

    def prepared(self, pictures):
        """The batch that the network sees, as bytes or numbers."""
        rows = np.zeros((len(pictures), *self.buffers[0].shape[1:]), self.buffers[0].dtype)
        self._fill(zip(pictures, rows))
        return rows


def pipelines(architecture, weights, preprocessing, batch, threads, folder):
    """``build(preparer)`` of every peer's pipeline, by the name of runtime and form."""
    recipe = Recipe.of(preprocessing)
    part = max(1, batch // threads)

    def path(rows):
        return exported(architecture, weights, rows, folder)

    def pipeline(infer, rows, form, in_bytes=False):
        def build(preparer):
            prepare = PREPARERS[preparer](recipe)
            return Pipeline(prepare, infer, rows, recipe.crop, in_bytes, form, threads)

        return build

    def openvino(rows, streams, in_bytes):
        return openvino_infer(path(rows), threads, streams, recipe, in_bytes)

    made = {}
    runtime = onnxruntime_infer(path(batch), threads)
    made["onnxruntime, in turn"] = pipeline(runtime, batch, "in turn")
    made["onnxruntime, overlapped"] = pipeline(runtime, batch, "overlapped")
    made["onnxruntime, workers"] = pipeline(onnxruntime_infer(path(part), 1), part, "workers")
    runtime = openvino(batch, 1, True)
    made["OpenVINO, bytes, in turn"] = pipeline(runtime, batch, "in turn", True)
    made["OpenVINO, bytes, overlapped"] = pipeline(runtime, batch, "overlapped", True)
    made["OpenVINO, bytes, workers"] = pipeline(
        openvino(part, threads, True), part, "workers", True
    )
    made["OpenVINO, workers"] = pipeline(openvino(part, threads, False), part, "workers")
    network = torch_infer(trunk(architecture, weights), threads)
    made["PyTorch channels_last, in turn"] = pipeline(network, batch, "in turn")
    return made


def exact(architecture, weights, preprocessing, pipeline, pictures):
    """Features in float64 of what a pipeline prepares from a few pictures."""
    x = pipeline.prepared(pictures[:ROWS])
    if x.dtype == np.uint8:
        recipe = Recipe.of(preprocessing)
        x = (x * recipe.factor + recipe.shift).transpose(0, 3, 1, 2)
    features = network_peers.exact(trunk(architecture, weights), x.transpose(0, 2, 3, 1))
    return in_our_order(architecture, features)


def jpeg(picture, quality=90):
    """A picture as the bytes of a JPEG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()
