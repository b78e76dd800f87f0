"""What a card says was measured: the figures of `dfndr eval --json` and its command, of this dataset alone."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dfndr_builders.card import card, read_evaluations
from dfndr_builders.publish import prepare
from support.tiny import write_dataset
from support.verbs import run

from dfndr.dataset import Dataset
from dfndr.errors import DataError, DfndrError, UsageError
from dfndr.format.manifest import write_manifest
from dfndr.heads.train import train_head

SPLITS = ["train", "validation"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("sets") / "folder", (24, 12), splits=SPLITS)


@pytest.fixture(scope="module")
def head(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a head, with a name that a shell would take apart."""
    folder = tmp_path_factory.mktemp("heads") / "my head"
    train_head(dataset, folder, steps=2, batch_size=8, device="cpu")
    return folder


@pytest.fixture(scope="module")
def printed(dataset: Dataset, head: Path) -> dict[str, Any]:
    """What `dfndr eval --json` prints."""
    found: dict[str, Any] = json.loads(run(["eval", dataset.root, "--head", str(head), "--json"]).stdout)
    return found


def _written(folder: Path, given: object, name: str = "eval.json") -> str:
    path = folder / name
    path.write_bytes(given if isinstance(given, bytes) else json.dumps(given).encode())
    return str(path)


def test_eval_says_of_which_dataset_by_which_command_and_with_which_versions(
    dataset: Dataset, head: Path, printed: dict[str, Any]
) -> None:
    words = shlex.split(printed["command"])
    assert words[:5] == ["dfndr", "eval", "tiny", "--head", "my head"]
    assert (printed["dataset"], printed["split"]) == (dataset.digest, "validation")
    assert {"dfndr", "numpy", "torch"} <= set(printed["versions"])
    assert str(head.parent) not in json.dumps(printed) and dataset.root not in json.dumps(printed)


def test_the_command_in_a_measurement_gives_it_again_where_its_names_are(
    dataset: Dataset, head: Path, printed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").symlink_to(dataset.root)
    (tmp_path / "my head").symlink_to(head)
    monkeypatch.chdir(tmp_path)
    assert json.loads(run(shlex.split(printed["command"])[1:]).stdout) == printed


def test_a_card_shows_each_figure_that_was_measured_beside_its_command(
    dataset: Dataset, printed: dict[str, Any], tmp_path: Path
) -> None:
    text = run(["card", dataset.root, "--evaluation", _written(tmp_path, printed)]).stdout
    section = text.partition("\n## Measured\n")[2].partition("\n## ")[0]
    assert f"```sh\n{printed['command']}\n```" in section
    assert "on the split validation (12 images, 12 distinct texts)" in section
    for words, way in (("image to text", "image_to_text"), ("text to image", "text_to_image")):
        for k in ("R@1", "R@5", "R@10"):
            parts = (printed["before"][f"{way}_chance"], printed["before"][way], printed["after"][way])
            assert f"| {words}, {k} | " + " | ".join(f"{part[k]:.2f}" for part in parts) + " |" in section


def test_a_measurement_without_a_head_leaves_its_column_empty(dataset: Dataset, tmp_path: Path) -> None:
    alone = json.loads(run(["eval", dataset.root, "--json", "--split", "train"]).stdout)
    assert alone["after"] is None and "--head" not in alone["command"]
    text = run(["card", dataset.root, "--evaluation", _written(tmp_path, alone)]).stdout
    assert f"| {alone['before']['image_to_text']['R@1']:.2f} |  |" in text


def test_without_a_file_a_card_says_how_to_measure_and_states_no_figure(dataset: Dataset) -> None:
    section = card(dataset.manifest).partition("\n## Measured\n")[2].partition("\n## ")[0]
    assert "`dfndr eval tiny --head DIR --json`" in section
    assert not any(character.isdigit() for character in section)


def test_figures_of_another_dataset_are_refused_and_so_are_those_of_before_a_removal(
    dataset: Dataset, printed: dict[str, Any], tmp_path: Path
) -> None:
    path = _written(tmp_path, printed)
    removed_from = write_dataset(tmp_path / "set", (24, 12), splits=SPLITS)
    assert removed_from.digest == dataset.digest
    (tmp_path / "uids.txt").write_text(str(removed_from.rows(["uid"])["uid"][0]))
    assert run(["remove", removed_from.root, "--uids", str(tmp_path / "uids.txt")]).exit_code == 0
    other = write_dataset(tmp_path / "other", (24, 12), splits=SPLITS, seed=1)
    for root in (removed_from.root, other.root):
        error = run(["card", root, "--evaluation", path]).exception
        assert isinstance(error, DataError) and f"those of {dataset.digest[:16]}" in str(error)


def _with(given: dict[str, Any], value: object) -> dict[str, Any]:
    before = {**given["before"], "image_to_text": {"R@1": value}}
    return {**given, "before": before}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "12", True, None, -1, 100.5, 10**400, [1.0]])
def test_a_figure_that_is_no_percentage_is_refused(dataset: Dataset, printed: dict, tmp_path: Path, value: Any) -> None:
    with pytest.raises(DataError, match="what dfndr eval --json prints"):
        read_evaluations([_written(tmp_path, _with(printed, value))], dataset.manifest)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"before": None, "after": None}, "something measured"),
        ({"command": "a\nb"}, "command: "),
        ({"command": ""}, "command: "),
        ({"split": 3}, "split: "),
        ({"note": "hello"}, "note: "),
        ({"dataset": "f" * 63}, "dataset: "),
        ({"versions": {"torch": "\x1b[31m"}}, "versions.torch: "),
    ],
)
def test_what_eval_would_not_print_is_refused_by_name(
    dataset: Dataset, printed: dict[str, Any], tmp_path: Path, change: dict[str, Any], found: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_evaluations([_written(tmp_path, {**printed, **change})], dataset.manifest)
    assert found in str(caught.value) and "dfndr eval tiny --json > FILE" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b'{"dataset": 1', b" " * (1 << 20)])
def test_a_file_that_is_no_such_json_is_refused(dataset: Dataset, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match="what dfndr eval --json prints"):
        read_evaluations([_written(tmp_path, data)], dataset.manifest)


def test_files_too_large_too_many_and_absent_are_refused(
    dataset: Dataset, printed: dict[str, Any], tmp_path: Path
) -> None:
    path = _written(tmp_path, printed)
    with pytest.raises(DataError, match="at most 1,048,576 bytes"):
        read_evaluations([_written(tmp_path, b" " * ((1 << 20) + 1), "large.json")], dataset.manifest)
    assert len(read_evaluations([path] * 20, dataset.manifest)) == 20
    with pytest.raises(UsageError, match="at most 20 files"):
        read_evaluations([path] * 21, dataset.manifest)
    for gone in (tmp_path / "gone.json", tmp_path):
        with pytest.raises(DataError, match="a file of what was measured"):
            read_evaluations([gone], dataset.manifest)


def test_nothing_in_a_measurement_is_markup(dataset: Dataset, printed: dict[str, Any], tmp_path: Path) -> None:
    hostile = "``` <script>alert(1)</script> | ![x](http://a.b)"
    fields = {name: hostile for name in ("command", "split", "image", "text")}
    path = _written(tmp_path, {**printed, **fields, "versions": {hostile: hostile}})
    section = run(["card", dataset.root, "--evaluation", path]).stdout.partition("\n## Measured\n")[2]
    section = section.partition("\n## Licences\n")[0]
    fence = f"````sh\n{hostile}\n````"
    assert fence in section
    assert "<script>" not in section.replace(fence, "") and "![x]" not in section.replace(fence, "")


def test_what_is_published_carries_the_figures_in_its_card(tmp_path: Path, printed: dict[str, Any]) -> None:
    made = write_dataset(tmp_path / "set", (24, 12), splits=SPLITS, columns={"license": ["CC0-1.0"] * 36})
    pools = [{"kind": "folder", "path": "pictures", "license": "CC0-1.0"}]
    write_manifest(made.root, replace(made.manifest, provenance={"pools": pools}))
    words = ["publish", made.root, "me/tiny", "--dry-run"]
    refused = run([*words, "--evaluation", _written(tmp_path, printed)]).exception
    assert isinstance(refused, DfndrError) and "those of" in str(refused)
    own = _written(tmp_path, json.loads(run(["eval", made.root, "--json"]).stdout))
    assert run([*words, "--evaluation", own, "--accept-license", "enc: ours"]).exit_code == 0
    (readme,) = [one.source for one in prepare(made.root, "me/tiny", evaluations=[own]).last if one.path == "README.md"]
    assert isinstance(readme, bytes) and b"dfndr eval tiny --image image/enc --text text/enc" in readme
