"""How well a masked autoencoder restores what is hidden of a pair, as a score (arXiv 2309.17425, table 1)."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from dfndr_builders.m3ae.model import M3ae
from dfndr_builders.score.column import with_scores
from dfndr_builders.stage import Step, good_rows, require

__all__ = ["M3aeScore"]


@dataclass(frozen=True)
class M3aeScore:
    """Add column `name`: minus the loss over hidden patches and words, float32, the mean of `masks` maskings.

    Maskings are drawn by (seed, uid, number). `folder` holds what `M3ae.save` wrote. A row whose picture cannot be
    decoded gets that reason and a null score.
    """

    name: str
    folder: str
    masks: int = 4
    seed: int = 0
    batch_size: int = 64
    threads: int = 2
    device: str = "auto"

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the score's column."""
        needed = {"uid": pa.string(), "image": pa.large_binary(), "text": pa.string(), "problem": pa.string()}
        require(f"score {self.name!r}", given, needed)
        return given.append(pa.field(self.name, pa.float32()))

    def open(self) -> Step:
        """Load the weights."""
        restored = M3ae.load(self.folder).open(
            masks=self.masks, seed=self.seed, batch_size=self.batch_size, threads=self.threads, device=self.device
        )

        def step(table: pa.Table) -> pa.Table:
            rows = good_rows(table)
            image, text, uid = ([table[name][row].as_py() for row in rows] for name in ("image", "text", "uid"))
            scores, problems = restored(image, text, uid)
            return with_scores(table, self.name, rows, scores, problems)

        return step
