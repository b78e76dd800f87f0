"""Small pictures of the rows of a dataset that keeps none, from its pools, by whoever can read these.

Reading a pool is slow, so one thread does it in the background and nobody waits: the page asks again. The pools belong
to the write side, which offers itself through the entry-point group `dfndr.pictures`: a function from a dataset to a
`Find`, or to None.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from importlib.metadata import entry_points
from typing import Any, TypeAlias

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import DfndrError
from dfndr.explore.reading import Reading
from dfndr.images import BadImage, decode, thumbnail

__all__ = ["Find", "Pooled", "find_of"]

Find: TypeAlias = Callable[[Collection[str], float], Iterator[tuple[str, bytes]]]
"""From uids, and a time of `time.monotonic()` to stop at, to those found with their pictures as the pool has them."""

_GROUP = "dfndr.pictures"
_LONGEST = 256
_MOST_PIXELS = 50_000_000
_MOST_KEPT, _MOST_WANTED = 2000, 300
_LIMIT_S, _AGAIN_S = 10.0, 30.0
_log = logging.getLogger(__name__)


def find_of(dataset: Dataset) -> Find | None:
    """Return what finds the pictures of a dataset's rows; None for one that is read from elsewhere.

    What a dataset from the Hub says of paths is not so much as looked at.
    """
    if storage.is_remote(dataset.root) or "sha256" not in dataset.schema().names:
        return None
    for entry in entry_points(group=_GROUP):
        find: Find | None = entry.load()(dataset)
        if find is not None:
            return find
    return None


class Pooled:
    """The small pictures found so far, at most 2000, and the thread that looks for more while any are wanted."""

    def __init__(self, reading: Reading, find: Find) -> None:
        self._reading, self._find = reading, find
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._wanted: OrderedDict[str, None] = OrderedDict()
        self._missed: OrderedDict[str, float] = OrderedDict()
        self._lock, self._thread = threading.Lock(), threading.Thread()

    def of(self, uid: str) -> bytes | None:
        """Return the small picture of a row's uid, or None where there is none, or none yet; it never waits."""
        with self._lock:
            if uid in self._kept:
                self._kept.move_to_end(uid)
                return self._kept[uid]
            if time.monotonic() < self._missed.get(uid, 0):
                return None
            self._wanted[uid] = None
            _trim(self._wanted, _MOST_WANTED)
            if not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, daemon=True)
                self._thread.start()
        return None

    def _look(self) -> None:
        """Look for what is wanted, all at once, until nothing is."""
        while True:
            with self._lock:
                uids = list(self._wanted)
                if not uids:
                    self._thread = threading.Thread()
                    return
            try:
                self._look_for(uids)
            except DfndrError as error:
                _log.info("no pictures from the pools: %s", error)
            finally:
                with self._lock:
                    for uid in uids:
                        self._wanted.pop(uid, None)
                        if uid not in self._kept:
                            self._missed[uid] = time.monotonic() + _AGAIN_S
                    _trim(self._missed, _MOST_KEPT)

    def _look_for(self, uids: list[str]) -> None:
        fields = self._reading.take(["sha256"], [self._reading.row_of(uid) for uid in uids])
        hashes = {uid: told["sha256"] for uid, told in zip(uids, fields, strict=True)}
        for uid, data in self._find(uids, time.monotonic() + _LIMIT_S):
            if hashlib.sha256(data).hexdigest() != hashes.get(uid):
                continue  # not the picture that the row was made of: another file, or another pool
            try:
                small = thumbnail(decode(data, max_pixels=_MOST_PIXELS), _LONGEST)
            except BadImage:
                continue
            with self._lock:
                self._kept[uid] = small
                _trim(self._kept, _MOST_KEPT)


def _trim(found: OrderedDict[str, Any], most: int) -> None:
    while len(found) > most:
        found.popitem(last=False)
