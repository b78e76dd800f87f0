"""Damage to a file's bytes, drawn from a random generator: blind, or by somebody who knows what kind of file it is.

Blind damage seldom passes a checksum or a parser's first look, so what is packed is unpacked, damaged and packed
again, checksums of tars are set right, and JSON is damaged as the tree that it is.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any, TypeAlias

__all__ = [
    "Mutation",
    "anywhere",
    "either",
    "footer",
    "header",
    "json_tree",
    "tar_headers",
    "unpacked",
    "words",
    "zipped",
]

Mutation: TypeAlias = Callable[[Random, bytes], bytes]

_NUMBERS = [0, 1, 2, 3, 7, 15, 16, 127, 128, 255, 256, 511, 4095, 65535, 1 << 16, (1 << 24) - 1]
_NUMBERS += [
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    (1 << 40) + 5,
    (1 << 53) + 1,
    (1 << 62),
    (1 << 63) - 1,
    (1 << 64) - 1,
]
_VALUES: list[Any] = [None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 10**30, 1e308, -0.5, "", "x", "../x", "\ud800"]
_VALUES += ["0" * 64, "float32", "image/enc", "train", [], {}, [[]], {"a": 1}, "9" * 30, "[" * 30, [1, 2, 30, 40]]
_WORDS = [b"0", b"-1", b"999999999999", b"1e999", b"nan", b"true", b"null", b'""', b"''", b"[", b"]", b"{", b"}", b"("]
_WORDS += [b"=", b",", b":", b"\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"#", b"'''", b'"""', b"[[", b"]]", b"\\u0000"]
_WORDS += [b"|O", b"<f2", b">f8", b"<U99", b"[" * 2000, b"9" * 5000, b"a." * 500, b"1979-05-27T07:32:00", b"../../x"]
_BLOCK = 512


def anywhere(random: Random, data: bytes) -> bytes:
    """Damage one to four places: bits, bytes, numbers, pieces that are cut out, put in, copied or repeated."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = _damaged(random, data, 0, len(data))
    return data


def _damaged(random: Random, data: bytes, start: int, stop: int) -> bytes:
    """Damage one place between two others."""
    place = random.randrange(start, max(start + 1, stop))
    length = min(random.choice((1, 2, 4, 8, 16, 100, 1000)), max(1, stop - place))
    before, piece, after = data[:place], data[place : place + length], data[place + length :]
    match random.choice(("bit", "bytes", "number", "cut", "insert", "copy", "repeat", "end", "zeros")):
        case "bit":
            return before + bytes([(piece[:1] or b"\0")[0] ^ (1 << random.randrange(8))]) + data[place + 1 :]
        case "bytes":
            return before + random.randbytes(len(piece)) + after
        case "number":
            kind = random.choice(("<B", "<H", "<I", "<Q", ">H", ">I", ">Q"))
            size = struct.calcsize(kind)
            number = random.choice(_NUMBERS) & ((1 << 8 * size) - 1)
            return before + struct.pack(kind, number) + data[place + size :]
        case "cut":
            return before + after
        case "insert":
            return before + random.randbytes(length) + data[place:]
        case "copy":
            origin = random.randrange(len(data) or 1)
            return before + data[origin : origin + length] + data[place:]
        case "repeat":
            return before + piece * random.choice((2, 10, 100)) + after
        case "end":
            return before
        case _:
            return before + bytes(len(piece)) + after


def header(size: int) -> Mutation:
    """Damage mostly the first bytes."""

    def mutate(random: Random, data: bytes) -> bytes:
        return _damaged(random, data, 0, min(size, len(data))) if random.random() < 0.7 else anywhere(random, data)

    return mutate


def footer(random: Random, data: bytes) -> bytes:
    """Damage mostly the footer of a Parquet file, which lies before its last eight bytes: its length, and a mark."""
    if random.random() < 0.3 or len(data) < 12:
        return anywhere(random, data)
    length = min(int.from_bytes(data[-8:-4], "little"), len(data) - 12)
    body, told = data[: len(data) - 8 - length], data[len(data) - 8 - length : -8]
    for _ in range(random.choice((1, 1, 2, 4))):
        told = _damaged(random, told, 0, len(told))
    return body + told + struct.pack("<I", len(told)) + data[-4:]


def words(random: Random, data: bytes) -> bytes:
    """Put words that mean something to parsers of texts in the place of others, or damage it blindly."""
    if random.random() < 0.3:
        return anywhere(random, data)
    for _ in range(random.choice((1, 1, 2, 3))):
        place = random.randrange(len(data) + 1)
        length = random.choice((0, 0, 1, 3, 10))
        data = data[:place] + random.choice(_WORDS) + data[place + length :]
    return data


def json_tree(random: Random, data: bytes) -> bytes:
    """Replace, remove, move or nest values of the JSON that the data is; what is no JSON is damaged as words are."""
    if random.random() < 0.25:
        return words(random, data)
    try:
        tree = json.loads(data)
    except ValueError:
        return words(random, data)
    for _ in range(random.choice((1, 1, 2, 3))):
        places = _places(tree)
        if not places:
            break
        container, key = random.choice(places)
        match random.choice(("value", "delete", "copy", "add", "nest")):
            case "value":
                container[key] = deepcopy(random.choice(_VALUES))
            case "delete":
                del container[key]
            case "copy":
                other, its = random.choice(places)
                there = other.get(its) if isinstance(other, dict) else other[its] if its < len(other) else None
                container[key] = json.loads(json.dumps(there))
            case "add" if isinstance(container, dict):
                container[random.choice(("x", "rows", "shape", "", "\ud800"))] = deepcopy(random.choice(_VALUES))
            case _:
                deep: object = container[key]
                for _ in range(random.choice((1, 5, 100))):
                    deep = [deep]
                container[key] = deep
    return json.dumps(tree).encode()


def _places(value: object) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value, containers of one's own making included."""
    found, waiting = [], [value]
    while waiting:
        here: Any = waiting.pop()
        items = here.items() if isinstance(here, dict) else enumerate(here) if isinstance(here, list) else ()
        for key, inner in items:
            found.append((here, key))
            waiting.append(inner)
    return found


def tar_headers(random: Random, data: bytes) -> bytes:
    """Damage a header of a tar and set its checksum right, or damage the tar blindly."""
    heads = [place for place in range(0, len(data), _BLOCK) if data[place + 257 : place + 262] == b"ustar"]
    if not heads or random.random() < 0.4:
        return anywhere(random, data)
    place = random.choice(heads)
    block = bytearray(data[place : place + _BLOCK])
    match random.choice(("size", "kind", "name", "bytes")):
        case "size":
            told = random.choice((b"77777777777\0", b"00000000000\0", b"-0000000001\0", b"\x80" + b"\xff" * 11))
            block[124:136] = random.choice((told, b"%011o\0" % random.randrange(1 << 33), b"\xff" * 12))
        case "kind":
            block[156:157] = random.choice((b"x", b"g", b"L", b"K", b"S", b"2", b"5", b"\0", b"9", b"V", b"M"))
        case "name":
            block[:100] = random.choice((b"\0" * 100, b"../" * 33 + b"x", b"\xff" * 100, b"." * 100, b"a" * 100))
        case _:
            changed = _damaged(random, bytes(block), 0, _BLOCK)[:_BLOCK]
            block[: len(changed)] = changed
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return data[:place] + bytes(block) + data[place + _BLOCK :]


def unpacked(inner: Mutation) -> Mutation:
    """Damage what a gzip file holds, or the file itself."""

    def mutate(random: Random, data: bytes) -> bytes:
        if random.random() < 0.3:
            return anywhere(random, data)
        return gzip.compress(inner(random, gzip.decompress(data)), compresslevel=1)

    return mutate


def zipped(inner: Mutation) -> Mutation:
    """Damage a member of a zip archive and pack it again as it was packed, or damage the archive itself."""

    def mutate(random: Random, data: bytes) -> bytes:
        if random.random() < 0.4:
            return anywhere(random, data)
        file = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(file, "w") as packed:
            chosen = random.choice(given.infolist()).filename
            for member in given.infolist():
                content = given.read(member)
                packed.writestr(member, inner(random, content) if member.filename == chosen else content)
        return file.getvalue()

    return mutate


def either(*mutations: Mutation) -> Mutation:
    """Damage in one of several ways."""

    def mutate(random: Random, data: bytes) -> bytes:
        return random.choice(mutations)(random, data)

    return mutate
