"""`layout.json`: what an export says of the vectors in its files, so that an import takes them apart again.

Other tools pass over it. It is written last: where it is, the export is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dfndr import storage
from dfndr.errors import FormatError
from dfndr.format.schema import EncoderRecord, Space

__all__ = ["LAYOUT", "LayoutFile", "read_layout"]

LAYOUT = "layout.json"
_FORM, _MOST_BYTES = "dfndr-export/1", 1 << 26
_DO = "Export the dataset again, or delete the file and name the encoders yourself."


@dataclass(frozen=True)
class LayoutFile:
    """What was exported: from which dataset, and where the vectors of each space lie.

    `places` says where by the space's name, as the layout's tool calls it (`l14_img`, `image_emb[:, 0:768]`); spaces
    that a layout has no place for are left out. `validation` are the stems of the files of that split.
    """

    kind: str
    name: str
    license: str
    digest: str
    spaces: tuple[Space, ...]
    encoders: Mapping[str, EncoderRecord]
    places: Mapping[str, str]
    validation: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        told = {
            "format": _FORM,
            "kind": self.kind,
            "name": self.name,
            "license": self.license,
            "dataset": self.digest,
            "spaces": [space.to_json() for space in self.spaces],
            "encoders": {name: record.to_json() for name, record in self.encoders.items()},
            "places": dict(self.places),
            "validation": list(self.validation),
        }
        return (json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_layout(folder: str, kind: str) -> LayoutFile | None:
    """Return what an export of this kind left in a folder, None where there is nothing; raises FormatError."""
    path = storage.join(folder, LAYOUT)
    if not storage.exists(path):
        return None
    try:
        given = json.loads(storage.read_bytes(path, most=_MOST_BYTES))
        found = _parsed(given, path)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        expected = f"what an export of dfndr's writes ({_FORM})"
        raise FormatError(path, expected=expected, found=str(error)[:200], do=_DO) from error
    if found.kind != kind:
        raise FormatError(path, expected=f"an export of kind {kind}", found=found.kind, do="Import it as that kind.")
    return found


def _parsed(given: Any, path: str) -> LayoutFile:  # noqa: ANN401  whatever a file's JSON holds
    if given["format"] != _FORM:
        raise ValueError(f"format {given['format']!r}")
    texts = {name: given[name] for name in ("kind", "name", "license")}
    places, validation = given["places"], given["validation"]
    if not all(isinstance(text, str) for text in [*texts.values(), given["dataset"], *places.values(), *validation]):
        raise ValueError("something that is no text where one was promised")
    spaces = tuple(Space.from_json(one, path) for one in given["spaces"])
    encoders = {name: EncoderRecord.from_json(one, path) for name, one in given["encoders"].items()}
    missing = {space.encoder for space in spaces} - set(encoders) | {space.name for space in spaces} - set(places)
    if missing:
        raise ValueError(f"no word about {sorted(missing)}")
    return LayoutFile(
        **texts, digest=given["dataset"], spaces=spaces, encoders=encoders, places=places, validation=tuple(validation)
    )
