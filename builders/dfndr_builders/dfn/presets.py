"""The trainings of the paper on data filtering networks (Fang et al. 2023, arXiv:2309.17425), as keys of [dfn].

Table 7 has the trainings of models on filtered data, at DataComp's scales; appendix B says how filters were trained.
What neither says is open_clip's default, and the note of the preset says which key that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PRESETS", "Preset", "filled"]


@dataclass(frozen=True)
class Preset:
    """Keys of [dfn], where they are from, and what they are silent about."""

    source: str
    keys: Mapping[str, object]
    note: str


_LARGE = {"batch_size": 8192, "learning_rate": 5e-4, "weight_decay": 0.2, "warmup_steps": 500}
_LARGE_SEEN = 1_280_000_000
_BETA2 = "beta2 as open_clip's default"
PRESETS: Mapping[str, Preset] = {
    "paper-medium": Preset(
        "table 7, DataComp medium",
        {**_LARGE, "model": "ViT-B-32", "samples_seen": 128_000_000, "batch_size": 4096},
        _BETA2,
    ),
    "paper-large": Preset(
        "table 7, DataComp large", {**_LARGE, "model": "ViT-B-16", "samples_seen": _LARGE_SEEN}, _BETA2
    ),
    "paper-xlarge": Preset(
        "table 7, DataComp xlarge",
        {
            "model": "ViT-L-14",
            "samples_seen": 12_800_000_000,
            "batch_size": 90_112,
            "learning_rate": 1e-3,
            "weight_decay": 0.2,
            "warmup_steps": 10_000,
            "beta2": 0.95,
        },
        "nothing is left open",
    ),
    "paper-ablation": Preset(
        "appendix B, the filters of the ablations: DataComp large with a ViT-B/32",
        {**_LARGE, "model": "ViT-B-32", "samples_seen": _LARGE_SEEN},
        _BETA2,
    ),
    "paper-final": Preset(
        "appendix B and section 4, the filter of DFN-2B",
        {
            "model": "ViT-B-32-quickgelu",
            "pretrained": "openai",
            "samples_seen": 5_120_000_000,
            "batch_size": 16_384,
            "learning_rate": 5e-4,
            "warmup_steps": 2000,
        },
        "learning_rate, weight_decay and beta2 as open_clip's defaults; which augmentation and how it was fine-tuned "
        "(COCO, Flickr30k, ImageNet by templates) is not said in numbers, and its pairs (HQITP-350M) are not public",
    ),
}


def filled(given: Mapping[str, object], preset: str) -> dict[str, object]:
    """Return the keys given and, where they say nothing, those of the preset; raises KeyError for an unknown one.

    Another model than the preset's does not start from its weights, and `epochs` takes the place of `samples_seen`.
    """
    keys = dict(PRESETS[preset].keys)
    if "model" in given:
        keys.pop("pretrained", None)
    if "epochs" in given:
        keys.pop("samples_seen", None)
    return {**keys, **given}
