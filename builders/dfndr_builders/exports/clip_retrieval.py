"""As clip-retrieval, embedding-reader and autofaiss read it: `img_emb/`, `text_emb/` and `metadata/`, number by number.

Those tools pair the files by the order of their names, so numbers have one width.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.schema import Space
from dfndr.format.shard import write_rows
from dfndr.progress import SILENT, Progress
from dfndr_builders.exports.chosen import first_space
from dfndr_builders.exports.parts import Part, Written, layout_of, numbered, write_parts
from dfndr_builders.exports.readme import readme_of
from dfndr_builders.exports.vectors import npy_writer

__all__ = ["export_clip_retrieval"]

_FOLDERS = {"image": "img_emb", "text": "text_emb"}
_CALLED = {"text": "caption", "key": "image_path"}


def export_clip_retrieval(dataset: Dataset, out: str, *, space: str | None = None, progress: Progress = SILENT) -> str:
    """Write the vectors of one encoder, that of `space` or of the first pictures, and every column of the rows.

    Of a picture's views the first one is written. Raises UsageError where there is no space of pictures.
    """
    spaces = _spaces(dataset, space)
    parts = numbered(dataset, f"{{:0{len(str(max(0, len(dataset.shards) - 1)))}d}}")
    names = [_CALLED.get(name, name) for name in dataset.schema().names]
    if len(set(names)) < len(names):
        taken, do = sorted(name for name in set(names) if names.count(name) > 1)[0], "Call it otherwise in the recipe."
        raise UsageError(f"column {taken!r}", expected="one column of that name", found="two", do=do)

    def write(part: Part) -> Written:
        view = dataset.only([dataset.shards[part.number]])
        files = []
        for one in spaces:
            folder = _FOLDERS[one.modality]
            files.append(storage.put(out, f"{folder}/{folder}_{part.stem}.npy", npy_writer(view, one.name)))
        files.append(write_rows(out, f"metadata/metadata_{part.stem}.parquet", _metadata(view.rows(), names)))
        return Written(tuple(files), {"rows": len(view)})

    told = {"kind": "clip-retrieval", "dataset": dataset.digest, "spaces": [one.name for one in spaces]}
    places = {one.name: _FOLDERS[one.modality] for one in spaces}
    stems = [Part(part.number, f"metadata_{part.stem}") for part in parts]
    layout = layout_of("clip-retrieval", dataset, [replace(one, per_row=1) for one in spaces], places, stems)
    left = [name for name in dataset.spaces if name not in places]
    lost = [f"`{name}` has no place in this layout." for name in left]
    lost += [f"Of the {one.per_row} vectors of `{one.name}` the first is written." for one in spaces if one.per_row > 1]
    write_parts(
        out, told, parts, write, layout=layout, readme=readme_of(dataset, layout, lost),
        rows=[shard.rows for shard in dataset.shards], progress=progress,
    )  # fmt: skip
    told_left = f" ({', '.join(left)} left out)" if left else ""
    return f"{out}: {len(dataset):,} rows of {', '.join(places)}{told_left}, as clip-retrieval leaves them"


def _spaces(dataset: Dataset, name: str | None) -> list[Space]:
    chosen = first_space(dataset, name)
    found = [] if chosen is None else [f"{modality}/{chosen.encoder}" for modality in _FOLDERS]
    there = [dataset.space(one) for one in found if one in dataset.spaces]
    if not there or there[0].modality != "image":
        do = "Choose the dataset, or with --space the encoder, that has one."
        raise UsageError(name or dataset.root, expected="a space of pictures", found="none", do=do)
    return there


def _metadata(rows: pa.Table, names: list[str]) -> pa.Table:
    table = rows.replace_schema_metadata(None).rename_columns(names)
    return table if "image_path" in names else table.append_column("image_path", table["uid"])
