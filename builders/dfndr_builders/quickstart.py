"""The whole job on the built-in pool: train a filter, build, verify, train a head, index, search, draw."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.describe import funnel_lines
from dfndr.errors import DataError
from dfndr.heads.train import train_head
from dfndr.nearest import nearest
from dfndr.progress import SILENT, Progress
from dfndr.search import Index
from dfndr.verify import verify
from dfndr_builders.build import build
from dfndr_builders.recipe_file import shipped_recipe
from dfndr_builders.sheet import Hit, Scores, contact_sheet

__all__ = ["QUERIES", "Quickstart", "quickstart"]

QUERIES = ("arrow", "hexagram", "smiling face", "playing card")


@dataclass(frozen=True)
class Quickstart:
    """What the quickstart leaves behind and what it found."""

    out: str
    funnel: tuple[str, ...]
    pool_precision: float
    kept_precision: float
    head: str
    searches: tuple[str, ...]
    seconds: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds)
        total = sum(seconds for _, seconds in self.seconds)
        return "\n".join(
            [
                "",
                "funnel",
                *self.funnel,
                "",
                f"pairs whose text is right: {self.pool_precision:.1%} of the pool, "
                f"{self.kept_precision:.1%} of what was kept",
                "",
                self.head,
                "(the filter was trained on such pairs, so a head has little to add here; on other pictures it has)",
                "",
                *self.searches,
                "",
                "to look at",
                f"  {self.out}/sheet.png",
                f"  dfndr info {self.out}/dataset",
                f"  dfndr search {self.out}/dataset hexagram --index {self.out}/index",
                f"  dfndr eval {self.out}/dataset --head {self.out}/head",
                "",
                f"done in {total:.0f} s ({times})",
            ]
        )


def quickstart(out: str, *, device: str = "auto", progress: Progress = SILENT) -> Quickstart:
    """Run the recipe `quickstart.toml` into `out/dataset` and what follows beside it; running it again resumes."""
    seconds: list[tuple[str, float]] = []
    start = time.monotonic()

    def timed(name: str) -> None:
        nonlocal start
        seconds.append((name, time.monotonic() - start))
        start = time.monotonic()

    place = storage.join(out, "dataset")
    build(shipped_recipe("quickstart"), place, device=device, progress=progress)
    timed("build")
    report = verify(place, progress=progress)
    if not report.ok:
        raise DataError(place, expected="a dataset that verifies", found=str(report), do="Report this.")
    dataset = open_dataset(place)
    timed("verify")
    head = train_head(dataset, Path(out) / "head", device=device, progress=progress)
    timed("head")
    index = Index.build(dataset, dataset.manifest.spaces[0].name)
    index.save(storage.join(out, "index"))
    found = [(query, nearest(dataset, index, text=query, k=10, device=device)) for query in QUERIES]
    timed("search")
    scores = _scores(dataset)
    pool, kept = 1 - float(np.mean(scores.wrong)), 1 - float(np.mean(scores.wrong[scores.kept]))  # type: ignore[index, arg-type]
    contact_sheet(
        out,
        "sheet.png",
        title="dfndr quickstart",
        subtitle=f"{len(dataset):,} glyphs kept of {len(scores.values):,}; "
        f"texts that are right: {pool:.1%} before, {kept:.1%} after",
        queries=[(query, _hits(dataset, rows)) for query, rows in found],
        scores=scores,
    )
    timed("sheet")
    return Quickstart(
        out=out,
        funnel=tuple(funnel_lines(dataset.manifest.funnel)),
        pool_precision=pool,
        kept_precision=kept,
        head=str(head),
        searches=tuple(f"{query!r}: {', '.join(str(row['text']) for row in rows[:4])}" for query, rows in found),
        seconds=tuple(seconds),
    )


def _scores(dataset: Dataset) -> Scores:
    """Read the scores of the whole pool, from the phase that made them, and mark what was kept."""
    provenance = dataset.manifest.provenance
    rule, cut = dataset.manifest.provenance["selection"]["rule"], provenance["selection"]["cut"]  # type: ignore[index]
    scored = open_dataset(storage.join(dataset.root, str(provenance["scores"]))).rows(["uid", rule["by"], "swapped"])
    kept = pc.is_in(scored["uid"], dataset.rows(["uid"])["uid"].combine_chunks())
    return Scores(
        values=scored[rule["by"]].to_numpy().astype(np.float32),
        kept=kept.to_numpy().astype(bool),
        cut=float(cut),
        wrong=scored["swapped"].to_numpy().astype(bool),
    )


def _hits(dataset: Dataset, rows: list[dict[str, object]]) -> list[Hit]:
    uids = pa.array([str(row["uid"]) for row in rows], pa.string())
    table = dataset.rows(["uid", "thumbnail"], where=pc.field("uid").isin(uids))
    pictures = {row["uid"]: row["thumbnail"]["bytes"] for row in table.to_pylist()}
    return [Hit(pictures[row["uid"]], str(row["text"]), float(str(row["score"]))) for row in rows]
