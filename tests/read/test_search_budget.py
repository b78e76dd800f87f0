"""Choosing an index by what it may hold and how long a search may take; the choice is measured, and said."""

from __future__ import annotations

import numpy as np
import pytest
from support.searched import ROWS, SPACE, clustered
from support.tiny import write_dataset

from dfndr import Index
from dfndr.errors import UsageError
from dfndr.nearest import opened_index
from dfndr.progress import Silent
from dfndr.search import choice

BETWEEN = 200_000  # bytes: more than lists of these vectors hold, and less than the vectors


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pytest.importorskip("faiss")
    vectors = {SPACE.name: clustered(ROWS)}
    return write_dataset(tmp_path_factory.mktemp("many"), (2000, 1000), spaces=(SPACE,), vectors=vectors)


@pytest.mark.parametrize(
    ("budget", "kind", "called"),
    [
        ({"max_memory": 10**9}, "faiss", "exact"),
        ({"max_memory": BETWEEN}, "ivf", "ivf"),
        ({"max_latency_ms": 10_000.0}, "faiss", "exact"),
        ({"max_memory": BETWEEN, "max_latency_ms": 10_000.0}, "ivf", "ivf"),
    ],
    ids=str,
)
def test_the_first_kind_that_keeps_the_budget_is_taken_and_what_was_measured_is_said(dataset, budget, kind, called):
    said = Said()
    index = Index.build(dataset, SPACE.name, progress=said, **budget)
    assert index.kind == kind
    assert len(said.lines) == 1
    assert said.lines[0].startswith(f"index image/enc: {called}: recall@10={index.recall_at_10:.3f}, about ")
    assert said.lines[0].endswith(" ms a query")


def test_a_kind_that_is_too_slow_gives_way_to_the_next_and_all_that_was_tried_is_said(dataset, monkeypatch):
    times = {"faiss": 3.0, "ivf": 2.5, "ivfpq": 2.0, "hnsw": 0.5}
    monkeypatch.setattr(choice, "_latency_ms", lambda index, making: times[index.kind])
    said = Said()
    assert Index.build(dataset, SPACE.name, max_latency_ms=2.2, progress=said).kind == "ivfpq"
    assert [line.split(": ")[1] for line in said.lines] == ["exact", "ivf", "ivfpq"]
    assert Index.build(dataset, SPACE.name, max_latency_ms=1.0).kind == "hnsw"
    tried = r"exact 3.00 ms, ivf 2.50 ms, ivfpq 2.00 ms, hnsw 0.50 ms"
    with pytest.raises(UsageError, match=rf"recall@10=0.95, in at most 0.1 ms, found {tried}"):
        Index.build(dataset, SPACE.name, max_latency_ms=0.1)


def test_a_budget_that_nothing_keeps_is_refused_before_anything_is_made(dataset):
    said = Said()
    with pytest.raises(UsageError, match=r"max_memory: expected at least 1.*, for ivf, found 1,000"):
        Index.build(dataset, SPACE.name, max_memory=1000, progress=said)
    assert not said.lines
    for wrong in ({"max_memory": 0}, {"max_latency_ms": -1.0}, {"max_latency_ms": float("nan")}):
        with pytest.raises(UsageError, match="a number above 0"):
            Index.build(dataset, SPACE.name, **wrong)
    with pytest.raises(UsageError, match="auto with a budget"):
        Index.build(dataset, SPACE.name, kind="ivf", max_memory=10**9)


def test_without_faiss_a_budget_is_kept_by_exact_search_or_refused(dataset, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert Index.build(dataset, SPACE.name, max_memory=10**9).kind == "numpy"
    with pytest.raises(UsageError, match="for exact"):
        Index.build(dataset, SPACE.name, max_memory=BETWEEN)


@pytest.mark.parametrize("kind", ["exact", "ivf", "ivfpq", "hnsw"])
def test_what_an_index_is_said_to_hold_is_what_its_arrays_take(tmp_path, dataset, kind):
    Index.build(dataset, SPACE.name, kind=kind).save(str(tmp_path))
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    held = {
        "exact": sizes["vectors.npy"],
        "ivf": 20 * ROWS + sizes.get("centroids.npy", 0),
        "ivfpq": 28 * ROWS + sizes.get("centroids.npy", 0) + 2 * sizes.get("codes.npy", 0),
        "hnsw": sizes["vectors.npy"] + sizes.get("neighbors.npy", 0) + 28 * ROWS,
    }[kind]
    assert choice.memory_of(kind, ROWS, SPACE.dim) == pytest.approx(held + 32 * ROWS, rel=0.1)


def test_a_saved_index_is_not_chosen_again(tmp_path, dataset):
    path = str(tmp_path / "index")
    assert opened_index(dataset, None, path, kind="hnsw").kind == "hnsw"
    assert opened_index(dataset, None, path).search(np.ones((1, 16), dtype=np.float32), k=3).uids.shape == (1, 3)
    with pytest.raises(UsageError, match="no index yet"):
        opened_index(dataset, None, path, max_memory=10**9)
    with pytest.raises(UsageError, match="an index that is ivf, found one that is hnsw"):
        opened_index(dataset, None, path, kind="ivf")
