"""Search on the command line: by words, a picture or a uid; with an index that is kept; over texts of anybody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.pools.glyphs import GlyphsPool
from support import command_line
from support.models import tiny_config
from support.tiny import write_dataset

from dfndr.dataset import open_dataset
from dfndr.search import Index

run, recipe, dataset = command_line.run, command_line.recipe, command_line.dataset


def texts_and_uids(dataset: Path) -> dict[str, str]:
    rows = open_dataset(dataset).rows(["uid", "text"]).to_pylist()
    return {row["text"]: row["uid"] for row in rows}


def test_search_by_words_finds_the_brute_force_neighbours(run, dataset: Path) -> None:
    from dfndr.nearest import encoder_of

    opened = open_dataset(dataset)
    query = encoder_of(opened, opened.space("image/tiny"), device="cpu").encode_texts(["greek letter"]).vectors[0]
    scores = opened.vectors("image/tiny")[:, 0].astype("float32") @ query
    rows = opened.rows(["uid", "text"]).to_pylist()
    wanted = sorted(range(len(rows)), key=lambda row: -scores[row])[:4]
    said = run("search", dataset, "greek letter", "-k", "4", "--json", "--device", "cpu")
    assert (said.status, said.err) == (0, "")
    found = json.loads(said.out)
    assert [row["uid"] for row in found] == [rows[place]["uid"] for place in wanted]
    assert [row["text"] for row in found] == [rows[place]["text"] for place in wanted]
    assert [row["score"] for row in found] == pytest.approx([float(scores[place]) for place in wanted], abs=1e-3)
    lines = run("search", dataset, "greek letter", "-k", "4", "--device", "cpu").out.splitlines()
    assert [line.split()[2] for line in lines] == [row["uid"] for row in found]


def test_search_by_a_picture_finds_that_picture_and_by_uid_leaves_it_out(run, dataset: Path, tmp_path: Path) -> None:
    pool = GlyphsPool(count=60)
    rows = [row for shard in pool.shards() for table in pool.read(shard) for row in table.to_pylist()]
    uid = next(iter(texts_and_uids(dataset).values()))
    (tmp_path / "query.png").write_bytes(next(row["image"] for row in rows if row["uid"] == uid))
    by_image = run("search", dataset, "--image", tmp_path / "query.png", "-k", "5", "--json", "--device", "cpu")
    found = json.loads(by_image.out)
    assert found[0]["uid"] == uid and found[0]["score"] == pytest.approx(1, abs=1e-3)
    by_uid = json.loads(run("search", dataset, "--uid", uid, "-k", "4", "--json").out)
    assert [row["uid"] for row in by_uid] == [row["uid"] for row in found if row["uid"] != uid]
    assert len(json.loads(run("search", dataset, "--uid", uid, "-k", "999", "--json").out)) == 29


def test_an_index_is_saved_loaded_and_refused_on_another_dataset(run, dataset: Path, tmp_path: Path) -> None:
    uid = next(iter(texts_and_uids(dataset).values()))
    command = ("--uid", uid, "--json", "--index", tmp_path / "index")
    first = run("search", dataset, *command)
    assert (tmp_path / "index" / "index.json").is_file()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()}
    assert run("search", dataset, *command).out == first.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()} == before
    other_space = run("search", dataset, *command, "--space", "text/tiny")
    assert other_space.status == 2 and "found image/tiny" in other_space.err
    write_dataset(tmp_path / "other")
    other = run("search", tmp_path / "other", *command)
    assert other.status == 2 and "Build the index again from this dataset" in other.err
    (tmp_path / "index" / "vectors.npy").write_bytes(b"harmed")
    harmed = run("search", dataset, *command)
    assert harmed.status == 1 and "vectors.npy" in harmed.err
    assert run("search", dataset, "--uid", uid, "--index", tmp_path).status == 1
    assert run("search", dataset, "--uid", uid, "--index", tmp_path / "other" / "manifest.json").status == 1


def test_an_index_is_chosen_by_kind_or_by_a_budget_and_says_what_it_finds(run, dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    command = ("--uid", next(iter(texts_and_uids(dataset).values())), "--json")
    exact = run("search", dataset, *command)
    graph = run("search", dataset, *command, "--index", tmp_path / "graph", "--kind", "hnsw")
    assert graph.out == exact.out and "kind='hnsw', recall@10=1.000" in graph.err
    chosen = run("search", dataset, *command, "--max-latency-ms", 10_000, "--max-memory-mb", 100)
    assert chosen.out == exact.out and "index image/tiny: exact: recall@10=1.000, about 0 MB" in chosen.err
    refused = run("search", dataset, *command, "--index", tmp_path / "graph", "--max-memory-mb", 100)
    assert refused.status == 2 and "no index yet" in refused.err
    assert run("search", dataset, *command, "--max-memory-mb", 0.0001).status == 2


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "found none. Give just one"),
        (["words", "--uid", "0" * 32], 2, "found more than one"),
        (["--uid", "0" * 32], 2, "found no such row"),
        (["--uid", "no uid"], 2, "found no such row"),
        (["--uid", ""], 2, "found no such row"),
        (["   "], 2, "found a blank text"),
        (["--image", "gone.jpg"], 1, "No such file"),
        (["--image", "."], 1, "this is a folder"),
        (["--image", "recipe.toml"], 1, "image_unreadable"),
        (["words", "--space", "image/other"], 2, "expected one of: image/tiny, text/tiny"),
        (["words", "-k", "0"], 2, "-k"),
        (["words", "-k", "many"], 2, "-k"),
        (["words", "--device", "abacus"], 2, "device 'abacus'"),
        (["words", "--pretrained", "random:5"], 1, "other weights"),
        (["words", "--pretrained", "gone.pt"], 1, "no file there"),
        (["words", "--nonsense"], 2, "--nonsense"),
    ],
)
def test_a_search_that_cannot_be_says_why(run, dataset: Path, monkeypatch, words, status: int, said: str) -> None:
    monkeypatch.chdir(dataset.parent)
    got = run("search", dataset, *words)
    assert (got.status, got.out) == (status, "")
    assert said in got.err


@pytest.mark.parametrize("query", ["a\0b", "caf\udce9", "\U0001f9c0" * 3000, "<end_of_text>"])
def test_a_search_takes_any_words(run, dataset: Path, query: str) -> None:
    assert len(run("search", dataset, query, "-k", "3", "--device", "cpu").out.splitlines()) == 3


def test_texts_of_strangers_do_not_steer_the_terminal(run, tmp_path: Path) -> None:
    texts = ["\x1b[2Jgone", "two\nlines", "back\rwards", "r\u202eight", "plain"]
    opened = write_dataset(tmp_path / "strange", (5,), columns={"text": texts})
    uid = opened.rows(["uid"])["uid"][4].as_py()
    said = run("search", tmp_path / "strange", "--uid", uid)
    assert len(said.out.splitlines()) == 4
    assert said.out.replace("\n", "").isprintable()
    as_json = json.loads(run("search", tmp_path / "strange", "--uid", uid, "--json").out)
    assert {row["text"] for row in as_json} == set(texts[:4]), "JSON keeps them to the letter"


def test_a_dataset_that_was_moved_away_from_its_recipe_is_still_searched(run, recipe: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    tiny_config(made)
    shutil.copy(recipe, made / "recipe.toml")
    first = build(made / "recipe.toml", made / "out", device="cpu")
    shutil.move(made / "out", tmp_path / "moved")
    shutil.rmtree(made)
    assert len(run("search", tmp_path / "moved", "words", "-k", "3", "--device", "cpu").out.splitlines()) == 3
    assert str(tmp_path) not in (tmp_path / "moved" / "manifest.json").read_text()
    assert first.digest == build(recipe, tmp_path / "again", device="cpu").digest, "wherever the recipe lies"


def test_an_index_of_the_library_and_the_command_line_agree(run, dataset: Path, tmp_path: Path) -> None:
    opened = open_dataset(dataset)
    Index.build(opened, "image/tiny").save(str(tmp_path / "index"))
    uid = next(iter(texts_and_uids(dataset).values()))
    assert run("search", dataset, "--uid", uid, "--json", "--index", tmp_path / "index") == run(
        "search", dataset, "--uid", uid, "--json"
    )
