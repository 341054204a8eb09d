"""What lies beside a weights file and says of a model what its names and shapes do not tell."""

import json
from pathlib import Path

__all__ = ["stated_activation"]

LONGEST = 1 << 20  # bytes of a configuration


def stated_activation(path):
    """The activation that a CLIP model was trained with, by the configuration beside its file.

    Parameters
    ----------
    path : path
        Of the weights.

    Returns
    -------
    str or None
        As Hugging Face names it, "gelu" or "quick_gelu"; None where nothing beside the file, which
        may be anybody's folder, says it of a CLIP model.
    """
    folder = Path(path).parent
    for name, read in (("config.json", _of_library), ("open_clip_config.json", _of_open_clip)):
        try:
            with open(folder / name, "rb") as file:
                stated = read(json.loads(file.read(LONGEST)))
        except (OSError, ValueError, RecursionError, AttributeError):  # none, or none of a model
            continue
        if stated is not None:
            return stated
    return None


def _of_library(config):
    """Of a configuration of Hugging Face's or of timm's."""
    kind = config.get("model_type")
    if kind == "clip":
        return config.get("vision_config", {}).get("hidden_act", "quick_gelu")
    if kind == "clip_vision_model":
        return config.get("hidden_act", "quick_gelu")
    architecture = str(config.get("architecture", ""))
    if "_clip_" not in architecture:
        return None
    if "_quickgelu_" in architecture:
        return "quick_gelu"
    # timm lists OpenAI's weights under both of its models.
    tag = str(config.get("pretrained_cfg", {}).get("tag", ""))
    return None if "openai" in tag else "gelu"


def _of_open_clip(config):
    model = config.get("model_cfg")
    if model is None:
        return None
    return "quick_gelu" if model.get("quick_gelu", False) else "gelu"
