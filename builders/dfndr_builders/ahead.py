"""Work that is done ahead: rows are read, and their pictures made ready, while the models run on the rows before."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import Full, Queue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import pyarrow as pa

from dfndr.images import Picture
from dfndr.looks import Looks
from dfndr.passes import cores
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
    """Threads that look at the pictures of tables, each decoded once for all who want to see it; for a `with`."""

    def __init__(self, looks: Sequence[Looks[Any]]) -> None:
        self._looks = looks
        self._pool = ThreadPoolExecutor(min(cores(), _MOST_THREADS), thread_name_prefix="dfndr-looking")

    def look(self, table: pa.Table) -> list[bytes]:
        """Begin with the pictures of a table's good rows, and return them."""
        images = [table["image"][row].as_py() for row in good_rows(table)] if self._looks else []
        for image in images:
            seen = self._pool.submit(_seen, image, self._looks)
            for place, looks in enumerate(self._looks):
                looks.expect(image, partial(_nth, seen, place))
        return images

    def forget(self, images: Iterable[bytes]) -> None:
        """Let go of what nobody has asked for, and nobody will."""
        for looks in self._looks:
            looks.forget(images)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        for looks in self._looks:
            looks.forget()


def _seen(image: bytes, looks: Sequence[Looks[Any]]) -> list[Any]:
    picture = Picture(image)
    return [one.at(picture) for one in looks]


def _nth(seen: Future[list[Any]], place: int) -> Any:  # noqa: ANN401 (what it is, each of the Looks knows)
    return seen.result()[place]
