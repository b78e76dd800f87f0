"""Which encoders of a dataset teach, by which spaces, and what they say of a batch's views, texts and captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dfndr.batch import Batch
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.heads.objective import Taught, taught_by
from dfndr.heads.sides import Side
from dfndr_builders.student.spec import StudentSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Targets", "targets_of"]


@dataclass(frozen=True)
class Targets:
    """The teachers, their views of each picture, and whether they teach captions too."""

    teachers: tuple[Taught, ...] = ()
    views: int = 0
    captions: bool = False

    @property
    def spaces(self) -> list[str]:
        """The names of all spaces that a batch needs."""
        kinds = ("image", "text", *(("caption",) if self.captions else ()))
        return [f"{kind}/{teacher.encoder}" for teacher in self.teachers for kind in kinds]

    def vectors(self, batch: Batch, kind: str) -> list[torch.Tensor]:
        """Return each teacher's vectors of a kind, float32 and of length one, shape (n, dim)."""
        import torch
        from torch.nn.functional import normalize

        found = (torch.as_tensor(batch[f"{kind}/{teacher.encoder}"]).float() for teacher in self.teachers)
        return [normalize(vectors.reshape(len(vectors), -1), dim=1) for vectors in found]


def targets_of(dataset: Dataset, spec: StudentSpec) -> Targets:
    """Return who teaches, as a spec says; raises UsageError for a teacher that the dataset has no vectors of."""
    if spec.is_plain:
        return Targets()
    kinds = {space.modality: space for space in dataset.manifest.spaces}
    if not {"image", "text"} <= set(kinds):
        do = (
            'Embed of = ["image", "text", "caption"]; or train without: --distillation-weight 0 --contrastive-weight 1.'
        )
        expected = "teachers: encoders with vectors of pictures and of texts"
        raise UsageError(dataset.root, expected=expected, found=f"vectors of {sorted(kinds) or 'nothing'}", do=do)
    captions = spec.captions != 0 and "caption" in kinds and "captions" in dataset.schema().names
    if spec.captions and not captions:
        do = "Embed captions too, or say --captions 0."
        raise UsageError("--captions", expected="vectors of captions", found="none", do=do)
    sides = [Side((kinds["text"],)), *([Side((kinds["caption"],))] if captions else [])]
    teachers = taught_by(dataset, sides, spec.teachers, form=spec.form)
    views = {teacher.encoder: dataset.space(f"image/{teacher.encoder}").per_row for teacher in teachers}
    if len(set(views.values())) > 1:
        expected, do = "teachers with vectors of the same views", "Name some of them with --teachers."
        raise UsageError("--teachers", expected=expected, found=f"views of each: {views}", do=do)
    return Targets(teachers, views[teachers[0].encoder], captions)
