"""How large the experiments are: one value that everything but the seed depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FRACTION", "SCALES", "Scale"]

FRACTION = 0.25
"""The share of the pool that a filter keeps where nothing else is said."""

_TEXT = {"context_length": 12, "vocab_size": 49408, "layers": 1, "width": 32, "heads": 2}
_SMALL = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "text_cfg": _TEXT,
}
_LARGER = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 32, "layers": [2, 2, 2, 2], "width": 48, "head_width": 32},
    "text_cfg": {**_TEXT, "width": 64},
}


@dataclass(frozen=True)
class Scale:
    """Sizes, in pairs: the good ones a filter learns from, as many raw ones, those to fine-tune on, and the pool.

    Every CLIP model, filter or induced, is trained with one recipe for `samples_seen`, however many pairs it has.
    """

    name: str
    good: int
    pool: int
    tune: int
    samples_seen: int
    test_tars: int = 2
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_steps: int = 20
    threads: int = 1
    workers: int = 0
    device: str = "cpu"
    model: Mapping[str, object] = field(default_factory=lambda: _SMALL)


SCALES: Mapping[str, Scale] = {
    "smoke": Scale("smoke", good=200, pool=600, tune=100, samples_seen=512, test_tars=1),
    "cpu": Scale("cpu", good=2_000, pool=12_000, tune=1_000, samples_seen=9_600),
    "gpu": Scale(
        "gpu",
        good=5_000,
        pool=38_000,
        tune=2_000,
        samples_seen=400_000,
        batch_size=256,
        warmup_steps=100,
        workers=4,
        device="cuda",
        model=_LARGER,
    ),
}
