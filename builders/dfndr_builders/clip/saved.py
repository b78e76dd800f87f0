"""A model as open_clip publishes models, in a folder that it loads as `local-dir:FOLDER`: no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfndr import storage
from dfndr.models import weights_sha256

if TYPE_CHECKING:
    import torch

__all__ = ["save_model"]


def save_model(model: torch.nn.Module, folder: str, *, tokenizer: Any, config: Mapping[str, object]) -> str:  # noqa: ANN401
    """Write weights, config and tokenizer into a local folder, the config last; return the hash of the weights."""
    from open_clip.push_to_hf_hub import save_config_for_hf
    from safetensors.torch import save

    weights = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    storage.put(folder, "open_clip_model.safetensors", save(weights))
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(folder)
    save_config_for_hf(model, Path(folder, "open_clip_config.json"), dict(config))
    return weights_sha256(weights)
