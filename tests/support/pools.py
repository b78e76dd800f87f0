"""Small pools, rendered and packed on the spot, and the brute-force way to read one."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from typing import Any

from dfndr_builders.pools.base import TABLE_ROWS, Pool
from PIL import Image


def picture(color: object = "red", kind: str = "PNG", size: tuple[int, int] = (4, 3)) -> bytes:
    """The bytes of a small picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def tar_of(members: Iterable[tuple[str, object]], mode: str = "w") -> bytes:
    """The bytes of a tar; a member is a name and bytes, a text, or what its json holds."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members:
            if isinstance(content, str):
                content = content.encode()
            elif not isinstance(content, bytes):
                content = json.dumps(content).encode()
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return file.getvalue()


def rows_of(pool: Pool) -> list[dict[str, Any]]:
    """Every row of a pool, after a check of what each of its tables promises."""
    rows: list[dict[str, Any]] = []
    for shard in pool.shards():
        for table in pool.read(shard):
            assert table.schema.equals(pool.schema())
            assert 0 < len(table) <= TABLE_ROWS
            table.validate(full=True)
            rows += table.to_pylist()
    return rows


def seen(pool: Pool, *columns: str) -> list[tuple[Any, ...]]:
    """The key and problem of each row, or the columns asked for."""
    return [tuple(row[name] for name in columns or ("key", "problem")) for row in rows_of(pool)]
