"""What a training would cost, from the model's config alone: operations, and hours of a GPU at a stated rate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dfndr_builders.dfn.presets import PRESETS

__all__ = [
    "RATE",
    "Cost",
    "Forward",
    "cost_of",
    "forward_flops",
    "gpu_hours",
    "in_hours",
    "model_config",
    "preset_table",
]

_LEAST_HOURS = 0.01
_PEAK_FLOPS, _UTILISATION = 989e12, 0.4
"""An H100 SXM's dense bfloat16 peak by its data sheet, and the share of it that is taken for granted here."""


RATE = f"{_UTILISATION:.0%} of an H100's {_PEAK_FLOPS / 1e12:.0f} TFLOP/s"


@dataclass(frozen=True)
class Forward:
    """Floating-point operations of one picture and of one text; `first_layer` is the part of the pixels' projection."""

    image: float
    text: float
    first_layer: float


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of a training, forward and backward; None where the model's config does not tell."""

    samples_seen: int
    flops: float | None

    @property
    def gpu_hours(self) -> float | None:
        """Hours of one H100 at the stated utilisation."""
        return None if self.flops is None else gpu_hours(self.flops)

    def __str__(self) -> str:
        seen = f"{self.samples_seen:,} samples seen"
        if self.flops is None or self.gpu_hours is None:
            return f"{seen}; FLOPs not known of this kind of model"
        return f"{seen}, {self.flops:.2g} FLOPs, {in_hours(self.gpu_hours)} GPU hours at {RATE}"


def in_hours(hours: float) -> str:
    """Return hours in words, without more digits than they are known to."""
    if hours < _LEAST_HOURS:
        return f"less than {_LEAST_HOURS}"
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def cost_of(model: str | Mapping[str, Any], samples_seen: int) -> Cost:
    """Return the cost of a training; a model by name is looked up among open_clip's configs, which need no import."""
    config = model_config(model) if isinstance(model, str) else model
    each = None if config is None else _flops(config)
    return Cost(samples_seen, None if each is None else each * samples_seen)


def model_config(name: str) -> Mapping[str, Any] | None:
    """Return open_clip's config of a built-in model, None where there is none of that name."""
    package = find_spec("open_clip")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder, "model_configs", name.replace("/", "-") + ".json")
        if path.is_file():
            config: Mapping[str, Any] = json.loads(path.read_bytes())
            return config
    return None


def preset_table() -> str:
    """Return the presets as lines: keys, source, what is left open, cost."""
    lines = []
    for name, preset in PRESETS.items():
        keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in preset.keys.items())
        cost = cost_of(str(preset.keys["model"]), int(str(preset.keys["samples_seen"])))
        lines += [f"{name}: {preset.source}", f"  {keys}", f"  left open: {preset.note}", f"  {cost}"]
    return "\n".join(lines)


def forward_flops(config: Mapping[str, Any]) -> Forward | None:
    """Return the operations of one forward pass, a multiplication and an addition being two.

    None for towers that are no plain transformers of open_clip's own.
    """
    vision, text, dim = config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    if not isinstance(vision.get("layers"), int) or "timm_model_name" in vision or "hf_model_name" in text:
        return None
    width, size, patch = vision.get("width", 768), vision.get("image_size", 224), vision.get("patch_size", 16)
    (height, breadth), (tall, wide) = ((side, side) if isinstance(side, int) else side for side in (size, patch))
    patches = (height // tall) * (breadth // wide)
    embedding = 2 * patches * 3 * tall * wide * width
    layers = _transformer(vision["layers"], width, patches + 1, vision.get("mlp_ratio", 4.0))
    words = _transformer(text["layers"], text["width"], text["context_length"], text.get("mlp_ratio", 4.0))
    return Forward(embedding + layers + 2 * dim * width, words + 2 * dim * text["width"], embedding)


def gpu_hours(flops: float) -> float:
    """Return hours of one H100 at the stated utilisation."""
    return flops / (_PEAK_FLOPS * _UTILISATION) / 3600


def _flops(config: Mapping[str, Any]) -> float | None:
    """Return the operations of one pair's forward and backward pass.

    A backward pass is two forward passes, for the gradients of weights and of inputs (Kaplan et al. 2020, section 2.1);
    no gradient of the pixels is asked for.
    """
    each = forward_flops(config)
    return None if each is None else float(3 * (each.image + each.text) - each.first_layer)


def _transformer(layers: int, width: int, tokens: int, mlp_ratio: float) -> float:
    """Four projections and two of the MLP for each token, then queries by keys and weights by values."""
    each_token = 2 * (4 + 2 * mlp_ratio) * width**2
    return layers * (tokens * each_token + 4 * tokens**2 * width)
