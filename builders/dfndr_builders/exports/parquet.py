"""One table for everything: the rows with their vectors beside them, as `datasets`, DuckDB and pandas read it."""

from __future__ import annotations

from dfndr.dataset import Dataset
from dfndr.format.schema import SPLITS, Space
from dfndr.format.shard import write_rows
from dfndr.format.storage_types import read_type
from dfndr.frames import hf_schema, vector_array, vector_columns
from dfndr.progress import SILENT, Progress
from dfndr_builders.card.header import header
from dfndr_builders.exports.parts import Part, Written, layout_of, write_parts
from dfndr_builders.markdown import plain, table

__all__ = ["export_parquet"]


def export_parquet(dataset: Dataset, out: str, *, space: str | None = None, progress: Progress = SILENT) -> str:
    """Write `rows/<split>-<number>-of-<count>.parquet`, a shard at a time, and a README.md with the Hub's header.

    A space's vectors are a fixed-size list of dim numbers per row, in the storage type, or float32 where that is coded;
    where a row has several, a list of per_row such lists, zeros in free places. With `space` only that is written.
    """
    spaces = dataset.manifest.spaces if space is None else (dataset.space(space),)
    called = vector_columns(spaces, dataset.schema().names)
    count = len(dataset.shards)
    parts = [Part(number, f"{shard.split}-{number:05d}-of-{count:05d}") for number, shard in enumerate(dataset.shards)]

    def write(part: Part) -> Written:
        view = dataset.only([dataset.shards[part.number]])
        rows = view.rows()
        for name, column in called.items():
            rows = rows.append_column(column, vector_array(view.vectors(name)))
        rows = rows.replace_schema_metadata(hf_schema(rows.schema.remove_metadata()).metadata)
        return Written((write_rows(out, f"rows/{part.stem}.parquet", rows),), {"rows": len(view)})

    told = {"kind": "parquet", "dataset": dataset.digest, "space": space}
    write_parts(
        out,
        told,
        parts,
        write,
        layout=layout_of("parquet", dataset, spaces, called, parts),
        readme=_readme(dataset, called),
        rows=[shard.rows for shard in dataset.shards],
        progress=progress,
    )
    return f'{out}: {len(dataset):,} rows; `datasets.load_dataset("{out}")` opens it, and DuckDB its rows/*.parquet'


def _readme(dataset: Dataset, called: dict[str, str]) -> str:
    manifest = dataset.manifest
    rows = {split: len(dataset.split(split)) for split in SPLITS}
    told = ", ".join(f"{split} {count:,}" for split, count in rows.items() if count) or "none"
    head = ("column", "space", "a row holds", "model", "licence of the model")
    lines = [_line(dataset, dataset.space(name), column) for name, column in called.items()]
    return f"""---
{header(manifest, [split for split, count in rows.items() if count])}
---

# {plain(manifest.name)}: rows and vectors

{len(dataset):,} rows ({told}), with their vectors, as plain Parquet, made by dfndr. Licence: {plain(manifest.license)}.
How each column was made, from what and under which licences is told by the dataset's own card; its digest is
`{dataset.digest}`.

{table(head, lines)}

```python
import datasets, duckdb

rows = datasets.load_dataset("{_THIS}")   # thumbnails are pictures, vectors lists
duckdb.sql("SELECT uid, text FROM '{_THIS}/rows/*.parquet' LIMIT 5")
```
{_similar(dataset, called)}"""


_THIS = "this-folder"
_SIMILAR = """
The rows nearest to the first one, in SQL; DuckDB reads float16 as FLOAT:
```sql
WITH query AS (SELECT {column} AS vector FROM 'this-folder/rows/*.parquet' LIMIT 1)
SELECT uid, text, list_cosine_similarity({column}, query.vector) AS cosine
FROM 'this-folder/rows/*.parquet', query ORDER BY cosine DESC LIMIT 10;
```
"""


def _similar(dataset: Dataset, called: dict[str, str]) -> str:
    """Return the SQL that finds neighbours in the first space, by the first vector where a row has several."""
    if not called:
        return ""
    name, column = next(iter(called.items()))
    return _SIMILAR.format(column=column if dataset.space(name).per_row == 1 else f"{column}[1]")


def _line(dataset: Dataset, space: Space, column: str) -> list[str]:
    record = dataset.manifest.encoders[space.encoder]
    one = f"{space.dim} numbers, {read_type(space.dtype)}"
    held = one if space.per_row == 1 else f"{space.per_row} lists of {one}; zeros in free places"
    return [column, space.name, held, f"{record.model}, {record.pretrained}", record.license]
