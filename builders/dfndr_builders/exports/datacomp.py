"""As DataComp publishes its pools: Parquet files with urls, texts and scores, a `.npz` of the same stem beside each.

Beside them lies `uids.npy`, the subset file of all rows, which its resharder takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.schema import EncoderRecord, Space
from dfndr.format.shard import write_rows
from dfndr.format.uid import pack_uids
from dfndr.progress import SILENT, Progress
from dfndr_builders.exports.parts import Part, Written, layout_of, numbered, write_parts
from dfndr_builders.exports.readme import readme_of
from dfndr_builders.exports.vectors import npz_writer
from dfndr_builders.uid_lists import write_uids

__all__ = ["export_datacomp"]

_SIZES = {"original_width": "width", "original_height": "height"}
_COLUMNS = {
    "uid": pa.string(),
    "url": pa.string(),
    "text": pa.string(),
    "original_width": pa.int64(),
    "original_height": pa.int64(),
    "clip_b32_similarity_score": pa.float32(),
    "clip_l14_similarity_score": pa.float32(),
    "face_bboxes": pa.list_(pa.list_(pa.float64())),
    "sha256": pa.string(),
}
_SHORT = {"ViT-B-32": "b32", "ViT-L-14": "l14"}
_ENDINGS = {"image": "img", "text": "txt"}


def export_datacomp(dataset: Dataset, out: str, *, progress: Progress = SILENT) -> str:
    """Write, for each shard, the rows with DataComp's columns first, null where there is none, and the vectors.

    Vectors of ViT-B-32 are `b32_img` and `b32_txt`, those of ViT-L-14 `l14_...`, others go by their encoder. Of a
    picture's views the first one is written; captions' vectors have no place. Raises UsageError where a column of
    DataComp's is there with values of another type.
    """
    names, parts = _names(dataset), numbered(dataset)
    _table(dataset.schema().empty_table())

    def write(part: Part) -> Written:
        view = dataset.only([dataset.shards[part.number]])
        files = [write_rows(out, f"{part.stem}.parquet", _table(view.rows()))]
        if names:
            files.append(storage.put(out, f"{part.stem}.npz", npz_writer(view, names)))
        return Written(tuple(files), {"rows": len(view)})

    spaces = [replace(dataset.space(name), per_row=1) for name in names]
    layout = layout_of("datacomp", dataset, spaces, names, parts)
    lost = [f"`{name}` has no place in this layout." for name in dataset.spaces if name not in names]
    lost += [f"Of the {one.per_row} vectors of `{one.name}` the first is written." for one in _many(dataset, names)]
    told = {"kind": "datacomp", "dataset": dataset.digest}
    packed = [pack_uids(table["uid"].to_pylist(), dataset.root) for table in dataset.tables(["uid"])]

    def finish() -> None:
        write_uids(storage.join(out, "uids.npy"), np.concatenate([np.empty((0, 16), np.uint8), *packed]))

    write_parts(
        out,
        told,
        parts,
        write,
        layout=layout,
        readme=readme_of(dataset, layout, lost),
        rows=[shard.rows for shard in dataset.shards],
        progress=progress,
        finish=finish,
    )
    return f"{out}: {len(dataset):,} rows as DataComp's metadata, and uids.npy for its resharder"


def _many(dataset: Dataset, names: Mapping[str, str]) -> list[Space]:
    return [dataset.space(name) for name in names if dataset.space(name).per_row > 1]


def _names(dataset: Dataset) -> dict[str, str]:
    """Return what the array of each space is called; captions' have none."""
    short: dict[str, str] = {}
    for name, record in dataset.manifest.encoders.items():
        wanted = _short(record)
        short[name] = wanted if wanted not in short.values() else re.sub(r"[^a-z0-9]", "_", name)
    spaces = [space for space in dataset.manifest.spaces if space.modality in _ENDINGS]
    return {space.name: f"{short[space.encoder]}_{_ENDINGS[space.modality]}" for space in spaces}


def _short(record: EncoderRecord) -> str:
    model = record.model.removesuffix("-quickgelu")
    return _SHORT.get(model, re.sub(r"[^a-z0-9]", "_", record.name))


def _table(rows: pa.Table) -> pa.Table:
    """Return the rows with DataComp's columns first and in its types, the others after them as they are."""
    columns, there = {}, rows.column_names
    for name, kind in _COLUMNS.items():
        found = name if name in there else _SIZES.get(name, "")
        try:
            columns[name] = rows[found].cast(kind) if found in there else pa.nulls(len(rows), kind)
        except pa.ArrowException as error:
            do = "Call the column otherwise in the recipe."
            raise UsageError(f"column {found!r}", expected=str(kind), found=str(error), do=do) from error
    for name in there:
        if name not in columns:
            columns[name] = rows[name]
    return pa.table(columns)
