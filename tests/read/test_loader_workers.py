"""A loader inside torch's DataLoader: forked or spawned, its workers together give the batches of the loader alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.loaded import loaded
from support.published import hub_for_reading, put_folder

torch = pytest.importorskip("torch", reason="DataLoader is torch's")

from dfndr.dataset import open_dataset  # noqa: E402
from dfndr.errors import UsageError  # noqa: E402
from dfndr.loader import Loader  # noqa: E402

NAMES = ["image/enc", "caption/enc"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("loaded"))[711]


def loader_of(dataset, **given):
    return Loader(dataset, NAMES, columns=["uid"], **{"batch_size": 50, "seed": 3, **given})


def through_workers(loader, workers, start, **given):
    context = start if workers else None
    made = torch.utils.data.DataLoader(
        loader.to_torch(), batch_size=None, num_workers=workers, multiprocessing_context=context, **given
    )
    assert len(made) == len(loader)
    return made


def seen(batches):
    return [(batch.rows.tolist(), batch["uid"], [batch[name].numpy() for name in NAMES]) for batch in batches]


def assert_the_same(one, other):
    assert [rows for rows, _, _ in one] == [rows for rows, _, _ in other]
    for (_, uids, vectors), (_, expected_uids, expected) in zip(one, other, strict=True):
        assert uids == expected_uids
        assert all(np.array_equal(left, right) for left, right in zip(vectors, expected, strict=True))


@pytest.mark.parametrize(("workers", "start"), [(0, ""), (2, "fork"), (2, "spawn")])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_give_each_row_once_in_the_loaders_order(dataset, workers, start):
    loader = loader_of(dataset)
    next(iter(loader))  # so that maps are open, and memory is used again, in what is forked
    for epoch in (1, 2) if start != "spawn" else (1,):
        loader.set_epoch(epoch)
        alone = loader_of(dataset)
        alone.set_epoch(epoch)
        found = seen(through_workers(loader, workers, start))
        assert_the_same(found, seen(alone))
        assert sorted(row for rows, _, _ in found for row in rows) == list(range(711))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_that_persist_go_on_to_the_next_epoch(dataset):
    made = through_workers(loader_of(dataset), 2, "fork", persistent_workers=True)
    alone = loader_of(dataset)
    for _ in range(2):
        assert_the_same(seen(made), seen(alone))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_go_on_from_a_state(dataset):
    alone, loader = loader_of(dataset), loader_of(dataset)
    for _ in zip(range(3), alone, strict=False):
        pass
    loader.load_state_dict(alone.state_dict())
    assert_the_same(seen(through_workers(loader, 2, "fork")), seen(alone))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_that_were_forked_while_their_parent_fetched_fetch_by_themselves(dataset, monkeypatch, tmp_path):
    with hub_for_reading(monkeypatch, tmp_path / "cache") as hub:
        put_folder(hub, "me/set", Path(dataset.root))
        remote = open_dataset("hf://datasets/me/set")
        loader = loader_of(remote, shuffle="window")
        next(iter(loader))
        loader.set_epoch(1)
        alone = loader_of(dataset, shuffle="window")
        alone.set_epoch(1)
        assert_the_same(seen(through_workers(loader, 2, "fork")), seen(alone))


def test_a_loader_that_sends_to_a_device_says_so_in_a_worker(dataset, monkeypatch):
    loader = loader_of(dataset)
    loader._device = "cuda"
    monkeypatch.setattr("dfndr.loader._worker", lambda: (0, 2))
    with pytest.raises(UsageError, match="no device in a worker"):
        next(iter(loader))
