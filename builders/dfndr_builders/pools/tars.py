"""Headers of tars that nobody has to trust."""

from __future__ import annotations

import tarfile

__all__ = ["StrictHeader"]

_MAX_HEADER_BYTES = 1 << 20
_TYPE, _PREFIX = 156, 345
_HELD_IN_MEMORY = (b"x", b"g", b"X", b"L", b"K")  # long names and other extensions, which tarfile reads whole


class StrictHeader(tarfile.TarInfo):
    """A header that is damaged raises: tarfile would take it, and a missing end, for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> StrictHeader:
        """Return the header in a block of 512 bytes; raises tarfile.ReadError for one that is damaged or too large."""
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)  # the end mark, which tarfile knows
        plain = cls._plain(buf)
        if plain is not None:
            return plain
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error) if buf else "the end mark is missing") from error
        if header.size < 0 or (header.type in _HELD_IN_MEMORY and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header

    @classmethod
    def _plain(cls, buf: bytes | bytearray) -> StrictHeader | None:
        """Return the header of a regular file with a plain name and size, None for all else: most are, and it is quick.

        Of owners, modes and times, which nobody asks for here, nothing is read.
        """
        if len(buf) != tarfile.BLOCKSIZE or buf[_TYPE] not in b"0\0" or any(buf[_PREFIX : _PREFIX + 1]):
            return None
        name, size, told = buf[:100].rstrip(b"\0"), buf[124:136].rstrip(b" \0"), buf[148:156].strip(b" \0")
        if not (name.isascii() and size.isdigit() and told.isdigit()) or b"\0" in name or name.endswith(b"/"):
            return None
        try:
            if int(told, 8) != 256 + sum(buf) - sum(buf[148:156]):
                return None
            header = cls(name.decode("ascii"))
            header.size = int(size, 8)
        except ValueError:  # digits that are not octal
            return None
        return header
