"""Vectors that are held on a device, and vectors that are sent to one: the batches are those of the files."""

from __future__ import annotations

import numpy as np
import pytest
from support.loaded import SHUFFLES, loaded
from support.tiny import CAPTION, IMAGE, write_dataset

torch = pytest.importorskip("torch", reason="devices are torch's")

import dfndr.loader  # noqa: E402
import dfndr.resident  # noqa: E402
from dfndr.errors import UsageError  # noqa: E402
from dfndr.format.schema import Space  # noqa: E402
from dfndr.loader import Loader  # noqa: E402
from dfndr.resident import free_bytes, size_bytes, stays  # noqa: E402

NAMES = ["image/enc", "caption/enc", "image/views", "image/other"]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("loaded"))


@pytest.fixture(scope="module")
def dataset(datasets):
    return datasets[711]


def assert_the_same(one, other, epochs=2):
    for _ in range(epochs):
        for left, right in zip(one, other, strict=True):
            assert np.array_equal(left.rows, right.rows) and left["uid"] == right["uid"]
            assert {name: places.tolist() for name, places in left.places.items()} == {
                name: places.tolist() for name, places in right.places.items()
            }
            for name in left.vectors:
                assert left[name].dtype == right[name].dtype and torch.equal(left[name].cpu(), right[name].cpu())
    assert one.state_dict() == other.state_dict()


@pytest.mark.parametrize("pick", ["random", "first", "all"])
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_batches_of_held_vectors_are_those_of_the_files(dataset, shuffle, pick):
    given = {"batch_size": 64, "shuffle": shuffle, "seed": 3, "pick": pick}
    assert_the_same(*(Loader(dataset, NAMES, resident=resident, **given) for resident in (True, False)))


def test_held_vectors_are_chosen_weighed_and_shared_as_those_of_the_files(dataset):
    given = {"batch_size": 20, "weights": np.arange(711) % 5, "rank": 1, "world_size": 3, "most": {"image": 2}}
    assert_the_same(*(Loader(dataset, NAMES, resident=resident, **given) for resident in (True, False)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_held_vectors_of_every_storage_type_are_those_that_are_read(tmp_path, dtype):
    spaces = (Space("image", "enc", dim=8, dtype=dtype), Space("caption", "enc", dim=8, per_row=3, dtype=dtype))
    dataset = write_dataset(tmp_path, [25, 0, 38], spaces)
    names = [space.name for space in spaces]
    assert_the_same(*(Loader(dataset, names, batch_size=16, resident=resident) for resident in (True, False)))


def test_held_vectors_are_read_in_pieces(monkeypatch, dataset):
    monkeypatch.setattr(dfndr.resident, "_AT_ONCE_BYTES", 100)
    assert_the_same(*(Loader(dataset, NAMES, batch_size=50, resident=resident) for resident in (True, False)), epochs=1)


def test_changing_a_batch_changes_nothing_that_is_held(dataset):
    loader = Loader(dataset, ["image/enc"], batch_size=711, shuffle=None, resident=True)
    for batch in loader:
        batch["image/enc"][:] = 7
        batch.rows[:] = 0
    assert np.array_equal(next(iter(loader))["image/enc"].numpy(), dataset.vectors("image/enc")[:, 0])


def test_what_vectors_take_is_their_numbers_in_the_type_that_they_are_read_in(tmp_path):
    spaces = (IMAGE, CAPTION, Space("image", "coded", dim=8, dtype="int8"))
    assert size_bytes(write_dataset(tmp_path, [5, 3], spaces), spaces) == 8 * (8 * 2 + 3 * 8 * 2 + 8 * 4)


def test_auto_holds_vectors_where_an_accelerator_has_twice_the_room_and_never_on_a_processor(monkeypatch, dataset):
    needed = size_bytes(dataset, [IMAGE])
    for free, expected in ((2 * needed, True), (2 * needed - 1, False)):
        monkeypatch.setattr(dfndr.resident, "free_bytes", lambda device, free=free: free)
        assert stays("auto", dataset, [IMAGE], device="cuda") is expected
        assert stays(True, dataset, [IMAGE], device="cuda") is True
        assert stays("auto", dataset, [IMAGE], device="cpu") is False
    monkeypatch.setattr(dfndr.resident, "free_bytes", lambda device: needed - 1)
    with pytest.raises(UsageError, match=f"{needed:,} bytes, found {needed - 1:,} free"):
        Loader(dataset, ["image/enc"], resident=True)


def test_the_memory_that_is_free_is_less_than_there_is_and_more_than_nothing():
    import os

    assert 0 < free_bytes("cpu") <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "wrong", [{"resident": "yes"}, {"resident": True, "framework": "numpy"}, {"device": "cpu", "framework": "numpy"}]
)
def test_what_cannot_be_held_or_sent_is_refused(dataset, wrong):
    with pytest.raises(UsageError):
        Loader(dataset, ["image/enc"], **wrong)


def test_batches_that_are_sent_to_a_device_are_those_of_the_files(dataset):
    given = {"batch_size": 64, "seed": 3}
    assert_the_same(Loader(dataset, NAMES, device="cpu", **given), Loader(dataset, NAMES, **given))


class Early(dfndr.loader.Sender):
    """A sender to a device that takes batches two steps early, as CUDA does, on a machine without one."""

    def __init__(self, device: str) -> None:
        super().__init__("cpu")
        self.early = 2


def test_batches_that_are_sent_early_are_those_of_the_files_and_the_state_knows_of_none(dataset, monkeypatch):
    monkeypatch.setattr(dfndr.loader, "Sender", Early)

    def sending():
        loader = Loader(dataset, NAMES, batch_size=64, seed=3)
        loader._device = "meta"
        return loader

    one, other = sending(), Loader(dataset, NAMES, batch_size=64, seed=3)
    assert_the_same(one, other)
    left, right = iter(one), iter(other)
    for _ in range(3):
        assert np.array_equal(next(left).rows, next(right).rows) and one.state_dict() == other.state_dict()
    later, expected = sending(), Loader(dataset, NAMES, batch_size=64)
    for loader in (later, expected):
        loader.load_state_dict(one.state_dict())
    assert_the_same(later, expected, epochs=1)
    for loader in (one, other):
        loader.set_epoch(5)
        loader.set_epoch(2)
    assert np.array_equal(next(left).rows, next(right).rows)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("resident", [True, False])
def test_on_a_gpu_batches_are_those_of_the_files(dataset, resident):
    given = {"batch_size": 64, "seed": 3}
    sent = Loader(dataset, NAMES, device="cuda", resident=resident, **given)
    assert next(iter(Loader(dataset, NAMES, device="cuda", **given)))["image/enc"].is_cuda
    assert_the_same(sent, Loader(dataset, NAMES, **given))
