"""A loader over a remote dataset: its first batch needs its first shards alone, and what it gives is what is local."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.hub import Hub
from support.published import hub_for_reading, put_folder
from support.tiny import IMAGE, write_dataset

import dfndr.loader
import dfndr.order
from dfndr import Loader, open_dataset

ROOT = "hf://datasets/me/set"
SHARDS, EACH = 20, 128


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_for_reading(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("here") / "set"
    write_dataset(root, (EACH,) * SHARDS, (IMAGE,))
    return root


def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make windows of two shards of these small ones."""
    monkeypatch.setattr(dfndr.order, "WINDOW", 1)
    monkeypatch.setattr(dfndr.loader, "_PLANNED", 2 * EACH)


@pytest.mark.parametrize("shuffle", ["exact", "block", "window", None])
def test_a_loader_over_a_remote_dataset_gives_what_a_local_one_does(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, shuffle: str | None
) -> None:
    put_folder(hub, "me/set", folder)
    few_at_a_time(monkeypatch)
    options = {"batch_size": 96, "shuffle": shuffle, "seed": 3}
    here, there = (Loader(open_dataset(root), [IMAGE.name], **options) for root in (folder, ROOT))  # type: ignore[arg-type]
    for _ in range(2):
        seen = []
        for one, other in zip(here, there, strict=True):
            assert (one.rows == other.rows).all() and one["uid"] == other["uid"]
            assert (np.asarray(one[IMAGE.name]) == np.asarray(other[IMAGE.name])).all()
            seen += one.rows.tolist()
        assert sorted(seen) == list(range(SHARDS * EACH))


@pytest.mark.parametrize("shuffle", ["window", None])
def test_the_first_batch_comes_before_most_is_fetched_and_the_cache_needs_no_room_for_all(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffle: str | None
) -> None:
    put_folder(hub, "me/set", folder)
    few_at_a_time(monkeypatch)
    files = open_dataset(folder).manifest.shards
    total = sum(stored.size_bytes for shard in files for stored in shard.files.values())
    limit = total * 3 // 4
    monkeypatch.setenv("DFNDR_CACHE_SIZE", str(limit))
    loader = Loader(open_dataset(ROOT), [IMAGE.name], batch_size=64, shuffle=shuffle)  # type: ignore[arg-type]
    batches = iter(loader)
    next(batches)
    assert hub.count("GET .*npy") <= 6
    for batch in batches:
        assert len(batch["uid"]) == len(batch)
        kept = sum(path.stat().st_size for path in (tmp_path / "cache").glob("??/[!.]*"))
        assert kept <= limit
    assert hub.count("GET .*npy") >= SHARDS


@pytest.mark.parametrize("shuffle", ["window", "block", None])
def test_while_an_epoch_ends_what_the_next_one_begins_with_is_on_its_way(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, shuffle: str | None
) -> None:
    put_folder(hub, "me/set", folder)
    few_at_a_time(monkeypatch)
    loader = Loader(open_dataset(ROOT), [IMAGE.name], batch_size=64, shuffle=shuffle)  # type: ignore[arg-type]
    batches = iter(loader)
    for _ in range(len(loader)):
        next(batches)
    coming = dfndr.order.Order(SHARDS * EACH, shuffle, 0).at(1, 0, 2 * EACH).rows() // EACH  # type: ignore[arg-type]
    assert loader.state_dict()["epoch"] == 0
    assert set(coming.tolist()) <= set(loader._source._stream._planned)  # type: ignore[attr-defined]


def test_what_was_cut_short_in_the_cache_is_fetched_again_and_never_read(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    put_folder(hub, "me/set", folder)
    for _ in Loader(open_dataset(ROOT), [IMAGE.name]):
        pass
    kept = sorted((tmp_path / "cache").glob("??/[!.]*"))
    for number, path in enumerate(kept):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * number // len(kept)])
    here, there = (Loader(open_dataset(root), [IMAGE.name], batch_size=500) for root in (folder, ROOT))
    for one, other in zip(here, there, strict=True):
        assert one["uid"] == other["uid"] and (np.asarray(one[IMAGE.name]) == np.asarray(other[IMAGE.name])).all()


def test_window_shuffle_mixes_rows_with_those_around_them_alone_and_begins_elsewhere_each_epoch() -> None:
    rows = 5 * 65_536 + 100
    order = dfndr.order.Order(rows, "window", seed=1)
    for epoch in (0, 1):
        found = order.at(epoch, 0, rows).rows()
        assert sorted(found.tolist()) == list(range(rows))
        window = np.sort(found[:65_536])
        gaps = np.diff(np.append(window, window[0] + rows))
        assert sorted(set(gaps.tolist())) == [1, rows - 65_535], "one stretch of the ring of rows"
        assert (np.diff(found[:65_536:64]) != 64).mean() > 0.9, "whose runs are shuffled"
    assert (order.at(0, 0, 1000).rows() != order.at(1, 0, 1000).rows()).any()
