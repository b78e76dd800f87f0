"""What `verify` says of files that are missing or altered, and of the uids and vectors in them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import fsspec
import numpy as np
import pytest
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset
from support.verified import file_of, only, unit_vectors

from dfndr.findings import Finding
from dfndr.format.manifest import Step, write_manifest
from dfndr.format.schema import Space
from dfndr.verify import verify

SHORT = Space("image", "enc", dim=8, dtype="float32")


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
