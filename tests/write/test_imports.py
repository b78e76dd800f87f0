"""Datasets of vectors that other tools computed: every number is theirs, every row is accounted for."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from dfndr_builders.imports import Imported, import_dataset, open_import, open_layout
from dfndr_builders.imports.layout import Teacher
from dfndr_builders.imports.opened import Kind
from dfndr_builders.imports.published import TEACHERS, parse_teacher
from support.layouts import reinforced, unit, vectors_of_sample, write_clip_retrieval, write_tar
from support.verbs import run

from dfndr import open_dataset
from dfndr.errors import DfndrError, FormatError, PoolError, UsageError
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

ONE = (Teacher("vit-b-32", "ViT-B-32", "laion2b_s34b_b79k"),)
TWO = (Teacher("first", "ViT-L-14", "openai", 6, 70.0), Teacher("second", "ViT-L-14", "dfn2b", 4, 60.0))
UIDS = [f"{number:032x}" for number in range(1, 8)]


def _import(kind: Any, path: object, out: Path, teachers: tuple[Teacher, ...] = ONE, **more: Any) -> Manifest:
    layout = open_layout(kind, str(path), teachers, source="there", license="CC0-1.0", **more)
    return import_dataset(layout, Imported("imported", "CC0-1.0", teachers), out)


def _tars(folder: Path, **more: Any) -> tuple[str, list[dict[str, Any]]]:
    """Write two tars of four and three samples; return the pattern, and each sample's vectors."""
    vectors = [vectors_of_sample(number, dims=(6, 4), views=3, captions=2) for number in range(7)]
    samples = [reinforced(uid, given, **more) for uid, given in zip(UIDS, vectors, strict=True)]
    for number, part in enumerate((samples[:4], samples[4:])):
        write_tar(folder / f"{number:08d}.tar", [member for sample in part for member in sample])
    return str(folder / "{00000000..00000001}.tar"), vectors


def test_a_folder_of_clip_retrieval_gives_its_own_numbers_bit_by_bit(tmp_path: Path) -> None:
    given = write_clip_retrieval(tmp_path / "given", (5, 3))
    manifest = _import("clip-retrieval", given, tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    for modality, name in (("image", "img_emb"), ("text", "text_emb")):
        theirs = np.concatenate([np.load(given / name / f"{name}_{number}.npy") for number in (0, 1)])
        assert np.array_equal(dataset.vectors(f"{modality}/vit-b-32")[:, 0], theirs)
    rows = dataset.rows().to_pylist()
    assert [row["text"] for row in rows][:2] == ["caption 000000000", "caption 000000001"]
    assert [row["url"] for row in rows][-1] == "https://example.org/000010002.jpg"
    assert {(row["source"], row["license"]) for row in rows} == {("there", "CC0-1.0")}
    assert (manifest.funnel[0].rows_in, len(manifest)) == (8, 8)
    assert not verify(str(tmp_path / "out")).findings


def test_pictures_alone_make_one_space(tmp_path: Path) -> None:
    _import("clip-retrieval", write_clip_retrieval(tmp_path / "given", (4,), texts=False), tmp_path / "out")
    assert list(open_dataset(tmp_path / "out").spaces) == ["image/vit-b-32"]


def test_partitions_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    given = write_clip_retrieval(tmp_path / "given", (1,) * 11)
    _import("clip-retrieval", given, tmp_path / "out")
    keys = open_dataset(tmp_path / "out").rows(["key"])["key"].to_pylist()
    assert keys == [f"{number:05d}0000" for number in range(11)]  # by name, 10 would come before 2


def test_files_of_one_number_that_hold_other_rows_are_refused_and_not_shifted(tmp_path: Path) -> None:
    given = write_clip_retrieval(tmp_path / "given", (5, 3))
    np.save(given / "text_emb" / "text_emb_1.npy", unit(2, 8, 0))
    with pytest.raises(FormatError, match=r"3 vectors in text/vit-b-32.*2"):
        _import("clip-retrieval", given, tmp_path / "out")


@pytest.mark.parametrize("change", ["nan", "zero", "long"])
def test_a_vector_that_is_none_fails_under_its_reason(tmp_path: Path, change: str) -> None:
    given = write_clip_retrieval(tmp_path / "given", (5,))
    path = given / "img_emb" / "img_emb_0.npy"
    vectors = np.load(path)
    vectors[3] = {"nan": np.nan, "zero": 0, "long": 2 * vectors[3]}[change]
    np.save(path, vectors)
    manifest = _import("clip-retrieval", given, tmp_path / "out")
    assert dict(manifest.funnel[0].failed) == {"vector_not_finite": 1}
    problems = pq.read_table(tmp_path / "out" / manifest.shards[0].files["problems"].path).to_pylist()
    assert [problem["key"] for problem in problems] == ["000000003"]
    assert np.array_equal(open_dataset(tmp_path / "out").vectors("image/vit-b-32")[:, 0], np.delete(vectors, 3, axis=0))
    assert not verify(str(tmp_path / "out")).findings


def test_vectors_of_any_length_are_taken_where_that_is_said(tmp_path: Path) -> None:
    given = write_clip_retrieval(tmp_path / "given", (5,), texts=False)
    longer = 3 * np.load(given / "img_emb" / "img_emb_0.npy")
    np.save(given / "img_emb" / "img_emb_0.npy", longer)
    _import("clip-retrieval", given, tmp_path / "out", unit_norm=False)
    dataset = open_dataset(tmp_path / "out")
    assert not dataset.space("image/vit-b-32").unit_norm
    assert np.array_equal(dataset.vectors("image/vit-b-32")[:, 0], longer)
    assert not verify(str(tmp_path / "out")).findings


def test_a_row_that_comes_again_in_another_partition_is_dropped_and_counted(tmp_path: Path) -> None:
    given = write_clip_retrieval(tmp_path / "given", (5, 3))
    first = pq.read_table(given / "metadata" / "metadata_0.parquet")
    pq.write_table(first.slice(1, 3), given / "metadata" / "metadata_1.parquet")
    manifest = _import("clip-retrieval", given, tmp_path / "out")
    (step,) = manifest.funnel
    assert (step.rows_in, step.rows_out, dict(step.dropped)) == (8, 5, {"duplicate": 3})
    assert dict(step.sources["there"].dropped) == {"duplicate": 3}
    assert not verify(str(tmp_path / "out")).findings


@pytest.mark.parametrize("form", [{}, {"legacy": True}, {"paug": "string"}, {"paug": "none"}])
def test_reinforced_tars_give_each_teacher_spaces_of_its_own(tmp_path: Path, form: dict[str, Any]) -> None:
    pattern, vectors = _tars(tmp_path, **form)
    _import("dr", pattern, tmp_path / "out", TWO, dtype="float32")
    dataset = open_dataset(tmp_path / "out")
    kinds = (("image", "image_emb"), ("text", "text_emb"), ("caption", "caption_emb"))
    assert {name: (space.per_row, space.dim) for name, space in dataset.spaces.items()} == {
        **{"image/first": (3, 6), "text/first": (1, 6), "caption/first": (2, 6)},
        **{"image/second": (3, 4), "text/second": (1, 4), "caption/second": (2, 4)},
    }
    for modality, key in kinds:
        theirs = np.stack([given[key] for given in vectors])
        assert np.array_equal(dataset.vectors(f"{modality}/first"), theirs[:, :, :6])
        assert np.array_equal(dataset.vectors(f"{modality}/second"), theirs[:, :, 6:])
    rows = dataset.rows().to_pylist()
    assert [row["uid"] for row in rows] == UIDS
    assert rows[2]["captions"] == ["synthetic 0 of 0000", "synthetic 1 of 0000"]
    assert rows[2]["url"] == f"https://example.org/{UIDS[2]}"
    view = "[[1,2,30,40],[[2,-0.09000000357627869],[0,0.0]]]"
    assert rows[0].get("views") == (None if form.get("paug") == "none" else [view] * 3)
    assert not verify(str(tmp_path / "out")).findings


def test_tensors_of_sixteen_bits_are_read_without_unpickling_anything_else(tmp_path: Path) -> None:
    pattern, vectors = _tars(tmp_path, as_pth=True)
    _import("dr", pattern, tmp_path / "out", TWO, dtype="float32", unit_norm=False)
    found = open_dataset(tmp_path / "out").vectors("image/first")
    theirs = np.stack([given["image_emb"] for given in vectors])[:, :, :6]
    assert np.abs(found - theirs).max() <= 2.0**-8
    assert not np.array_equal(found, theirs), "they were rounded to bfloat16 before they were published"


def test_encoders_are_recorded_as_told_and_their_weights_as_unknown(tmp_path: Path) -> None:
    pattern, _ = _tars(tmp_path)
    encoders = _import("dr", pattern, tmp_path / "out", TWO).encoders
    assert [(record.pretrained, record.teaching_scale, record.dim) for record in encoders.values()] == [
        ("openai", 70.0, 6),
        ("dfn2b", 60.0, 4),
    ]
    assert {record.weights_sha256 for record in encoders.values()} == {""}


def test_the_verb_imports_and_running_it_again_changes_nothing(tmp_path: Path) -> None:
    given = write_clip_retrieval(tmp_path / "given", (5, 3))
    words = ["import", "clip-retrieval", str(given), "--out", str(tmp_path / "out"), "--name", "mine"]
    words += ["--license", "CC0-1.0", "--encoder", "vit-b-32=ViT-B-32/laion2b_s34b_b79k", "--json"]
    first, second = run(words), run(words)
    assert first.exit_code == second.exit_code == 0, first.output
    assert json.loads(first.stdout)["rows"] == 8
    assert json.loads(first.stdout)["digest"] == json.loads(second.stdout)["digest"]


@pytest.mark.parametrize(
    ("words", "teacher"),
    [
        ("a=ViT-B-32/laion2b", Teacher("a", "ViT-B-32", "laion2b")),
        ("a=ViT-B-32/laion2b:512", Teacher("a", "ViT-B-32", "laion2b", 512)),
        ("a=hf-hub:apple/it:768", Teacher("a", "", "hf-hub:apple/it", 768)),
        ("a=hf-hub:apple/it:768:70", Teacher("a", "", "hf-hub:apple/it", 768, 70.0)),
        ("a=ViT-B-32/laion2b:512:62.5", Teacher("a", "ViT-B-32", "laion2b", 512, 62.5)),
        ("a=ViT-B-32/weights/of/mine.safetensors", Teacher("a", "ViT-B-32", "weights/of/mine.safetensors")),
    ],
)
def test_words_for_an_encoder_are_read(words: str, teacher: Teacher) -> None:
    assert parse_teacher(words) == teacher


@pytest.mark.parametrize("words", ["", "a", "a=", "a=ViT-B-32", "=ViT-B-32/x", "a=ViT-B-32/"])
def test_words_that_name_no_encoder_are_refused(words: str) -> None:
    with pytest.raises(UsageError, match="NAME=MODEL/WEIGHTS"):
        parse_teacher(words)


def test_the_published_sets_hold_two_teachers_of_768_numbers() -> None:
    assert {name: [teacher.dim for teacher in found] for name, found in TEACHERS.items()} == {
        "datacompdr": [768, 768],
        "dfndr": [768, 768],
    }
    assert [teacher.distillation_scale for teacher in TEACHERS["dfndr"]] == [70.0, 60.0]


@pytest.mark.parametrize(
    ("kind", "teachers"),
    [("clip-retrieval", ()), ("clip-retrieval", TWO), ("dr", ()), ("dr", ONE), ("dr", TWO[:1] * 2)],
)
def test_encoders_that_do_not_fit_the_layout_are_refused(kind: Any, teachers: tuple[Teacher, ...]) -> None:
    with pytest.raises(UsageError, match="--encoder"):
        open_layout(kind, "anywhere", teachers)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DfndrError, match="img_emb"):
        _import("clip-retrieval", tmp_path, tmp_path / "out")
    with pytest.raises(DfndrError, match="tars"):
        _import("dr", tmp_path / "*.tar", tmp_path / "out", TWO)


@pytest.mark.parametrize("path", ["absent", "absent/*.tar", "absent/{0..1}.tar"])
def test_files_that_are_not_there_are_named_before_anything_else_is_asked(tmp_path: Path, path: str) -> None:
    for kind in get_args(Kind):
        with pytest.raises(PoolError, match="absent"):
            open_import(kind, str(tmp_path / path))


@pytest.mark.parametrize("dims", [(6,), (6, 5), (768, 768)])
def test_encoders_whose_numbers_are_not_those_of_the_tars_are_refused(tmp_path: Path, dims: tuple[int, ...]) -> None:
    teachers = tuple(Teacher(f"encoder-{dim}-{place}", "ViT-B-32", "openai", dim) for place, dim in enumerate(dims))
    with pytest.raises(UsageError, match=rf"add up to the 10 numbers of image_emb, found \[.*{dims[-1]}\]"):
        _import("dr", _tars(tmp_path)[0], tmp_path / "out", teachers)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_first_sample_of_other_numbers_is_a_row_that_failed(tmp_path: Path) -> None:
    samples = [
        reinforced(uid, vectors_of_sample(row, dims=(6, 3 if row == 0 else 4), views=3, captions=2))
        for row, uid in enumerate(UIDS[:3])
    ]
    path = write_tar(tmp_path / "0.tar", [member for sample in samples for member in sample])
    manifest = _import("dr", path, tmp_path / "out", TWO)
    assert (len(manifest), dict(manifest.funnel[0].failed)) == (2, {"vector_missing": 1})
