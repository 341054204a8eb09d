"""State dicts as people have them: prefixes, other heads, other libraries' names, wrong files."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from skdeep.features import find_network, random_weights
from skdeep.features.networks.namings import DENSENET_2017, TIMM_MOBILENET_V3
from skdeep.features.networks.states import refuse_name, without_prefixes


@pytest.fixture(scope="module")
def squeezenet():
    """An architecture, weights, and the state dict of them."""
    architecture = find_network("squeezenet1_1")
    weights = random_weights(architecture.network())
    return architecture, weights, architecture.to_torchvision(weights)


def assert_same(found, weights):
    assert list(found) == list(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "state_dict.module."])
def test_prefixes(squeezenet, prefix):
    architecture, weights, state = squeezenet
    found, translated = architecture.from_state({prefix + k: v for k, v in state.items()})
    assert found is architecture
    assert_same(translated, weights)


def test_prefixes_that_cannot_go():
    state = {"module.a": 1, "a": 2, "model.b": 3}
    assert without_prefixes(state) == {"module.a": 1, "a": 2, "b": 3}


def test_a_head_with_other_outputs(squeezenet):
    architecture, _, state = squeezenet
    tuned = {k: v[:10] if k.startswith("classifier") else v for k, v in state.items()}
    found, weights = architecture.from_state(tuned)
    assert found.n_outputs == 10
    network = found.network((64, 64, 3))
    assert network.probe()["classifier.3"] == (10,)
    network.gather(weights)
    assert found.points == architecture.points
    assert list(pickle.loads(pickle.dumps(found)).network().parameters.by_name) == list(weights)


@pytest.mark.parametrize("extra", [{}, {"classifier.7.weight": np.zeros((3, 512))}])
def test_without_a_head_and_with_one_of_their_own(squeezenet, extra):
    architecture, weights, state = squeezenet
    body = {k: v for k, v in state.items() if not k.startswith("classifier.")}
    found, translated = architecture.from_state({**body, **extra})
    assert found.n_outputs is None
    assert [point for point, _ in found.points] == [
        "stem", "stage1", "stage2", "stage3", "pool", "penultimate"
    ]  # fmt: skip
    assert_same(translated, {k: v for k, v in weights.items() if not k.startswith("classifier.")})
    network = found.network((64, 64, 3))
    assert list(network.probe())[-1] == "classifier"
    assert network.probe()["classifier"] == network.probe()["features.12"]
    assert pickle.loads(pickle.dumps(found)).points == found.points


def test_the_convolutions_of_alexnet_alone():
    architecture = find_network("alexnet")
    weights = random_weights(architecture.network())
    state = architecture.to_torchvision(weights)
    found, translated = architecture.from_state(
        {k: v for k, v in state.items() if k.startswith("features.")}
    )
    assert found.points[-1] == ("pool", "flatten")
    assert set(translated) == {k for k in weights if k.startswith("features.")}
    found, _ = architecture.from_state({k: v for k, v in state.items() if "classifier.6" not in k})
    assert found.points[-1] == ("penultimate", "classifier.4")
    with pytest.raises(ValueError, match=r"needs 'classifier\.4\.weight'.* 14 of 16 weights"):
        architecture.from_state({k: v for k, v in state.items() if "classifier.4" not in k})


def test_what_is_not_needed(squeezenet):
    architecture, weights, state = squeezenet
    more = {f"{k}.num_batches_tracked": np.array(3) for k in ("features.0", "aux1.bn")}
    assert_same(architecture.from_state({**state, **more, "aux2.fc.bias": np.ones(3)})[1], weights)


def test_wrong_files(squeezenet):
    architecture, _, state = squeezenet
    with pytest.raises(ValueError, match=r"no use for 'features\.3\.se\.weight' .* 52 of its 52"):
        architecture.from_state({**state, "features.3.se.weight": np.zeros(3)})
    with pytest.raises(ValueError, match=r"needs 'features\.0\.weight'.* 50 of 52 weights"):
        architecture.from_state({k: v for k, v in state.items() if "features.0." not in k})
    with pytest.raises(ValueError, match=r"needs 'features\.0\.weight'.* 0 of 52 weights"):
        architecture.from_state({})
    with pytest.raises(ValueError, match=r"'features\.0\.weight' has shape \(64, 3, 5, 5\)"):
        architecture.from_state({**state, "features.0.weight": np.zeros((64, 3, 5, 5))})
    with pytest.raises(ValueError, match=r"vgg16 .* '.*' of the state|vgg16 needs"):
        find_network("vgg16").from_state(state)


def test_a_layer_that_is_not_there(squeezenet):
    with pytest.raises(ValueError, match=r"there is no layer 'fc'; there are \['features'"):
        squeezenet[0].before("fc")


def test_models_that_look_alike():
    for name in ("tf_efficientnet_b0.in1k", "timm/tf_mobilenetv3", "x/resnetblur50.bt_in1k"):
        with pytest.raises(ValueError, match=name):
            refuse_name(name)
    for name in ("timm/efficientnet_b0.ra_in1k", "resnet50", "/data/softf_x/vgg16.pth"):
        refuse_name(name)


def test_names_of_old_densenets():
    state = {
        "features.denseblock1.denselayer2.norm.1.weight": 1,
        "features.denseblock1.denselayer2.conv.2.weight": 2,
        "features.norm0.bias": 3,
    }
    assert DENSENET_2017(state) == {
        "features.denseblock1.denselayer2.norm1.weight": 1,
        "features.denseblock1.denselayer2.conv2.weight": 2,
        "features.norm0.bias": 3,
    }
    assert DENSENET_2017({"features.norm0.bias": 3}) is None


# -- names of timm and Hugging Face, recorded by record_names.py ---------------------------------


def translation_digest(ours, shapes):
    """Which of their arrays becomes which weight, as a short text."""
    numbers = {float(k): key for k, key in enumerate(shapes)}
    state = {
        key: np.broadcast_to(np.float32(k), tuple(shape))
        for k, (key, shape) in enumerate(shapes.items())
    }
    _, weights = find_network(ours).from_state(state)
    # Epsilons go into the variances: rounding takes them off again.
    pairs = [(name, numbers[float(np.rint(w.reshape(-1)[0]))]) for name, w in weights.items()]
    assert len({theirs for _, theirs in pairs}) == len(pairs) == len(shapes)
    return hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()[:16]


with np.load(Path(__file__).parent / "data" / "names.npz") as file:
    NAMES = {what: [json.loads(line) for line in file[what]] for what in file}


@pytest.mark.parametrize("what", sorted(NAMES))
def test_names_of_other_libraries(what):
    (ours, digest), *shapes = NAMES[what]
    shapes = dict(shapes)
    assert translation_digest(ours, shapes) == digest
    # Without a head, and what is left over where a layer of another kind of block is added.
    body = {k: s for k, s in shapes.items() if not k.startswith(("classifier", "head", "fc."))}
    state = {key: np.broadcast_to(np.float32(0), tuple(s)) for key, s in body.items()}
    found, _ = find_network(ours).from_state(state)
    assert found.n_outputs is None and found.points[-1][0] == "penultimate"
    with pytest.raises(ValueError, match="another network's file"):
        find_network(ours).from_state({**state, "blocks.0.0.attention.weight": np.zeros(3)})


def test_epsilon_goes_into_the_variance():
    """timm adds 1e-5 to the variances of MobileNet V3, torchvision and its networks here 1e-3."""
    state = {
        "conv_stem.weight": np.zeros((16, 3, 3, 3)),
        "bn1.running_var": np.float32([0.5, 1e-6]),
        "bn1.running_mean": np.float32([0.5, 1e-6]),
    }
    renamed = TIMM_MOBILENET_V3(state)
    np.testing.assert_allclose(renamed["features.0.1.running_var"] + 1e-3, [0.50001, 1.1e-5], 1e-4)
    assert renamed["features.0.1.running_mean"] is state["bn1.running_mean"]
