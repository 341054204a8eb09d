"""How the weights of the network "formula" came about: trained on generated pictures alone.

    python docs/formula/train.py FOLDER

goes on from the last checkpoint in FOLDER, if there is one, and writes ``formula.safetensors`` and
``log.csv`` there when it is done. Each step makes new pictures, takes two views of each (cropped,
turned, recoloured, softened) and pulls the features of both together and those of other pictures
apart. A second part goes on with a new learning rate, and changes colours less. With the same seed
and the same number of steps a training that was stopped gives the same weights as one that was not.
"""

import argparse
import csv
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numba import njit
from sklearn.utils import check_random_state

from skdeep import __version__, ops
from skdeep.datasets import PictureGenerator
from skdeep.features import find_network
from skdeep.formats import write_weights
from skdeep.kernels.cpu import CPU
from skdeep.layers import BatchNorm, Dense
from skdeep.layers.network import Network
from skdeep.training import AdamW, CosineDecay, Warmup
from skdeep.training.data import Data
from skdeep.training.trainer import Trainer

ALL = ("dead_leaves", "noise", "fractals", "contours", "strokes", "glyphs")
# Kinds of the pictures of a step; steps take turns. Where all are of one kind, colours and textures
# tell less, and the network must look at shapes. Mixes of two come where there are several kinds.
TURNS = (ALL, "glyphs", ALL, "contours", ALL, "glyphs", ALL, "strokes")


@dataclass(frozen=True)
class Recipe:
    """All that the weights depend on."""

    seed: int = 0
    steps: tuple = (6500, 4000)  # of each part
    pictures: int = 256  # of a step
    canvas: int = 96  # pixels of a side of a picture, before it is cropped
    size: int = 64  # of a view
    temperature: float = 0.1
    learning_rate: tuple = (3e-3, 2e-3)  # at the begin of each part
    colours: tuple = (1.0, 0.35)  # how far those of mixed kinds change, in each part
    warmup: int = 200  # steps
    weight_decay: float = 1e-2
    features: int = 128  # after the head

    def as_json(self):
        """The recipe as text."""
        return json.dumps(asdict(self))


# ---- views ---------------------------------------------------------------------------------------


@njit(nogil=True, fastmath=True, error_model="numpy")
def sample(pictures, factor, places, moves, colours, out):
    """Views ``places`` of ``out``: each a linear map of a picture's plane and of its colours.

    Squares of ``factor`` x ``factor`` pixels are averaged first.
    """
    side, one = pictures.shape[1] // factor, np.float32(1)
    last, share = np.float32(side - 1.001), np.float32(1 / factor**2)
    mixed = np.empty((side, side, 3), np.float32)
    for view in places:
        picture, m, g = pictures[view // 2], moves[view], colours[view]
        for i in range(side):
            for j in range(side):
                r = s = t = np.float32(0)
                for y in range(i * factor, i * factor + factor):
                    for x in range(j * factor, j * factor + factor):
                        r += picture[y, x, 0]
                        s += picture[y, x, 1]
                        t += picture[y, x, 2]
                r, s, t = r * share, s * share, t * share
                for k in range(3):
                    v = g[k, 0] * r + g[k, 1] * s + g[k, 2] * t + g[k, 3]
                    mixed[i, j, k] = min(max(v, np.float32(-2)), np.float32(2))
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                y = min(max(m[0, 0] * i + m[0, 1] * j + m[0, 2], np.float32(0)), last)
                x = min(max(m[1, 0] * i + m[1, 1] * j + m[1, 2], np.float32(0)), last)
                p, q = int(y), int(x)
                y, x = y - np.float32(p), x - np.float32(q)
                for k in range(3):
                    top = (one - x) * mixed[p, q, k] + x * mixed[p, q + 1, k]
                    low = (one - x) * mixed[p + 1, q, k] + x * mixed[p + 1, q + 1, k]
                    out[view, i, j, k] = (one - y) * top + y * low


def maps(rng, n, canvas, size):
    """Where pixel (i, j) of each view lies in its picture: (n, 2, 3)."""
    area = np.exp(rng.uniform(np.log(0.25), 0, n))
    aspect = np.exp(rng.uniform(-0.3, 0.3, n))
    height = canvas * np.minimum(1, np.sqrt(area * aspect))
    width = canvas * np.minimum(1, np.sqrt(area / aspect))
    centre = [s / 2 + rng.uniform(0, 1, n) * (canvas - s) - 0.5 for s in (height, width)]
    angle, shear = rng.uniform(-0.3, 0.3, n), rng.uniform(-0.2, 0.2, n)
    cos, sin = np.cos(angle), np.sin(angle)
    h, w = height / size, width / size
    turn = np.array([[cos * h, (cos * shear - sin) * w], [sin * h, (sin * shear + cos) * w]])
    found = np.empty((n, 2, 3), np.float32)
    for k in range(2):
        found[:, k, :2] = turn[k].T
        found[:, k, 2] = centre[k] - (turn[k, 0] + turn[k, 1]) * (size - 1) / 2
    return found


UNCHANGED = np.hstack([np.eye(3) * 4 / 255, np.full((3, 1), -2)]).astype(np.float32)


def recolouring(rng, means, strength=1.0):
    """Linear maps from levels 0 .. 255 to what the network takes: (n, 3, 4).

    Some raise the contrast about the mean of the picture, ``means`` (n, 3), until nothing but a
    silhouette is left. With a smaller ``strength`` there are fewer of them, and the others change
    colours less.
    """
    n = len(means)
    grey = np.array([0.299, 0.587, 0.114])
    stark = rng.random(n) < 0.15 * strength
    saturation = np.where(stark | (rng.random(n) < 0.25 * strength), 0, rng.uniform(0.3, 1.7, n))
    turn = rng.uniform(-0.2, 0.2, n) * np.pi
    contrast = np.exp(rng.uniform(-0.7, 0.5, n)) * np.where(rng.random(n) < 0.2 * strength, -1, 1)
    contrast[stark] *= 8
    shift = rng.uniform(-0.25, 0.25, n)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    about = np.cos(turn)[:, None, None] * np.eye(3) + np.sin(turn)[:, None, None] * cross
    about += (1 - np.cos(turn))[:, None, None] / 3  # a rotation about the axis of greys
    mixing = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * grey
    linear = contrast[:, None, None] * (mixing @ about)
    found = np.empty((n, 3, 4), np.float32)
    found[:, :, :3] = linear * 4 / 255
    middle = np.where(stark[:, None], means / 255, 0.5)
    found[:, :, 3] = 4 * (shift[:, None] - (linear * middle[:, None, :]).sum(2))
    share = np.where(stark, 1, strength).astype(np.float32)[:, None, None]
    return share * found + (1 - share) * UNCHANGED


def write_views(pictures, rng, out, pool, strength=1.0):
    """Two views of each picture, 2 i and 2 i + 1, to ``out`` (2 n, size, size, 3)."""
    n, canvas, size = len(out), pictures.shape[1], out.shape[1]
    means = pictures[:, ::4, ::4].mean((1, 2)).repeat(2, 0)
    moves, colours = maps(rng, n, canvas, size), recolouring(rng, means, strength)
    factors = rng.choice([1, 2, 4], n, p=[0.7, 0.15, 0.15])
    jobs = []
    for factor in (1, 2, 4):
        places = np.flatnonzero(factors == factor)
        moves[places] /= factor
        moves[places, :, 2] -= (factor - 1) / (2 * factor)
        jobs += [(factor, part) for part in np.array_split(places, 2)]
    list(pool.map(lambda job: sample(pictures, *job, moves, colours, out), jobs))


# ---- training ------------------------------------------------------------------------------------


def contrast(temperature):
    """InfoNCE over a batch whose first half are one view of each picture, the second the other."""

    def objective(y, output):
        n = output.shape[0] // 2
        length = ops.sqrt(ops.sum(ops.square(output), axis=1, keepdims=True) + 1e-8)
        unit = output / length
        one, other = ops.slice_axis(unit, 0, 0, n), ops.slice_axis(unit, 0, n, 2 * n)
        likeness = ops.matmul(one, ops.transpose(other, (1, 0))) * (1 / temperature)
        own = ops.slice_axis(y, 0, 0, n)
        there = ops.softmax_log_loss(likeness, own)
        back = ops.softmax_log_loss(ops.transpose(likeness, (1, 0)), own)
        return ops.concatenate([there, back], axis=0)

    return objective


class Training:
    """A network in training, whose state can be kept and taken up again."""

    def __init__(self, recipe, n_threads):
        self.recipe, self.n_threads, self.log = recipe, n_threads, []
        head = [Dense(256, use_bias=False), BatchNorm("relu"), Dense(recipe.features), BatchNorm()]
        shape = (recipe.size, recipe.size, 3)
        network = Network([*find_network("formula").layers(), *head], shape)
        network.probe()
        n = recipe.pictures
        self.views = np.zeros((2 * n, *shape), np.float32)
        numbers = np.repeat(np.arange(n, dtype=np.int32), 2)  # of the pictures
        self.optimizers = [
            AdamW(Warmup(CosineDecay(rate), recipe.warmup), weight_decay=recipe.weight_decay)
            for rate in recipe.learning_rate
        ]
        self.trainer = Trainer(
            network,
            contrast(recipe.temperature),
            Data(self.views, shape, numbers),
            network.initialize(check_random_state(recipe.seed)),
            CPU(),
            self.optimizers[0],
        )
        # The first views of all pictures, then the second ones.
        self.order = np.arange(2 * n, dtype=np.int32).reshape(n, 2).T.reshape(1, -1).copy()
        self.generators = {
            kinds: PictureGenerator(
                recipe.canvas,
                kinds,
                mix=0.5 if kinds == ALL else 0,
                random_state=recipe.seed,
                n_threads=n_threads,
            )
            for kinds in set(TURNS)
        }
        self.pool = ThreadPoolExecutor(n_threads)

    def step(self):
        """One step on new pictures; returns its loss."""
        recipe, k = self.recipe, self.trainer.steps_done
        part = int(np.searchsorted(np.cumsum(recipe.steps), k, side="right"))
        kinds = TURNS[k % len(TURNS)]
        pictures = self.generators[kinds].batch(k * recipe.pictures, recipe.pictures)
        rng, strength = np.random.default_rng([recipe.seed, k]), 1.0
        if kinds == ALL:
            strength = recipe.colours[part]
        write_views(pictures, rng, self.views, self.pool, strength)
        epoch, epochs = k - sum(recipe.steps[:part]), recipe.steps[part]
        values = self.optimizers[part].registers(k, 1, epoch, epochs)
        losses = self.trainer.run(self.order, values, self.n_threads)
        if not np.isfinite(losses[0]):
            raise ValueError(f"the loss became {losses[0]} in step {k}")
        return float(losses[0])

    def save(self, path):
        """Write all that is needed to go on; the file is whole or the old one."""
        state = self.trainer.state()
        arrays = {**self.trainer.vectors()}
        arrays.update({f"slot{k}": v for k, v in enumerate(state["slots"])})
        part = path.with_suffix(".part.npz")
        about = {"recipe": self.recipe.as_json(), "steps": state["steps_done"], "log": self.log}
        np.savez(part, about=json.dumps(about), **arrays)
        os.replace(part, path)

    def restore(self, path):
        """Go on where :meth:`save` was called."""
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            if about["recipe"] != self.recipe.as_json():
                raise ValueError(f"{path} belongs to another recipe: {about['recipe']}")
            slots = [file[f"slot{k}"] for k in range(self.trainer.slots)]
            self.trainer.restore({"slots": slots, "steps_done": about["steps"]})
            for role in ("parameter", "state"):
                self.trainer.device.write(self.trainer.memories[role], file[role])
        self.log = about["log"]

    def weights(self):
        """The network without its head as a state dict, float16."""
        views = self.trainer.network.views(self.trainer.vectors())
        formula = find_network("formula")
        known = {s.name for s in formula.network().parameters}
        state = formula.to_torchvision({k: v for k, v in views.items() if k in known})
        return {name: v.astype(np.float16) for name, v in state.items()}


def fingerprint(generator):
    """SHA-256 of its first 64 pictures."""
    return hashlib.sha256(generator.batch(0, 64).tobytes()).hexdigest()


def train(folder, recipe, n_threads=2, every=50, most=None):
    """Train to the end of a recipe, or ``most`` steps; returns the training."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "checkpoint.npz"
    training = Training(recipe, n_threads)
    if kept.exists():
        training.restore(kept)
    first = done = training.trainer.steps_done
    begin, losses = time.perf_counter(), []
    before = training.log[-1]["seconds"] if training.log else 0.0
    end = sum(recipe.steps) if most is None else min(sum(recipe.steps), first + most)
    while done < end:
        losses.append(training.step())
        done += 1
        if done % every == 0 or done == end:
            seconds = before + time.perf_counter() - begin
            training.log.append(
                {"step": done, "loss": round(float(np.mean(losses)), 4), "seconds": round(seconds)}
            )
            losses = []
            print(*(f"{k} {v}" for k, v in training.log[-1].items()), flush=True)
            training.save(kept)
    return training


def ship(training, folder):
    """Write the weights with what there is to know about them, and the log."""
    pictures = fingerprint(training.generators[ALL])
    metadata = {
        "network": "formula",
        "recipe": training.recipe.as_json(),
        "pictures": f"skdeep.datasets.PictureGenerator, first 64: SHA-256 {pictures}",
        "skdeep": __version__,
        "format": "skdeep",
    }
    path = folder / "formula.safetensors"
    write_weights(path, training.weights(), metadata)
    with open(folder / "log.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(training.log[0]))
        writer.writeheader()
        writer.writerows(training.log)
    print(f"{path}: {path.stat().st_size} bytes")
    print("SHA-256", hashlib.sha256(path.read_bytes()).hexdigest())


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, nargs=2, default=Recipe.steps, help="of each part")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    recipe = Recipe(steps=tuple(options.steps))
    ship(train(options.folder, recipe, options.threads), options.folder)


if __name__ == "__main__":
    main()
