"""How large the experiments with students are: one value that everything but the seed depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["STUDENT_SCALES", "StudentScale"]

_TEXT = {"context_length": 16, "vocab_size": 49408, "layers": 1, "width": 32, "heads": 2}


def _transformer(width: int, layers: int, patch: int) -> Mapping[str, object]:
    vision = {"image_size": 32, "layers": layers, "width": width, "patch_size": patch, "head_width": 32}
    return {"embed_dim": 64, "vision_cfg": vision, "text_cfg": _TEXT}


def _resnet(width: int) -> Mapping[str, object]:
    vision = {"image_size": 32, "layers": [2, 2, 2, 2], "width": width, "head_width": 32}
    return {"embed_dim": 64, "vision_cfg": vision, "text_cfg": {**_TEXT, "context_length": 12}}


@dataclass(frozen=True)
class StudentScale:
    """How many rows are reinforced and how, what teaches, what learns, and for how many samples seen.

    Teachers are trained on all other pictures of the training set. Students learn from the first `few` rows, and once
    more from all of them. `plain_lengths` and `reinforced_lengths` are samples seen; `ablated` is the length of the
    students that have part of the views or captions.
    """

    name: str
    rows: int
    few: int
    views: int
    captions: int
    teacher_samples: int
    plain_lengths: tuple[int, ...]
    reinforced_lengths: tuple[int, ...]
    ablated: int
    ablated_views: tuple[int, ...]
    ablated_captions: tuple[int, ...]
    teacher: Mapping[str, object]
    student: Mapping[str, object]
    batch_size: int = 128
    learning_rate: float = 2e-3
    test_tars: int = 2
    workers: int = 0
    threads: int = 1
    device: str = "cpu"


STUDENT_SCALES: Mapping[str, StudentScale] = {
    "smoke": StudentScale(
        "smoke", rows=256, few=128, views=3, captions=2, teacher_samples=1_024,
        plain_lengths=(512, 1_024), reinforced_lengths=(256, 512), ablated=512,
        ablated_views=(1, 3), ablated_captions=(0, 2),
        teacher=_resnet(16), student=_transformer(64, 1, 8), test_tars=1,
    ),
    "cpu": StudentScale(
        "cpu", rows=4_000, few=1_000, views=30, captions=5, teacher_samples=320_000,
        plain_lengths=(4_000, 8_000, 16_000, 32_000, 64_000),
        reinforced_lengths=(4_000, 8_000, 16_000, 32_000, 64_000), ablated=32_000,
        ablated_views=(1, 2, 5, 10, 30), ablated_captions=(0, 1, 2, 5),
        teacher=_resnet(16), student=_transformer(64, 3, 8),
    ),
    "gpu": StudentScale(
        "gpu", rows=10_000, few=2_500, views=30, captions=5, teacher_samples=4_000_000,
        plain_lengths=(100_000, 200_000, 400_000, 800_000, 1_600_000),
        reinforced_lengths=(25_000, 50_000, 100_000, 200_000, 400_000, 800_000), ablated=400_000,
        ablated_views=(1, 2, 5, 10, 30), ablated_captions=(0, 1, 2, 5),
        teacher=_resnet(48), student=_transformer(128, 6, 4), batch_size=256, workers=8, device="cuda",
    ),
}  # fmt: skip
