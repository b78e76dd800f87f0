"""Work that is done ahead: rows are read, and their pictures made ready, while the models run on the rows before."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import Full, Queue
from types import TracebackType
from typing import Generic, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.encoder import Encoder
from dfndr.images import BadImage, Picture
from dfndr_builders.stage import good_rows

__all__ = ["Looking", "ahead"]

_MOST_THREADS = 16
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class _Last:
    """What follows the last item: how the items ended."""

    error: BaseException | None = None


class ahead(Generic[_Item]):
    """Take items in a thread of its own, at most `room` more than were asked for; to be used in a `with`.

    What goes wrong there is raised here, after the items before it. Leaving the `with` ends the thread.
    """

    def __init__(self, items: Iterator[_Item], *, room: int = 1) -> None:
        self._items = items
        self._found: Queue[_Item | _Last] = Queue(room)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> Iterator[_Item]:
        self._thread.start()
        return self._each()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()

    def _each(self) -> Iterator[_Item]:
        while True:
            item = self._found.get()
            if isinstance(item, _Last):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def _take(self) -> None:
        last = _Last()
        try:
            for item in self._items:
                if not self._give(item):
                    return
        except BaseException as error:  # it is raised where the items are used
            last = _Last(error)
        self._give(last)

    def _give(self, item: _Item | _Last) -> bool:
        while not self._is_over.is_set():
            try:
                self._found.put(item, timeout=0.1)
            except Full:
                continue
            return True
        return False


class Looking:
    """Threads that make the pictures of tables ready for encoders, each decoded once for all of them; for a `with`."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        self._encoders = encoders
        known = getattr(os, "sched_getaffinity", None)
        cores = len(known(0)) if known else os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(min(cores, _MOST_THREADS), thread_name_prefix="dfndr-looking")

    def look(self, table: pa.Table) -> None:
        """Begin with the pictures of a table's good rows."""
        if self._encoders:
            for row in good_rows(table):
                image = table["image"][row].as_py()
                looked_at = self._pool.submit(_looked_at, image, self._encoders)
                for place, encoder in enumerate(self._encoders):
                    encoder.expect(image, partial(_nth, looked_at, place))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        for encoder in self._encoders:
            encoder.forget()


_Pixels: TypeAlias = npt.NDArray[np.uint8] | BadImage


def _looked_at(image: bytes, encoders: Sequence[Encoder]) -> list[_Pixels]:
    picture = Picture(image)
    return [encoder.pixels(picture) for encoder in encoders]


def _nth(looked_at: Future[list[_Pixels]], place: int) -> _Pixels:
    return looked_at.result()[place]
