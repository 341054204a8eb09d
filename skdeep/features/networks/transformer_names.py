"""How libraries call the weights of vision transformers.

The tables for ViT and CLIP lead to timm's names, from which another leads to torchvision's.
"""

import numpy as np

from .renaming import Renaming


def leading(array):
    """(width,) or (tokens, width) as (1, tokens, width)."""
    return array.reshape(1, -1, array.shape[-1])


# Attention of Hugging Face's ViT and DINOv2, in files and in the models of version 5.
ATTENTION = (
    (r"\.attention\.(attention\.query|q_proj)\.(\w+)$", r".attn.qkv.\2#0"),
    (r"\.attention\.(attention\.key|k_proj)\.(\w+)$", r".attn.qkv.\2#1"),
    (r"\.attention\.(attention\.value|v_proj)\.(\w+)$", r".attn.qkv.\2#2"),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
)
EMBEDDINGS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
)
HUGGING_FACE_VIT = Renaming(
    r"^(vit\.)?(encoder\.layer|layers)\.0\.layernorm_before\.weight$",
    (r"^vit\.", ""),
    *EMBEDDINGS,
    (r"^(encoder\.layer|layers)\.", "blocks."),
    *ATTENTION,
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^(blocks\.\d+)\.intermediate\.dense\.", r"\1.mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
    dropped=r"^(vit\.)?pooler\.|^(vit\.)?embeddings\.mask_token$",
)
HUGGING_FACE_DINOV2 = Renaming(
    r"^(dinov2\.)?encoder\.layer\.0\.layer_scale1\.lambda1$",
    (r"^dinov2\.", ""),
    *EMBEDDINGS,
    (r"^encoder\.layer\.", "blocks."),
    *ATTENTION,
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
    dropped=r"^(dinov2\.)?embeddings\.mask_token$|^classifier\.",
)
# The authors' own; while training, blocks lie in chunks: blocks.<chunk>.<block>.
FACEBOOK_DINOV2 = Renaming(
    r"^mask_token$|^blocks\.\d+\.\d+\.norm1\.weight$",
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),
    dropped=r"^mask_token$",
)
HUGGING_FACE_CLIP = Renaming(
    r"^vision_model\.pre_layrnorm\.weight$",
    (r"^vision_model\.", ""),
    (r"^embeddings\.class_embedding$", "cls_token", leading),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed", leading),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.self_attn\.q_proj\.(\w+)$", r".attn.qkv.\1#0"),
    (r"\.self_attn\.k_proj\.(\w+)$", r".attn.qkv.\1#1"),
    (r"\.self_attn\.v_proj\.(\w+)$", r".attn.qkv.\1#2"),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"^post_layernorm\.", "norm."),
    (r"^visual_projection\.", "head."),
    dropped=r"^(text_model|text_projection)\.|^logit_scale$|\.position_ids$",
)
OPEN_CLIP = Renaming(
    r"^visual\.transformer\.resblocks\.0\.ln_1\.weight$",
    (r"^visual\.class_embedding$", "cls_token", leading),
    (r"^visual\.positional_embedding$", "pos_embed", leading),
    (r"^visual\.conv1\.", "patch_embed.proj."),
    (r"^visual\.ln_pre\.", "norm_pre."),
    (r"^visual\.ln_post\.", "norm."),
    (r"^visual\.proj$", "head.weight", np.transpose),
    (r"^visual\.transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    dropped=r"^(transformer|token_embedding|ln_final)\.|^(positional_embedding|text_projection"
    r"|logit_scale|logit_bias|attn_mask|input_resolution|context_length|vocab_size)$",
)


def timm_clip(state):
    """timm's projection has a bias, which is zero in the weights of CLIP."""
    bias = state.get("head.bias")
    if bias is None or "norm_pre.weight" not in state or np.any(np.asarray(bias)):
        return None
    return {key: array for key, array in state.items() if key != "head.bias"}


TIMM_TO_TORCHVISION = Renaming(
    r"^blocks\.0\.attn\.qkv\.weight$",
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^blocks\.", "encoder.layers.encoder_layer_"),
    (r"\.norm([12])\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.proj\.", ".self_attention.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^norm\.", "encoder.ln."),
    (r"^head\.", "heads.head."),
)
# torchvision before 0.13.
OLD_TORCHVISION = Renaming(
    r"\.mlp\.linear_1\.weight$",
    (r"\.mlp\.linear_1\.", ".mlp.0."),
    (r"\.mlp\.linear_2\.", ".mlp.3."),
)


def hugging_face_to_torchvision(state):
    """By way of timm's names."""
    state = HUGGING_FACE_VIT(state)
    return None if state is None else TIMM_TO_TORCHVISION(state)
