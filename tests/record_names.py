"""Record what timm and Hugging Face call the weights of convolutional networks: run by hand.

    python tests/record_names.py

needs torch, timm and transformers. Each network gets random weights, is translated, and must give
what its library gives in float64. Then its names and shapes go to ``tests/data/names.npz``, with a
digest of the translation, which ``tests/test_states.py`` compares.
"""

import json
from dataclasses import replace

import numpy as np
import timm
import torch
from recorded_networks import FOLDER
from test_recorded import predicted
from test_states import translation_digest
from transformers import (
    RegNetConfig,
    RegNetForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
)

from skdeep.features import find_network

TIMM = {
    "efficientnet_b1": "efficientnet_b1",
    "mnasnet_050": "mnasnet0_5",
    "mobilenetv2_100": "mobilenet_v2",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "mobilenetv3_small_100": "mobilenet_v3_small",
    "regnety_004": "regnet_y_400mf",
    "vgg11_bn": "vgg11_bn",
}
SMALL_RESNET = ResNetConfig(
    layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512]
)
SMALL_REGNET = RegNetConfig(
    depths=[1, 3, 6, 6], hidden_sizes=[48, 104, 208, 440], groups_width=8
)  # fmt: skip
HUGGING_FACE = {
    "ResNet-18": ("resnet18", ResNetForImageClassification, SMALL_RESNET),
    "ResNet-50": ("resnet50", ResNetForImageClassification, ResNetConfig()),
    "RegNet Y 400MF": ("regnet_y_400mf", RegNetForImageClassification, SMALL_REGNET),
}


def randomise(network):
    """Random weights whose signals neither grow nor fade; small variances, to see epsilons."""
    rng = np.random.default_rng(0)
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("running_var"):
            values = rng.uniform(1e-4, 1e-2, shape)
        elif len(shape) > 1:
            values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("weight"):
            values = rng.uniform(0.02, 0.06, shape)
        else:
            values = rng.standard_normal(shape) * 0.2
        tensor.copy_(torch.from_numpy(np.asarray(values)))


def names_of(network, ours):
    """Names, shapes and the digest, once the translated network gives the same."""
    randomise(network)
    state = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    architecture, weights = find_network(ours).from_state(state)
    if not architecture.flattened:
        architecture = replace(architecture, input_shape=(96, 96, 3))
    images = np.random.default_rng(1).standard_normal((1, *architecture.input_shape), np.float32)
    with torch.inference_mode():
        expected = network.double()(torch.from_numpy(images.transpose(0, 3, 1, 2)).double())
    expected = getattr(expected, "logits", expected).numpy()
    logits = predicted(architecture, weights, images)["logits"]
    error = np.abs(logits - expected).max() / np.abs(expected).max()
    print(f"{ours}: off by {error:.2g}")
    if not error < 1e-4:
        raise ValueError(f"{ours} gives something else than its library")
    shapes = {key: array.shape for key, array in state.items() if "num_batches" not in key}
    return [json.dumps([ours, translation_digest(ours, shapes)]), *map(json.dumps, shapes.items())]


if __name__ == "__main__":
    recorded = {}
    for theirs, ours in TIMM.items():
        recorded[f"timm {theirs}"] = names_of(timm.create_model(theirs).eval(), ours)
    for theirs, (ours, build, config) in HUGGING_FACE.items():
        config.num_labels = 1000
        recorded[f"Hugging Face {theirs}"] = names_of(build(config).eval(), ours)
    np.savez_compressed(FOLDER.parent / "names.npz", **recorded)
