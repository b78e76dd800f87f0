"""A small dataset made ready to be published, and the stand-in for the Hub that it is sent to."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
from dfndr_builders.publish import Publication, prepare, publish
from PIL import Image

from dfndr.format.manifest import write_manifest
from support.hub import TOKEN, Hub
from support.tiny import IMAGE, TEXT, write_dataset

__all__ = ["POOLS", "SENDS_AN_OLD_WAY", "as_here", "given", "hub", "send", "write_publishable"]

POOLS = [{"kind": "folder", "path": "pictures", "source": "album", "license": "CC-BY-4.0"}]
ROWS = 8
# huggingface_hub hands its HTTP library files in a way that this library has begun to call old.
SENDS_AN_OLD_WAY = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server, and this process set to talk to it: with a token, without Xet, which the stand-in does not speak."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with Hub() as server:
        yield server


def _thumbnail(shade: int) -> dict[str, object]:
    target = io.BytesIO()
    Image.new("RGB", (12, 9), (shade, 80, 120)).save(target, "JPEG")
    return {"bytes": target.getvalue(), "path": None}


def write_publishable(root: Path, *, seed: int = 0, name: str = "tiny") -> Path:
    columns = {
        "source": ["album"] * ROWS,
        "license": ["CC-BY-4.0"] * ROWS,
        "dfn": [row / ROWS for row in range(ROWS)],
        "thumbnail": [_thumbnail(20 * row) for row in range(ROWS)],
    }
    made = write_dataset(root, (5, 3), (IMAGE, TEXT), columns=columns, seed=seed, name=name)
    scorers = {"dfn": made.manifest.encoders["enc"]}
    manifest = replace(made.manifest, provenance={"pools": POOLS}, scorers=scorers, license="CC-BY-4.0")
    write_manifest(str(root), manifest)
    return root


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Publication:
    """A publication that no test alters."""
    return prepare(write_publishable(tmp_path_factory.mktemp("given") / "set"), "me/tiny")


def send(given: Publication, hub: Hub, **options: object) -> object:
    return publish(given, endpoint=hub.url, waits_s=(0, 0, 0), **options)  # type: ignore[arg-type]


def as_here(hub: Hub, given: Publication, repo_id: str = "me/tiny") -> bool:
    """Say whether the repository holds every file of the publication, byte by byte."""
    there = hub.repos[repo_id].files
    here = {
        one.path: one.source.read_bytes() if isinstance(one.source, Path) else one.source
        for one in (*given.data, *given.last)
    }
    return {path: data for path, data in there.items() if path in here} == here
