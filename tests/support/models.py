"""A model small enough to make in a moment, as a config file and as a folder with weights."""

import json
from pathlib import Path

from dfndr.models import EncoderSpec

TINY_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def tiny_config(folder: Path) -> Path:
    """Write the config of a one-layer CLIP with 16 dims."""
    path = folder / "tiny.json"
    path.write_text(json.dumps(TINY_CONFIG))
    return path


def tiny_spec(folder: Path, *, name: str = "tiny", seed: int = 0, **more: object) -> EncoderSpec:
    """Return the spec of that model with random weights."""
    options = {"batch_size": 8, "threads": 1, "device": "cpu", **more}
    return EncoderSpec(name, str(tiny_config(folder)), f"random:{seed}", **options)
