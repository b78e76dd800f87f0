"""Tars of reinforced samples, as Apple publishes DataCompDR and DFNDR and their training code reads them.

The vectors of all encoders lie in one row, one encoder after the other, in the order of the dataset's spaces; the
README.md and `layout.json` say which numbers are whose. What a tar has no place for lies in a Parquet file beside it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.schema import Modality, Space
from dfndr.format.shard import write_rows
from dfndr.markup import media_type
from dfndr.progress import SILENT, Progress
from dfndr_builders.exports.dr_pictures import Find, found_pictures
from dfndr_builders.exports.dr_sample import Form, Vectors, grouped, members
from dfndr_builders.exports.parts import Part, Written, layout_of, numbered, write_parts
from dfndr_builders.exports.readme import readme_of

__all__ = ["export_dr"]

_BLOCK = 256
_ENDINGS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
_ARRAYS: dict[Modality, str] = {"image": "image_emb", "text": "text_emb", "caption": "syn_text..._emb"}


def export_dr(
    dataset: Dataset,
    out: str,
    *,
    form: Form = Form(),  # noqa: B008  frozen
    pictures: str | None = None,
    find: Find | None = None,
    progress: Progress = SILENT,
) -> str:
    """Write a tar and a Parquet file for each shard.

    With `find` the tars hold the pictures, in the order in which they are found; rows without one come after the
    others. `pictures` is where that looks. Raises UsageError where there is no space of pictures, or where encoders
    have different numbers of views or captions.
    """
    spaces = _ordered(dataset)
    parts = numbered(dataset)

    def write(part: Part) -> Written:
        view = dataset.only([dataset.shards[part.number]])
        tar = _Tar(view, spaces, form, find, {"rows": len(view)})
        whole = storage.put(out, f"{part.stem}.tar", tar.write)
        rows = grouped(view.rows().replace_schema_metadata(None), spaces, form)
        return Written((whole, write_rows(out, f"{part.stem}.parquet", rows)), tar.counts)

    told = {"kind": "dr", "dataset": dataset.digest, "form": [form.bfloat16, form.legacy], "pictures": pictures}
    stored = tuple(replace(space, dtype="bfloat16") for space in spaces) if form.bfloat16 else spaces
    layout = layout_of("dr", dataset, stored, _places(spaces, form), parts)
    lost = ["Captions of one captioner stand together."]
    lost += ["Vectors were rounded to bfloat16 (8 bits of each number)."] if form.bfloat16 else []
    counts = write_parts(
        out,
        told,
        parts,
        write,
        layout=layout,
        readme=readme_of(dataset, layout, lost),
        rows=[shard.rows for shard in dataset.shards],
        progress=progress,
    )
    without = (
        ""
        if find is None
        else f"; {counts.get('pictures', 0):,} have their picture"
        + "".join(f", {count:,} {name}" for name, count in sorted(counts.items()) if name not in ("pictures", "rows"))
    )
    return f"{out}: {len(dataset):,} rows in {len(parts):,} tars{without}"


def _ordered(dataset: Dataset) -> tuple[Space, ...]:
    """Return the spaces, encoder by encoder."""
    names = list(dict.fromkeys(space.encoder for space in dataset.manifest.spaces))
    spaces = sorted(dataset.manifest.spaces, key=lambda space: (names.index(space.encoder), _rank(space)))
    for modality in ("image", "text", "caption"):
        counts = {space.name: space.per_row for space in spaces if space.modality == modality}
        if len(set(counts.values())) > 1:
            do = "Leave encoders out, or export as Parquet."
            raise UsageError(dataset.root, expected=f"as many {modality} vectors of each", found=f"{counts}", do=do)
    if not any(space.modality == "image" for space in spaces):
        do = "Export a dataset that has one."
        raise UsageError(dataset.root, expected="a space of pictures", found="none", do=do)
    return tuple(spaces)


def _rank(space: Space) -> int:
    return ("image", "text", "caption").index(space.modality)


def _places(spaces: tuple[Space, ...], form: Form) -> dict[str, str]:
    """Say in which array, and between which numbers of its rows, each space lies."""
    places, ends = {}, dict.fromkeys(_ARRAYS, 0)
    for space in spaces:
        start, stop = ends[space.modality], ends[space.modality] + space.dim
        array = _ARRAYS[space.modality]
        rows = {"image": ":", "text": ":1", "caption": ":"}[space.modality]
        if form.legacy and space.modality == "caption":
            array, rows = "text_emb", "1:"
        places[space.name], ends[space.modality] = f"{array}[{rows}, {start}:{stop}]", stop
    return places


@dataclass
class _Tar:
    """The tar of one shard, written front to back; `counts` says of how many rows there was a picture."""

    view: Dataset
    spaces: tuple[Space, ...]
    form: Form
    find: Find | None
    counts: dict[str, int]

    def write(self, file: BinaryIO) -> None:
        rows = self.view.rows()
        told = rows.drop_columns([name for name in ("thumbnail",) if name in rows.column_names]).to_pylist()
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            ordered = self._in_order(rows)
            while block := list(islice(ordered, _BLOCK)):
                numbers = [number for number, _ in block]
                vectors = {space.name: self.view.vectors(space.name, numbers) for space in self.spaces}
                for place, (number, picture) in enumerate(block):
                    own = {name: found[place] for name, found in vectors.items()}
                    self._add(tar, told[number], own, picture)

    def _add(self, tar: tarfile.TarFile, row: Mapping[str, Any], vectors: Vectors, picture: bytes | None) -> None:
        ending = "" if picture is None else _ENDINGS.get(media_type(picture) or "", "")
        if picture is not None:
            self._count("pictures" if ending else "with a picture of another kind")
        given = [(ending, picture)] if picture is not None and ending else []
        for suffix, data in [*members(row, vectors, self.spaces, self.form), *given]:
            info = tarfile.TarInfo(f"{row['uid']}{suffix}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

    def _in_order(self, rows: pa.Table) -> Iterator[tuple[int, bytes | None]]:
        """Yield row numbers, each with its picture: those with one as they are found, the others after them."""
        left = dict.fromkeys(range(len(rows)))
        if self.find is not None:
            for number, picture in found_pictures(rows, self.find):
                if picture is None:
                    self._count("with another picture than the row's")
                del left[number]
                yield number, picture
            for _ in left:
                self._count("without one")
        for number in left:
            yield number, None

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
