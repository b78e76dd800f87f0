"""A dataset as a build leaves it, with its phases and samples, and its report as a browser would read it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
from dfndr_builders.report.write import report
from PIL import Image

from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.format.manifest import Step, write_manifest
from dfndr.format.shard import write_rows
from support.tiny import encoder_record, write_dataset

__all__ = ["Read", "built", "page", "picture", "rows", "samples", "write"]


class Read(HTMLParser):
    """What a browser would make of the page: its tags, attributes and words."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, found or "") for name, found in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements must nest"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def picture(tone: int, size: int = 24) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (tone, 255 - tone, 90)).save(file, "PNG")
    return file.getvalue()


def rows(count: int, *, first: int = 0, texts: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Return the columns of scored rows: the score of row i is i / 100."""
    numbers = range(first, first + count)
    return {
        "uid": [f"{number:032x}" for number in numbers],
        "key": [f"key {number}" for number in numbers],
        "text": [texts[number % len(texts)] if texts else f"a text of row {number}" for number in numbers],
        "source": [("web", "photos", None)[number % 3] for number in numbers],
        "language": [("en", "vi")[number % 2] for number in numbers],
        "width": [100 + number for number in numbers],
        "height": [200] * count,
        "sha256": [f"{number:064x}" for number in numbers],
        "dfn": pa.array([number / 100 for number in numbers], pa.float32()),
    }


def built(
    root: Path | str,
    *,
    scored: int = 40,
    kept: int = 10,
    texts: Sequence[str] = (),
    thumbnails: bool = True,
    captions: bool = True,
    phases: bool = True,
    rule: Mapping[str, object] | None = None,
) -> Dataset:
    """Write what a build leaves: the best `kept` of the scored rows, and the phases, where they are wanted."""
    root = str(root)
    columns: dict[str, Any] = rows(kept, first=scored - kept, texts=texts)
    if thumbnails:
        columns["thumbnail"] = [{"bytes": picture(number % 256), "path": None} for number in range(kept)]
    if captions:
        columns["caption_scores"] = pa.array([[0.25, 0.5]] * kept, pa.list_(pa.float32()))
    made = write_dataset(root, [kept] if kept else [], (), columns=columns)
    phase, selection = "phases/score-0123", "phases/select-4567"
    if phases:
        write_dataset(storage.join(root, phase), [scored - scored // 2, scored // 2], (), columns=rows(scored))
        write(root, f"{selection}/selection.json", json.dumps({"rule": {"by": "dfn", **(rule or {})}}).encode())
    lost = {"not_selected": scored - kept} if scored > kept else {}
    funnel = (Step("score", scored + 2, scored, failed={"text_empty": 2}), Step("select", scored, kept, dropped=lost))
    chosen = {"rule": {"by": "dfn", "count": kept}, "cut": (scored - kept) / 100 if kept else None, "samples": scored}
    provenance = {"scores": phase, "selection": {**chosen, "phase": selection}, "made_with": {"dfndr": "0.1.0"}}
    scorers = {"dfn": encoder_record("dfn")}
    write_manifest(root, replace(made.manifest, funnel=funnel, provenance=provenance, scorers=scorers))
    return open_dataset(root)


def write(root: str, path: str, data: bytes) -> None:
    storage.put(root, path, data)


def samples(root: Path | str, rows: Sequence[Mapping[str, object]]) -> None:
    kinds = {"thumbnail": pa.binary(), "selected_by": pa.float32(), "kept_uid": pa.string(), "reason": pa.string()}
    table = pa.table({
        name: pa.array([row.get(name) for row in rows], kinds.get(name, pa.string()))
        for name in ("uid", "key", "text", "reason", "kept_uid", "selected_by", "thumbnail")
    })  # fmt: skip
    write_rows(str(root), "phases/select-4567/samples.parquet", table)


def page(dataset: str | Path, folder: Path) -> Read:
    path = report(str(dataset), out=str(folder / "page.html"))
    return Read(Path(path).read_text(encoding="utf-8"))
