"""The rows of Parquet files that meet a condition, read with its help: what cannot meet it is passed over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dfndr import storage
from dfndr.errors import FormatError, UsageError
from dfndr.format.footers import check_footer
from dfndr.format.shard import parquet_errors

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["filtered"]


def filtered(
    files: Sequence[tuple[str, int]],
    schema: pa.Schema,
    where: pc.Expression,
    *,
    columns: Sequence[str] | None,
    without: pa.ChunkedArray | None,
) -> pa.Table:
    """Return the rows that meet `where` and whose uid is not among those of `without`.

    `files` are local paths, each with the number of rows that it must hold, or FormatError is raised. Raises
    UsageError for a condition that the schema does not allow.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as pads

    try:
        schema.empty_table().filter(where)
    except pa.ArrowException as error:
        expected, do = f"an expression over {schema.names}", "Check its names and types."
        raise UsageError("where", expected=expected, found=str(error).partition("\n")[0], do=do) from error
    paths = [path for path, _ in files]
    with parquet_errors(paths[0]):
        found = pads.dataset(paths, schema=schema)
        for fragment, (path, rows) in zip(found.get_fragments(), files, strict=True):
            check_footer(fragment.metadata, storage.size_of(path), path)
            if fragment.metadata.num_rows != rows:
                do = "Run `dfndr verify` on the dataset, then fetch or build the file again."
                told = f"{fragment.metadata.num_rows} rows"
                raise FormatError(path, expected=f"{rows} rows", found=told, do=do)
        if without is not None:
            where = where & ~pc.field("uid").isin(without.combine_chunks())
        table = found.to_table(columns=None if columns is None else list(columns), filter=where)
        table.validate(full=True)
        return table
