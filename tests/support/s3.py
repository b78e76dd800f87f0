"""A real S3 server on loopback (moto's), and in front of it what networks and stores do wrong.

`served` starts both and sets this process's environment; `store.fault("PUT .*manifest", kind="cut")` is for the
requests that come next, `store.failing = 0.2` for one in five of all, drawn by a seed; `store.keep_conditions = False`
makes it a store that passes conditions over.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import random
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import pytest

from support.loopback import Loopback

__all__ = ["KINDS", "Store", "quick", "served", "server", "store"]

Kind = Literal["403", "500", "503", "cut", "lost", "half", "short", "tag", "cut-upload"]
KINDS: tuple[Kind, ...] = ("500", "503", "cut", "lost", "half", "short")
"""What goes wrong by chance; each may pass."""

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_ERRORS = {
    "403": (403, "AccessDenied", "Access Denied"),
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
}


@dataclass
class Fault:
    """What goes wrong at the next `times` requests whose "METHOD /path?query" matches `on`.

    "500" and "503" answer so; "cut" closes the connection without an answer, "lost" after the work was done, "half" in
    the middle of the answer; "short" answers with half the content, whose length is said to be all; "tag" tells another
    ETag; "cut-upload" passes on half of what is uploaded, and closes both connections.
    """

    on: str
    kind: Kind = "500"
    times: int = 1


class Store:
    """The server and what is in front of it; `requests` are all that came, `failed` counts what was made to fail."""

    def __init__(self, seed: int = 0) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.failing, self.failed = 0.0, 0
        self.keep_conditions = True
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._proxy = Loopback(_Handler, store=self)
        self.url = self._proxy.url
        self.address = ("", 0)

    def start(self) -> None:
        self.moto.start()
        self.address = self.moto.get_host_and_port()
        self._proxy.begin()

    def stop(self) -> None:
        self._proxy.end()
        self.moto.stop()

    def fault(self, on: str, kind: Kind = "500", times: int = 1) -> None:
        self.faults.append(Fault(on, kind, times))

    def count(self, pattern: str) -> int:
        """Return how many requests matched."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Return what lies in a bucket, past everything that goes wrong."""
        from moto.s3.models import s3_backends

        found = s3_backends["123456789012"]["aws"].buckets[bucket]
        return {name: key.value for name, key in found.keys.items()}

    def uploads(self, bucket: str) -> int:
        """Return how many multipart uploads were begun there and are neither completed nor aborted."""
        from moto.s3.models import s3_backends

        return len(s3_backends["123456789012"]["aws"].buckets[bucket].multiparts)

    def next_fault(self, request: str) -> Kind | None:
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.on, request):
                    fault.times -= 1
                    self.failed += 1
                    return fault.kind
            if self.failing and self._chance.random() < self.failing:
                self.failed += 1
                return self._chance.choice(KINDS)
        return None

    def plain(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Any:
        """Make one request of moto itself; returns the answer, read."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            answer.content = answer.read()  # type: ignore[attr-defined]
            return answer
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    store: Store
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer: else the kernel waits between its head and its body

    def log_message(self, *_: object) -> None:
        pass

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def do_GET(self) -> None:
        kind = self.store.next_fault(f"{self.command} {unquote(self.path)}")
        if kind == "cut-upload":
            self._cut_upload()
            return
        body = self._body()
        if kind == "cut":
            self.close_connection = True
            return
        if kind in _ERRORS:
            self._fail(*_ERRORS[kind])
            return
        asked = dict(self.headers.items())
        if not self.store.keep_conditions:
            asked = {name: value for name, value in asked.items() if name.lower() not in ("if-match", "if-none-match")}
        answer = self.store.plain(self.command, self.path, body, asked)
        if kind == "lost":
            self.close_connection = True
            return
        self._pass_on(answer, kind)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _pass_on(self, answer: Any, kind: Kind | None) -> None:
        content: bytes = answer.content
        if kind == "short" and self.command == "GET" and "list-type" not in self.path:
            content = content[: len(content) // 2]
        told = {name: value for name, value in answer.getheaders() if name.lower() not in _OWN}
        if kind == "tag":
            told = {
                **{k: v for k, v in told.items() if k.lower() != "etag"},
                "ETag": f'"{hashlib.md5(b"").hexdigest()}"',
            }
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_response(answer.status)
        for name, value in {**told, "Content-Length": length}.items():
            self.send_header(name, value)
        self.end_headers()
        if kind == "half":
            content, self.close_connection = content[: len(content) // 2], True
        if self.command != "HEAD":
            self.wfile.write(content)

    def _fail(self, status: int, code: str, message: str) -> None:
        content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _cut_upload(self) -> None:
        """Send half of a request on, as a connection that dies in the middle of an upload does."""
        half = self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
        connection = http.client.HTTPConnection(*self.store.address, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(half)
        connection.close()
        self.close_connection = True


_OWN = {"content-length", "transfer-encoding", "connection", "server", "date"}


@contextmanager
def served(bucket: str = "bucket") -> Iterator[Store]:
    """Serve a store with an empty bucket, and let this process, and those that it starts, use it."""
    store = Store()
    store.start()
    before = {name: os.environ.get(name) for name in (*ENVIRONMENT, "AWS_ENDPOINT_URL")}
    os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=store.url)
    try:
        store.plain("PUT", f"/{bucket}")
        yield store
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        store.stop()


@contextmanager
def quick() -> Iterator[None]:
    """Let no wait between two tries be long."""
    from dfndr import patience

    before = patience.FIRST_WAIT_S, patience.VARIED_S
    patience.FIRST_WAIT_S, patience.VARIED_S = 0.001, 0.001
    try:
        yield
    finally:
        patience.FIRST_WAIT_S, patience.VARIED_S = before


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    """A server for the tests of a module, and no long waits between tries."""
    with served() as store, quick():
        yield store


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    """That server, and after the test no faults any more."""
    monkeypatch.setenv("DFNDR_CACHE", str(tmp_path / "cache"))
    yield server
    server.faults.clear()
    server.failing = 0.0
