"""What the system holds of mapped files: seen when it is missing, and read before anybody asks for it."""

from __future__ import annotations

import os
import sys
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


@given(
    parts=st.lists(
        st.tuples(st.lists(st.integers(0, 40 * PAGE), max_size=9), st.integers(1, 3 * PAGE)), min_size=1, max_size=3
    )
)
def test_stretches_are_the_pages_that_hold_what_is_wanted_neighbours_together(parts):
    found = dfndr.page_cache._stretches([(np.array(starts, dtype=np.int64), size) for starts, size in parts]).tolist()
    ranges = [range(start // PAGE, (start + size - 1) // PAGE + 1) for starts, size in parts for start in starts]
    assert [page for first, count in found for page in range(first, first + count)] == sorted({*chain(*ranges)})
    assert all(first + count < later for (first, count), (later, _) in pairwise(found))


def test_pages_are_asked_for_once_and_so_many_at_a_time_as_are_read_in_one_go(monkeypatch, path):
    asked = []
    monkeypatch.setattr(dfndr.page_cache, "_advise", lambda *told: asked.append(told[:2]))
    cache = PageCache(maps_of(np.load(path, mmap_mode="r")))
    asked.clear()
    one, two = np.array([0, 1000 * PAGE]), np.array([3000 * PAGE])
    for parts in ([one, two], [two, one]):
        cache.bring([[(starts, (2 * ONCE + 1) * PAGE)] for starts in parts], owner=None)
        cache._bringing.join()
    each = [(start + piece * ONCE * PAGE, size) for start in (0, 1000 * PAGE) for piece, size in enumerate(PIECES)]
    again = [(3000 * PAGE + piece * ONCE * PAGE, size) for piece, size in enumerate(PIECES)]
    assert asked == each + again, "what the call before asked for is left out"


def test_of_one_stretch_above_the_limit_as_much_is_asked_for_as_the_limit_allows(monkeypatch, path):
    asked = []
    monkeypatch.setattr(dfndr.page_cache, "_MOST", 10 * PAGE)
    cache = PageCache(maps_of(np.load(path, mmap_mode="r")))
    monkeypatch.setattr(dfndr.page_cache, "_advise", lambda *told: asked.append(told[:2]))
    cache.bring([[(np.array([0, 7 * PAGE]), 3 * PAGE)], [(np.array([100 * PAGE]), 99 * PAGE)]], owner=None)
    cache._bringing.join()
    assert asked == [(0, 3 * PAGE), (7 * PAGE, 3 * PAGE), (100 * PAGE, 4 * PAGE)]


PIECES = [ONCE * PAGE, ONCE * PAGE, PAGE]


@pytest.mark.parametrize("shuffle", ["block", "window", None])
def test_a_loader_over_files_that_left_memory_gives_what_it_gave_and_asks_for_what_comes(
    tmp_path, monkeypatch, shuffle
):
    dataset = write_dataset(tmp_path, [700, 1, 900], (IMAGE, TEXT))
    monkeypatch.setattr("dfndr.loader._PLANNED", 512)
    asked = []
    monkeypatch.setattr(dfndr.page_cache, "_ask", lambda told, owner: asked.extend(told.tolist()))
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
    assert {page for first, count in asked for page in range(first, first + count)} <= pages
