"""From what a user names as a filter to the stage that scores pairs by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dfndr import storage
from dfndr.encoder import EncoderSpec, open_encoder
from dfndr.errors import FormatError, UsageError
from dfndr.format.fields import json_object, json_of
from dfndr.models import named_spec
from dfndr_builders.image_classifier.model import Frozen, ImageClassifier
from dfndr_builders.score.clip import ClipScore
from dfndr_builders.score.image_classifier import ImageClassifierScore
from dfndr_builders.score.m3ae import M3aeScore
from dfndr_builders.score.text_quality import TextQualityScore
from dfndr_builders.stage import Stage

__all__ = ["SCORE", "Named", "named_scorer"]

SCORE = "score"
"""The column that the stage of a named scorer adds."""

_KINDS = {"image_classifier.json": "image-classifier", "m3ae.json": "m3ae", "text_quality.json": "text-quality"}
"""What each kind of scorer leaves in its folder, and the kind as a recipe's [[score]] has it."""


@dataclass(frozen=True)
class Named:
    """A filter's stage, and what it really was: kind, and model or folder with the hash of its weights."""

    stage: Stage
    record: Mapping[str, object]


def named_scorer(name: str, *, model: str = "", batch_size: int = 64, device: str = "auto") -> Named:
    """Return the scorer in a folder that dfndr trained, or the CLIP model that `named_spec` takes; CLIP is loaded.

    Raises UsageError for a head, which scores cached vectors and no pairs.
    """
    if storage.exists(storage.join(name, "scorer.json")) or storage.exists(storage.join(name, "head.json")):
        do = "Name the filter itself; a head is compared by `dfndr eval`."
        raise UsageError(name, expected="a filter of pairs", found="a head on cached vectors", do=do)
    for file, kind in _KINDS.items():
        place = storage.join(name, file)
        if storage.exists(place):
            record = _record(place)
            sha256 = record.get("sha256", record.get("weights_sha256"))
            return Named(_own(kind, name, batch_size, device), {"kind": kind, "folder": name, "weights_sha256": sha256})
    spec = named_spec(name, model=model, batch_size=batch_size, device=device)
    return Named(ClipScore(SCORE, spec), {"kind": "clip", **open_encoder(spec).record.to_json()})


def _record(place: str) -> Mapping[str, Any]:
    try:
        return json_object(json_of(storage.read_bytes(place)), place)
    except (ValueError, RecursionError) as error:
        do = "It was altered or written by something else: fetch or train it again."
        raise FormatError(place, expected="a JSON object", found=str(error)[:80], do=do) from error


def _own(kind: str, folder: str, batch_size: int, device: str) -> Stage:
    if kind == "m3ae":
        return M3aeScore(SCORE, folder, batch_size=batch_size, device=device)
    if kind == "text-quality":
        return TextQualityScore(SCORE, folder)
    shape = ImageClassifier.load(folder).shape
    encoder = None
    if isinstance(shape, Frozen):
        encoder = EncoderSpec("features", shape.model, shape.pretrained, batch_size=batch_size, device=device)
    return ImageClassifierScore(SCORE, folder, encoder, batch_size=batch_size, device=device)
