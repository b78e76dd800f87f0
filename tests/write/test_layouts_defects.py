"""Further defects of the published generator (ml-mobileclip-dr, raygen), those of its formats: none of them is here."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from dfndr_builders.exports import Form, Kind, export
from dfndr_builders.imports import Imported, import_dataset, open_layout
from dfndr_builders.imports.layout import Teacher
from dfndr_builders.imports.sample import samples_of
from support.documented import ROOT, commands
from support.layouts import npz, reinforced, unit, vectors_of_sample, write_tar
from support.tiny import write_dataset
from support.verbs import parsed, verbs

from dfndr import open_dataset
from dfndr.format.schema import Space

ONE = (Teacher("a", "ViT-B-32", "openai", 6),)
UID = "0123456789abcdef0123456789abcdef"
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
TEXTS = [ROOT / page for page in PAGES] + sorted((ROOT / "builders" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("page", PAGES)
def test_defect_3_every_command_of_the_pages_names_accepted_choices(page: str) -> None:
    for words in commands((ROOT / page).read_text(encoding="utf-8"), "dfndr"):
        if words and words[0] in verbs() and "--help" not in words:
            parsed(words)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_defect_3_a_verb_or_an_option_that_is_named_anywhere_is_there(path: Path) -> None:
    options = {
        verb: {option for one in command.params for option in [*one.opts, *one.secondary_opts]}
        for verb, command in verbs().items()
    }
    for told in re.findall(r"`dfndr ([a-z][^`]*)`", path.read_text(encoding="utf-8")):
        verb, *words = told.split()
        assert verb in options, told
        given = {word.partition("=")[0].rstrip(",;:.)") for word in words if word.startswith("--")}
        assert given <= options[verb] | {"--help"}, told


def test_defect_3_the_choices_of_the_command_are_those_that_are_written() -> None:
    for kind in get_args(Kind):
        assert parsed(["export", "set", kind, "--out", "x"])["kind"] == kind
        if kind not in ("gallery", "atlas"):
            assert parsed(["import", kind, "path", "--out", "x"])["kind"] == kind
    with pytest.raises(Exception, match="webdataset"):
        parsed(["export", "set", "webdataset", "--out", "x"])


@pytest.mark.parametrize("kind", ["parquet", "dr", "dr of bfloat16", "clip-retrieval", "datacomp"])
def test_defect_4_bfloat16_goes_into_every_format_and_any_reader_finds_its_numbers(tmp_path: Path, kind: str) -> None:
    spaces = (Space("image", "enc", 8, dtype="bfloat16"), Space("text", "enc", 8, dtype="bfloat16"))
    given = write_dataset(tmp_path / "given", (3,), spaces)
    form = Form(bfloat16=True) if kind.endswith("bfloat16") else None
    name: Any = kind.partition(" ")[0]
    export(given, name, str(tmp_path / "out"), form=form)
    place = str(tmp_path / "out") + ("/*.tar" if name == "dr" else "")
    teachers = (Teacher("enc", "tiny", "random", 8),)
    if name == "parquet":
        place += "/rows/*.parquet"
    layout = open_layout(name, place, teachers, dtype="float32", unit_norm=False)
    if name == "datacomp":
        assert (tmp_path / "out" / "00000000.npz").exists()
    import_dataset(layout, Imported("it", "CC0-1.0", teachers), tmp_path / "again")
    found = open_dataset(tmp_path / "again")
    for space in spaces:
        exact = given.vectors(space.name).astype(np.float32)
        assert np.array_equal(found.vectors(space.name), exact)


def test_defect_7_a_key_that_holds_emb_is_not_taken_for_vectors(tmp_path: Path) -> None:
    vectors = vectors_of_sample(1, dims=(6,), views=2, captions=2)
    other = unit(9, 6, 5, "float32")
    data = npz(
        image_emb=vectors["image_emb"],
        text_emb=vectors["text_emb"],
        syn_text_emb=vectors["caption_emb"],
        member_count_emb=other,
        syn_embroidery_emb=other,
        remember=other,
    )
    members = [(name, data if name.endswith(".npz") else found) for name, found in reinforced(UID, vectors)]
    captions = {"syn_text": ["one", "two"], "embedding_model": "no list", "syn_embroidery": [1, 2]}
    members = [(name, json.dumps(captions).encode() if name.endswith(".syn.json") else one) for name, one in members]
    layout = open_layout("dr", str(write_tar(tmp_path / "0.tar", members)), ONE, dtype="float32")
    import_dataset(layout, Imported("it", "CC0-1.0", ONE), tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    assert np.array_equal(dataset.vectors("caption/a")[0], vectors["caption_emb"])
    assert dataset.rows(["captions"])["captions"].to_pylist() == [["one", "two"]]


def test_captions_of_two_keys_keep_their_own_vectors_whatever_order_they_are_named_in(tmp_path: Path) -> None:
    vectors, more = vectors_of_sample(1, dims=(6,), views=2, captions=2), unit(1, 6, 9, "float32")
    data = npz(**{key: vectors[key] for key in ("image_emb", "text_emb")}, syn_text_a_emb=more,
               syn_text_b_emb=vectors["caption_emb"])  # fmt: skip
    told = json.dumps({"syn_text_b": ["b0", "b1"], "syn_text_a": ["a0"]}).encode()
    replaced = {".npz": data, ".syn.json": told}
    members = [(name, replaced.get(name.removeprefix(UID), found)) for name, found in reinforced(UID, vectors)]
    layout = open_layout("dr", str(write_tar(tmp_path / "0.tar", members)), ONE, dtype="float32")
    import_dataset(layout, Imported("it", "CC0-1.0", ONE), tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    assert dataset.rows(["captions"])["captions"].to_pylist() == [["b0", "b1", "a0"]]
    assert np.array_equal(dataset.vectors("caption/a")[0], np.concatenate([vectors["caption_emb"], more]))


def test_defect_8_names_with_dots_and_pictures_of_every_kind_are_read(tmp_path: Path) -> None:
    vectors = vectors_of_sample(1, dims=(6,), views=2, captions=2)
    for key, ending in (("a.b/photo.v1.2", "jpg"), ("photo.v1.3", "PNG"), ("x", "jpeg"), ("./y.z", "webp")):
        named = [(name.replace(UID, key), data) for name, data in reinforced(UID, vectors)]
        path = write_tar(tmp_path / "0.tar", [*named, (f"{key}.{ending}", b"bytes"), (f"{key}.readme", b"?")])
        (sample,) = samples_of(str(path))
        assert sample.key == key.removeprefix("./")
        assert set(sample.members) == {".url.txt", ".syn.json", ".paug.json", ".npz", ".json", f".{ending.lower()}"}


def test_defect_10_an_export_to_a_local_folder_is_whole_when_it_ends_and_goes_on_from_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write_dataset(tmp_path / "given", (2, 3, 1), (Space("image", "enc", 8), Space("text", "enc", 8)))
    monkeypatch.chdir(tmp_path)
    export(given, "dr", "relative/out")
    records = sorted(Path("relative/out/.dfndr-export").glob("0*.json"))
    assert [json.loads(path.read_text())["counts"]["rows"] for path in records] == [2, 3, 1]
    whole = {path: path.read_bytes() for path in Path("relative/out").glob("*.tar")}
    Path("relative/out/00000001.tar").unlink()  # names come from the shards' numbers, so no restart can move them
    records[2].write_text("{")
    export(given, "dr", "relative/out")
    assert {path: path.read_bytes() for path in Path("relative/out").glob("*.tar")} == whole
    with tarfile.open("relative/out/00000001.tar") as tar:
        uids = {name.partition(".")[0] for name in tar.getnames()}
    assert uids == set(given.rows(["uid"])["uid"].to_pylist()[2:5])


def test_a_row_of_no_captions_is_written_and_read(tmp_path: Path) -> None:
    spaces = (Space("image", "enc", 8), Space("text", "enc", 8), Space("caption", "enc", 8, 2))
    columns = {"captions": pa.array([[], ["one"], ["one", "two"]], pa.list_(pa.string()))}
    given = write_dataset(tmp_path / "given", (3,), spaces, columns=columns)
    export(given, "dr", str(tmp_path / "out"))
    with tarfile.open(tmp_path / "out" / "00000000.tar") as tar:
        told = [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith("syn.json")]  # type: ignore[arg-type]
    assert told == [{}, {"syn_text": ["one"]}, {"syn_text": ["one", "two"]}]
