"""Tars of reinforced samples with pictures: each row's own, byte for byte, or none, and how many have none is said."""

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from dfndr_builders.exports import Form, export
from dfndr_builders.imports import Imported, import_dataset, open_import, open_layout
from dfndr_builders.imports.layout import Teacher
from dfndr_builders.pools.webdataset import WebDatasetPool
from PIL import Image
from support.pools import picture, rows_of, tar_of
from support.tiny import write_dataset
from support.verbs import run

from dfndr import open_dataset
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.manifest import write_manifest
from dfndr.format.schema import Space
from dfndr.verify import verify

RECIPE = """
name = "pooled"
license = "mit"
[[pool]]
kind = "webdataset"
path = "{path}"
[[score]]
name = "r"
kind = "random"
[select]
by = "r"
top_fraction = 1.0
"""
KINDS = ("png", "jpg", "webp", "gif", "png", "jpg", "png")
"""What the pool's pictures are, by row."""
GIF = 3
ROWS = (5, 1, GIF, 0, 4)
"""Which of the pool's rows the dataset has, in its order."""
VIEW = "[[1,2,30,40],[[2,-0.09000000357627869],[0,0.0]]]"
SPACES = tuple(
    Space(modality, name, dim, count)  # type: ignore[arg-type]
    for name, dim in (("first", 6), ("second", 4))
    for modality, count in (("image", 2), ("text", 1), ("caption", 2))
)


@pytest.fixture
def pool(tmp_path: Path) -> list[dict[str, object]]:
    """Write seven pictures into two tars, and return them as the pool's rows."""
    (tmp_path / "pool").mkdir()
    for number, mine in enumerate((range(4), range(4, 7))):
        kinds = [(row, KINDS[row].upper().replace("JPG", "JPEG")) for row in mine]
        members = [(f"{row}.{KINDS[row]}", picture((row * 30, 0, 0), kind, (60 + row, 50))) for row, kind in kinds]
        tar = tar_of(sorted([*members, *((f"{row}.txt", f"text {row}") for row in mine)]))
        (tmp_path / "pool" / f"{number:05d}.tar").write_bytes(tar)
    return rows_of(WebDatasetPool((str(tmp_path / "pool" / "*.tar"),)))


@pytest.fixture
def dataset(tmp_path: Path, pool: list[dict[str, object]]) -> Dataset:
    """Write a dataset of five of them, in two shards, that names its pool."""
    rows, small = [pool[row] for row in ROWS], picture("blue")
    columns = {
        **{name: [row[name] for row in rows] for name in ("uid", "text")},
        "sha256": [hashlib.sha256(row["image"]).hexdigest() for row in rows],  # type: ignore[arg-type]
        "width": pa.array([60 + row for row in ROWS], pa.int32()),
        "height": pa.array([50] * len(ROWS), pa.int32()),
        "views": pa.array([[VIEW] * 2] * len(ROWS), pa.list_(pa.string())),
        "captions": pa.array([[f"a {row}", f"b {row}"] for row in ROWS], pa.list_(pa.string())),
        "thumbnail": pa.array(
            [{"bytes": small, "path": None}] * len(ROWS), pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        ),
    }
    written = write_dataset(tmp_path / "data", (3, 2), SPACES, columns=columns, splits=("train", "validation"))
    recipe = RECIPE.format(path=tmp_path / "pool" / "*.tar")
    write_manifest(written.root, replace(written.manifest, recipe=recipe))
    return open_dataset(written.root)


def members_of(folder: Path) -> dict[str, bytes]:
    """Return the members of all tars of a folder."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    return found


def pictures_in(folder: Path) -> dict[str, bytes]:
    """Return the pictures of all tars of a folder, by uid and ending."""
    return {name: data for name, data in members_of(folder).items() if name.endswith((".png", ".jpg", ".webp", ".gif"))}


def expected(pool: list[dict[str, object]], rows: tuple[int, ...]) -> dict[str, object]:
    """Return the pictures that tars should hold of so many rows of the pool."""
    return {f"{pool[row]['uid']}.{KINDS[row]}": pool[row]["image"] for row in rows if row != GIF}


def same_by_uid(found: Dataset, given: Dataset) -> None:
    """Assert that a dataset holds all of another one's rows and vectors, in whatever order."""
    uids = [dataset.rows(["uid"])["uid"].to_pylist() for dataset in (found, given)]
    assert sorted(uids[0]) == sorted(uids[1])
    order = [uids[1].index(uid) for uid in uids[0]]
    assert found.rows().select(given.schema().names).to_pylist() == given.rows().take(order).to_pylist()
    for name in given.spaces:
        assert found.vectors(name).tobytes() == given.vectors(name)[order].tobytes(), name


@pytest.mark.parametrize("form", [Form(), Form(legacy=True)], ids=["", "legacy"])
def test_with_pictures_of_its_own_pools_a_dataset_comes_back_whole(
    tmp_path: Path, pool: list[dict[str, object]], dataset: Dataset, form: Form
) -> None:
    done = export(dataset, "dr", str(tmp_path / "out"), form=form, pictures="pool")
    assert done.endswith("5 rows in 2 tars; 4 have their picture, 1 with a picture of another kind")
    assert pictures_in(tmp_path / "out") == expected(pool, ROWS)
    layout, given = open_import("dr", str(tmp_path / "out" / "*.tar"))
    import_dataset(layout, given, tmp_path / "again")
    assert not verify(str(tmp_path / "again")).findings
    again = open_dataset(tmp_path / "again")
    same_by_uid(again, dataset)
    assert set(again.split("validation").rows(["uid"])["uid"].to_pylist()) == {pool[row]["uid"] for row in ROWS[3:]}


def test_tars_without_what_an_export_says_of_them_bring_their_pictures_too(
    tmp_path: Path, pool: list[dict[str, object]], dataset: Dataset
) -> None:
    export(dataset, "dr", str(tmp_path / "out"), pictures="pool")
    (tmp_path / "out" / "layout.json").unlink()
    teachers = (Teacher("first", "ViT-B-32", "openai", 6), Teacher("second", "ViT-B-32", "openai", 4))
    layout = open_layout("dr", str(tmp_path / "out" / "*.tar"), teachers)
    manifest = import_dataset(layout, Imported("it", "mit", teachers), tmp_path / "again")
    assert manifest.provenance["pictures"] == {"join": "", "found": 4, "image_missing": 1}
    assert not verify(str(tmp_path / "again")).findings
    found = {row["uid"]: row for row in open_dataset(tmp_path / "again").rows().to_pylist()}
    for row in ROWS:
        told, is_there = found[pool[row]["uid"]], row != GIF
        size = (told["width"], told["height"], told["picture"])
        assert size == ((60 + row, 50, "found") if is_there else (None, None, "image_missing"))
        assert (told["sha256"], told["text"]) == (hashlib.sha256(pool[row]["image"]).hexdigest(), f"text {row}")  # type: ignore[arg-type]
        assert told["views"] == [VIEW] * 2
        assert not is_there or Image.open(io.BytesIO(told["thumbnail"]["bytes"])).size == (60 + row, 50)


def downloaded(folder: Path, pool: list[dict[str, object]]) -> str:
    """Write tars as a downloader leaves them: by a key or by `uid` in the json; row 1 damaged, row 4 not there."""
    samples = [
        (f"{pool[5]['uid']}.jpg", pool[5]["image"]),
        ("000000001.jpg", picture("green")),
        ("000000001.json", {"uid": pool[1]["uid"]}),
        ("000000002.png", pool[0]["image"]),
        ("000000002.json", {"uid": pool[0]["uid"]}),
        ("000000003.jpg", picture("black")),
    ]
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.tar").write_bytes(tar_of(samples[3 * number : 3 * number + 3]))
    return str(folder / "*.tar")


def test_pictures_of_other_tars_go_by_uid_and_what_is_not_the_rows_own_is_counted(
    tmp_path: Path, pool: list[dict[str, object]], dataset: Dataset
) -> None:
    place = downloaded(tmp_path / "downloaded", pool)
    done = export(dataset, "dr", str(tmp_path / "out"), pictures=place)
    assert done.endswith("; 2 have their picture, 1 with another picture than the row's, 2 without one")
    assert pictures_in(tmp_path / "out") == expected(pool, (5, 0))
    layout, given = open_import("dr", str(tmp_path / "out" / "*.tar"))
    import_dataset(layout, given, tmp_path / "again")
    same_by_uid(open_dataset(tmp_path / "again"), dataset)


def test_the_command_takes_a_recipe_and_goes_on_where_it_was_stopped(
    tmp_path: Path, pool: list[dict[str, object]], dataset: Dataset
) -> None:
    (tmp_path / "more.toml").write_text(RECIPE.format(path="pool/*.tar"))
    words = ["export", str(dataset.root), "dr", "--out", str(tmp_path / "out"), "--pictures"]
    done = run([*words, str(tmp_path / "more.toml")])
    assert done.exit_code == 0, done.output
    assert "4 have their picture" in done.stdout
    assert pictures_in(tmp_path / "out") == expected(pool, ROWS)
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.tar")}
    next(iter(before)).unlink()
    assert "4 have their picture" in run([*words, str(tmp_path / "more.toml")]).stdout
    assert {path: path.read_bytes() for path in (tmp_path / "out").glob("*.tar")} == before
    refused = run([*words, "pool"])
    assert "another export" in str(refused.exception)


def test_a_dataset_that_names_no_pool_says_so_before_anything_is_written(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", (2,), SPACES)
    with pytest.raises(UsageError, match=r"--pictures.*\[\[pool\]\]"):
        export(dataset, "dr", str(tmp_path / "out"), pictures="pool")
    assert not (tmp_path / "out").exists()
