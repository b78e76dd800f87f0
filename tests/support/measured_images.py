"""What is measured of pictures that a test holds as files."""

from __future__ import annotations

import pyarrow as pa
from dfndr_builders.inspect import Inspect
from dfndr_builders.measure.image import IMAGE_FIELDS, MeasureImage
from dfndr_builders.pools.base import Sample, pool_schema, tables_of
from dfndr_builders.stage import Chain

__all__ = ["NAMES", "STAGE", "measured", "one", "table_of"]

NAMES = [field.name for field in IMAGE_FIELDS]
STAGE = Chain((Inspect(), MeasureImage()))


def table_of(*files: bytes) -> pa.Table:
    samples = [Sample(f"picture-{place}", data, b"a picture") for place, data in enumerate(files)]
    return pa.concat_tables(tables_of(samples, pool_schema([])))


def measured(*files: bytes) -> list[dict]:
    return STAGE.open()(table_of(*files)).drop_columns(["image"]).to_pylist()


def one(data: bytes) -> dict:
    (row,) = measured(data)
    assert row["problem"] is None
    return row
