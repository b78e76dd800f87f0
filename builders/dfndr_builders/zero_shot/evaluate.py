"""One model on one set, whatever its kind."""

from __future__ import annotations

from dfndr.encoder import Encoder
from dfndr.progress import SILENT, Progress
from dfndr_builders.zero_shot.classification import Classification, classification_of
from dfndr_builders.zero_shot.retrieval import Retrieval, retrieval_of
from dfndr_builders.zero_shot.sets import CaptionedSet, LabelledSet

__all__ = ["evaluate"]


def evaluate(
    encoder: Encoder, given: LabelledSet | CaptionedSet, *, progress: Progress = SILENT
) -> Classification | Retrieval:
    """Return what the set asks for."""
    if isinstance(given, LabelledSet):
        return classification_of(encoder, given, progress=progress)
    return retrieval_of(encoder, given, progress=progress)
