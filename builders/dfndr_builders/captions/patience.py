"""Asking one server for many things at once: how often, how long, and when to give up on it.

A question is asked again after what may pass (no connection, no answer in time, half an answer, 429, 5xx), with waits
that grow and vary, and that the server may set by Retry-After for all questions alike. What a server cannot answer is
one picture's matter, unless it is so of many pictures in a row: then no picture is marked, and everything stops.
"""

from __future__ import annotations

import email.utils
import logging
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dfndr.errors import DataError, MissingExtra, UsageError
from dfndr_builders.captions.captioner import Asked
from dfndr_builders.captions.chat import Answer, Failure, Json, read_answer
from dfndr_builders.captions.tally import Tally

if TYPE_CHECKING:
    import httpx

__all__ = ["Address", "Patience", "Server", "check_ready", "new_client"]

_MOST_BYTES = 8_000_000
_CONNECT_S = 10.0


@dataclass(frozen=True)
class Patience:
    """How long one question may take, how often it is asked, and how many pictures in a row may go unanswered.

    Waits between tries begin at `first_wait_s`, double, and vary by as much; none is longer than `longest_wait_s`, and
    a server that asks for more stops the work.
    """

    timeout_s: float = 120.0
    tries: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    in_a_row: int = 16


@dataclass(frozen=True)
class Address:
    """Where a server is, and the name of the environment variable that holds its key; None where it wants none."""

    url: str
    key_env: str | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of every request; raises UsageError where the variable is not set."""
        if self.key_env is None:
            return {}
        if not os.environ.get(self.key_env, "").strip():
            do = f"Set it to the server's key: {self.key_env}=... dfndr build ..."
            raise UsageError(
                f"the key of {self.url}", expected=f"the environment variable {self.key_env}", found="not set", do=do
            )
        return {"Authorization": f"Bearer {os.environ[self.key_env].strip()}"}

    def without_key(self, answer: bytes) -> bytes:
        """Return an answer in which the key, should the server repeat it, is hidden."""
        key = os.environ.get(self.key_env, "").strip() if self.key_env else ""
        return answer.replace(key.encode(), b"[key]") if key else answer


class Server:
    """A server while it is being asked.

    `row` holds the pictures that it failed at since it last answered about one, `good` is one that it answered about.
    """

    def __init__(self, address: Address, patience: Patience, tally: Tally) -> None:
        self.address, self.patience, self.tally = address, patience, tally
        self.row: dict[str, Failure] = {}
        self.good: Asked | None = None
        self._quiet_until = 0.0
        logging.getLogger("stamina").setLevel(logging.ERROR)  # else a line for each try; the tally counts them

    async def ask(self, client: httpx.AsyncClient, body: Mapping[str, Json]) -> Answer:
        """Return the answer to a question; raises Failure after as many tries as patience allows."""
        import stamina

        tries = stamina.retry_context(
            on=lambda error: isinstance(error, Failure) and error.again,
            attempts=self.patience.tries,
            timeout=None,
            wait_initial=self.patience.first_wait_s,
            wait_jitter=self.patience.first_wait_s,
            wait_max=self.patience.longest_wait_s,
        )
        async for attempt in tries:
            with attempt:
                self.tally.retries += attempt.num > 1
                return await self._once(client, body)
        raise Failure("no try was made")  # not reached: the last try raises

    def failed_at(self, uid: str, failure: Failure) -> None:
        """Count a picture that has no answer; raises DataError where no other would have one, it seems."""
        self.row[uid] = failure
        if failure.stop:
            raise self.stopped(failure.detail, "Mend the address, the model or the key, and run this again")
        if len(self.row) >= self.patience.in_a_row:
            raise self.stopped(f"{len(self.row)} pictures in a row without one; the last: {failure.detail}")

    def stopped(self, found: str, do: str = "See that it runs, and run this again") -> DataError:
        """Return the error that stops the work."""
        do = f"{do}: it goes on where it stopped, and no picture was marked for it."
        if self.address.key_env:
            do = f"The key is what {self.address.key_env} holds. {do}"
        return DataError(f"the chat server {self.address.url}", expected="an answer", found=found, do=do)

    async def _once(self, client: httpx.AsyncClient, body: Mapping[str, Json]) -> Answer:
        import anyio
        import httpx

        rest_s = self._quiet_until - time.monotonic()
        if rest_s > 0:
            await anyio.sleep(rest_s + random.uniform(0, self.patience.first_wait_s))
        self.tally.requests += 1
        try:
            with anyio.fail_after(self.patience.timeout_s):
                answer = await self._exchange(client, body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise Failure(f"no answer within {self.patience.timeout_s:g} s", again=True) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            told = str(error)[:160] or type(error).__name__
            raise Failure(f"the connection failed: {told}", again=True) from error
        if any(why != "empty" for _, why in answer.choices):
            self.row.clear()
        self.tally.tokens_in += answer.tokens_in
        self.tally.tokens_out += answer.tokens_out
        return answer

    async def _exchange(self, client: httpx.AsyncClient, body: Mapping[str, Json]) -> Answer:
        content = bytearray()
        async with client.stream("POST", f"{self.address.url.rstrip('/')}/chat/completions", json=body) as response:
            async for part in response.aiter_bytes():
                content += part
                if len(content) > _MOST_BYTES:
                    raise Failure(f"an answer of more than {_MOST_BYTES // 10**6} MB")
        self._rest(response.headers)
        told = self.address.without_key(bytes(content))
        return read_answer(response.status_code, response.headers.get("content-type", ""), told)

    def _rest(self, headers: httpx.Headers) -> None:
        """Leave the server alone for as long as it asks, whoever's turn it is."""
        wait_s = _retry_after(headers.get("retry-after", ""))
        if wait_s > self.patience.longest_wait_s:
            raise Failure(f"the server asks to be left alone for {wait_s:,.0f} s", stop=True)
        if wait_s > 0:
            self._quiet_until = max(self._quiet_until, time.monotonic() + wait_s)


def _retry_after(given: str) -> float:
    """Return the seconds of a Retry-After header (RFC 9110, section 10.2.3): a number or a date; 0 for another text."""
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return 0.0


def check_ready(address: Address) -> None:
    """Raise MissingExtra or UsageError where nothing could be asked from here."""
    try:
        import httpx  # noqa: F401
        import stamina  # noqa: F401
    except ImportError as error:
        raise MissingExtra.of(error.name or "httpx", "endpoint") from error
    address.headers()


def new_client(address: Address, patience: Patience, connections: int) -> httpx.AsyncClient:
    """Return a client of that many connections, to be closed by whoever asked."""
    import httpx

    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    timeout = httpx.Timeout(patience.timeout_s, connect=min(_CONNECT_S, patience.timeout_s), pool=None)
    return httpx.AsyncClient(headers=address.headers(), limits=limits, timeout=timeout)
