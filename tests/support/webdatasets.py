"""Pools of one tar, written on the spot."""

from __future__ import annotations

import pytest
from dfndr_builders.pools.webdataset import WebDatasetPool

from support.pools import picture

__all__ = ["BLUE", "PAIRS", "RED", "pool_of", "with_checksums"]

RED, BLUE = picture("red"), picture("blue")
PAIRS = [("a.png", RED), ("a.txt", "red"), ("b.png", BLUE), ("b.txt", "blue")]


@pytest.fixture
def pool_of(tmp_path):
    """Write bytes as the one tar of a pool."""

    def write(content: bytes, **options: object) -> WebDatasetPool:
        path = tmp_path / "pool.tar"
        path.write_bytes(content)
        return WebDatasetPool((str(path),), **options)

    return write


def with_checksums(tar: bytes) -> bytes:
    """Mend the checksum of every header that starts with an `a`."""
    blocks = bytearray(tar)
    for start in range(0, len(blocks), 512):
        header = blocks[start : start + 512]
        if header[:1] == b"a" and header[257:262] == b"ustar":
            blocks[start + 148 : start + 156] = b" " * 8
            total = sum(blocks[start : start + 512])
            blocks[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(blocks)
