from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from support.tiny import CAPTION, IMAGE, TEXT, encoder_record, manifest_of, write_dataset

from dfndr.errors import FormatError
from dfndr.format.manifest import Counts, Manifest, Shard, Step, canonical, read_manifest, write_manifest
from dfndr.format.schema import DROPPED, FAILED, NAME, Space
from dfndr.format.uid import pack_uids, unpack_uids
from dfndr.storage import Stored


def shard(index: int = 0, *, rows: int = 3, split: str = "train", **more) -> Shard:
    files = {"rows": Stored(f"rows/{split}-{index:05d}-00000000.parquet", 10, "0" * 64)}
    return Shard(index, split, rows_in=rows + sum(more.get("failed", {}).values()), rows=rows, files=files, **more)


def test_a_manifest_reads_back_as_it_was_written(tmp_path):
    manifest = replace(
        write_dataset(
            tmp_path / "first", (5, 3, 0), (IMAGE, TEXT, CAPTION), splits=["train", "train", "validation"]
        ).manifest,
        funnel=(
            Step("score", 12, 10, failed={"image_empty": 2}),
            Step("select", 10, 8, {"duplicate": 1, "not_selected": 1}),
        ),
        provenance={"pools": [{"path": "x", "ünïcode": [1, 0.5, None, True]}]},
        files={"dfn/weights": Stored("models/dfn/open_clip_model.safetensors", 7, "a" * 64)},
    )
    write_manifest(str(tmp_path), manifest)
    again = read_manifest(str(tmp_path))
    assert again == manifest
    assert len(again) == 8
    write_manifest(str(tmp_path / "again"), again)
    assert (tmp_path / "manifest.json").read_bytes() == (tmp_path / "again" / "manifest.json").read_bytes()


WEB, BOOK = Counts(6, 4, {"few_words": 2}), Counts(4, 4)


def test_a_funnel_by_source_reads_back_and_one_without_keeps_the_bytes_it_had(tmp_path):
    manifest = manifest_of((), [shard(rows=8)])
    bare, told = (
        replace(manifest, funnel=(Step("score", 10, 10), Step("select", 10, 8, {"few_words": 2}, sources=sources)))
        for sources in ({}, {"web": WEB, "": BOOK})
    )
    assert "sources" not in bare.to_json()["funnel"][1]
    write_manifest(str(tmp_path), told)
    assert read_manifest(str(tmp_path)) == told
    assert read_manifest(str(tmp_path)).funnel[1].sources["web"].dropped == {"few_words": 2}


def test_a_source_that_loses_a_row_between_two_steps_is_refused_though_the_sums_are_right():
    first = Step("score", 10, 10, sources={"web": Counts(6, 6), "": Counts(4, 4)})
    good = Step("select", 10, 8, {"few_words": 2}, sources={"web": WEB, "": BOOK})
    mixed = Step("select", 10, 8, {"few_words": 2}, sources={"web": Counts(5, 3, {"few_words": 2}), "": Counts(5, 5)})
    manifest = manifest_of((), [shard(rows=8)])
    Manifest.from_json(replace(manifest, funnel=(first, good)).to_json(), "here")
    with pytest.raises(FormatError, match=r"score gives 6, select takes 5 \(source 'web'\)"):
        Manifest.from_json(replace(manifest, funnel=(first, mixed)).to_json(), "here")


def test_a_shard_reads_back_as_it_was_written():
    one = shard(failed={"text_empty": 2}, notes={"enc batch": "halved to 16"})
    assert Shard.from_json(json.loads(canonical(one.to_json())), "here") == one


def test_the_digest_is_the_sha256_of_the_canonical_json_and_not_of_how_the_file_is_laid_out(tmp_path):
    dataset = write_dataset(tmp_path)
    path = tmp_path / "manifest.json"
    given = json.loads(path.read_text())
    text = json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert dataset.digest == hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(given, indent=7))
    assert read_manifest(str(tmp_path)).digest == dataset.digest


def test_the_digest_changes_with_everything_that_the_manifest_says():
    manifest = manifest_of((), [shard()])
    others = [
        replace(manifest, name="other"),
        replace(manifest, license="MIT"),
        replace(manifest, recipe=manifest.recipe + "\n"),
        replace(manifest, seed=1),
        replace(manifest, provenance={"x": 1}),
        replace(manifest, scorers={"dfn": encoder_record("dfn")}),
        replace(manifest, encoders={"enc": encoder_record("enc")}),
        replace(manifest, shards=(shard(notes={"x": "y"}),)),
        replace(manifest, shards=(shard(split="validation"),)),
    ]
    assert len({other.digest for other in [manifest, *others]}) == 1 + len(others)


def test_canonical_json_is_sorted_without_spaces_in_utf8():
    assert canonical({"b": [1, 0.5], "a": {"ü": None}}) == '{"a":{"ü":null},"b":[1,0.5]}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shards": (shard(1),)}, "expected shard 0, found shard 1"),
        ({"shards": (shard(0), shard(1, rows=1))}, "expected 4 rows, found 3 rows out of the funnel"),
        ({"spaces": (IMAGE,), "encoders": {"enc": encoder_record()}}, r"expected the files \['image/enc', 'rows'\]"),
        ({"spaces": (IMAGE,)}, r"found none for \['enc'\]"),
        ({"name": "Not A Name"}, "Not A Name"),
        ({"funnel": (Step("select", 9, 3, {"not_selected": 5}),)}, "expected 9 rows accounted for, found 3 kept"),
        ({"funnel": (Step("score", 9, 9), Step("build", 3, 3))}, "score gives 9, build takes 3"),
        ({"provenance": {"x": float("inf")}}, "JSON"),
    ],
    ids=str,
)
def test_a_manifest_that_does_not_add_up_is_not_written(tmp_path, change, says):
    with pytest.raises(FormatError, match=says):
        write_manifest(str(tmp_path), replace(manifest_of((), [shard()]), **change))
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_may_be_empty(tmp_path):
    write_manifest(str(tmp_path), manifest_of((), []))
    assert len(read_manifest(str(tmp_path))) == 0


@pytest.mark.parametrize(
    "space", [IMAGE, CAPTION, Space("text", "a.b-c_9", 1, 7, "float32", False)], ids=lambda space: space.name
)
def test_a_space_reads_back_as_it_was_written(space):
    assert Space.from_json(json.loads(canonical(space.to_json())), "here") == space
    assert space.name == f"{space.modality}/{space.encoder}"


def test_a_record_of_an_encoder_reads_back_as_it_was_written():
    record = encoder_record()
    assert type(record).from_json(json.loads(canonical(record.to_json())), "here") == record


def test_reasons_are_names_said_in_one_line_and_no_reason_is_both_dropped_and_failed():
    assert not set(DROPPED) & set(FAILED)
    for reasons in (DROPPED, FAILED):
        assert list(reasons) == sorted(reasons)
        for name, words in reasons.items():
            assert NAME.fullmatch(name) and words and "\n" not in words


def test_uids_pack_into_sixteen_bytes_and_back():
    uids = ["0" * 32, "f" * 32, "0123456789abcdef0123456789abcdef"]
    packed = pack_uids(uids, "here")
    assert packed.shape == (3, 16)
    assert [row.tobytes().hex() for row in packed] == uids
    assert unpack_uids(packed).tolist() == uids
    assert unpack_uids(packed[[2, 0, 1, 1]].reshape(2, 2, 16)).tolist() == [[uids[2], uids[0]], [uids[1], uids[1]]]
    assert pack_uids([], "here").shape == (0, 16)


@pytest.mark.parametrize("bad", [None, "", "0" * 31, "A" * 32, "0" * 32 + "\n"])
def test_what_is_no_uid_is_not_packed_and_its_row_is_named(bad):
    with pytest.raises(FormatError, match=r"rows/x, row 1: expected a uid of 32 hex digits"):
        pack_uids(["0" * 32, bad], "rows/x")


def test_a_folder_without_a_manifest_says_that_it_is_written_last(tmp_path):
    with pytest.raises(FormatError, match=r"a folder without one\. .* the manifest is written last"):
        read_manifest(str(tmp_path))
    with pytest.raises(FormatError, match="nothing there"):
        read_manifest(str(tmp_path / "nowhere"))


def test_manifests_of_equal_shards_in_equal_order_have_one_digest_however_they_came_about():
    one = Manifest.from_json(json.loads(canonical(manifest_of((), [shard(0), shard(1)]).to_json())), "here")
    assert one.digest == manifest_of((), (shard(0), shard(1))).digest
