"""What `verify` says of a manifest, and of files that are not what it promises of their rows and columns."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pytest
from support.tiny import CAPTION, IMAGE, encoder_record, manifest_of, write_dataset
from support.verified import only, unit_vectors

from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors
from dfndr.verify import verify


def rewrite_manifest(root, change) -> None:
    path = root / "manifest.json"
    given = json.loads(path.read_text())
    change(given)
    path.write_text(json.dumps(given))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda given: given["funnel"][0].update(rows_in=9), "8 kept + 0 dropped + 0 failed = 8"),
        (lambda given: given.update(rows=9), "shards of 8 rows in all"),
        (lambda given: given["shards"][0].update(split="test"), "'test'"),
    ],
    ids=["funnel", "rows", "split"],
)
def test_a_manifest_that_is_wrong_is_one_finding(tmp_path, change, found):
    write_dataset(tmp_path)
    rewrite_manifest(tmp_path, change)
    report = verify(tmp_path)
    assert not report.ok and report.digest is None
    assert only(report.findings).what == "manifest" and found in only(report.findings).found


def test_a_dataset_that_is_not_there_is_a_finding(tmp_path):
    for place in (tmp_path / "nowhere", tmp_path):
        report = verify(place)
        assert not report.ok and only(report.findings).file == "manifest.json"


def test_another_number_of_rows_is_named_in_both_kinds_of_file(tmp_path):
    files = {
        "rows": write_rows(str(tmp_path), rows_path("train", 0), pa.table({"uid": ["0" * 32, "1" * 32]})),
        IMAGE.name: write_vectors(str(tmp_path), vectors_path(IMAGE, "train", 0), IMAGE, [unit_vectors(4)]),
    }
    write_manifest(str(tmp_path), manifest_of((IMAGE,), [Shard(0, "train", 3, 3, files)]))
    rows, header = verify(tmp_path).findings
    assert (rows.file, rows.what, rows.expected, rows.found) == (files["rows"].path, "rows", "3 rows", "2 rows")
    assert (header.file, header.what) == (files[IMAGE.name].path, "header") and "(4, 1, 8)" in header.found


def test_missing_and_differing_columns_are_named(tmp_path):
    def written(index: int, table: pa.Table) -> Shard:
        files = {"rows": write_rows(str(tmp_path), rows_path("train", index), table)}
        for space in (IMAGE, CAPTION):
            block = unit_vectors(1, space.per_row)
            block[:, 1:] = 0
            files[space.name] = write_vectors(str(tmp_path), vectors_path(space, "train", index), space, [block])
        return Shard(index, "train", 1, 1, files)

    good = pa.table({"uid": ["0" * 32], "captions": [["a"]]})
    shards = [
        written(0, good),
        written(1, pa.table({"uid": ["1" * 32]})),
        written(2, pa.table({"uid": [1], "captions": [["a"]]})),
        written(3, pa.table({"uid": ["3" * 32], "captions": [["a"]], "more": [1]})),
    ]
    write_manifest(str(tmp_path), manifest_of((IMAGE, CAPTION), shards))
    found = [(finding.file, finding.what, finding.expected.split(":")[0]) for finding in verify(tmp_path).findings]
    names = [shard.files["rows"].path for shard in shards]
    assert found == [
        (names[1], "columns", "captions"),
        (names[1], "columns", "the first shard's"),
        (names[2], "columns", "uid"),
        (names[2], "columns", "the first shard's"),
        (names[3], "columns", "the first shard's"),
    ]


def test_a_column_of_another_type_and_a_score_that_is_none_are_named(tmp_path):
    def written(root, **columns: pa.Array):
        columns = {"uid": pa.array(["0" * 32, "1" * 32]), **columns}
        files = {"rows": write_rows(str(root), rows_path("train", 0), pa.table(columns))}
        manifest = manifest_of((), [Shard(0, "train", 2, 2, files)])
        write_manifest(str(root), replace(manifest, scorers={"dfn": encoder_record("dfn")}))
        return [(finding.what, finding.row, finding.expected) for finding in verify(root).findings]

    good = pa.array([0.5, -1], pa.float32())
    assert written(tmp_path / "a", dfn=good, width=pa.array([1, 2], pa.int32())) == []
    assert written(tmp_path / "b", dfn=good, width=pa.array([1, 2])) == [("columns", None, "width: int32")]
    assert written(tmp_path / "c") == [("columns", None, "dfn: float")]
    for bad in (None, float("nan"), float("inf")):
        found = written(tmp_path / str(bad), dfn=pa.array([0.5, bad], pa.float32()))
        assert found == [("not finite", 1, "a finite dfn")]


def test_the_problems_must_be_those_that_the_manifest_counts(tmp_path):
    def manifest(reasons: list[str] | None, failed: dict[str, int]) -> Manifest:
        files = {"rows": write_rows(str(tmp_path), rows_path("train", 0), pa.table({"uid": ["0" * 32]}))}
        if reasons is not None:
            problems = {"uid": ["1" * 32] * len(reasons), "key": ["k"] * len(reasons), "reason": reasons}
            table = pa.table({**problems, "detail": pa.nulls(len(reasons), pa.string())})
            files["problems"] = write_rows(str(tmp_path), rows_path("train", 0, "problems"), table)
        total = 1 + sum(failed.values())
        one = manifest_of((), [Shard(0, "train", total, 1, files, failed=failed)])
        return replace(one, funnel=(Step("pool", total, 1, failed=failed),))

    cases = [
        (["text_empty", "image_empty", "text_empty"], {"image_empty": 1, "text_empty": 2}, []),
        (["text_empty"], {"image_empty": 1}, ["reasons"]),
        (["text_empty"], {"text_empty": 2}, ["reasons"]),
        (None, {"text_empty": 1}, ["missing"]),
    ]
    for reasons, failed, expected in cases:
        for path in tmp_path.glob("problems/*"):
            path.unlink()
        write_manifest(str(tmp_path), manifest(reasons, failed))
        assert [finding.what for finding in verify(tmp_path).findings] == expected
