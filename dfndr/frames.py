"""A dataset for other libraries: pandas and Hugging Face `datasets`; and what vectors are called there.

Vectors become columns of fixed-size lists over the memory maps themselves: nothing is copied before it is used. What is
coded (bfloat16, int8) is decoded to float32.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dfndr.errors import MissingExtra, UsageError
from dfndr.format.schema import Space
from dfndr.format.storage_types import Block

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["hf_dataset", "hf_schema", "pandas_frame", "vector_array", "vector_columns"]


def vector_columns(spaces: Sequence[Space], columns: Sequence[str]) -> dict[str, str]:
    """Return what the column of each space is called: `image/vit-b-32` becomes `image__vit_b_32`, which SQL can say.

    Raises UsageError where two spaces, or a space and one of `columns`, would go by one name.
    """
    found: dict[str, str] = {}
    for space in spaces:
        name = f"{space.modality}__{re.sub(r'[^a-z0-9]', '_', space.encoder)}"
        if name in found.values() or name in columns:
            expected, do = f"no other column {name}", "Leave one of them out."
            raise UsageError(space.name, expected=expected, found="another one", do=do)
        found[space.name] = name
    return found


def vector_array(block: Block) -> pa.FixedSizeListArray:
    """Return vectors of shape (rows, per_row, dim) as lists, over the same memory unless they are decoded for it.

    A row is a list of dim numbers where per_row is 1, else a list of per_row such lists.
    """
    import numpy as np
    import pyarrow as pa

    _, per_row, dim = block.shape
    flat = pa.array(np.asarray(block).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, dim)
    return lists if per_row == 1 else pa.FixedSizeListArray.from_arrays(lists, per_row)


def hf_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema that tells `datasets` that the thumbnails are pictures; raises MissingExtra."""
    try:
        from datasets import Features, Image
    except ImportError as error:
        raise MissingExtra.of("datasets", "build") from error
    features = Features.from_arrow_schema(schema.remove_metadata())
    if "thumbnail" in features:
        features["thumbnail"] = Image()
    return schema.with_metadata(features.arrow_schema.metadata)


def hf_dataset(tables: Iterable[pa.Table], vectors: Mapping[str, Sequence[Block]], *, identity: str) -> Any:  # noqa: ANN401
    """Return a `datasets.Dataset` of the rows of all shards, the vectors by column name beside them.

    `identity` names what it holds: it becomes the fingerprint, which would else be a hash of all data.
    """
    import pyarrow as pa

    parts = []
    for number, table in enumerate(tables):
        for name, blocks in vectors.items():
            table = table.append_column(name, vector_array(blocks[number]))
        parts.append(table.replace_schema_metadata(None))
    table = pa.concat_tables(parts)
    schema = hf_schema(table.schema)
    from datasets import Dataset, DatasetInfo, Features
    from datasets.table import InMemoryTable

    held = InMemoryTable(table.replace_schema_metadata(schema.metadata))
    fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return Dataset(held, info=DatasetInfo(features=Features.from_arrow_schema(schema)), fingerprint=fingerprint)


def pandas_frame(table: pa.Table) -> Any:  # noqa: ANN401  a pandas DataFrame
    """Return a table as a DataFrame; raises MissingExtra."""
    try:
        return table.to_pandas()
    except ImportError as error:
        raise MissingExtra.of("pandas", "build") from error
