from __future__ import annotations

import json
import re
from dataclasses import replace

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from support.tiny import CAPTION, IMAGE, TEXT, encoder_record, manifest_of, write_dataset

from dfndr.findings import Finding
from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import Space
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors
from dfndr.verify import verify

SHORT = Space("image", "enc", dim=8, dtype="float32")


def file_of(dataset, role: str, shard: int = 0):
    return dataset.shards[shard].files[role].path


def unit_vectors(rows: int, per_row: int = 1) -> np.ndarray:
    vectors = np.zeros((rows, per_row, 8), dtype=np.float32)
    vectors[..., 0], vectors[..., 1] = 0.6, 0.8
    return vectors


def only(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, [str(finding) for finding in findings]
    return findings[0]


@pytest.mark.parametrize("spaces", [(), (IMAGE,), (IMAGE, TEXT, CAPTION), (SHORT,)], ids=len)
def test_a_whole_dataset_has_no_findings(tmp_path, spaces):
    dataset = write_dataset(tmp_path, (5, 3, 0), spaces=spaces, splits=["train", "train", "validation"])
    report = verify(tmp_path)
    assert report.ok and report.findings == ()
    assert (report.digest, report.rows, report.files) == (dataset.digest, 8, 3 * (1 + len(spaces)))
    assert report.size_bytes == sum(path.stat().st_size for path in tmp_path.rglob("*-0*"))


def test_a_missing_file_is_named(tmp_path):
    dataset = write_dataset(tmp_path)
    (tmp_path / file_of(dataset, TEXT.name, 1)).unlink()
    finding = only(verify(tmp_path).findings)
    assert (finding.file, finding.what, finding.row) == (file_of(dataset, TEXT.name, 1), "missing", None)


@pytest.mark.parametrize("role", ["rows", IMAGE.name])
def test_a_truncated_file_is_named_with_both_sizes(tmp_path, role):
    dataset = write_dataset(tmp_path)
    path = tmp_path / file_of(dataset, role)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-3])
    finding = only(verify(tmp_path).findings)
    assert (finding.file, finding.what) == (file_of(dataset, role), "size")
    assert (finding.expected, finding.found) == (f"{size} bytes", f"{size - 3} bytes")


def test_an_altered_file_is_named_and_so_is_the_row_that_it_spoils(tmp_path):
    dataset = write_dataset(tmp_path)
    path = tmp_path / file_of(dataset, IMAGE.name)
    data = bytearray(path.read_bytes())
    data[-16 * 2 : -16] = np.full(8, np.nan, dtype="<f2").tobytes()
    path.write_bytes(data)
    altered, spoiled = verify(tmp_path).findings
    assert (altered.file, altered.what, altered.row) == (file_of(dataset, IMAGE.name), "altered", None)
    assert (spoiled.file, spoiled.what, spoiled.row) == (altered.file, "not finite", 3)
    assert spoiled.uid == dataset.rows(["uid"])["uid"][3].as_py()


def test_every_bad_row_of_every_shard_is_named(tmp_path):
    vectors = unit_vectors(8)
    vectors[1], vectors[2], vectors[4, 0, 0], vectors[7] = 0, 3, np.inf, 0.5
    dataset = write_dataset(tmp_path, vectors={IMAGE.name: vectors})
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    found = {(finding.file, finding.row, finding.what, finding.uid) for finding in verify(tmp_path).findings}
    first, second = file_of(dataset, IMAGE.name, 0), file_of(dataset, IMAGE.name, 1)
    assert found == {
        (first, 1, "zero", uids[1]),
        (first, 2, "norm", uids[2]),
        (first, 4, "not finite", uids[4]),
        (second, 2, "norm", uids[7]),
    }


@pytest.mark.parametrize(
    ("dtype", "off", "fine"),
    [("float16", 5e-4, True), ("float16", 4e-3, False), ("float32", 1e-5, True), ("float32", 1e-4, False)],
)
def test_how_far_a_norm_may_be_off_depends_on_the_storage_type(tmp_path, dtype, off, fine):
    space = Space("image", "enc", dim=8, dtype=dtype)
    write_dataset(tmp_path, spaces=(space,), vectors={space.name: unit_vectors(8) * (1 + off)})
    assert verify(tmp_path).ok == fine


def test_any_norm_but_zero_is_fine_where_none_is_promised(tmp_path):
    space = Space("image", "enc", dim=8, unit_norm=False)
    vectors = unit_vectors(8) * 7
    write_dataset(tmp_path / "a", spaces=(space,), vectors={space.name: vectors})
    assert verify(tmp_path / "a").ok
    vectors[3] = 0
    write_dataset(tmp_path / "b", spaces=(space,), vectors={space.name: vectors})
    assert (only(verify(tmp_path / "b").findings).what, only(verify(tmp_path / "b").findings).row) == ("zero", 3)


def test_zeros_are_right_beyond_a_rows_captions_and_wrong_elsewhere(tmp_path):
    captions = [["a"], ["a", "b"], [], ["a", "b", "c"], ["a", "b", "c", "d"]]
    vectors = unit_vectors(5, 3)
    vectors[0, 1:] = vectors[1, 2:] = vectors[2] = 0
    write_dataset(tmp_path / "a", (5,), (CAPTION,), columns={"captions": captions}, vectors={CAPTION.name: vectors})
    assert verify(tmp_path / "a").findings == ()
    vectors[1, 1], vectors[2, 2] = 0, vectors[3, 0]
    write_dataset(tmp_path / "b", (5,), (CAPTION,), columns={"captions": captions}, vectors={CAPTION.name: vectors})
    found = [(finding.row, finding.what, finding.found[-7:]) for finding in verify(tmp_path / "b").findings]
    assert found == [(1, "zero", "place 1"), (2, "not free", "place 2")]


def test_a_uid_that_occurs_twice_is_named_with_the_first_place_also_across_shards(tmp_path):
    uids = [f"{row:032x}" for row in (7, 1, 2, 1, 4, 5, 7, 1)]
    dataset = write_dataset(tmp_path, columns={"uid": uids})
    first, second = file_of(dataset, "rows", 0), file_of(dataset, "rows", 1)
    found = {(finding.file, finding.row, finding.found, finding.uid) for finding in verify(tmp_path).findings}
    assert found == {
        (first, 3, f"the uid of {first}, row 1", uids[1]),
        (second, 2, f"the uid of {first}, row 3", uids[1]),
        (second, 1, f"the uid of {first}, row 0", uids[0]),
    }


def test_a_uid_that_occurs_twice_before_anything_was_selected_is_only_a_warning(tmp_path):
    write_dataset(tmp_path, (2,), spaces=(), columns={"uid": ["0" * 32] * 2})
    report = verify(tmp_path)
    assert report.ok and only(report.findings).level == "warning"


def test_scores_with_vectors_may_hold_a_uid_twice_and_what_was_selected_may_not(tmp_path):
    dataset = write_dataset(tmp_path, (2,), columns={"uid": ["0" * 32] * 2})
    for step, level in (("score", "warning"), ("build", "error")):
        write_manifest(str(tmp_path), replace(dataset.manifest, funnel=(Step(step, 2, 2),)))
        assert only(verify(tmp_path).findings).level == level


@pytest.mark.parametrize("uid", [None, "", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 31 + "\n"])
def test_what_is_no_uid_is_named(tmp_path, uid):
    dataset = write_dataset(tmp_path, (3,), columns={"uid": ["0" * 32, uid, "1" * 32]})
    finding = only(verify(tmp_path).findings)
    assert (finding.file, finding.what, finding.row) == (file_of(dataset, "rows"), "uid", 1)


def test_files_that_the_manifest_does_not_name_are_warned_about(tmp_path):
    write_dataset(tmp_path)
    strays = ["rows/train-00007-00000000.parquet", "image/enc/.tmp-1-00", "caption/other/x.npy", "problems/x", "text/y"]
    for name in strays:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "README.md").write_text("not among the dataset's folders")
    report = verify(tmp_path)
    assert report.ok
    assert sorted(finding.file for finding in report.findings) == sorted(strays)
    assert {(finding.what, finding.level) for finding in report.findings} == {("stray", "warning")}


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


def test_a_file_whose_name_does_not_carry_its_content_is_named(tmp_path):
    dataset = write_dataset(tmp_path)
    old = file_of(dataset, IMAGE.name)
    new = old.replace(re.findall("-([0-9a-f]{8})", old)[0], "00000000")
    (tmp_path / old).rename(tmp_path / new)
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace(old, new))
    finding = only(verify(tmp_path).findings)
    assert (finding.what, finding.found) == ("name", new)


def test_findings_go_on_after_the_first_and_those_of_one_kind_are_counted_beyond_a_thousand(tmp_path):
    vectors = unit_vectors(3000)
    vectors[:1500] = 0
    dataset = write_dataset(tmp_path, (3000,), spaces=(IMAGE, TEXT), vectors={IMAGE.name: vectors})
    (tmp_path / file_of(dataset, TEXT.name)).unlink()
    findings = verify(tmp_path).findings
    assert [finding.row for finding in findings if finding.what == "zero"] == [*range(1000), None]
    assert findings[-1].found == "500 more rows with the same defect"
    assert [finding.file for finding in findings if finding.what == "missing"] == [file_of(dataset, TEXT.name)]


def test_a_folder_where_a_file_should_be_is_named(tmp_path):
    dataset = write_dataset(tmp_path)
    path = tmp_path / file_of(dataset, IMAGE.name)
    path.unlink()
    path.mkdir()
    assert only(verify(tmp_path).findings).what == "unreadable"


def test_a_remote_dataset_is_verified_like_a_local_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DFNDR_CACHE", str(tmp_path / "cache"))
    dataset = write_dataset(tmp_path / "set")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "set"), "/verified", recursive=True)
    try:
        assert verify("memory://verified").findings == ()
        spoiled, gone = file_of(dataset, IMAGE.name), file_of(dataset, "rows", 1)
        data = bytearray(memory.cat(f"/verified/{spoiled}"))
        data[-1] ^= 1
        memory.pipe(f"/verified/{spoiled}", bytes(data))
        memory.rm(f"/verified/{gone}")
        monkeypatch.setenv("DFNDR_CACHE", str(tmp_path / "another"))
        found = {(finding.file, finding.what) for finding in verify("memory://verified").findings}
        assert found == {(spoiled, "altered"), (gone, "missing")}
    finally:
        memory.rm("/verified", recursive=True)


def test_the_report_says_the_same_in_json(tmp_path):
    dataset = write_dataset(tmp_path)
    (tmp_path / file_of(dataset, TEXT.name)).unlink()
    given = json.loads(json.dumps(verify(tmp_path).to_json()))
    assert (given["ok"], given["rows"], given["digest"]) == (False, 8, dataset.digest)
    expected = {"file": file_of(dataset, TEXT.name), "what": "missing", "row": None, "uid": None, "level": "error"}
    assert given["findings"] == [{**expected, "expected": "the file", "found": "nothing there"}]


def test_a_finding_reads_as_one_line():
    finding = Finding("image/enc/x.npy", "norm", "length 1", "length 3", 4, "0" * 32)
    assert str(finding) == f"image/enc/x.npy, row 4 (uid {'0' * 32}): norm: expected length 1, found length 3"
