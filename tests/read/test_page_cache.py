"""What the system holds of mapped files: seen when it is missing, and read before anybody asks for it."""

from __future__ import annotations

import os
import sys
from itertools import pairwise

import numpy as np
import pytest
from support.tiny import IMAGE, TEXT, write_dataset

import dfndr.page_cache
from dfndr.dataset import open_dataset
from dfndr.loader import Loader
from dfndr.page_cache import PageCache

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux is told what to read")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "numbers.npy"
    np.save(path, np.arange(1 << 18))
    forget(path)
    if is_here(np.load(path, mmap_mode="r"), 1 << 17):
        pytest.skip("this file system keeps every file in memory")
    return path


def forget(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def is_here(mapped, number):
    return dfndr.page_cache._is_here(mapped.ctypes.data + number * mapped.itemsize)


def maps_of(*mapped):
    return np.array([[each.ctypes.data, each.nbytes] for each in mapped], dtype=np.int64)


def test_pages_are_missing_until_they_were_read(path):
    mapped = np.load(path, mmap_mode="r")
    cache = PageCache(maps_of(mapped))
    assert cache.is_missing()
    assert mapped.sum() == (1 << 17) * ((1 << 18) - 1)
    cache.is_missing()  # which still tells of the pages that were waited for meanwhile
    assert not cache.is_missing()


def test_what_is_brought_is_read_and_nothing_else(path):
    mapped = np.load(path, mmap_mode="r")
    cache = PageCache(maps_of(mapped))
    wanted = [1 << 15, 1 << 17]  # numbers of eight bytes: the pages at 256 kB and at one MB
    starts = np.array([mapped.ctypes.data + number * 8 for number in wanted])
    cache.bring([[(starts[:1], 4096)], [(starts[1:], 4096)]], owner=mapped)
    cache._bringing.join()
    assert [mapped[number] for number in wanted] == wanted
    assert all(is_here(mapped, number) for number in wanted)
    beside = [number + step for number in wanted for step in (-1024, 1024)]
    assert not any(is_here(mapped, number) for number in [*beside, 3 << 15, 7 << 15])


PAGE, ONCE = dfndr.page_cache._PAGE, dfndr.page_cache._ONCE


def test_pages_are_those_that_hold_the_stretches():
    starts = np.array([5, PAGE - 1, 10 * PAGE])
    for size in (1, 2, PAGE, 3 * PAGE + 7):
        each = [(start // PAGE, (start + size - 1) // PAGE) for start in starts]
        expected = {page for first, last in each for page in range(first, last + 1)}
        assert dfndr.page_cache._pages(starts, size).tolist() == sorted(expected)


def test_neighbours_are_asked_for_together_and_no_page_between_them():
    rng = np.random.default_rng(0)
    for pages in ([], [7], [7, 8, 10], range(3, 3 + 2 * ONCE + 1), np.flatnonzero(rng.random(999) < 0.95)):
        found = dfndr.page_cache._neighbours(np.array(pages, dtype=np.int64))
        assert [first + step for first, count in found for step in range(count)] == list(pages)
        assert all(0 < count <= ONCE for _, count in found)
        follow = [(first, before) for before, (first, _) in pairwise(found)]
        assert all(first > sum(before) or before[1] == ONCE for first, before in follow)


@pytest.mark.parametrize("shuffle", ["block", "window", None])
def test_a_loader_over_files_that_left_memory_gives_what_it_gave_and_asks_for_what_comes(
    tmp_path, monkeypatch, shuffle
):
    dataset = write_dataset(tmp_path, [700, 1, 900], (IMAGE, TEXT))
    monkeypatch.setattr("dfndr.loader._PLANNED", 512)
    asked = []
    monkeypatch.setattr(dfndr.page_cache, "_ask", lambda pages, owner: asked.extend(pages.tolist()))
    expected = [dataset.vectors(name)[:, 0] for name in dataset.spaces]
    for path in tmp_path.rglob("*.npy"):
        forget(path)
    loader = Loader(open_dataset(tmp_path, check="size"), list(dataset.spaces), batch_size=128, shuffle=shuffle)
    for batch in loader:
        for name, vectors in zip(dataset.spaces, expected, strict=True):
            assert np.array_equal(batch[name].numpy(), vectors[batch.rows])
    pages = {
        address // PAGE
        for address, size in loader._source._all.maps.tolist()
        for address in range(address, address + size)
    }
    assert set(asked) <= pages
