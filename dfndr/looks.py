"""What somebody sees of pictures: asked for one by one, and perhaps made ready before that by others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from dfndr.images import BadImage, Picture

__all__ = ["Looks"]

_Seen = TypeVar("_Seen")


class Looks(Generic[_Seen]):
    """What `see` gives of pictures, or the BadImage that it raises; `waited` is how many seconds `of` took in all."""

    def __init__(self, see: Callable[[Picture], _Seen]) -> None:
        self._see = see
        self._expected: dict[bytes, Callable[[], _Seen | BadImage]] = {}
        self.waited = 0.0

    def at(self, picture: Picture) -> _Seen | BadImage:
        """Look at a picture now."""
        try:
            return self._see(picture)
        except BadImage as problem:
            return problem

    def of(self, image: bytes) -> _Seen | BadImage:
        """Return what is seen of an image file: what was made ready, once, or else by looking at it now."""
        began = time.perf_counter()
        ready = self._expected.pop(image, None)
        found = self.at(Picture(image)) if ready is None else ready()
        self.waited += time.perf_counter() - began
        return found

    def expect(self, image: bytes, ready: Callable[[], _Seen | BadImage]) -> None:
        """Take what `ready` returns when the file is asked for, once."""
        self._expected[image] = ready

    def forget(self, images: Iterable[bytes] | None = None) -> None:
        """Expect some files no longer, or none of them."""
        if images is None:
            self._expected.clear()
            return
        for image in images:
            self._expected.pop(image, None)
