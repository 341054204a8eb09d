"""Record what torchvision's, timm's and Hugging Face's networks give, for ``test_transformers.py``.

Needs torch, torchvision, timm and transformers; run as ``python tests/record_transformers.py``.
Weights are our random ones, translated; everything is computed in float64. Names and shapes of the
libraries' state dicts are recorded, too, after their networks have agreed with ours.
"""

import re

import numpy as np
import timm
import torch
import torchvision
import transformers
from recorded import FOLDER, SEED, SHAPES, compute, picture, sample, write_names

from skdeep.features import find_network, random_weights
from skdeep.features.networks.positions import resize_positions

TIMM = {
    "clip_vit_b_32": ("vit_base_patch32_clip_quickgelu_224", {"num_classes": 512}),
    "dinov2_vitb14": ("vit_base_patch14_dinov2", {"num_classes": 0}),
    "dinov2_vits14": ("vit_small_patch14_dinov2", {"num_classes": 0}),
    "vit_s_16": ("vit_small_patch16_224", {}),
}
# Modules of torch whose outputs are our points.
MODULES = {
    "convnext": {
        "stem": "features.0", "stage1": "features.1", "stage2": "features.3",
        "stage3": "features.5", "stage4": "features.7", "pool": "avgpool",
        "penultimate": "classifier.0", "logits": "classifier.2",
    },
    "vit_b": {f"stage{k}": f"encoder.layers.encoder_layer_{3 * k - 1}" for k in range(1, 5)}
    | {"stem": "encoder.dropout", "norm": "encoder.ln", "logits": "heads.head"},
    "timm": {f"stage{k}": f"blocks.{3 * k - 1}" for k in range(1, 5)}
    | {"stem": "norm_pre", "norm": "norm", "logits": "head"},
}  # fmt: skip
# What files of transformers before 5.0 call what its modules are called now.
OLD_NAMES = (
    (r"^(vit\.)?layers\.", r"\1encoder.layer."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
)
OLD_MLP = ((r"\.mlp\.fc1\.", ".intermediate.dense."), (r"\.mlp\.fc2\.", ".output.dense."))


def torch_network(architecture, shape):
    """The network of the library whose names are ours."""
    name = architecture.name
    if name in TIMM:
        theirs, options = TIMM[name]
        return timm.create_model(theirs, img_size=shape[:2], **options)
    options = {"image_size": shape[0]} if name.startswith("vit") else {}
    return getattr(torchvision.models, name)(weights=None, **options)


def seen(model, modules, images):
    """Outputs of modules, channels last."""
    outputs = {}

    def keep(name):
        return lambda module, inputs, output: outputs.update({name: output.numpy()})

    for name, path in modules.items():
        module = model.get_submodule(path)
        module.register_forward_hook(keep(name))
    x = torch.from_numpy(images.transpose(0, 3, 1, 2)).double()
    with torch.inference_mode():
        model.double().eval()(x)
    return {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in outputs.items()}


def record(name):
    """Record one network."""
    architecture, shape = find_network(name), SHAPES[name]
    weights = random_weights(architecture.network(shape), SEED)
    model = torch_network(architecture, shape)
    state = {
        k: torch.from_numpy(np.ascontiguousarray(v))
        for k, v in architecture.to_torchvision(weights).items()
    }
    missing, unknown = model.load_state_dict(state, strict=False)
    assert not unknown and set(missing) <= {"head.bias"}, (missing, unknown)
    if missing:
        torch.nn.init.zeros_(model.head.bias)
    kind = "timm" if name in TIMM else "vit_b" if name == "vit_b_16" else "convnext"
    outputs = seen(model, MODULES[kind], picture(shape))
    if "norm" in outputs:
        tokens = outputs.pop("norm")
        outputs["pool"] = outputs["penultimate"] = tokens[:, 0]
        rows = shape[0] // int(model.patch_embed.patch_size[0] if kind == "timm" else 16)
        outputs["patches.map"] = tokens[:, 1:].reshape(1, rows, -1, tokens.shape[2])
    points = dict(architecture.points) | {"patches.map": "patches.map"}
    outputs = {k: v for k, v in outputs.items() if k in points}
    assert set(dict(architecture.points)) <= set(outputs)
    ours = compute(
        architecture.network(shape), weights, picture(shape), [points[k] for k in outputs]
    )
    for point, values in outputs.items():
        got = ours[points[point]]
        error = np.linalg.norm(got.ravel() - values.ravel()) / np.linalg.norm(values)
        print(f"{name} {point} {values.shape}: relative error {error:.1e}")
    recorded = {k: sample(v).astype(np.float32) for k, v in outputs.items()}
    np.savez_compressed(FOLDER / f"{name}.npz", **recorded)


def agree(name, model, state, output, what):
    """Whether a state dict of another library, read by us, gives what its model gives."""
    architecture = find_network(name)
    images = picture(architecture.input_shape)
    state = {k: v.detach().numpy() for k, v in state.items()}
    found, weights = architecture.from_state(state)
    points = dict(found.points)
    point = "logits" if "logits" in points else "penultimate"
    got = compute(found.network(), weights, images, [points[point]])[points[point]]
    x = torch.from_numpy(images.transpose(0, 3, 1, 2)).double()
    with torch.inference_mode():
        expected = output(model.double().eval(), x).numpy().ravel()
    error = np.linalg.norm(got.ravel() - expected) / np.linalg.norm(expected)
    print(f"{what} as {name}: relative error {error:.1e}")
    assert error < 1e-5
    return {k: list(v.shape) for k, v in state.items()}


def renamed(state, *rules):
    """A state dict under other names."""
    made = {}
    for key, array in state.items():
        for old, new in rules:
            key = re.sub(old, new, key)
        made[key] = array
    return made


def random_model(kind, config):
    """A model whose every parameter is random, none zero."""
    torch.manual_seed(SEED)
    model = kind(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lambda" in key or "layer_scale" in key:
                p.uniform_(0.2, 0.6)
            elif p.ndim < 2 or "norm" in key:
                p.add_(0.2 * torch.randn_like(p))
            else:
                p.normal_(0, 0.5 if "token" in key or "position" in key else p[0].numel() ** -0.5)
    return model


def record_names():
    """Check state dicts of other libraries, record their names."""
    t, names = transformers, {}
    cases = [
        ("vit_b_16", t.ViTForImageClassification, t.ViTConfig(num_labels=9, layer_norm_eps=1e-6),
         lambda m, x: m(x).logits),
        ("vit_b_16", t.ViTModel, t.ViTConfig(layer_norm_eps=1e-6),
         lambda m, x: m(x).last_hidden_state[:, 0]),
        ("vit_s_16", t.ViTForImageClassification,
         t.ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=9,
                     layer_norm_eps=1e-6), lambda m, x: m(x).logits),
        ("dinov2_vits14", t.Dinov2Model,
         t.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=224),
         lambda m, x: m(x).pooler_output),
        ("convnext_tiny", t.ConvNextForImageClassification, t.ConvNextConfig(num_labels=9),
         lambda m, x: m(x).logits),
        ("convnext_tiny", t.ConvNextModel, t.ConvNextConfig(), lambda m, x: m(x).pooler_output),
        ("clip_vit_b_32", t.CLIPVisionModelWithProjection, t.CLIPVisionConfig(),
         lambda m, x: m(x).image_embeds),
        ("clip_vit_b_32", t.CLIPVisionModel, t.CLIPVisionConfig(),
         lambda m, x: m(x).pooler_output),
    ]  # fmt: skip
    for name, kind, config, output in cases:
        model = random_model(kind, config)
        if kind is t.CLIPVisionModel:
            state = {f"vision_model.{k.removeprefix('vision_model.')}": v
                     for k, v in model.state_dict().items()}  # fmt: skip
        else:
            state = model.state_dict()
        what = f"{kind.__name__} {name}"
        names[what] = agree(name, model, state, output, what)
        old = OLD_NAMES + (OLD_MLP if "ViT" in kind.__name__ else ())
        state = renamed(state, *old)
        if set(state) != set(names[what]):
            what = f"{what}, before version 5"
            names[what] = agree(name, model, state, output, what)
    for name, theirs in (
        ("vit_b_16", "vit_base_patch16_224"),
        ("convnext_tiny", "convnext_tiny"),
    ):
        torch.manual_seed(SEED)
        model = timm.create_model(theirs)
        with torch.no_grad():
            for key, p in model.named_parameters():
                if key.endswith("gamma"):
                    p.uniform_(0.2, 0.6)
        what = f"timm {theirs}"
        names[what] = agree(name, model, model.state_dict(), lambda m, x: m(x), what)
    names["torchvision before 0.13 vit_b_16"] = old_torchvision()
    names["OpenCLIP ViT-B-32"] = open_clip()
    write_names(names)


def old_torchvision():
    """Names of the first ViT of torchvision."""
    model = torchvision.models.vit_b_16(weights=None)
    state = renamed(
        model.state_dict(), (r"\.mlp\.0\.", ".mlp.linear_1."), (r"\.mlp\.3\.", ".mlp.linear_2.")
    )
    torch.nn.init.normal_(model.heads.head.weight, std=0.1)
    return agree("vit_b_16", model, state, lambda m, x: m(x), "torchvision before 0.13")


def open_clip():
    """Names of OpenCLIP's state dict; timm's own reader of such files says whether they are."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    model = timm.create_model(TIMM["clip_vit_b_32"][0], num_classes=512)
    width, torch_names = 768, {"positional_embedding": (77, 512), "text_projection": (512, 512),
                               "logit_scale": ()}  # fmt: skip
    state = {k: torch.randn(s) for k, s in torch_names.items()}
    blocks = {
        "ln_1.weight": (width,), "ln_1.bias": (width,), "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,), "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,), "ln_2.weight": (width,), "ln_2.bias": (width,),
        "mlp.c_fc.weight": (4 * width, width), "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width), "mlp.c_proj.bias": (width,),
    }  # fmt: skip
    shapes = {
        "class_embedding": (width,), "positional_embedding": (50, width), "proj": (width, 512),
        "conv1.weight": (width, 3, 32, 32), "ln_pre.weight": (width,), "ln_pre.bias": (width,),
        "ln_post.weight": (width,), "ln_post.bias": (width,),
    }  # fmt: skip
    for k in range(12):
        shapes |= {f"transformer.resblocks.{k}.{key}": s for key, s in blocks.items()}
    torch.manual_seed(SEED)
    state |= {f"visual.{k}": torch.randn(s) * (s[-1] ** -0.5) for k, s in shapes.items()}
    state |= {"token_embedding.weight": torch.randn(8, 512), "ln_final.weight": torch.randn(512)}
    state["transformer.resblocks.0.ln_1.weight"] = torch.randn(512)
    theirs = checkpoint_filter_fn(dict(state), model)
    model.load_state_dict(theirs)
    return agree("clip_vit_b_32", model, state, lambda m, x: m(x), "OpenCLIP")


def record_positions():
    """torch's own interpolation, with sizes and with the ratio that DINOv2 takes."""
    rng, recorded = np.random.default_rng(SEED), {}
    recorded["positions"] = positions = rng.standard_normal((1, 1 + 49, 4)).astype(np.float32)
    grid = torch.from_numpy(positions[:, 1:].reshape(1, 7, 7, 4)).permute(0, 3, 1, 2).double()
    for rows, columns in ((3, 5), (7, 9), (16, 12)):
        for offset in (0.0, 0.1):
            ratio = ((rows + offset) / 7, (columns + offset) / 7)
            options = {"scale_factor": ratio} if offset else {"size": (rows, columns)}
            y = torch.nn.functional.interpolate(grid, mode="bicubic", **options)
            y = y.permute(0, 2, 3, 1).reshape(1, rows * columns, 4).numpy()
            recorded[f"{rows}x{columns}+{offset}"] = y.astype(np.float32)
            ours = resize_positions(positions, rows, columns, offset)
            print(f"positions {rows} x {columns}: {np.abs(ours[:, 1:] - y).max():.1e}")
    np.savez_compressed(FOLDER / "positions.npz", **recorded)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    record_positions()
    for name in SHAPES:
        record(name)
    record_names()
