"""A tiny model whose weights lie in every form that an encoder reads, and pictures and texts for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from dfndr.encoder import Encoder, EncoderSpec, open_encoder
from dfndr.models import load_model
from support.models import TINY_CONFIG, tiny_config
from support.pairs import jpeg

__all__ = ["PICTURES", "SHAPE", "TEXTS", "Weights", "opened", "weights"]

PICTURES = [jpeg((40, 30), colour=(place * 9, 200 - place * 7, 40)) for place in range(21)]
TEXTS = [f"a picture of {place} things" for place in range(20)] + ["word " * 400]
SHAPE = {
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "interpolation": "bilinear",
    "resize_mode": "squash",
    "size": [32, 32],
    "mode": "RGB",
}


@dataclass(frozen=True)
class Weights:
    """A tiny model in every form that `pretrained` and `model` can name, and as open_clip itself loads it."""

    folder: Path
    own: Any
    preprocess: Any
    tokenizer: Any


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("weights")
    config = tiny_config(folder)
    model, _, _ = load_model(EncoderSpec("tiny", str(config), "random:0"))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "tiny.safetensors")
    torch.save(state, folder / "tiny.pt")
    local = folder / "local"
    local.mkdir()
    save_file(state, local / "open_clip_model.safetensors")
    (local / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CONFIG, "preprocess_cfg": SHAPE}))
    own, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{local}", precision="fp32", device="cpu")
    return Weights(folder, own.eval(), preprocess, open_clip.get_tokenizer(f"local-dir:{local}"))


def opened(weights: Weights, pretrained: str, *, model: str = "tiny.json", **more: object) -> Encoder:
    options: dict[str, Any] = {"batch_size": 8, "threads": 1, "device": "cpu", **more}
    return open_encoder(EncoderSpec("tiny", str(weights.folder / model), pretrained, **options))
