"""Every bad sample a pool can hold, through whole builds: counted by reason, never a traceback, never a lost row."""

from __future__ import annotations

import io
import json
import re
import resource
import struct
import tarfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from dfndr_builders.build import build
from dfndr_builders.pools.base import uid_of
from PIL import Image
from support.models import tiny_config
from support.pools import tar_of

from dfndr.dataset import open_dataset
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

RECIPE = """
name = "attacked"
license = "mit"
seed = 7

[[pool]]
{pool}

[[score]]
name = "dfn"
model = "tiny.json"
pretrained = "random:0"

[select]
by = "dfn"
top_fraction = 1.0

[[embed]]
encoder = "tiny"
model = "tiny.json"
pretrained = "random:0"

[output]
rows_per_shard = 8
thumbnail = 16
validation = 0.0

[compute]
batch_size = 8
threads = 1
"""


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


@dataclass(frozen=True)
class Built:
    """A build over all samples: where it lies, its manifest, and the reason of every row that was to fail, by key."""

    root: Path
    manifest: Manifest
    failed: list[tuple[str, str]]
    keys: dict[str, str]
    grown_bytes: int

    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows that were kept, by the name of their sample."""
        return {self.keys.get(row["key"], row["key"]): row for row in open_dataset(self.root).rows().to_pylist()}

    def problems(self) -> list[dict[str, Any]]:
        folder = self.root / str(self.manifest.provenance["scores"]) / "problems"
        return [row for path in sorted(folder.iterdir()) for row in pq.read_table(path).to_pylist()]


def written(folder: Path, pool: str) -> Path:
    """Write the recipe over a pool, and its model."""
    folder.mkdir(exist_ok=True)
    tiny_config(folder)
    (folder / "recipe.toml").write_text(RECIPE.format(pool=pool))
    return folder / "recipe.toml"


@pytest.fixture(scope="module", params=[webdataset, folder_tree, parquet_files], ids=lambda given: given.__name__)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp(request.param.__name__)
    pool, more = request.param(folder)
    recipe = written(folder, pool)
    build(written(folder / "warm-up", 'kind = "glyphs"\ncount = 8'), folder / "warm", device="cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest = build(recipe, folder / "out", device="cpu")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    failed = [(key, given.reason) for key, given in BAD.items() if given.reason] + list(more.items())
    keys = {}
    if request.param is parquet_files:
        keys = {f"0-samples.parquet:{row}": key for row, key in enumerate([*SAMPLES, "cut-0", "the-copy"])}
    return Built(folder / "out", manifest, failed, keys, grown)


def test_every_row_of_the_pool_is_kept_dropped_or_failed_with_its_reason(built: Built) -> None:
    score, select, last = built.manifest.funnel
    failed = Counter(reason for _, reason in built.failed)
    kept = len(GOOD) + len(ODD) + 1  # and the sample before the place where the tar is cut
    assert score.failed == failed
    assert (score.rows_in, score.rows_out) == (kept + 1 + failed.total(), kept + 1)
    assert select.dropped == {"duplicate": 1, "not_selected": 0}
    assert (select.rows_in, select.rows_out, select.failed) == (kept + 1, kept, {})
    assert (last.rows_in, last.rows_out, last.failed) == (kept, kept, {})
    assert set(built.rows()) == {*GOOD, *ODD, "cut-0"}


def test_what_was_built_verifies_phase_by_phase(built: Built) -> None:
    for root in (built.root, built.root / str(built.manifest.provenance["scores"])):
        report = verify(str(root))
        assert report.ok, str(report)


def test_problems_name_uid_key_reason_and_detail_of_each_failed_row(built: Built) -> None:
    rows = built.problems()
    assert Counter((built.keys.get(row["key"], row["key"]), row["reason"]) for row in rows) == Counter(built.failed)
    assert all(re.fullmatch("[0-9a-f]{32}", row["uid"]) for row in rows)
    detail = {built.keys.get(row["key"], row["key"]): row["detail"] for row in rows}
    for key, words in {
        "bomb": "900000000 pixels",
        "one-pixel": "1 x 1 pixels",
        "endless": "100000 characters",
        "latin-1": "can't decode byte 0xe4",
        "html": "not a JPEG",
        "truncated": "truncated",
    }.items():
        assert words in detail[key]
    uids = {built.keys.get(row["key"], row["key"]): row["uid"] for row in rows}
    for key in ("truncated", "bomb", "latin-1"):
        assert uids[key] == uid_of(BAD[key].image, BAD[key].text)


def test_odd_pictures_are_kept_with_their_size_and_look_right(built: Built) -> None:
    rows = built.rows()

    def small(key: str) -> Image.Image:
        return Image.open(io.BytesIO(rows[key]["thumbnail"]["bytes"])).convert("RGB")

    def close(pixel: object, wanted: tuple[int, int, int]) -> bool:
        return all(abs(got - want) <= 12 for got, want in zip(pixel, wanted, strict=True))  # type: ignore[call-overload]

    sizes = {key: (rows[key]["width"], rows[key]["height"], small(key).size) for key in ODD}
    assert sizes == {
        "cmyk": (30, 20, (16, 11)),
        "sixteen": (20, 30, (11, 16)),
        "palette": (24, 12, (16, 8)),
        "rotated": (20, 40, (8, 16)),
        "animated": (18, 14, (16, 12)),
        "one-row": (400, 2, (16, 1)),
        "umlaut": (32, 32, (16, 16)),
    }
    assert close(small("cmyk").getpixel((8, 5)), (254, 0, 0))
    assert close(small("sixteen").getpixel((5, 8)), (128, 128, 128))
    assert close(small("palette").getpixel((2, 4)), (0, 200, 0))
    assert close(small("palette").getpixel((13, 4)), (255, 255, 255)), "clear parts show white"
    assert close(small("rotated").getpixel((4, 2)), (254, 0, 0)), "what was left is above"
    assert close(small("rotated").getpixel((4, 13)), (0, 0, 254))
    assert close(small("animated").getpixel((8, 6)), (255, 255, 0)), "the first frame"


def test_texts_are_kept_to_the_letter(built: Built) -> None:
    rows = built.rows()
    assert {key: row["text"].encode() for key, row in rows.items() if key in SAMPLES} == {
        key: given.text for key, given in (GOOD | ODD).items()
    }


def test_a_decompression_bomb_is_never_decoded(built: Built) -> None:
    assert built.grown_bytes < 400_000_000, "its pixels take 2.7 GB, or 900 MB before they are RGB"


def test_json_of_the_records_and_the_manifest_agree(built: Built) -> None:
    records = sorted((built.root / "shards" / str(built.manifest.provenance["phase"])[:12]).iterdir())
    assert [json.loads(path.read_text())["rows"] for path in records] == [8, 8]
