"""What a captioner was: the record by which a dataset's captions can be made again, or told to be another's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TypeAlias

from dfndr.errors import FormatError
from dfndr.format.fields import DO, json_object, known_fields, typed

__all__ = ["CaptionerRecord", "Setting"]

Setting: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class CaptionerRecord:
    """What wrote captions, and how.

    `revision` is the commit of the Hub that a model came from, or the digest of a bank of texts; it and
    `weights_sha256` are "" where they are not known, as of a server. `sampling` says how words were drawn, `seed_rule`
    what a caption's seed is made of, `asked` how many captions were asked for, how often, and which were kept.
    """

    kind: str
    model: str
    license: str
    revision: str = ""
    weights_sha256: str = ""
    prompt: str = ""
    seed_rule: str = ""
    sampling: Mapping[str, Setting] = field(default_factory=dict)
    asked: Mapping[str, Setting] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: object, where: str) -> CaptionerRecord:
        """Read the manifest's JSON object; raises FormatError."""
        fields = known_fields(given, cls, where)
        words = {one.name: typed(fields, one.name, str, where) for one in dataclasses.fields(cls) if one.type == "str"}
        return cls(**words, sampling=_settings(fields, "sampling", where), asked=_settings(fields, "asked", where))


def _settings(fields: Mapping[str, object], key: str, where: str) -> dict[str, Setting]:
    given = json_object(fields.get(key), f"{where}, {key}")
    for name, value in given.items():
        if not (value is None or isinstance(value, str | int | float)):
            found = f"{name!r}: {value!r}"[:80]
            raise FormatError(where, expected=f"{key!r} of texts and numbers", found=found, do=DO)
    return dict(given)
