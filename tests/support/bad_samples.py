"""Samples good, odd and bad, and pools of each kind made of them, with what should become of every one."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from support.pools import tar_of


@dataclass(frozen=True)
class Given:
    """A sample as a user's pool holds it; None for a part that is not there."""

    image: bytes | None
    text: bytes | None
    reason: str | None = None
    suffix: str = "png"


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(side: int = 30_000) -> bytes:
    """A whole PNG of side x side black pixels in about 110 kB; its pixels would take 2.7 GB in RGB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    pixels = b"".join(packer.compress(row * 1000) for _ in range(side // 1000)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def rotated() -> bytes:
    """A JPEG stored 40 wide and 20 high, red on its left and blue on its right, that EXIF says to turn clockwise."""
    picture = Image.new("RGB", (40, 20), "red")
    picture.paste("blue", (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture, "JPEG", exif=exif, quality=95)


def palette_with_alpha() -> bytes:
    """A palette PNG, 24 x 12: its left half is green, its right half is black that nobody sees."""
    picture = Image.new("P", (24, 12), 0)
    picture.putpalette([0, 200, 0, 0, 0, 0])
    picture.paste(1, (12, 0, 24, 12))
    return encoded(picture, "PNG", transparency=bytes([255, 0]))


def animated() -> bytes:
    frames = [Image.new("RGB", (18, 14), colour) for colour in ("yellow", "navy", "navy")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=20)


RED = encoded(Image.new("RGB", (32, 32), (200, 40, 40)), "JPEG")
NOISE = encoded(Image.effect_noise((64, 64), 80).convert("RGB"), "JPEG")
GOOD = {
    f"good-{number}": Given(encoded(Image.new("RGB", (32, 24), (number * 30, 90, 10)), "PNG"), b"picture %d" % number)
    for number in range(8)
}
ODD = {
    "cmyk": Given(encoded(Image.new("CMYK", (30, 20), (0, 255, 255, 0)), "JPEG", quality=95), b"red", suffix="jpg"),
    "sixteen": Given(encoded(Image.new("I;16", (20, 30), 0x8080), "PNG"), b"grey in 16 bits"),
    "palette": Given(palette_with_alpha(), b"half of it is clear"),
    "rotated": Given(rotated(), b"turned by a phone", suffix="jpg"),
    "animated": Given(animated(), b"it moves", suffix="gif"),
    "one-row": Given(encoded(Image.new("RGB", (400, 2), "teal"), "PNG"), b"a very wide picture"),
    "umlaut": Given(RED, "Käse \u202e\u0000 \U0001f9c0".encode(), suffix="jpg"),
}
BAD = {
    "truncated": Given(NOISE[: len(NOISE) // 2], b"half a jpeg", "image_unreadable", "jpg"),
    "html": Given(b"<html>404 Not Found</html>", b"a page", "image_unreadable", "jpg"),
    "one-pixel": Given(encoded(Image.new("RGB", (1, 1)), "PNG"), b"a dot", "image_too_small"),
    "bomb": Given(bomb(), b"a bomb", "image_too_large"),
    "no-bytes": Given(b"", b"nothing there", "image_empty"),
    "blank": Given(RED, b" \n\t ", "text_empty", "jpg"),
    "endless": Given(RED, b"x" * 100_000, "text_too_long", "jpg"),
    "latin-1": Given(RED, "Käse".encode("latin-1"), "text_not_utf8", "jpg"),
    "lone-text": Given(None, b"no picture", "image_missing"),
    "lone-image": Given(RED, None, "text_missing", "jpg"),
}
SAMPLES = GOOD | ODD | BAD
KEPT = len(GOOD) + len(ODD)


def members(samples: dict[str, Given]) -> list[tuple[str, bytes]]:
    """The files of samples, side by side."""
    files = []
    for key, given in samples.items():
        files += [(f"{key}.{given.suffix}", given.image)] if given.image is not None else []
        files += [(f"{key}.txt", given.text)] if given.text is not None else []
    return files


def special_tar() -> bytes:
    """A tar with a folder and a link to a file outside, each under the name of a picture, beside its text."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for key, kind in (("folder", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE)):
            header = tarfile.TarInfo(f"{key}.jpg")
            header.type, header.linkname = kind, "/etc/hostname"
            text = tarfile.TarInfo(f"{key}.txt")
            text.size = 4
            archive.addfile(header)
            archive.addfile(text, io.BytesIO(b"text"))
    return buffer.getvalue()


def webdataset(folder: Path) -> tuple[str, dict[str, str]]:
    """Write tars; return the recipe's pool, and the reason of each row that fails beside those of BAD, by key."""
    taken = [("good-0.png", GOOD["good-1"].image), ("good-0.txt", b"its key was taken")]
    copy = [("the-copy.png", GOOD["good-2"].image), ("the-copy.txt", GOOD["good-2"].text)]
    bad_json = [("bad-json.jpg", RED), ("bad-json.txt", b"red"), ("bad-json.json", b'{"license": ')]
    cut = tar_of([("cut-0.png", RED), ("cut-0.txt", b"whole"), ("cut-1.png", NOISE), ("cut-1.txt", b"cut")])
    place = cut.index(b"cut-1.png") + 512 + 700  # within the second picture
    tars = {
        "0-samples": tar_of([*members(SAMPLES), *taken, *copy, *bad_json]),
        "1-special": special_tar(),
        "2-cut": cut[:place],
        "3-empty": tar_of([]),
        "4-no-bytes": b"",
        "5-html": b"<html>404 Not Found</html>" * 100,
    }
    for name, content in tars.items():
        (folder / f"{name}.tar").write_bytes(content)
    return 'kind = "webdataset"\npath = "*.tar"', {
        "good-0": "duplicate_key",
        "bad-json": "json_unreadable",
        "folder": "image_missing",
        "link": "image_missing",
        "cut-1": "shard_truncated",
        "3-empty.tar": "shard_empty",
        "4-no-bytes.tar": "shard_unreadable",
        "5-html.tar": "shard_unreadable",
    }


def folder_tree(folder: Path) -> tuple[str, dict[str, str]]:
    """Write a folder; see `webdataset`. The key `cut-0` of the tars is here a whole sample too."""
    pool = folder / "pool"
    (pool / "folder.jpg").mkdir(parents=True)
    (pool / "README.md").write_text("no sample")
    (pool / "link.jpg").symlink_to("nowhere")
    more = [
        ("cut-0.png", RED), ("cut-0.txt", b"whole"),
        ("the-copy.png", GOOD["good-2"].image), ("the-copy.txt", GOOD["good-2"].text),
        ("good-0.jpg", RED),  # beside good-0.png, and preferred
        ("bad-json.jpg", RED), ("bad-json.txt", b"red"), ("bad-json.json", b'{"license": '),
        ("folder.txt", b"text"), ("link.txt", b"text"),
    ]  # fmt: skip
    for name, content in [*members(SAMPLES), *more]:
        assert content is not None
        (pool / name).write_bytes(content)
    return 'kind = "folder"\npath = "pool"', {
        "good-0": "duplicate_key",
        "bad-json": "json_unreadable",
        "folder": "image_missing",
        "link": "image_missing",
    }


def parquet_files(folder: Path) -> tuple[str, dict[str, str]]:
    """Write Parquet files; see `webdataset`. Their texts are strings that were never checked to be UTF-8."""
    rows = [*SAMPLES.values(), Given(RED, b"whole"), GOOD["good-2"]]
    images = pa.array([given.image for given in rows], pa.binary())
    texts = pc.cast(pa.array([given.text for given in rows], pa.binary()), pa.string(), safe=False)
    table = pa.table({"image": images, "text": texts})
    pq.write_table(table, folder / "0-samples.parquet")
    whole = (folder / "0-samples.parquet").read_bytes()
    (folder / "1-cut.parquet").write_bytes(whole[: len(whole) // 2])
    pq.write_table(table.slice(0, 0), folder / "2-empty.parquet")
    (folder / "3-no-bytes.parquet").write_bytes(b"")
    return 'kind = "parquet"\npath = "*.parquet"', {
        "1-cut.parquet": "shard_unreadable",
        "2-empty.parquet": "shard_empty",
        "3-no-bytes.parquet": "shard_unreadable",
    }
