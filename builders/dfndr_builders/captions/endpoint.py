"""Captions from any OpenAI-compatible chat server, asked about many pictures at once."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dfndr.format.captioner import CaptionerRecord, Setting
from dfndr.images import BadImage, decode
from dfndr_builders.captions.captioner import SEED_RULE, Asked, Unwritten, Write, Written, caption_seed
from dfndr_builders.captions.chat import Failure, Question
from dfndr_builders.captions.patience import Address, Patience, Server, check_ready, new_client
from dfndr_builders.captions.tally import Ledger, Prices, Tally

if TYPE_CHECKING:
    import httpx

__all__ = ["Endpoint"]

_QUALITY = 90
_TOGETHER = "; one request for all captions of a picture, with the seed of the first"
_WHY = {
    "refusing": "the server kept the answer back",
    "empty": "an answer without a text",
    "unfinished": "cut off at the most tokens",
}


@dataclass(frozen=True)
class Endpoint:
    """A chat server as a captioner: `question` is all that captions depend on, the rest how it is asked.

    Pictures are sent as JPEG of quality 90, at most `max_side` pixels a side, and nothing else of the file is. With
    `together` one request asks for all captions of a picture, and each that is missing is asked for by itself.
    """

    name: str
    question: Question
    address: Address
    seed: int
    max_side: int = 512
    together: bool = False
    concurrency: int = 16
    patience: Patience = field(default_factory=Patience)
    prices: Prices = field(default_factory=Prices)
    license: str = "unknown"
    ledger: Ledger | None = None

    def record(self) -> CaptionerRecord:
        """Return what the server was asked; nobody can say which weights it really had."""
        told = self.question
        sampling: dict[str, Setting] = {
            "system": told.system,
            "temperature": told.temperature,
            "top_p": told.top_p,
            "max_tokens": told.max_tokens,
            "max_side": self.max_side,
            **{
                name: value if isinstance(value, str | int | float) else str(value) for name, value in told.more.items()
            },
        }
        rule = f"{SEED_RULE}, its lowest 31 bits sent along" + (_TOGETHER if self.together else "")
        return CaptionerRecord(
            "endpoint", told.model, self.license, prompt=told.prompt, seed_rule=rule, sampling=sampling
        )

    def open(self) -> Write:
        """Return the function that asks; nothing is asked before, and the key is looked up each time."""
        tally = Tally()
        server = Server(self.address, self.patience, tally)
        page = self.ledger.new_page(self.name) if self.ledger else ""
        check_ready(self.address)

        def write(asked: Sequence[Asked]) -> list[list[Written]]:
            from anyio.from_thread import start_blocking_portal

            started = time.monotonic()
            try:
                with start_blocking_portal() as portal:  # a loop of its own: whoever calls may be inside of another
                    written = portal.call(_Round(self, server).write, asked)
                tally.pictures += sum(one.attempt == 0 for one in asked)
                return written
            finally:
                tally.seconds += time.monotonic() - started
                if self.ledger:
                    self.ledger.write(page, tally.priced(self.prices))

        return write


@dataclass
class _Round:
    """One batch of pictures: each is asked about, those that failed once more, and then it is decided what that means.

    What the server answered last, asked again at the end, tells a server that is gone from a difficult picture.
    """

    about: Endpoint
    server: Server
    found: dict[int, list[Written]] = field(default_factory=dict)

    async def write(self, asked: Sequence[Asked]) -> list[list[Written]]:
        about = self.about
        async with new_client(about.address, about.patience, about.concurrency) as client:
            again = await self._all(client, asked, range(len(asked)))
            if again:
                await self._all(client, asked, again)
            if self.server.row:
                await self._prove(client)
        self.server.tally.unanswered += sum(_is_unanswered(one) for one in self.found.values())
        return [self.found[place] for place in range(len(asked))]

    async def _all(self, client: httpx.AsyncClient, asked: Sequence[Asked], places: Sequence[int]) -> list[int]:
        """Ask about pictures, many at once; return the places of those that may be asked about again."""
        import anyio

        again: list[int] = []
        limit = anyio.CapacityLimiter(self.about.concurrency)

        async def one(place: int) -> None:
            async with limit:
                try:
                    self.found[place] = await self._picture(client, asked[place])
                    self.server.good = asked[place]
                except Failure as failure:
                    self.server.failed_at(asked[place].uid, failure)
                    reason = Unwritten("unanswered", failure.detail, final=True)
                    self.found[place] = [reason] * len(asked[place].numbers)
                    again.extend([place] if failure.again else [])

        try:
            async with anyio.create_task_group() as tasks:
                for place in places:
                    tasks.start_soon(one, place)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        return again

    async def _picture(self, client: httpx.AsyncClient, asked: Asked) -> list[Written]:
        """Ask for one picture's captions; raises Failure where the server gave none."""
        import anyio

        about = self.about
        try:
            jpeg = await anyio.to_thread.run_sync(_jpeg, asked.image, about.max_side)
        except BadImage as error:
            return [Unwritten(error.reason, error.detail, final=True)] * len(asked.numbers)
        written: list[Written] = []
        if about.together and len(asked.numbers) > 1:
            written = await self._choices(client, jpeg, asked, 0, len(asked.numbers))
        for place in range(len(written), len(asked.numbers)):
            written += await self._choices(client, jpeg, asked, place, 1)
        if all(isinstance(one, Unwritten) and one.reason == "empty" for one in written):
            self.server.failed_at(asked.uid, Failure(_WHY["empty"]))
        return written

    async def _choices(
        self, client: httpx.AsyncClient, jpeg: bytes, asked: Asked, place: int, count: int
    ) -> list[Written]:
        """Ask for `count` captions from the one at `place` on; there may come fewer, where a server knows no `n`."""
        seed = caption_seed(self.about.seed, self.about.name, asked, asked.numbers[place])
        try:
            answer = await self.server.ask(client, self.about.question.body(jpeg, seed=seed, choices=count))
        except Failure as failure:
            if count > 1 and not (failure.again or failure.stop):
                return []  # refused as it stands, perhaps for asking for several: they are asked for one by one
            raise
        return [text if text is not None else Unwritten(why, _WHY[why]) for text, why in answer.choices[:count]]

    async def _prove(self, client: httpx.AsyncClient) -> None:
        """Ask again what was answered before; raises DataError where it is not, for then the server is gone."""
        last = next(reversed(self.server.row.values()))
        if self.server.good is None:
            raise self.server.stopped(f"none about {len(self.server.row)} pictures; the last: {last.detail}")
        try:
            await self._picture(client, self.server.good)
        except Failure as failure:
            raise self.server.stopped(f"none even about a picture it knew; {failure.detail}") from failure
        self.server.row.clear()


def _jpeg(image: bytes, max_side: int) -> bytes:
    """Return the picture, upright and shrunk (never enlarged), as JPEG without what else was in its file."""
    from PIL import Image

    picture = decode(image)
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _is_unanswered(written: list[Written]) -> bool:
    return any(isinstance(one, Unwritten) and one.reason == "unanswered" for one in written)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first of the errors that tasks ended with."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
