"""Pages of memory-mapped files: are they in memory, and having the system read them before anybody waits for them.

A page that is touched and not there is read while its thread stands still, and the system guesses what else to read: of
blocks in no order it guesses wrong, and what it read for nothing drives out what is needed. Linux can be told what will
be needed (`madvise`), and then reads just that, many pages at once; other systems are left to their guesses.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Addresses: TypeAlias = npt.NDArray[np.int64]

__all__ = ["PageCache"]

_MOST = 1 << 30
_SAMPLES = 8
_RANDOM, _WILL_NEED = 1, 3
_THREAD = 1
_PAGE = mmap.PAGESIZE
_ONCE = (1 << 17) // _PAGE
"""Pages that are asked for at a time: what every system reads ahead in one go."""
_KNOWS = sys.platform.startswith("linux")


class PageCache:
    """What the system holds in memory of some maps, each of them (address, bytes)."""

    def __init__(self, maps: Addresses) -> None:
        """Take an array of shape (maps, 2); the system is told to guess nothing of them.

        When memory is short, what was read once is then the first to go.
        """
        import numpy as np

        self._maps, self._looked, self._faults = maps, 0, _faults()
        self._bringing = threading.Thread()
        for address, size_bytes in maps.tolist() if _KNOWS else ():
            _advise(address, size_bytes, _RANDOM)
        self._asked: Addresses = np.empty(0, dtype=np.int64)

    def is_missing(self) -> bool:
        """Say whether pages had to be waited for since the last time, or some of 8 taken here and there are missing.

        Of files of another user the system does not tell what is missing.
        """
        import numpy as np

        if not _KNOWS or not len(self._maps):
            return False
        before, self._faults = self._faults, _faults()
        self._looked += 1
        share = (np.arange(_SAMPLES) + self._looked * 0.6180339887 % 1) / _SAMPLES
        place = (share * len(self._maps)).astype(np.int64)
        within = (share * len(self._maps) - place) * self._maps[place, 1]
        pages = self._maps[place, 0] + within.astype(np.int64)
        return self._faults > before or not all(map(_is_here, pages.tolist()))

    def bring(self, parts: Sequence[Sequence[tuple[Addresses, int]]], *, owner: object) -> None:
        """Have memory read, part by part: stretches from some addresses on, each of so many bytes.

        The first part, which is needed now, is asked for at once, the others in the background; what the call before
        asked for is left out, and what is above a gigabyte. `owner` keeps the maps open meanwhile.
        """
        import numpy as np

        new, asked = [], self._asked
        for part in parts:
            stretches = _stretches(part)
            new.append(stretches[~np.isin(_keys(stretches), asked)])
            asked = np.concatenate([asked, _keys(new[-1])])
        found = np.concatenate(new)
        before = np.cumsum(found[:, 1]) - found[:, 1]
        found[:, 1] = np.clip(_MOST // _PAGE - before, 0, found[:, 1])
        self._asked = _keys(found)
        if self._bringing.is_alive():
            self._bringing.join()
        _ask(found[: len(new[0])], owner)
        self._bringing = threading.Thread(target=_ask, args=(found[len(new[0]) :], owner), daemon=True)
        self._bringing.start()


def _stretches(parts: Sequence[tuple[Addresses, int]]) -> Addresses:
    """Return the pages of all memory that some stretches lie in, neighbours together, sorted: (first, count) of each.

    Not one page more, for that would be read again when it is needed.
    """
    import numpy as np

    firsts = np.concatenate([starts // _PAGE for starts, _ in parts])
    lasts = np.concatenate([(starts + size_bytes - 1) // _PAGE for starts, size_bytes in parts])
    order = np.argsort(firsts)
    firsts, lasts = firsts[order], np.maximum.accumulate(lasts[order])
    begins = np.concatenate([np.arange(min(1, len(firsts))), np.flatnonzero(firsts[1:] > lasts[:-1] + 1) + 1])
    ends = np.append(begins[1:], len(firsts))[: len(begins)] - 1
    return np.stack([firsts[begins], lasts[ends] - firsts[begins] + 1], axis=1)


def _keys(stretches: Addresses) -> Addresses:
    """Return a number for each stretch, another one for another stretch."""
    keys: Addresses = (stretches[:, 0] << 24) + stretches[:, 1]
    return keys


def _ask(stretches: Addresses, owner: object) -> None:
    """Have pages read, so many at most at a time as are read in one go."""
    for first, count in stretches.tolist():
        for done in range(0, count, _ONCE):
            _advise((first + done) * _PAGE, min(_ONCE, count - done) * _PAGE, _WILL_NEED)


def _advise(address: int, size_bytes: int, what: int) -> None:
    begin = address // _PAGE * _PAGE
    _libc().madvise(begin, address + size_bytes - begin, what)


def _is_here(address: int) -> bool:
    told = ctypes.c_ubyte(1)
    _libc().mincore(address // _PAGE * _PAGE, 1, ctypes.byref(told))
    return bool(told.value & 1)


def _faults() -> int:
    """Return for how many pages this thread had to wait until they were read."""
    import resource

    return resource.getrusage(_THREAD).ru_majflt if _KNOWS else 0


@cache
def _libc() -> Any:  # noqa: ANN401
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    return libc
