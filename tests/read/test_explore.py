"""What the page asks of a dataset, compared with the same question answered by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from support.explored import HOSTILE, ROWS, explored, filtered, picture, scores
from support.tiny import IMAGE, TEXT, write_dataset

from dfndr import Index
from dfndr.dataset import open_dataset
from dfndr.errors import FormatError, ModelError, UsageError
from dfndr.explore import asking
from dfndr.explore.queries import Explorer
from dfndr.explore.values import Filter, plain
from dfndr.format.manifest import write_manifest
from dfndr.format.shard import write_rows

EVERY = Filter()


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
    return Explorer(explored(tmp_path_factory.mktemp("explored")))


@pytest.fixture(scope="module")
def uids(explorer):
    return explorer.dataset.rows(["uid"])["uid"].to_pylist()


def rows_of(found, uids):
    return [uids.index(sample["uid"]) for sample in found["samples"]]


def cosines(explorer, space, vector):
    vectors = explorer.dataset.vectors(space).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = vectors @ vector / np.linalg.norm(vectors, axis=2) / np.linalg.norm(vector)
    return np.where(np.isnan(found), -np.inf, found).max(axis=1)


def test_the_page_is_told_of_spaces_numbers_and_the_values_of_few_valued_columns(explorer):
    about = explorer.about()
    assert (about["name"], about["rows"], about["thumbnails"]) == ("explored", ROWS, True)
    assert [space["name"] for space in about["spaces"]] == ["image/enc", "text/enc", "caption/enc"]
    assert about["numbers"] == ["score", "quality"], "a 64-bit hash is no number to draw"
    assert about["choices"] == {
        "source": {"even": 45, "odd": 44, "": 1},
        "language": {"en": 60, "vi": 30},
        "flag": {"false": 81, "true": 9},
    }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, range(ROWS)),
        ({"words": "RED"}, [row for row in range(3, ROWS, 3)]),
        ({"words": "<script>"}, [0]),
        ({"words": "caption of 7"}, [7, *range(70, 80)]),
        ({"words": "second"}, [row for row in range(ROWS) if row != 2]),
        ({"words": "a.*thing"}, []),
        ({"choices": {"source": ["odd"]}}, [row for row in range(1, ROWS, 2) if row != 5]),
        ({"choices": {"source": ["", "odd"]}}, range(1, ROWS, 2)),
        ({"choices": {"flag": ["true"], "source": ["even"]}}, range(0, ROWS, 10)),
        ({"choices": {"source": []}}, range(ROWS)),
        ({"choices": {"language": ["vi"]}}, range(0, ROWS, 3)),
        ({"choices": {"language": ["vi"], "source": ["even"]}}, range(0, ROWS, 6)),
        ({"ranges": {"quality": [None, 5 / ROWS]}}, [0, 1, 2, 4, 5]),
        ({"ranges": {"quality": [0.5, 0.55]}, "words": "green"}, [46, 49]),
        ({"ranges": {"quality": [None, None]}}, range(ROWS)),
    ],
)
def test_a_filter_lets_through_the_rows_that_meet_all_of_it(explorer, uids, wanted, expected):
    found = explorer.browse(Filter.from_json(filtered(**wanted)), order="stored", count=ROWS)
    assert rows_of(found, uids) == list(expected)
    assert found["matched"] == len(list(expected))


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"ranges": {"score": [1]}}', '{"ranges": {"score": ["x", 1]}}', '{"words": 3}', "[" * 5000]
)
def test_a_filter_that_cannot_be_read_is_a_usage_error(text):
    with pytest.raises(UsageError, match="filter"):
        Filter.from_json(text)


def test_a_column_that_is_not_there_or_of_another_kind_is_a_usage_error(explorer):
    for wanted in ({"ranges": {"text": [0, 1]}}, {"choices": {"uid": ["x"]}}, {"choices": {"nothing": ["x"]}}):
        with pytest.raises(UsageError, match="column"):
            explorer.browse(Filter.from_json(filtered(**wanted)))
    with pytest.raises(UsageError, match="column"):
        explorer.histogram("hash", EVERY)


def test_orders_follow_the_column_and_pages_do_not_overlap(explorer, uids):
    lowest = [explorer.browse(EVERY, order="+score", start=start, count=35) for start in (0, 35, 70)]
    assert [row for page in lowest for row in rows_of(page, uids)] == list(range(ROWS - 1, -1, -1))
    highest = explorer.browse(EVERY, order="-score", count=3)
    assert [sample["value"] for sample in highest["samples"]] == scores()[:3]
    by_quality = explorer.browse(EVERY, order="+quality", count=ROWS)
    assert 3 not in rows_of(by_quality, uids) and len(by_quality["samples"]) == ROWS - 1
    pages = [rows_of(explorer.browse(EVERY, start=start, count=40), uids) for start in (0, 40, 80)]
    shuffled = [row for page in pages for row in page]
    assert sorted(shuffled) == list(range(ROWS)) and shuffled != list(range(ROWS))


@pytest.mark.parametrize("space", ["image/enc", "text/enc", "caption/enc"])
@pytest.mark.parametrize("wanted", [{}, {"choices": {"source": ["odd"]}}])
@pytest.mark.parametrize("few", [0, 1000])
def test_neighbours_are_those_of_brute_force_with_and_without_a_filter(explorer, uids, space, wanted, few, monkeypatch):
    monkeypatch.setattr(asking, "_FEW", few)  # both ways to look among the rows that pass
    chosen = Filter.from_json(filtered(**wanted))
    mask = explorer.values.passing(chosen)
    likeness = cosines(explorer, space, explorer.dataset.vectors(space, [7])[0, 0].astype(np.float64))
    allowed = [
        row
        for row in np.argsort(-likeness, kind="stable")
        if row != 7 and np.isfinite(likeness[row]) and (mask is None or mask[row])
    ]
    found = explorer.near(space, chosen, uid=uids[7], count=20)
    assert rows_of(found, uids) == allowed[:20]
    np.testing.assert_allclose([one["value"] for one in found["samples"]], likeness[allowed[:20]], atol=1e-6)
    assert rows_of(explorer.near(space, chosen, uid=uids[7], start=20, count=100), uids) == allowed[20:]


def test_a_sample_without_a_vector_says_so_and_an_unknown_uid_too(explorer, uids):
    with pytest.raises(UsageError, match="no caption"):
        explorer.near("caption/enc", EVERY, uid=uids[2])
    for uid in ("0" * 32, "nothing", ""):
        with pytest.raises(UsageError, match="no such row"):
            explorer.near("image/enc", EVERY, uid=uid)


def test_every_uid_finds_its_row_in_any_case(explorer, uids):
    assert [explorer.reading.row_of(uid.upper()) for uid in uids] == list(range(ROWS))


def test_words_without_the_model_are_an_error_and_the_rest_goes_on(explorer, uids):
    with pytest.raises(ModelError):
        explorer.near("image/enc", EVERY, words="a dog")
    assert len(explorer.near("image/enc", EVERY, uid=uids[0])["samples"]) == 60
    with pytest.raises(UsageError, match="words"):
        explorer.near("image/enc", EVERY, words=" ")


def test_a_histogram_counts_every_value_once(explorer):
    found = explorer.histogram("quality", EVERY)
    assert sum(found["counts"]) == ROWS - 1 and len(found["edges"]) == len(found["counts"]) + 1
    assert (found["edges"][0], found["edges"][-1]) == (0, pytest.approx(89 / ROWS))
    none = explorer.histogram("quality", Filter.from_json(filtered(words="nowhere")))
    assert none == {"counts": [], "edges": [], "median": None}


def test_around_a_threshold_stand_the_closest_on_either_side(explorer, uids):
    at = scores()[30]
    found = explorer.around("score", at, EVERY, count=3)
    assert (found["below"]["rows"], found["above"]["rows"]) == (59, 31)
    assert rows_of(found["below"], uids) == [31, 32, 33]
    assert rows_of(found["above"], uids) == [30, 29, 28], "what equals the threshold is not below it"
    odd = explorer.around("score", at, Filter.from_json(filtered(choices={"source": ["odd"]})), count=2)
    assert (rows_of(odd["below"], uids), rows_of(odd["above"], uids)) == ([31, 33], [29, 27])
    assert explorer.around("score", 5.0, EVERY)["above"] == {"rows": 0, "samples": []}


def test_a_sample_is_shown_with_every_field_and_the_spaces_it_is_in(explorer, uids):
    found = explorer.sample(uids[2])
    assert (found["uid"], found["split"]) == (uids[2], "train")
    assert found["spaces"] == ["image/enc", "text/enc"]
    assert set(found["fields"]) == set(explorer.dataset.schema().names) - {"thumbnail"}
    assert found["fields"]["hash"] == str((1 << 63) + 2), "a browser would round it"
    assert explorer.sample(uids[0])["fields"]["text"] == HOSTILE
    assert explorer.sample(uids[3])["fields"]["quality"] is None


def test_a_sample_tells_which_others_the_build_dropped_for_it_closest_first(tmp_path):
    dataset = write_dataset(tmp_path, (4,))
    kept = dataset.rows(["uid"])["uid"].to_pylist()
    pairs = [(f"{number:032x}", kept[number % 2], (7 * number % 60) / 10) for number in range(120)]
    table = pa.table({"uid": [one for one, _, _ in pairs], "reason": ["near_duplicate"] * 120,
                      "kept_uid": [one for _, one, _ in pairs], "distance": [one for _, _, one in pairs]})  # fmt: skip
    stored = write_rows(str(tmp_path), "audit/duplicates-{hash8}.parquet", table)
    write_manifest(str(tmp_path), replace(dataset.manifest, files={"audit/duplicates": stored}))
    explorer = Explorer(open_dataset(tmp_path))
    found = explorer.sample(kept[1])["dropped"]
    mine = sorted((distance, uid) for uid, one, distance in pairs if one == kept[1])
    assert found["rows"] == len(mine) == 60
    assert [one["distance"] for one in found["samples"]] == [distance for distance, _ in mine[:50]]
    assert explorer.sample(kept[2])["dropped"] == {"rows": 0, "samples": []}


def test_a_thumbnail_is_a_picture_or_nothing(explorer, uids):
    assert explorer.thumbnail(uids[6]) == (picture(6), "image/png")
    for row in (1, 4):
        with pytest.raises(UsageError, match="thumbnail"):
            explorer.thumbnail(uids[row])


def test_values_that_json_cannot_say_are_said_in_words():
    given = {"a": float("nan"), "b": b"xyz", "c": [1, None, True], "d": 1 << 60, "e": {"f": float("-inf")}}
    expected = {"a": "nan", "b": "3 bytes", "c": [1, None, True], "d": str(1 << 60), "e": {"f": "-inf"}}
    assert plain(given) == expected
    assert len(plain("x" * 100_000)) == 20_000


def test_indexes_are_kept_by_space_and_one_saved_by_search_is_taken(tmp_path):
    dataset = write_dataset(tmp_path / "data")
    Explorer(dataset, index=str(tmp_path / "kept")).asking.indexes.of(TEXT.name)
    assert Index.load(str(tmp_path / "kept" / TEXT.name), dataset=dataset).space == TEXT
    Index.build(dataset, IMAGE.name).save(str(tmp_path / "one"))
    explorer = Explorer(dataset, index=str(tmp_path / "one"))
    assert [explorer.asking.indexes.of(space.name).space for space in (TEXT, IMAGE)] == [TEXT, IMAGE]
    assert Index.load(str(tmp_path / "one")).space == IMAGE, "it was not written over"


def test_a_dataset_without_spaces_thumbnails_or_numbers_can_be_looked_at(tmp_path):
    explorer = Explorer(write_dataset(tmp_path, (4,), spaces=()))
    about = explorer.about()
    assert (about["spaces"], about["numbers"], about["thumbnails"]) == ([], [], False)
    assert len(explorer.browse(EVERY)["samples"]) == 4
    with pytest.raises(UsageError):
        explorer.near("image/enc", EVERY, words="x")


def test_a_file_that_was_altered_is_refused(tmp_path):
    dataset = write_dataset(tmp_path, (4,))
    path = tmp_path / dataset.shards[0].files["rows"].path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(FormatError):
        Explorer(dataset)
