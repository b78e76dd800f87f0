"""Headers of tars that nobody has to trust."""

from __future__ import annotations

import tarfile

__all__ = ["StrictHeader"]

_MAX_HEADER_BYTES = 1 << 20
_HELD_IN_MEMORY = (b"x", b"g", b"X", b"L", b"K")  # long names and other extensions, which tarfile reads whole


class StrictHeader(tarfile.TarInfo):
    """A header that is damaged raises: tarfile would take it, and a missing end, for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> StrictHeader:
        """Return the header in a block of 512 bytes; raises tarfile.ReadError for one that is damaged or too large."""
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)  # the end mark, which tarfile knows
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error) if buf else "the end mark is missing") from error
        if header.size < 0 or (header.type in _HELD_IN_MEMORY and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header
