"""What stands before the page: only its own window may ask, and what it is sent can do nothing but show itself.

A page elsewhere can make a browser ask a server on loopback. The Host header tells a name that was bent to 127.0.0.1
(DNS rebinding); Origin and Sec-Fetch-Site (Fetch Metadata, W3C) tell a request that another site caused. The port is
not compared, so that the page can be reached through a tunnel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

__all__ = ["HEADERS", "Guard"]

Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Sent with every answer, a refusal too."""

_NAMES = ("127.0.0.1", "localhost")


class Guard:
    """An ASGI app that lets through to another one what the page itself asks, and nothing else."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it with 403."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", [])}
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *(pair for pair in more if pair[0] not in there)]
            await send(message)

        refusal = _refusal(scope) if scope["type"] == "http" else "only HTTP is spoken here"
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        elif scope["type"] == "http":
            content = [(b"content-type", b"text/plain; charset=utf-8")]
            await send_with_headers({"type": "http.response.start", "status": 403, "headers": content})
            await send({"type": "http.response.body", "body": f"Refused: {refusal}.\n".encode()})
        else:
            await send({"type": "websocket.close", "code": 1008})


def _refusal(scope: Message) -> str | None:
    """Return why a request is refused, or None."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    hosts, origins = headers.get("host", []), headers.get("origin", [])
    if len(hosts) != 1 or _name_of(f"//{hosts[0]}") not in _NAMES:
        return "the Host header does not name this machine"
    if len(origins) > 1 or any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
        return "the request comes from another site"
    # A link from elsewhere may open the page; only the page may ask for the rest.
    strange = [site for site in headers.get("sec-fetch-site", []) if site not in ("same-origin", "none")]
    if strange and not (scope["path"] == "/" and scope["method"] == "GET"):
        return "the request comes from another site"
    return None


def _name_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if not (parts.username or parts.path or parts.query or parts.fragment) else None
