"""What keeps a dataset from being published: licences, a card that lacks something, the limits of the Hub."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from dfndr_builders.card import missing
from dfndr_builders.licenses import Accepted, Use, conflicts, license_of, normalized, parse_accepted
from dfndr_builders.publish import files, prepare
from dfndr_builders.publish.files import Upload, batches, preflight
from dfndr_builders.publish.gate import uses
from dfndr_builders.publish.pictures import draw_samples, draw_scores
from hypothesis import given as drawn
from hypothesis import strategies as st
from PIL import Image
from support.tiny import CAPTION, IMAGE, write_dataset

from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import DataError, UsageError
from dfndr.format.manifest import write_manifest

ROWS = 4


def _dataset(root: Path, columns: dict[str, list[object]] | None = None, **changed: object) -> Dataset:
    made = write_dataset(root, (ROWS,), (IMAGE,), columns=columns or {})
    about: dict[str, object] = {"provenance": {"pools": [{"kind": "folder", "source": "album", "license": "MIT"}]}}
    write_manifest(str(root), replace(made.manifest, **(about | changed)))  # type: ignore[arg-type]
    return open_dataset(root)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("CC BY 4.0", "cc-by-4.0"),
        ("https://creativecommons.org/licenses/by-nc-sa/2.0/", "cc-by-nc-sa-2.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("Apache License 2.0", "apache-2.0"),
        ("MIT License", "mit"),
        ("None stated", ""),
        ("unknown", ""),
        (" ", ""),
        (None, ""),
    ],
)
def test_a_licence_is_known_however_its_name_is_written(written: str | None, name: str) -> None:
    assert normalized(written) == name


@pytest.mark.parametrize(
    ("name", "purpose", "adapted", "alike"),
    [
        ("cc-by-4.0", "any", True, False),
        ("cc-by-sa-3.0", "any", True, True),
        ("cc-by-nc-2.0", "non-commercial", True, False),
        ("cc-by-nc-sa-4.0", "non-commercial", True, True),
        ("cc-by-nc-nd-4.0", "non-commercial", False, False),
        ("flickr8k-research-only", "research", True, False),
        ("apple-amlr", "research", True, False),
    ],
)
def test_what_a_licence_allows_is_in_its_name(name: str, purpose: str, adapted: bool, alike: bool) -> None:
    found = license_of(name)
    assert found is not None
    assert (found.purpose, found.adapted, found.alike) == (purpose, adapted, alike)


@pytest.mark.parametrize(
    ("declared", "used", "is_data", "why"),
    [
        ("CC-BY-4.0", "CC0-1.0", True, ""),
        ("CC-BY-4.0", "apple-amlr", False, "forbids other use than research"),
        ("research-only", "apple-amlr", False, ""),
        ("research-only", "cc-by-nc-4.0", True, ""),
        ("cc-by-nc-4.0", "research-only", True, "forbids other use than research"),
        ("mit", "cc-by-nc-4.0", True, "forbids commercial use"),
        ("cc-by-nc-4.0", "cc-by-nc-nd-4.0", True, "forbids passing on what was changed"),
        ("cc-by-nc-4.0", "cc-by-nc-nd-4.0", False, ""),
        ("cc-by-4.0", "cc-by-sa-4.0", True, "asks for the same licence"),
        ("cc-by-sa-4.0", "cc-by-sa-3.0", True, ""),
        ("cc-by-sa-3.0", "cc-by-sa-4.0", True, "asks for the same licence"),
        ("research-only", "all rights reserved", True, "forbids passing it on"),
        ("mit", "", True, "states no licence"),
        ("mit", "unknown", False, "states no licence"),
        ("mit", "My Own Terms", True, "not one that dfndr knows"),
    ],
)
def test_a_dataset_may_hold_what_its_licence_and_theirs_allow(
    declared: str, used: str, is_data: bool, why: str
) -> None:
    found = conflicts(declared, [Use("samples from", "album", used, is_data)])
    assert [why in str(one) for one in found] == ([True] if why else [])


@drawn(st.text(max_size=40), st.text(max_size=40))
def test_no_licence_however_odd_passes_without_being_known(declared: str, used: str) -> None:
    use = Use("samples from", "album", used)
    found = {one.use.name for one in conflicts(declared, [use])}
    assert (license_of(used) is None) <= ("album" in found)
    assert (license_of(declared) is None) == ("the dataset" in found)


def test_a_decision_covers_what_it_names_and_nothing_else() -> None:
    held = [
        Use("samples from", "album", None),
        Use("encoder", "vit", "my-terms", False),
        Use("scorer", "dfn", "", False),
    ]
    accepted = [Accepted("Album", "our own pictures"), Accepted("my terms", "asked them")]
    assert [one.use.name for one in conflicts("mit", held, accepted)] == ["dfn"]
    assert parse_accepted("album: ours: all of it") == Accepted("album", "ours: all of it")
    for wrong in ("album", "album:", ": why", "album:why"):
        with pytest.raises(UsageError, match="NAME: reason"):
            parse_accepted(wrong)


def test_licences_are_counted_in_the_rows_source_by_source(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        "source": ["a", "a", "b", None],
        "license": ["MIT", None, "CC0-1.0", "CC BY 4.0"],
    }
    found = uses(_dataset(tmp_path, columns))
    assert [(one.name, one.license, one.rows) for one in found if one.kind == "samples from"] == [
        ("(no source named)", "CC BY 4.0", 1), ("a", None, 1), ("a", "MIT", 1), ("b", "CC0-1.0", 1),
    ]  # fmt: skip
    with pytest.raises(DataError, match="samples from 'a': states no licence"):
        prepare(tmp_path, "me/tiny")


def test_more_sources_than_a_page_holds_are_told_by_licence_alone(tmp_path: Path) -> None:
    made = write_dataset(tmp_path, (60,), (), columns={"source": [f"s{n}" for n in range(60)], "license": ["MIT"] * 60})
    samples = [one for one in uses(made) if one.kind == "samples from"]
    assert [(one.license, one.rows) for one in samples] == [("MIT", 60)]


def test_without_columns_of_their_own_the_samples_have_the_licence_of_their_pool(tmp_path: Path) -> None:
    found = uses(_dataset(tmp_path))
    assert found[0] == Use("samples from", "album", "MIT")
    assert [(one.kind, one.name) for one in found[1:]] == [("encoder", "enc")]


def test_all_that_is_wrong_is_listed_at_once_and_a_decision_is_told_in_the_card(tmp_path: Path) -> None:
    encoder = replace(_dataset(tmp_path / "a").manifest.encoders["enc"], license="unknown")
    pools = {"pools": [{"kind": "folder", "source": "album"}]}
    root = tmp_path / "b"
    _dataset(root, encoders={"enc": encoder}, provenance=pools, license="CC-BY-4.0")
    with pytest.raises(DataError) as caught:
        prepare(root, "me/tiny")
    assert "samples from 'album': states no licence" in str(caught.value)
    assert "encoder 'enc': states no licence" in str(caught.value)
    said = str(caught.value).splitlines()
    assert said[0].endswith(", found what forbids it:") and said[-1].startswith("State the licences in the recipe")
    decided = [Accepted("album", "our own | pictures"), Accepted("enc", "trained by us")]
    card = next(one for one in prepare(root, "me/tiny", accepted=decided).last if one.path == "README.md").source
    assert isinstance(card, bytes)
    assert r"| album | our own \| pictures |" in card.decode() and "| enc | trained by us |" in card.decode()
    with pytest.raises(DataError, match="nothing goes by that name"):
        prepare(root, "me/tiny", accepted=[*decided, Accepted("albun", "a slip")])


def test_captions_need_a_licence_of_their_bank(tmp_path: Path) -> None:
    made = write_dataset(tmp_path, (ROWS,), (CAPTION,))
    recipe = 'name = "x"\n[[caption]]\nkind = "retrieval"\nbank = {bank}\n'
    pools = {"pools": [{"kind": "folder", "source": "album", "license": "MIT"}]}
    for bank, license in (('"bank.txt"', None), ('{ kind = "parquet", path = "p", license = "MIT" }', "MIT")):
        manifest = replace(made.manifest, recipe=recipe.replace("{bank}", bank), provenance=pools)
        write_manifest(str(tmp_path), manifest)
        found = [one for one in uses(open_dataset(tmp_path)) if one.kind == "captions from"]
        assert [one.license for one in found] == [license]


def test_a_card_says_what_it_lacks(tmp_path: Path) -> None:
    manifest = _dataset(tmp_path).manifest
    assert missing(manifest) == []
    encoder = manifest.encoders["enc"]
    for changed, said in (
        ({"provenance": {}}, "provenance names no pool"),
        ({"recipe": ""}, "the recipe"),
        ({"recipe": "no [ toml"}, "the recipe"),
        ({"funnel": ()}, "the funnel"),
        ({"encoders": {"enc": replace(encoder, weights_sha256="")}}, "the sha256 of its weights"),
        ({"encoders": {"enc": replace(encoder, pretrained="local-dir:/data/model")}}, "weights that others can get"),
        ({"encoders": {"enc": replace(encoder, pretrained="/data/model.pt")}}, "weights that others can get"),
    ):
        found = missing(replace(manifest, **changed))
        assert len(found) == 1 and said in found[0]
    fetched = replace(encoder, pretrained="hf-hub:someone/model")
    assert missing(replace(manifest, encoders={"enc": fetched})) == []


def test_the_hubs_limits_are_checked_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    small = [Upload(f"rows/{number}", 1, "", b"") for number in range(3)]
    preflight(small, "here")
    monkeypatch.setattr(files, "MOST_FILES_IN_A_FOLDER", 2)
    with pytest.raises(DataError, match="rows: 3 files"):
        preflight(small, "here")
    with pytest.raises(DataError, match="large: 50,000,000,001 bytes"):
        preflight([Upload("large", 50_000_000_001, "", b"")], "here")


@drawn(st.lists(st.integers(0, 30_000_000_000), max_size=500))
def test_batches_keep_every_file_in_order_within_the_limits_of_a_commit(sizes: list[int]) -> None:
    uploads = [Upload(str(number), size, "", b"") for number, size in enumerate(sizes)]
    cut = list(batches(uploads))
    assert [one for batch in cut for one in batch] == uploads
    for batch in cut:
        assert 1 <= len(batch) <= 200
        assert len(batch) == 1 or sum(one.size_bytes for one in batch) <= 20_000_000_000


def test_the_pictures_show_scores_and_samples_and_are_the_same_each_time(tmp_path: Path) -> None:
    def square(shade: int) -> dict[str, object]:
        target = io.BytesIO()
        Image.new("RGB", (40, 20), (shade, 0, 0)).save(target, "PNG")
        return {"bytes": target.getvalue(), "path": None}

    columns: dict[str, list[object]] = {
        "dfn": [0.1, 0.2, 0.3, 0.4],
        "thumbnail": [square(250), square(250), {"bytes": b"no picture", "path": None}, None],
    }
    scorer = _dataset(tmp_path / "a").manifest.encoders["enc"]
    dataset = _dataset(tmp_path / "b", columns, scorers={"dfn": scorer})
    grid, scores = draw_samples(dataset), draw_scores(dataset)
    assert grid is not None and scores is not None
    picture = Image.open(io.BytesIO(grid)).convert("RGB")
    assert picture.size == (2 * 96, 96)
    assert [picture.getpixel((48 + 96 * place, 48)) for place in (0, 1)] == [(250, 0, 0)] * 2
    assert Image.open(io.BytesIO(scores)).width > 200
    assert (draw_samples(dataset), draw_scores(dataset)) == (grid, scores)
    bare = _dataset(tmp_path / "c")
    assert draw_samples(bare) is None and draw_scores(bare) is None
