"""The page in headless Chromium, over a dataset of its own, with an eye on every request and every complaint."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dfndr.explore.queries import Explorer
from dfndr.explore.server import create_app, listen

uvicorn = pytest.importorskip("uvicorn", reason="the page needs uvicorn")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDED = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
PATIENCE_MS = 20_000


class Served:
    """A page over a dataset, answered by a thread."""

    def __init__(self, explorer: Explorer) -> None:
        opened = listen(0)
        self.url = f"http://127.0.0.1:{opened.getsockname()[1]}/"
        self._server = uvicorn.Server(
            uvicorn.Config(create_app(explorer), log_level="error", ws="none", lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, args=([opened],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)


def launched() -> Iterator[Any]:
    """Yield a browser."""
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def opened_page(browser: Any, url: str, width: int = 1280) -> Iterator[Any]:
    """Yield a page once it shows samples; in the end it must have asked no other server and met no fault."""
    context = browser.new_context(viewport={"width": width, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda told: faults.append(told.text) if "Content Security" in told.text else None)
    page.on("request", lambda asked: None if asked.url.startswith((url, "blob:")) else faults.append(asked.url))
    page.goto(url)
    page.locator(".card").first.wait_for()
    yield page
    context.close()
    assert faults == []


def shown(page: Any, within: str = "#results") -> list[str]:
    """Return the uids of the cards that a part of the page shows, in order."""
    return page.locator(f"{within} .card").evaluate_all("cards => cards.map(card => card.dataset.uid)")


def status(page: Any, said: str) -> None:
    """Wait until the page's status says this; a count, which begins with a digit, is compared as a whole."""
    exact = re.compile(f"^{said}$") if said[0].isdigit() else said
    page.locator("#status", has_text=exact).wait_for()
