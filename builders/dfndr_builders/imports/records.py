"""What an import knows of the encoders and the files, for the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dfndr.format.manifest import canonical
from dfndr.format.schema import EncoderRecord, Preprocess
from dfndr_builders.imports.layout import Layout, Teacher

__all__ = ["Imported", "pool_of", "recipe_of", "record_of"]

_UNKNOWN = Preprocess((0, 0), (), (), "unknown", "unknown")


@dataclass(frozen=True)
class Imported:
    """What a layout's files do not say: the dataset's name and licence, and which encoders gave the vectors."""

    name: str
    license: str
    teachers: tuple[Teacher, ...]

    def to_json(self) -> dict[str, object]:
        """Return all of it, for a digest."""
        teachers = [_known(one) | ({"record": one.record.to_json()} if one.record else {}) for one in self.teachers]
        return {"name": self.name, "license": self.license, "teachers": teachers}


def _known(teacher: Teacher) -> dict[str, object]:
    return {name: value for name, value in asdict(teacher).items() if name != "record"}


def record_of(teacher: Teacher, layout: Layout) -> EncoderRecord:
    """Return what is known of an encoder: what an export said, else what it is called. Files name no weights' hash."""
    if teacher.record is not None:
        return teacher.record
    return EncoderRecord(
        name=teacher.name,
        model=teacher.model,
        pretrained=teacher.pretrained,
        weights_sha256="",
        dim=next(space.dim for space in layout.spaces() if space.encoder == teacher.name),
        context_length=0,
        preprocess=_UNKNOWN,
        precision="fp32",
        logit_scale=teacher.logit_scale,
        license=teacher.license,
        batch_size=64,
        threads=2,
        distillation_scale=teacher.distillation_scale,
    )


def pool_of(layout: Layout) -> dict[str, object]:
    """Return where the files were, for the manifest's provenance."""
    given = {"kind": layout.kind, "path": layout.path, "source": layout.source, "license": layout.license}
    return {name: value for name, value in given.items() if value is not None}


def recipe_of(layout: Layout, given: Imported) -> str:
    """Return what was imported as TOML, for people: a build has no use for it."""

    def lines(values: Mapping[str, object]) -> list[str]:
        return [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]

    text = [f"# {layout.kind}, imported", *lines({"name": given.name, "license": given.license}), "", "[import]"]
    text += lines(pool_of(layout))
    for teacher in given.teachers:
        text += ["", "[[import.encoder]]", *lines(_known(teacher))]
    return "\n".join(text) + "\n"


def _toml(value: object) -> str:
    """Return a string or a number as TOML: JSON's escapes are TOML's."""
    return canonical(value).decode() if isinstance(value, str) else repr(value)
