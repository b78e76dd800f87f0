"""Folders served by the stand-in for the Hub, and this process set to read from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub.constants
import pytest

from dfndr import patience
from support.hub import TOKEN, Hub
from support.hub_files import Repo

__all__ = ["hub_for_reading", "put_folder"]


@contextmanager
def hub_for_reading(monkeypatch: pytest.MonkeyPatch, cache: Path, *, port: int = 0) -> Iterator[Hub]:
    """Start a server and let huggingface_hub and dfndr read from it, without long waits, into a cache of their own."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("DFNDR_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(patience, "ATTEMPTS", 4)
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(patience, "VARIED_S", 0.0)
    with Hub(port=port) as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        template = "HUGGINGFACE_CO_URL_TEMPLATE"
        monkeypatch.setattr(huggingface_hub.constants, template, hub.url + "/{repo_id}/resolve/{revision}/{filename}")
        yield hub


def put_folder(hub: Hub, repo_id: str, folder: Path) -> str:
    """Make all files of a folder the next commit of a private repository; return the commit."""
    repo = hub.repos.setdefault(repo_id, Repo(private=True))
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return repo.commit(f"commit {len(repo.commits)}", files)
