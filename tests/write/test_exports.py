"""Exports: other tools read them, find the same bits, and a hostile dataset stays text in them."""

import re
from pathlib import Path

import datasets
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.exports import export
from dfndr_builders.exports.atlas import principal_plane
from dfndr_builders.exports.chosen import chosen_rows, nearest_rows
from support.explored import HOSTILE, ROWS, explored, picture
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset
from support.verbs import run

from dfndr.dataset import Dataset
from dfndr.errors import FormatError, UsageError
from dfndr.seeds import rng_for


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return explored(tmp_path_factory.mktemp("exports") / "set")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("exports") / "split"
    return write_dataset(root, (5, 3), (IMAGE, TEXT, CAPTION), splits=["train", "validation"])


@pytest.fixture(scope="module")
def gallery(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "gallery"
    export(dataset, "gallery", str(out), rows=30)
    return out


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    return str(tmp_path / "cache")


def _brute(dataset: Dataset, space: str, row: int, rows: list[int], k: int) -> list[int]:
    vectors = dataset.vectors(space)[:, 0].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors[row]
    return sorted((other for other in rows if other != row), key=lambda other: (-cosines[other], other))[:k]


# ---------------------------------------------------------------- parquet


def test_load_dataset_reads_rows_and_vectors_bit_for_bit(split: Dataset, tmp_path: Path, cache: str) -> None:
    export(split, "parquet", str(tmp_path / "out"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=cache)
    assert list(loaded) == ["train", "validation"]
    for name, given in loaded.items():
        view = split.split(name)
        assert list(given["uid"]) == view.rows()["uid"].to_pylist()
        assert given.features["image__enc"].length == 8
        table = given.with_format("arrow")[:]
        assert (
            table["image__enc"].combine_chunks().flatten().to_numpy().tobytes() == view.vectors("image/enc").tobytes()
        )
        numbers = table["caption__enc"].combine_chunks().flatten().flatten().to_numpy()
        assert numbers.tobytes() == view.vectors("caption/enc").tobytes()


def test_streaming_gives_the_same_rows_and_pictures(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, "parquet", str(tmp_path / "out"))
    rows = list(datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True).take(4).decode(False))
    assert [row["uid"] for row in rows] == dataset.rows(["uid"])["uid"].to_pylist()[:4]
    given = np.array([row["text__enc"] for row in rows], dtype=np.float16)
    assert given.tobytes() == dataset.vectors("text/enc", slice(0, 4)).tobytes()
    assert rows[3]["thumbnail"]["bytes"] == picture(3)
    pictures = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True).select_columns(["thumbnail"])
    assert next(iter(pictures))["thumbnail"].getpixel((0, 0)) == (0, 0, 160)


def test_duckdb_reads_the_vectors_and_the_sql_of_the_readme_finds_what_a_sort_does(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(dataset, "parquet", str(tmp_path / "this-folder"))
    monkeypatch.chdir(tmp_path)
    readme = (tmp_path / "this-folder" / "README.md").read_text(encoding="utf-8")
    (sql,) = re.findall(r"```sql\n(.*?)```", readme, flags=re.DOTALL)
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    with duckdb.connect() as database:
        found = database.sql(sql).fetchall()
        vectors = database.sql("SELECT image__enc FROM 'this-folder/rows/*.parquet' ORDER BY uid").fetchall()
    assert [row[0] for row in found] == [
        uids[row] for row in [0, *_brute(dataset, "image/enc", 0, list(range(ROWS)), 9)]
    ]
    ordered = dataset.vectors("image/enc")[np.argsort(uids)]
    assert np.array([row[0] for row in vectors], dtype=np.float16).tobytes() == ordered.tobytes()


def test_the_sql_of_the_readme_takes_the_first_vector_where_a_row_has_several(
    split: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(split, "parquet", str(tmp_path / "this-folder"), space="caption/enc")
    monkeypatch.chdir(tmp_path)
    readme = (tmp_path / "this-folder" / "README.md").read_text(encoding="utf-8")
    (sql,) = re.findall(r"```sql\n(.*?)```", readme, flags=re.DOTALL)
    vectors = split.vectors("caption/enc")[:, 0].astype(np.float64)
    cosines = vectors @ vectors[0] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[0])
    with duckdb.connect() as database:
        found = database.sql(sql).fetchall()
    assert [row[0] for row in found] == [split.rows(["uid"])["uid"][int(row)].as_py() for row in np.argsort(-cosines)]
    assert [row[2] for row in found] == pytest.approx(sorted(cosines, reverse=True), abs=1e-5)


def test_parquet_holds_no_manifest_all_columns_and_a_card_with_the_licence(split: Dataset, tmp_path: Path) -> None:
    export(split, "parquet", str(tmp_path / "out"), space="text/enc")
    files = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()]
    names = sorted(str(path) for path in files if path.parts[0] not in (".dfndr-export", "layout.json"))
    assert names == ["README.md", "rows/train-00000-of-00002.parquet", "rows/validation-00001-of-00002.parquet"]
    table = pq.read_table(tmp_path / "out" / names[1])
    assert table.column_names == [*split.schema().names, "text__enc"]
    assert table.schema.field("text__enc").type.value_type == pa.float16()
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\n") and "license: cc0-1.0" in readme and split.digest in readme


# ---------------------------------------------------------------- atlas


def test_an_atlas_has_places_pictures_and_the_true_neighbours_by_row_number(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, "atlas", str(tmp_path / "out"), rows=40)
    table = pq.read_table(tmp_path / "out" / "atlas.parquet")
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    chosen = [uids.index(uid) for uid in table["uid"].to_pylist()]
    assert len(chosen) == 40 and chosen == sorted(chosen)
    for place, near in enumerate(table["neighbors"].to_pylist()):
        assert [chosen[other] for other in near["ids"]] == [
            chosen[place], *_brute(dataset, "image/enc", chosen[place], chosen, 15)
        ]  # fmt: skip
        assert near["distances"][0] == 0 and near["distances"] == sorted(near["distances"])
    assert table["image"][9].as_py()["bytes"] == picture(chosen[9])
    assert {table.schema.field(name).type for name in ("projection_x", "projection_y")} == {pa.float32()}
    assert not any(pa.types.is_uint64(given.type) for given in table.schema)
    assert table["hash"].to_pylist() == [str((1 << 63) + row) for row in chosen]


def test_the_plane_is_that_of_the_two_largest_singular_values() -> None:
    vectors = rng_for(0, "plane").standard_normal((300, 6), dtype=np.float32) * np.float32([1, 5, 1, 3, 1, 1])
    placed = principal_plane(vectors)
    left, values, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(placed), np.abs(left[:, :2] * values[:2]), atol=1e-3)
    assert np.array_equal(placed, principal_plane(vectors.copy()))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows_have_a_place_each(rows: int) -> None:
    placed = principal_plane(np.eye(4, dtype=np.float32)[:rows])
    assert placed.shape == (rows, 2) and np.isfinite(placed).all()


def test_an_atlas_needs_vectors_and_names_that_are_free(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a space of vectors"):
        export(write_dataset(tmp_path / "bare", (4,), ()), "atlas", str(tmp_path / "out"))
    taken = write_dataset(tmp_path / "taken", (2,), columns={"image": ["a", "b"]})
    with pytest.raises(UsageError, match="column 'image'"):
        export(taken, "atlas", str(tmp_path / "out"))


# ---------------------------------------------------------------- gallery


def test_every_sample_is_shown_with_its_true_neighbours_in_the_whole_dataset(gallery: Path, dataset: Dataset) -> None:
    page = (gallery / "index.html").read_text(encoding="utf-8")
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    chosen = chosen_rows(dataset, 30).tolist()
    sections = dict(re.findall(r'<section class="near" id="n-(\w+)">(.*?)</section>', page, flags=re.DOTALL))
    assert set(sections) == {uids[row] for row in chosen}
    with_picture = set(range(ROWS)) - {1, 4}
    for row in chosen:
        shown = [uids.index(uid) for uid in re.findall(r'src="thumbs/(\w+)\.png"', sections[uids[row]])]
        expected = [row, *_brute(dataset, "image/enc", row, list(range(ROWS)), 8)]
        assert shown == [other for other in expected if other in with_picture]


def test_every_thumbnail_is_the_datasets_and_nothing_else_is_written(gallery: Path, dataset: Dataset) -> None:
    page = (gallery / "index.html").read_text(encoding="utf-8")
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    written = {path.stem: path.read_bytes() for path in (gallery / "thumbs").iterdir()}
    assert set(written) == set(re.findall(r'src="thumbs/(\w+)\.png"', page))
    assert all(data == picture(uids.index(uid)) for uid, data in written.items())
    assert sorted(path.name for path in gallery.iterdir()) == ["README.md", "index.html", "thumbs"]


def test_the_gallery_of_all_rows_holds_a_hostile_text_as_text(dataset: Dataset, tmp_path: Path) -> None:
    export(dataset, "gallery", str(tmp_path / "out"))
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;window.hacked" in page
    assert "<script" not in page and "<svg onload" not in page and HOSTILE not in page
    assert "default-src 'none'" in page.partition("</head>")[0].replace("&#x27;", "'")
    assert not re.search(r"https?://|url\(", page)
    uid = dataset.rows(["uid"])["uid"][4].as_py()
    assert not list((tmp_path / "out" / "thumbs").glob(f"{uid}*"))


def test_a_uid_that_is_a_path_and_columns_of_other_types_write_nothing_outside(tmp_path: Path) -> None:
    hostile = write_dataset(
        tmp_path / "a", (2,), columns={"uid": ["../../escaped", "0" * 32], "thumbnail": ["<b>", "x"]}
    )
    with pytest.raises(FormatError, match="a uid"):
        export(hostile, "gallery", str(tmp_path / "out" / "deep"), space="text/enc")
    assert not list(tmp_path.rglob("*escaped*"))
    odd = write_dataset(tmp_path / "b", (2,), columns={"text": [1, 2], "source": [3, 4], "thumbnail": ["<b>", "x"]})
    export(odd, "gallery", str(tmp_path / "odd"))
    assert (tmp_path / "odd" / "index.html").read_text(encoding="utf-8").count("no picture") == 6
    assert odd.show()._repr_html_().count("no picture") == 2


def test_a_dataset_without_vectors_thumbnails_or_rows_has_a_gallery_too(tmp_path: Path) -> None:
    export(write_dataset(tmp_path / "bare", (4,), ()), "gallery", str(tmp_path / "one"))
    page = (tmp_path / "one" / "index.html").read_text(encoding="utf-8")
    assert page.count("no picture") == 4 and "Neighbours" not in page
    export(write_dataset(tmp_path / "empty", (0,)), "gallery", str(tmp_path / "two"))
    assert "The dataset has no rows." in (tmp_path / "two" / "index.html").read_text(encoding="utf-8")


# ---------------------------------------------------------------- what they share


def test_rows_are_chosen_by_their_uids_alone(tmp_path: Path) -> None:
    one, other = write_dataset(tmp_path / "a", (50, 10)), write_dataset(tmp_path / "b", (7, 53))
    assert chosen_rows(one, 9).tolist() == chosen_rows(other, 9).tolist()
    assert chosen_rows(one, None).tolist() == chosen_rows(one, 60).tolist() == list(range(60))


@pytest.mark.parametrize("block", [1, 7, 64, 200])
def test_neighbours_do_not_depend_on_the_blocks_and_ties_go_to_the_first_row(block: int) -> None:
    vectors = rng_for(1, "ties").standard_normal((200, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[120:] = vectors[:80]  # eighty pairs of equal rows
    own = np.arange(200)
    blocks = [(own[start : start + block], vectors[start : start + block]) for start in range(0, 200, block)]
    rows, cosines = nearest_rows(vectors, own, blocks, 5)
    exact = np.asarray(vectors, np.float64) @ vectors.T.astype(np.float64)
    for row in range(200):
        assert row not in rows[row]
        best = np.sort(np.delete(exact[row], row))[::-1][:5]
        np.testing.assert_allclose(cosines[row], best, atol=1e-6)
    twins = [row for row in range(80) if rows[row, 0] != row + 120]
    assert twins == []


@pytest.mark.parametrize("kind", ["gallery", "atlas", "parquet"])
def test_the_verb_writes_each_kind_and_changes_nothing_of_what_is_there(
    split: Dataset, tmp_path: Path, kind: str
) -> None:
    out = str(tmp_path / "out")
    done = run(["export", split.root, kind, "--out", out])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(out)
    before = sorted(path for path in Path(out).rglob("*"))
    again = run(["export", split.root, kind, "--out", out])
    if kind == "parquet":
        assert again.stdout == done.stdout
    else:
        assert isinstance(again.exception, UsageError) and "a new folder" in str(again.exception)
    assert sorted(path for path in Path(out).rglob("*")) == before


def test_numbers_of_rows_that_make_no_sense_are_refused(split: Dataset, tmp_path: Path) -> None:
    for kind, rows in (("gallery", 0), ("parquet", 5)):
        with pytest.raises(UsageError, match="--rows"):
            export(split, kind, str(tmp_path / "out"), rows=rows)
