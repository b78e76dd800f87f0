"""Pools that change under a build: changed rows and pictures are refused, added ones are scored too."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.pools.folder import FolderPool
from PIL import Image
from support.faults import POOL, write_recipe
from support.pairs import jpeg
from support.pools import seen, tar_of

from dfndr.dataset import open_dataset
from dfndr.errors import DataError, PoolError, StorageError
from dfndr.verify import verify


def pool_of(folder: Path, rows: list[tuple[bytes, str, dict[str, object]]]) -> Path:
    members: list[tuple[str, object]] = []
    for place, (image, text, about) in enumerate(rows):
        members += [(f"{place:03d}.jpg", image), (f"{place:03d}.txt", text), (f"{place:03d}.json", about)]
    (folder / "pool.tar").write_bytes(tar_of(members))
    return folder / "pool.tar"


TARS = 'kind = "webdataset"\npath = "pool.tar"\nuid = "json:uid"'


def pairs(count: int, *, own: bool = False) -> list[tuple[bytes, str, dict[str, object]]]:
    return [
        (jpeg(colour=(place * 12, 90, 200)), f"number {place:02d}", {"uid": f"{place:032x}"} if own else {})
        for place in range(count)
    ]


def unnoticed(path: Path, content: bytes) -> None:
    """Change a file so that it looks from outside as it did."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touched(path: Path) -> None:
    """Let a file look as if it had been changed, as one does that was copied."""
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))


def test_rows_that_changed_and_look_as_they_did_are_refused_and_scored_again_once_they_do_not(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, (POOL, TARS))
    tar = pool_of(tmp_path, pairs(20))
    build(recipe, tmp_path / "out", device="cpu")
    unnoticed(tar, tar.read_bytes().replace(b"number ", b"NUMBER "))
    recipe = write_recipe(tmp_path, (POOL, TARS), ("0.5", "0.6"))
    with pytest.raises(DataError, match=r"pool shard pool\.tar: expected the 5 selected rows, found 5 of them missing"):
        build(recipe, tmp_path / "out", device="cpu", replace=True)
    assert verify(str(tmp_path / "out")).ok, "the dataset that was there is whole"
    touched(tar)
    again = build(recipe, tmp_path / "out", device="cpu", replace=True)
    assert again.digest == build(recipe, tmp_path / "anew", device="cpu").digest
    assert all(text.startswith("NUMBER") for text in open_dataset(tmp_path / "out").rows()["text"].to_pylist())


def test_a_picture_that_changed_under_the_uid_of_the_pool_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, (POOL, TARS))
    rows = pairs(20, own=True)
    tar = pool_of(tmp_path, rows)
    build(recipe, tmp_path / "out", device="cpu")
    (tmp_path / "other").mkdir()
    swapped = [(rows[place ^ 1][0], text, about) for place, (_, text, about) in enumerate(rows)]
    unnoticed(tar, pool_of(tmp_path / "other", swapped).read_bytes())
    recipe = write_recipe(tmp_path, (POOL, TARS), ("0.5", "0.6"))
    with pytest.raises(DataError, match="5 of them missing or with another picture, such as uid 0"):
        build(recipe, tmp_path / "out", device="cpu", replace=True)


@pytest.fixture
def three(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A recipe over three tars of six rows each, and the tars."""
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        tar = pool_of(tmp_path / str(number), pairs(18)[number * 6 : number * 6 + 6])
        tar.rename(tmp_path / f"pool-{number}.tar")
    recipe = write_recipe(tmp_path, (POOL, TARS.replace("pool.tar", "pool-{0..9}.tar")))
    return recipe, sorted(tmp_path.glob("pool-*.tar"))


def scored(out: Path, kind: str = "json") -> dict[str, int]:
    """When each of the score phase's records, or what lies beside them, was written."""
    paths = (out / "phases").glob(f"score-*/shards/*/*.{kind}")
    return {path.stem: path.stat().st_mtime_ns for path in paths}


def test_of_a_pool_in_which_a_file_changed_only_its_unit_is_scored_again(
    three: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    recipe, tars = three
    build(recipe, tmp_path / "out", device="cpu")
    before = scored(tmp_path / "out")
    tars[1].write_bytes(tars[1].read_bytes().replace(b"number ", b"NUMBER "))
    touched(tars[1])  # a file system's clock may be too coarse for the test
    again = build(recipe, tmp_path / "out", device="cpu")
    after = scored(tmp_path / "out")
    assert [name for name in sorted(after) if after[name] != before[name]] == ["00001"]
    assert again.digest == build(recipe, tmp_path / "anew", device="cpu").digest
    assert verify(str(tmp_path / "out")).ok
    (phase,) = (tmp_path / "out" / "phases").glob("score-*")
    assert verify(str(phase)).ok and len(list(phase.glob("rows/*.parquet"))) == 3, "nothing of the old one is left"


def test_a_unit_whose_build_was_killed_is_done_again_also_where_its_file_is_again_what_it_was(
    three: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, tars = three
    digest = build(recipe, tmp_path / "out", device="cpu").digest
    first, looked = tars[1].read_bytes(), tars[1].stat()
    tars[1].write_bytes(first.replace(b"number ", b"NUMBER "))
    touched(tars[1])
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):

        def interrupt(*given: object) -> None:
            raise KeyboardInterrupt

        killed.setattr("dfndr_builders.work.write_origin", interrupt)
        build(recipe, tmp_path / "out", device="cpu")
    tars[1].write_bytes(first)
    os.utime(tars[1], ns=(looked.st_atime_ns, looked.st_mtime_ns))
    assert build(recipe, tmp_path / "out", device="cpu").digest == digest
    assert verify(str(tmp_path / "out")).ok


def test_a_pool_that_was_copied_is_read_and_not_scored_again(three: tuple[Path, list[Path]], tmp_path: Path) -> None:
    recipe, tars = three
    digest = build(recipe, tmp_path / "out", device="cpu").digest
    before, looks = scored(tmp_path / "out"), scored(tmp_path / "out", "origin")
    for tar in tars:
        touched(tar)
    for _ in range(2):
        assert build(recipe, tmp_path / "out", device="cpu").digest == digest
        assert scored(tmp_path / "out") == before
        noted = scored(tmp_path / "out", "origin")
        assert all(noted[name] > looks[name] for name in looks), "its new look is noted"
    assert noted == scored(tmp_path / "out", "origin"), "once"


def test_a_shard_that_is_gone_is_said_and_its_rows_go_only_when_told_so(
    three: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    recipe, tars = three
    digest = build(recipe, tmp_path / "out", device="cpu").digest
    tars[2].rename(tmp_path / "elsewhere")
    with pytest.raises(PoolError, match=r"found that pool-2\.tar is gone\. Put it back, or pass --replace"):
        build(recipe, tmp_path / "out", device="cpu")
    assert verify(str(tmp_path / "out")).ok
    fewer = build(recipe, tmp_path / "out", device="cpu", replace=True)
    assert (fewer.funnel[0].rows_in, len(scored(tmp_path / "out", "*"))) == (12, 2)
    assert fewer.digest == build(recipe, tmp_path / "out", device="cpu").digest, "and then it is no longer missed"
    (tmp_path / "elsewhere").rename(tars[2])
    assert build(recipe, tmp_path / "out", device="cpu").digest == digest


def test_a_picture_that_is_deleted_while_it_is_read_is_said_and_the_next_build_goes_on(tmp_path: Path) -> None:
    for place, (image, text, _) in enumerate(pairs(4)):
        (tmp_path / f"{place}.jpg").write_bytes(image)
        (tmp_path / f"{place}.txt").write_text(text)
    pool = FolderPool((str(tmp_path),))
    (shard,) = pool.shards()
    (tmp_path / "2.jpg").unlink()
    with pytest.raises(StorageError, match=r"2\.jpg: expected to read it, found No such file"):
        list(pool.read(shard))
    assert seen(FolderPool((str(tmp_path),)))[2] == ("2", "image_missing")


def test_a_bad_row_never_lends_its_picture_to_a_good_one_of_the_same_uid(tmp_path: Path) -> None:
    uid = "ab" * 16
    rows = pairs(5, own=True)
    dot, red, blue = jpeg((1, 1)), jpeg(colour=(250, 0, 0)), jpeg(colour=(0, 0, 250))
    same = [(image, "the same", {"uid": uid}) for image in (dot, red, blue)]
    pool_of(tmp_path, [same[0], *rows, same[1], same[2]])
    manifest = build(write_recipe(tmp_path, (POOL, TARS), ("0.5", "1.0")), tmp_path / "out", device="cpu")
    score, select, last = manifest.funnel
    assert (score.failed, select.dropped["duplicate"], last.failed) == ({"image_too_small": 1}, 1, {})
    kept = {row["uid"]: row for row in open_dataset(tmp_path / "out").rows().to_pylist()}[uid]
    assert kept["sha256"] == hashlib.sha256(red).hexdigest()
    pixel = Image.open(io.BytesIO(kept["thumbnail"]["bytes"])).convert("RGB").getpixel((5, 5))
    assert pixel[0] > 240 and pixel[2] < 10


def test_a_picture_put_into_a_folder_later_is_scored_too(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    recipe = write_recipe(tmp_path, (POOL, 'kind = "folder"\npath = "pool"'), ("0.5", "1.0"))
    for place, (image, text, _) in enumerate(pairs(4)):
        (folder / f"{place}.jpg").write_bytes(image)
        (folder / f"{place}.txt").write_text(text)
    assert len(build(recipe, tmp_path / "out", device="cpu")) == 4
    (folder / "new.jpg").write_bytes(jpeg())
    (folder / "new.txt").write_text("a new one")
    assert len(build(recipe, tmp_path / "out", device="cpu")) == 5
