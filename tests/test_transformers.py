"""Transformers and ConvNeXt against recordings of torchvision, timm and Hugging Face.

``record_transformers.py`` made the recordings in float64 with our random weights.
"""

import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from recorded import FOLDER, SEED, SHAPES, compute, picture, read_names, sample

from skdeep.features import ImageFeatures, Preprocessing, find_network, random_weights
from skdeep.features.networks.positions import resize_positions
from skdeep.features.networks.renaming import Renaming
from skdeep.features.networks.stated import stated_activation
from skdeep.features.networks.vision_transformers import clip
from skdeep.formats import write_weights
from skdeep.layers import TokenMap
from skdeep.layers.network import Network


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_point_is_what_the_library_gives(name):
    architecture = find_network(name)
    network = architecture.network(SHAPES[name])
    points = dict(architecture.points)
    weights = random_weights(network, SEED)
    with np.load(FOLDER / f"{name}.npz") as recorded:
        expected = dict(recorded)
    assert set(points) <= set(expected)
    wanted = sorted({points.get(point, point) for point in expected})
    got = compute(network, weights, picture(SHAPES[name]), wanted)
    for point, values in expected.items():
        ours = sample(got[points.get(point, point)])
        error = np.linalg.norm(ours - values) / np.linalg.norm(values)
        assert error < 1e-5, f"{point}: relative error {error:.2g}"
        assert np.abs(ours - values).max() < 1e-4 * np.abs(values).max(), point
        if point == "logits":
            np.testing.assert_array_equal(
                np.argsort(ours)[::-1][:10], np.argsort(values)[::-1][:10]
            )


def test_the_map_of_patches_is_only_where_its_patches_are():
    layers = find_network("vit_s_16").layers()
    assert "patches.map" in Network(layers, (32, 48, 3)).probe()
    shapes = Network(layers[3:], (7, 384)).probe()
    assert shapes["patches"] == (7, 384)
    assert "patches.map" not in shapes


@pytest.mark.parametrize(
    ("layer", "shape", "complaint"),
    [
        (TokenMap(), (6, 8), "5 tokens give no map of as many rows as columns"),
        (TokenMap(2), (6, 8), "5 tokens give no map of 2 rows"),
        (TokenMap(first=6), (6, 8), "more than 6 tokens"),
        (TokenMap(), (3, 3, 8), r"got \(n, 3, 3, 8\)"),
    ],
)
def test_tokens_that_are_no_map(layer, shape, complaint):
    with pytest.raises(ValueError, match=complaint):
        Network([("map", layer)], shape).probe()


# -- names of other libraries --------------------------------------------------------------------


def network_of(what):
    """The network that a recorded state dict is of."""
    known = {"timm vit_base_patch16_224": "vit_b_16", "OpenCLIP ViT-B-32": "clip_vit_b_32"}
    return known.get(what) or next(name for name in SHAPES if name in what)


def numbered(shapes):
    """A state dict whose arrays are full of the number of their place; it takes no memory."""
    return {
        key: np.broadcast_to(np.float32(k), shape) for k, (key, shape) in enumerate(shapes.items())
    }


# Parts of our names, and what in some library's name stands for the same.
SAME = (
    (r"(blocks\.|layer_)3\..*(norm2|ln_2)\.",
     r"[._]3\.(norm2|layernorm_after|layer_norm2|ln_2)\."),
    (r"(blocks\.|layer_)10\..*(fc1|mlp_0)\.W",
     r"[._]10\.(mlp\.fc1|intermediate\.dense|mlp\.c_fc|mlp\.linear_1)\.weight"),
    (r"(blocks\.|layer_)7\..*out_proj\.b",
     r"[._]7\.\w+\.(proj|output\.dense|o_proj|out_proj)\.bias"),
    (r"^(encoder\.ln|norm)\.gamma",
     r"^(\w+\.)?(norm|layernorm|ln|post_layernorm|ln_post)\.weight"),
    (r"ls2\.scale$", r"layer_scale2\.lambda1$"),
    (r"^features\.5\.4\.layer_scale", r"stages\.2\.(blocks|layers)\.4\.(gamma|layer_scale_p)"),
    (r"^features\.4\.1\.W", r"stages\.2\.downsamp\w+\.1\.weight"),
    (r"^features\.7\.2\.block\.3\.b", r"stages\.3\.(blocks|layers)\.2\.(mlp\.fc1|pwconv1)\.bias"),
    (r"^features\.0\.1\.beta", r"^(stem\.1|(convnext\.)?embeddings\.layernorm)\.bias"),
)  # fmt: skip


@pytest.mark.parametrize("what", sorted(read_names()))
def test_names_and_layouts_of_other_libraries(what):
    shapes = read_names()[what]
    architecture = find_network(network_of(what))
    state = numbered(shapes)
    found, weights = architecture.from_state(state)
    assert set(weights) == {p.name for p in found.network().parameters}
    headless = what.startswith(("ViTModel", "ConvNextModel", "CLIPVisionModel clip"))
    assert (found.n_outputs is None) == headless
    source = {float(array.flat[0]): key for key, array in state.items()}
    compared = 0
    for ours, theirs in SAME:
        for name in (name for name in weights if re.search(ours, name)):
            key = source[float(weights[name].flat[0])]
            assert re.search(theirs, key), (name, key)
            compared += 1
    assert compared >= 3
    assert len(np.unique([array.flat[0] for array in weights.values()])) == len(weights)


@pytest.mark.parametrize("what", [k for k in sorted(read_names()) if "ViTFor" in k or "CLIP" in k])
def test_queries_keys_and_values_are_put_together_in_this_order(what):
    state = numbered(read_names()[what])
    _, weights = find_network(network_of(what)).from_state(state)
    name = next(n for n in weights if re.search(r"\.(encoder_layer_)?3\..*in_proj\.W", n))
    thirds = np.split(weights[name], 3, axis=1)
    parts = ("q_proj|query", "k_proj|key", "v_proj|value")
    if "OpenCLIP" in what:
        parts = ("in_proj_weight",) * 3
    for third, part in zip(thirds, parts):
        (number,) = np.unique(third)
        assert re.search(rf"\.3\..*({part})", list(state)[int(number)])


def test_names_of_the_authors():
    """DINOv2's blocks in chunks and its token for masks; ConvNeXt's first names."""
    dinov2 = find_network("dinov2_vits14")
    weights = random_weights(dinov2.network())
    state = dinov2.to_torchvision(weights)
    chunked = {
        re.sub(r"^blocks\.(\d+)\.", lambda m: f"blocks.{int(m[1]) // 3}.{m[1]}.", key): array
        for key, array in state.items()
    }
    for theirs in ({**state, "mask_token": np.zeros((1, 384))}, chunked):
        _, found = dinov2.from_state(theirs)
        assert all((found[name] == weights[name]).all() for name in weights)

    convnext = find_network("convnext_tiny")
    weights = random_weights(convnext.network())

    def authors(key):
        key = re.sub(r"^features\.(\d)\.(\d+)\.", r"\1 \2 ", key)
        at, _, rest = key.partition(" ")
        if not at.isdigit():
            return key.replace("classifier.0", "norm").replace("classifier.2", "head")
        number, rest = rest.split(" ", 1)
        if int(at) % 2 == 0:
            return f"downsample_layers.{int(at) // 2}.{number}.{rest}"
        for ours, theirs in (("layer_scale", "gamma"), ("block.0", "dwconv"), ("block.2", "norm"),
                             ("block.3", "pwconv1"), ("block.5", "pwconv2")):  # fmt: skip
            rest = rest.replace(ours, theirs)
        return f"stages.{int(at) // 2}.{number}.{rest}"

    theirs = {authors(k): v for k, v in convnext.to_torchvision(weights).items()}
    assert {"downsample_layers.3.0.bias", "stages.2.8.gamma", "head.bias"} <= set(theirs)
    theirs = {k: v.reshape(-1) if k.endswith("gamma") else v for k, v in theirs.items()}
    _, found = convnext.from_state(theirs)
    assert all((found[name] == weights[name]).all() for name in weights)


def test_the_zero_bias_of_timms_projection():
    clip = find_network("clip_vit_b_32")
    state = numbered({k: v.shape for k, v in clip.to_torchvision(empty(clip)).items()})
    clip.from_state({**state, "head.bias": np.zeros(512)})
    with pytest.raises(ValueError, match=r"no use for 'head\.bias'"):
        clip.from_state({**state, "head.bias": np.ones(512)})


def empty(architecture):
    """Weights that take no memory."""
    network = architecture.network()
    return {p.name: np.broadcast_to(np.float32(0), p.shape) for p in network.parameters}


def test_what_belongs_to_another_network_is_refused():
    names = read_names()
    vit = numbered(names["ViTForImageClassification vit_b_16"])
    for name in ("vit_s_16", "dinov2_vitb14", "clip_vit_b_32", "convnext_tiny"):
        with pytest.raises(ValueError, match=name):
            find_network(name).from_state(vit)
    one_less = {k: v for k, v in vit.items() if ".5.attention.k_proj.w" not in k}
    with pytest.raises(ValueError, match=r"needs 'encoder\.layers\.encoder_layer_5\.self_att"):
        find_network("vit_b_16").from_state(one_less)


def test_a_renaming_that_is_not_asked_is_none():
    assert Renaming("^a", ("^a", "b"))({"c": 1}) is None
    parts = {"a.w#1": np.ones((1, 2)), "a.w#0": np.zeros((1, 2)), "a.w#2": np.ones((2, 2))}
    made = Renaming("^a", ("^a", "b"))(parts)
    np.testing.assert_array_equal(made["b.w"], [[0, 0], [1, 1], [1, 1], [1, 1]])


# -- what is said beside a file ------------------------------------------------------------------

QUICK, EXACT = "quick_gelu", "gelu"
LAION, OPENAI = {"tag": "laion2b_e16"}, {"tag": "openai"}
STATED = [
    ("config.json", {"model_type": "clip", "vision_config": {"hidden_act": EXACT}}, EXACT),
    ("config.json", {"model_type": "clip", "vision_config": {"hidden_act": QUICK}}, QUICK),
    ("config.json", {"model_type": "clip"}, QUICK),
    ("config.json", {"model_type": "clip_vision_model", "hidden_act": EXACT}, EXACT),
    ("config.json", {"model_type": "bert", "hidden_act": EXACT}, None),
    ("config.json", {"architecture": "vit_base_patch32_clip_224", "pretrained_cfg": LAION}, EXACT),
    ("config.json", {"architecture": "vit_base_patch32_clip_224", "pretrained_cfg": OPENAI}, None),
    ("config.json", {"architecture": "vit_base_patch32_clip_quickgelu_224"}, QUICK),
    ("config.json", {"architecture": "resnet50"}, None),
    ("config.json", {"model_type": "clip", "vision_config": 3}, None),
    ("config.json", [1, 2], None),
    ("open_clip_config.json", {"model_cfg": {"embed_dim": 512}}, EXACT),
    ("open_clip_config.json", {"model_cfg": {"quick_gelu": True}}, QUICK),
    ("open_clip_config.json", {}, None),
    ("other.json", {"model_type": "clip", "vision_config": {"hidden_act": EXACT}}, None),
]


@pytest.mark.parametrize(("name", "config", "activation"), STATED)
def test_activations_that_are_said_beside_a_file(tmp_path, name, config, activation):
    (tmp_path / name).write_text(json.dumps(config))
    assert stated_activation(tmp_path / "model.safetensors") == activation


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_says_nothing_beside_a_file(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    assert stated_activation(tmp_path / "model.safetensors") is None


@pytest.fixture
def small_clip(tmp_path):
    """CLIP's encoder, but narrow, with a file of its weights."""
    made = replace(
        find_network("clip_vit_b_32"), layers=partial(clip, 32, 16, 2), input_shape=(64, 64, 3)
    )
    state = made.to_torchvision(random_weights(made.network()))
    write_weights(tmp_path / "net.npz", {k: np.ascontiguousarray(v) for k, v in state.items()})
    return made, tmp_path / "net.npz"


def test_clip_runs_as_its_configuration_says(small_clip, tmp_path):
    architecture, path = small_clip
    exact = architecture.with_activation(EXACT)
    pictures = np.random.RandomState(0).randint(0, 256, (2, 64, 64, 3), np.uint8)

    def features(model):
        recipe = Preprocessing(64, 64)
        transformer = ImageFeatures(
            model, weights=path, preprocessing=recipe, cache=tmp_path / "cache"
        )
        return transformer.transform(pictures)

    quick, right = features(architecture), features(exact)
    assert not np.array_equal(quick, right)
    np.testing.assert_allclose(quick, right, atol=0.1 * np.abs(right).max())
    said = {"model_type": "clip", "vision_config": {"hidden_act": EXACT}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    assert np.array_equal(features(architecture), right)
    said["vision_config"]["hidden_act"] = QUICK
    (tmp_path / "config.json").write_text(json.dumps(said))
    assert np.array_equal(features(architecture), quick)
    assert np.array_equal(features(exact), right)  # the user knows better
    said["vision_config"]["hidden_act"] = "relu"
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=r"beside .*net\.npz .* \('quick_gelu', 'gelu'\), and not"):
        features(architecture)
    (tmp_path / "config.json").unlink()
    assert np.array_equal(features(architecture), quick)


def test_activations_of_networks():
    exact = find_network("clip_vit_b_32").with_activation(EXACT)
    assert exact is find_network("clip_vit_b_32").with_activation(EXACT)
    for architecture, activation in ((find_network("clip_vit_b_32"), QUICK), (exact, EXACT)):
        blocks = dict(architecture.layers())["blocks"].layers
        feed = dict(blocks[0][1].layers)["feed"]
        assert dict(dict(feed.layers)["mlp"].layers)["fc1"].activation == activation
    assert exact.with_outputs(7).n_outputs == 7
    with pytest.raises(
        ValueError, match="vit_b_16 has one activation alone, and not activation='ge"
    ):
        find_network("vit_b_16").with_activation(EXACT)


# -- position embeddings -------------------------------------------------------------------------


def test_positions_are_resized_as_torch_does():
    with np.load(FOLDER / "positions.npz") as recorded:
        recorded = dict(recorded)
    positions = recorded.pop("positions")
    assert len(recorded) == 6
    for case, expected in recorded.items():
        rows, columns, offset = (float(v) for v in re.split(r"[x+]", case))
        resized = resize_positions(positions, int(rows), int(columns), offset)
        np.testing.assert_array_equal(resized[:, :1], positions[:, :1])
        np.testing.assert_allclose(resized[:, 1:], expected, atol=1e-6, err_msg=case)


def naive_positions(grid, rows, columns, offset):
    """Sixteen neighbours of every place, in loops."""
    side = len(grid)

    def cubic(d, a=-0.75):
        d = abs(d)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0

    made = np.zeros((rows, columns, grid.shape[2]))
    for i in range(rows):
        for j in range(columns):
            y = (i + 0.5) * side / (rows + offset) - 0.5
            x = (j + 0.5) * side / (columns + offset) - 0.5
            for p in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
                for q in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                    pixel = grid[min(max(p, 0), side - 1), min(max(q, 0), side - 1)]
                    made[i, j] += cubic(y - p) * cubic(x - q) * pixel
    return made


def test_weights_for_pictures_of_another_size():
    """DINOv2's file of 518 px for 28 x 42: the positions of 37 x 37 patches for 2 x 3."""
    dinov2 = find_network("dinov2_vits14")
    state = dinov2.to_torchvision(random_weights(dinov2.network()))
    positions = np.random.default_rng(0).standard_normal((1, 1370, 384), np.float32)
    state["pos_embed"] = positions
    _, weights = dinov2.from_state(state, (28, 42, 3))
    grid = naive_positions(positions[0, 1:].reshape(37, 37, 384), 2, 3, 0.1)
    got = weights["tokens.position"]
    np.testing.assert_array_equal(got[:, 0], positions[:, 0])
    np.testing.assert_allclose(got[0, 1:].reshape(2, 3, 384), grid, atol=1e-5)
    whole = dinov2.from_torchvision(state)["tokens.position"]
    assert whole.shape == (1, 257, 384)
    np.testing.assert_array_equal(
        dinov2.from_torchvision(state, (518, 518, 3))["tokens.position"], positions
    )


@pytest.mark.parametrize("count", [1, 7, 1369])
def test_positions_that_are_no_square(count):
    dinov2 = find_network("dinov2_vits14")
    state = dinov2.to_torchvision(empty(dinov2))
    state["pos_embed"] = np.zeros((1, count, 384), np.float32)
    with pytest.raises(ValueError, match=r"dinov2_vits14: 'pos_embed' of shape \(1, \d+, 384\) is"):
        dinov2.from_torchvision(state)
