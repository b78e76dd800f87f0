"""The score of a trained head, from the vectors that the scores dataset holds: no picture is looked at again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.heads.scores import shard_scores
from dfndr.progress import SILENT, Progress

__all__ = ["HeadScore"]


@dataclass(frozen=True)
class HeadScore:
    """Derive column `name`, float32, null where a row has no vector or no finite score.

    `head` is the folder of a scorer or of a contrastive head, and `space` what it looks at, None for what it was
    trained on; see `dfndr.heads.scores.head_scores`.
    """

    name: str
    head: str
    space: str | None = None

    def fields(self) -> list[pa.Field]:
        """Return the one column."""
        return [pa.field(self.name, pa.float32())]

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield one table per shard, in order, row by row as the shard's."""
        for found in shard_scores(scores, self.head, space=self.space, progress=progress):
            yield pa.table([pa.array(found, pa.float32(), from_pandas=True)], schema=pa.schema(self.fields()))
