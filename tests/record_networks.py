"""Record what PyTorch computes with random weights, in float64: run by hand, with torch.

    python tests/record_networks.py [network ...]

writes ``tests/data/networks/<network>.npz``: of the points of a network, in order, the shapes, some
values and the largest, and all of the last point, mostly logits. ``tests/test_recorded.py``
compares. The networks are torchvision's, and one of ours that is built of its blocks.
"""

import sys
from collections import OrderedDict

import numpy as np
import torch
import torchvision
from recorded_networks import FOLDER, OUTPUTS, sample, small_case
from torch import nn
from torchvision.models.resnet import BasicBlock

from skdeep.features.networks import NETWORKS

OPTIONS = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


def formula():
    """The network that comes with the package."""
    channels, blocks = 32, []
    for k, filters in enumerate((48, 96, 192, 256), 1):
        stride = 1 if k == 1 else 2
        shortcut = nn.Sequential(
            nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
        )
        block = BasicBlock(channels, filters, stride, shortcut)
        blocks.append((f"layer{k}", nn.Sequential(block)))
        channels = filters
    stem = [
        ("conv1", nn.Conv2d(3, 32, 5, 2, 2, bias=False)),
        ("bn1", nn.BatchNorm2d(32)),
        ("relu", nn.ReLU()),
        ("maxpool", nn.MaxPool2d(2)),
    ]
    head = [("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten())]
    return nn.Sequential(OrderedDict([*stem, *blocks, *head]))


def torch_network(architecture, weights):
    """PyTorch's network with our weights, in float64."""
    options = OPTIONS.get(architecture.name, {})
    # RegNet computes its widths with tensors, which need values.
    with torch.device("cpu" if "regnet" in architecture.name else "meta"):
        if architecture.name == "formula":
            network = formula()
        else:
            build = getattr(torchvision.models, architecture.name)
            network = build(weights=None, num_classes=OUTPUTS, **options)
    network = network.to_empty(device="cpu").double().eval()
    if architecture.flattened:
        ((layer, (c, h, w)),) = architecture.flattened
        place = network.get_submodule(layer)
        parent = network.get_submodule(layer.rpartition(".")[0])
        parent[int(layer.rpartition(".")[2])] = torch.nn.Linear(c * h * w, place.out_features)
        network.double()
        network.avgpool = torch.nn.Identity()
    state = architecture.to_torchvision(weights)
    theirs = network.state_dict()
    wanted = {key for key in theirs if not key.endswith("num_batches_tracked")}
    if wanted != state.keys():
        raise ValueError(f"{architecture.name}: {wanted ^ state.keys()} on one side only")
    for key, array in state.items():
        theirs[key].copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return network


def record(name):
    """Values of all points of a network."""
    architecture, weights, images = small_case(name)
    network = torch_network(architecture, weights)
    points, seen = dict(architecture.points), {}
    last = list(points)[-1]  # without logits, the features themselves
    head = None
    if "logits" in points:
        head = architecture.torchvision_key(points["logits"] + ".W").partition(".")[0]

    def keep(point):
        # Not copied: activations that work in place come after the hook.
        return lambda module, inputs, output: seen.update({point: output})

    for point, layer in points.items():
        if layer in ("avgpool", "flatten") and not head:
            network.register_forward_hook(keep(point))
        elif layer in ("avgpool", "flatten"):
            network.get_submodule(head).register_forward_pre_hook(
                lambda module, inputs, point=point: seen.update({point: inputs[0]})
            )
        elif point != "logits":
            key = architecture.torchvision_key(layer + ".W").removesuffix(".weight")
            network.get_submodule(key).register_forward_hook(keep(point))
    with torch.inference_mode():
        seen[last] = network(torch.from_numpy(images.transpose(0, 3, 1, 2)).double())
    maps = []
    for point, layer in points.items():
        values = seen[point].numpy()
        if layer == "flatten":  # ours is flattened with channels last
            ((_, shape),) = architecture.flattened
            values = values.reshape(len(images), *shape).transpose(0, 2, 3, 1).reshape(2, -1)
        elif values.ndim == 4:
            values = values.transpose(0, 2, 3, 1)
        maps.append(values)
    return {
        "shapes": np.concatenate([values.shape for values in maps]).astype(np.int32),
        "largest": np.float32([np.abs(values).max() for values in maps]),
        "values": np.float32([sample(values) for values in maps]),
        "logits": np.float32(seen[last].numpy()),
        "weights": np.float32([w.reshape(-1)[-1] for w in weights.values()][:4]),
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or NETWORKS:
        path = FOLDER / f"{name}.npz"
        np.savez_compressed(path, **record(name))
        print(f"{path}: {path.stat().st_size} bytes", flush=True)
