"""Which encoders of a dataset teach, by which spaces, and what they say of a batch's views, texts and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dfndr.batch import Batch
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr_builders.student.spec import StudentSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Targets", "targets_of"]


@dataclass(frozen=True)
class Targets:
    """The teachers' names and scales, their views of each picture, and whether they teach captions too."""

    scales: Mapping[str, float]
    views: int
    captions: bool

    @property
    def spaces(self) -> list[str]:
        """The names of all spaces that a batch needs."""
        kinds = ("image", "text", *(("caption",) if self.captions else ()))
        return [f"{kind}/{name}" for name in self.scales for kind in kinds]

    def vectors(self, batch: Batch, kind: str) -> list[torch.Tensor]:
        """Return each teacher's vectors of a kind, float32 and of length one, shape (n, dim)."""
        import torch
        from torch.nn.functional import normalize

        found = (torch.as_tensor(batch[f"{kind}/{name}"]).float() for name in self.scales)
        return [normalize(vectors.reshape(len(vectors), -1), dim=1) for vectors in found]


def targets_of(dataset: Dataset, spec: StudentSpec) -> Targets:
    """Return who teaches, as a spec says; raises UsageError for a teacher that the dataset has no vectors of."""
    if spec.is_plain:
        return Targets({}, 0, False)
    encoders, spaces = dataset.manifest.encoders, dataset.spaces
    able = [name for name in encoders if f"image/{name}" in spaces and f"text/{name}" in spaces]
    wrong = sorted(set(spec.teachers) - set(able))
    if wrong or not able:
        expected = f"some of: {', '.join(able)}" if able else "an encoder with vectors of pictures and of texts"
        do = 'Name others, or embed of = ["image", "text", "caption"] with them; training without teachers has'
        do += " --distillation-weight 0 --contrastive-weight 1."
        raise UsageError("--teacher", expected=expected, found=", ".join(wrong) or "none", do=do)
    chosen = spec.teachers or tuple(able)
    captions = spec.captions != 0 and _with_captions(dataset, chosen)
    if spec.captions and not captions:
        expected, do = f"vectors of captions by {', '.join(chosen)}", "Embed captions too, or say --captions 0."
        raise UsageError("--captions", expected=expected, found="none", do=do)
    views = {name: spaces[f"image/{name}"].per_row for name in chosen}
    if len(set(views.values())) > 1:
        expected, do = "teachers with vectors of the same views", "Name some of them with --teacher."
        raise UsageError("--teacher", expected=expected, found=f"views of each: {views}", do=do)
    scales = {name: encoders[name].teaching_scale for name in chosen}
    return Targets(scales, next(iter(views.values())), captions)


def _with_captions(dataset: Dataset, teachers: Sequence[str]) -> bool:
    return "captions" in dataset.schema().names and all(f"caption/{name}" in dataset.spaces for name in teachers)
