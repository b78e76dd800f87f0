"""A server on loopback for the stand-ins that tests are made with: in threads of its own, until its `end`."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Loopback"]


class Loopback(ThreadingHTTPServer):
    """Answers as `handler` does, whose class gets `about` as attributes, at `url`: at `port`, or at a free one.

    A free port may be one that the server of another test had. So its connections end with it: a client that keeps
    them would go on with the old one's answers, under the same address.
    """

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler], *, port: int = 0, **about: object) -> None:
        super().__init__(("127.0.0.1", port), type("Handler", (handler,), about))
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._connections: set[Any] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
        for connection in list(self._connections):
            with suppress(OSError):  # it ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Pass over a client that hung up."""
