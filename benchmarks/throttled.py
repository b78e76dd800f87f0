"""A line of a stated bandwidth and latency on loopback, between a client and a server of this machine."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

__all__ = ["Throttled"]

_PIECE = 1 << 16


class Throttled:
    """Forwards connections to a port of this machine; all answers together share the bandwidth."""

    def __init__(self, port: int, *, bytes_per_s: float, latency_s: float) -> None:
        self._upstream, self._rate, self._latency = port, bytes_per_s, latency_s
        self._guard, self._free_at, self.passed = threading.Lock(), 0.0, 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._upstream))
            for ends, is_answer in (((client, server), False), ((server, client), True)):
                threading.Thread(target=self._forward, args=(*ends, is_answer), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if is_answer:
                    self._wait_for_turn(len(piece))
                else:
                    time.sleep(self._latency)
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _wait_for_turn(self, size: int) -> None:
        with self._guard:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self._rate
            self.passed += size
            wait = self._free_at - now
        time.sleep(max(0.0, wait))
