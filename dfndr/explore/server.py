"""The server behind the page: an Explorer's answers as JSON, on 127.0.0.1 only."""

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from dfndr.errors import DataError, DfndrError, MissingExtra, UsageError
from dfndr.explore.guard import Guard
from dfndr.explore.queries import MAX_COUNT, Explorer
from dfndr.explore.values import Filter
from dfndr.images import BadImage, inspect

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["MAX_UPLOAD_BYTES", "MAX_UPLOAD_PIXELS", "create_app", "listen", "serve"]

MAX_UPLOAD_BYTES = 20 << 20
"""The largest file that may be dropped on the page."""

MAX_UPLOAD_PIXELS = 50_000_000
"""The largest picture that may be dropped on the page; told from its header, before a pixel is decoded."""

_PAGE = Path(__file__).parent / "page"
_CACHED = {"cache-control": "private, max-age=3600"}
_FRESH = {"cache-control": "no-store"}


def create_app(explorer: Explorer) -> Guard:
    """Return the ASGI app of a page over one dataset; raises MissingExtra without FastAPI."""
    try:
        from fastapi import FastAPI, Query, Request
        from fastapi.concurrency import run_in_threadpool
        from fastapi.responses import JSONResponse
    except ImportError as error:
        raise MissingExtra.of("fastapi", "explore") from error

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    Words: TypeAlias = Annotated[str, Query(max_length=4000)]
    Count: TypeAlias = Annotated[int, Query(ge=1, le=MAX_COUNT)]
    Start: TypeAlias = Annotated[int, Query(ge=0, le=1 << 40)]

    def answer(found: dict[str, Any]) -> JSONResponse:
        return JSONResponse(found, headers=_FRESH)

    @app.exception_handler(DfndrError)
    async def refused(request: Request, error: DfndrError) -> JSONResponse:
        del request
        told = {"where": error.where, "expected": error.expected, "found": error.found, "do": error.do}
        told["kind"] = type(error).__name__
        return JSONResponse({"error": told}, 400 if isinstance(error, UsageError) else 422, headers=_FRESH)

    @app.get("/api/about")
    def about() -> JSONResponse:
        return answer(explorer.about())

    @app.get("/api/indexes")
    def indexes() -> JSONResponse:
        return answer(explorer.indexes())

    @app.get("/api/browse")
    def browse(filter: Words = "", order: Words = "shuffled", start: Start = 0, count: Count = 60) -> JSONResponse:
        return answer(explorer.browse(Filter.from_json(filter), order=order, start=start, count=count))

    @app.get("/api/near")
    def near(
        space: Words,
        words: Words | None = None,
        uid: Words | None = None,
        filter: Words = "",
        start: Start = 0,
        count: Count = 60,
    ) -> JSONResponse:
        wanted = Filter.from_json(filter)
        return answer(explorer.near(space, wanted, words=words, uid=uid, start=start, count=count))

    @app.post("/api/near")
    async def near_picture(
        request: Request, space: Words, filter: Words = "", start: Start = 0, count: Count = 60
    ) -> JSONResponse:
        image = await _uploaded(request.stream())
        wanted = Filter.from_json(filter)
        found = await run_in_threadpool(explorer.near, space, wanted, image=image, start=start, count=count)
        return answer(found)

    @app.get("/api/histogram")
    def histogram(column: Words, filter: Words = "") -> JSONResponse:
        return answer(explorer.histogram(column, Filter.from_json(filter)))

    @app.get("/api/around")
    def around(column: Words, at: float, filter: Words = "", count: Count = 24) -> JSONResponse:
        return answer(explorer.around(column, at, Filter.from_json(filter), count=count))

    _add_samples(app, explorer)
    _add_pictures(app, explorer)
    _add_page(app)
    return Guard(app)


def _add_samples(app: "FastAPI", explorer: Explorer) -> None:
    """Serve what is told of one sample, by its uid."""
    from fastapi.responses import JSONResponse

    @app.get("/api/sample/{uid}")
    def sample(uid: str) -> JSONResponse:
        return JSONResponse(explorer.sample(uid), headers=_FRESH)

    @app.get("/api/alike/{uid}")
    def alike(uid: str) -> JSONResponse:
        return JSONResponse(explorer.alike(uid), headers=_FRESH)


def _add_pictures(app: "FastAPI", explorer: Explorer) -> None:
    """Serve the samples' small pictures, and their views drawn from those."""
    from fastapi.responses import Response

    @app.get("/thumbnail/{uid}")
    def thumbnail(uid: str) -> Response:
        data, kind = explorer.thumbnail(uid)
        return Response(data, media_type=kind, headers=_CACHED)

    @app.get("/view/{uid}/{number}")
    def view(uid: str, number: int) -> Response:
        return Response(explorer.view(uid, number), media_type="image/jpeg", headers=_CACHED)


def _add_page(app: "FastAPI") -> None:
    """Serve the page's own files, which are known by name: no path is ever made of what was asked."""
    from fastapi.responses import Response

    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

    def of(path: Path) -> Callable[[], Response]:
        def read() -> Response:
            return Response(path.read_bytes(), media_type=kinds[path.suffix], headers={"cache-control": "no-cache"})

        return read

    for path in sorted(_PAGE.iterdir()):
        if path.suffix in kinds:
            app.get("/" if path.name == "index.html" else f"/page/{path.name}")(of(path))


async def _uploaded(stream: Any) -> bytes:  # noqa: ANN401  an async iterator of bytes
    """Return an uploaded picture whose size and header are fine; raises DataError."""
    body, do = bytearray(), "Drop a JPEG, PNG, WebP, GIF or BMP, or a smaller one."
    async for piece in stream:
        body += piece
        if len(body) > MAX_UPLOAD_BYTES:
            expected = f"at most {MAX_UPLOAD_BYTES >> 20} MiB"
            raise DataError("the dropped picture", expected=expected, found="more", do=do)
    try:
        inspect(bytes(body), max_pixels=MAX_UPLOAD_PIXELS)
    except BadImage as problem:
        raise DataError("the dropped file", expected="a picture", found=problem.detail, do=do) from problem
    return bytes(body)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1; 0 takes a free port. Raises UsageError where the port is taken."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(("127.0.0.1", port))
        opened.listen(128)
    except (OSError, OverflowError) as error:
        opened.close()
        do = "Choose another --port; 0 takes any that is free."
        raise UsageError(f"port {port}", expected="a free port", found=str(error), do=do) from error
    return opened


def serve(
    app: Guard, opened: socket.socket, *, then: Callable[[], None] | None = None, show: str | None = None
) -> None:
    """Answer on a socket until Ctrl-C; raises MissingExtra without uvicorn.

    `then` is called in a thread of its own, beside the answers; `show` is an address to open in a browser.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtra.of("uvicorn", "explore") from error
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=2
    )
    if then is not None:
        threading.Thread(target=then, daemon=True).start()
    if show is not None and _has_screen():
        webbrowser.open(show)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[opened])


def _has_screen() -> bool:
    """Return False where `webbrowser` would start a browser of text, which keeps the terminal."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
