"""The scores as one relation of DuckDB, read from their Parquet files in place: place, uid, and the columns asked for.

A row's `place` is shard * 2^32 + row. Columns get names of their own (`c0`, `c1`, ...), for DuckDB takes "DFN" for
"dfn" where there is one; where the files hold such names they are copied, narrow, under the new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfndr.dataset import Dataset
from dfndr.errors import FormatError, RecipeError
from dfndr.format.shard import parquet_errors
from dfndr_builders.select.database import literal, quoted

__all__ = ["SHARD", "Frame", "files_of", "open_frame"]

SHARD = 1 << 32
_PLACE = f"CAST(file_index AS BIGINT) * {SHARD} + file_row_number AS place"
_TAKEN = {"file_row_number", "file_index", "filename"}


@dataclass(frozen=True)
class Frame:
    """What the relation `scores` holds: the SQL name and the type of each column by what the data calls it."""

    names: dict[str, str]
    types: dict[str, pa.DataType]

    def column(self, name: str, where: str) -> str:
        """Return a column's SQL name; raises RecipeError with the names that are near."""
        if name not in self.names:
            near = get_close_matches(name, self.types, 3, 0.5) or sorted(self.types)
            do = "Name a column that is there."
            raise RecipeError(where, expected=f"one of: {', '.join(near)}", found=repr(name), do=do)
        return self.names[name]

    def refuse(self, name: str, where: str) -> None:
        """Raise RecipeError where a new column would have the name of one that is there."""
        if name in self.types:
            do = "Call it something else."
            raise RecipeError(where, expected="a name of its own", found=f"a column {name!r} in the data", do=do)

    def score(self, name: str, where: str) -> str:
        """Return a column of numbers as FLOAT; raises RecipeError with the scores there are."""
        kind = self.types.get(name)
        if kind is None or not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            there = [column for column, found in self.types.items() if pa.types.is_floating(found)]
            expected = f"one of: {', '.join(there) or 'no score at all'}"
            raise RecipeError(where, expected=expected, found=repr(name), do="Name a score of the recipe.")
        return f"CAST({self.names[name]} AS FLOAT)"


def open_frame(
    database: Any,  # noqa: ANN401
    scores: Dataset,
    derived: Sequence[Sequence[str]],
    *,
    needed: Sequence[str],
    folder: Path,
) -> Frame:
    """Make the views `scores` and `uids`, and say what `scores` holds.

    `derived` are files, one per shard each, that go with the rows. `uids` has place, shard, row and uid: DuckDB opens
    just the groups of rows it needs where few rows are asked for by shard and row.
    """
    sets = [files_of(scores, scores.schema()), *(_derived_files(paths, scores) for paths in derived)]
    types: dict[str, pa.DataType] = {}
    for _, schema in sets:
        for field in schema:
            if field.name in types:
                do = "Give the column that is made another name."
                raise RecipeError("[select]", expected="columns with names of their own", found=field.name, do=do)
            types[field.name] = field.type
    wanted = [name for name in dict.fromkeys(["uid", *needed]) if name in types]
    names = {name: "uid" if name == "uid" else f"c{number}" for number, name in enumerate(wanted)}
    relations, uids = [], ""
    for number, (paths, schema) in enumerate(sets):
        here = {name: names[name] for name in wanted if name in schema.names}
        if here or not number:
            given = _plain(paths, schema, here, folder / f"plain-{number}")
            relations.append(_relation(given, [] if number else [_PLACE]))
            uids = uids or _relation(
                (given[0], {"uid": "uid"}), [_PLACE, "file_index AS shard, file_row_number AS row"]
            )
    database.execute(f"CREATE OR REPLACE TEMP VIEW scores AS SELECT * FROM {' POSITIONAL JOIN '.join(relations)}")
    database.execute(f"CREATE OR REPLACE TEMP VIEW uids AS FROM {uids}")
    return Frame(names, types)


def files_of(scores: Dataset, schema: pa.Schema) -> tuple[list[str], pa.Schema]:
    """Return the checked local files of the rows, one per shard, and their schema."""
    return [str(scores.local_file(shard.files["rows"])) for shard in scores.shards], schema


def _derived_files(paths: Sequence[str], scores: Dataset) -> tuple[list[str], pa.Schema]:
    rows = [shard.rows for shard in scores.shards]
    found = []
    for path in paths:
        with parquet_errors(path):
            found.append(pq.read_metadata(path).num_rows)
    if found != rows or not paths:
        do = "Report this: columns that were made must go with the rows."
        raise FormatError("select", expected=f"files of {rows} rows"[:200], found=f"{found}"[:200], do=do)
    return list(paths), pq.read_schema(paths[0]).remove_metadata()


def _plain(paths: list[str], schema: pa.Schema, here: dict[str, str], folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return files in which the columns can be told apart by DuckDB, and new names by those in the files."""
    lower = [name.lower() for name in schema.names]
    if len(set(lower)) == len(lower) and not _TAKEN & set(lower):
        return paths, here
    folder.mkdir()
    copies = []
    for number, path in enumerate(paths):
        with parquet_errors(path):
            table = pq.read_table(path, columns=list(here)).select(list(here))
        copies.append(str(folder / f"{number:05d}.parquet"))
        pq.write_table(table.rename_columns(list(here.values())), copies[-1])
    return copies, {name: name for name in here.values()}


def _relation(given: tuple[list[str], dict[str, str]], columns: list[str]) -> str:
    paths, names = given
    columns = [*columns, *(f"{quoted(name)} AS {new}" for name, new in names.items())]
    files = ", ".join(literal(path) for path in paths)
    return f"(SELECT {', '.join(columns)} FROM read_parquet([{files}]))"
