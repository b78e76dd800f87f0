"""Captions that an earlier dataset holds of a row, taken over captioner by captioner; only the others are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr_builders.captions.stage import CAPTION_FIELDS, CaptionStage
from dfndr_builders.stage import HAPPENED, Step
from dfndr_builders.take_over import Earlier

__all__ = ["TakeOverCaptions"]

Rows = npt.NDArray[np.int64]
_NAMES = [field.name for field in CAPTION_FIELDS]
_MODEL = _NAMES.index("caption_models")
_Captions = list[tuple[object, ...]]
"""The captions of one row, each with its value in every list column."""


@dataclass(frozen=True)
class TakeOverCaptions:
    """A stage that captions, of which the captions of some captioners, `kept`, are known of some rows.

    A captioner was asked about every row of the dataset, so what is there is all that it had. A row that it had nothing
    of may fail now, and say why: where nothing of `kept` is there, all captioners are asked, unless the stage keeps
    rows without captions.
    """

    stage: CaptionStage
    earlier: Earlier
    kept: tuple[str, ...]

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return what the stage returns."""
        return self.stage.schema(given)

    def open(self) -> Step:
        """Open the dataset; captioners are opened when there is a row to ask them about."""
        others = tuple(one for one in self.stage.captions if one.captioner.name not in self.kept)
        whole, rest = _Lazily(self.stage), _Lazily(CaptionStage(others, keeps_uncaptioned=True))
        return lambda table: self._step(table, whole, rest)

    def taken(self, table: pa.Table) -> int:
        """Return of how many rows of a finished table captions were taken over."""
        found, models = self.earlier.find(table), table["caption_models"].to_pylist()
        return sum(row >= 0 and not set(self.kept).isdisjoint(names) for row, names in zip(found, models, strict=True))

    def _step(self, table: pa.Table, whole: Step, others: Step) -> pa.Table:
        found = self.earlier.find(table)
        captions = {row: self._captions(int(found[row])) for row in np.flatnonzero(found >= 0).tolist()}
        known = [row for row, there in captions.items() if there or self.stage.keeps_uncaptioned]
        rest = sorted(set(range(len(table))).difference(known))
        if not known:
            return self._with_notes(whole(table), found)
        done = self._merged(others(table.take(known)), [captions[row] for row in known])
        if rest:
            done = pa.concat_tables([done, whole(table.take(rest))]).take(np.argsort(known + rest))
        return self._with_notes(done, found)

    def _captions(self, row: int) -> _Captions:
        shard, place = _place(self.earlier, row)
        values = zip(*(column[place].as_py() for column in _columns(self.earlier, shard)), strict=True)
        return [caption for caption in values if caption[_MODEL] in self.kept]

    def _merged(self, table: pa.Table, known: Sequence[_Captions]) -> pa.Table:
        """Return the table with captions that are known among those of others, in the order of the recipe."""
        order = {one.captioner.name: place for place, one in enumerate(self.stage.captions)}
        rows: list[_Captions] = []
        for *written, there in zip(*(table[name].to_pylist() for name in _NAMES), known, strict=True):
            both = [*there, *zip(*written, strict=True)]
            rows.append(sorted(both, key=lambda caption: order[str(caption[_MODEL])]))
        for place, field in enumerate(CAPTION_FIELDS):
            values = [[caption[place] for caption in row] for row in rows]
            table = table.set_column(table.column_names.index(field.name), field, pa.array(values, field.type))
        return table

    def _with_notes(self, table: pa.Table, found: Rows) -> pa.Table:
        """Return the table with what happened to captions that are known: what a shard counted is told with its first
        row, and no row that is in the dataset counts again."""
        kept = tuple(f"captions by {name}, " for name in self.kept)
        told = table[HAPPENED.name].to_pylist()
        for row in np.flatnonzero(found >= 0).tolist():
            told[row] = [what for what in told[row] if not what.startswith(kept)]
            shard, place = _place(self.earlier, int(found[row]))
            if place == 0:
                notes = self.earlier.open().shards[shard].notes.items()
                told[row] += [what for what, count in notes if what.startswith(kept) for _ in range(int(count))]
        at = table.column_names.index(HAPPENED.name)
        return table.set_column(at, HAPPENED, pa.array(told, HAPPENED.type))


class _Lazily:
    """A stage's step, which opens the stage when it is called first."""

    def __init__(self, stage: CaptionStage) -> None:
        self._stage = stage
        self._step: Step | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        if self._step is None:
            self._step = self._stage.open()
        return self._step(table)


@lru_cache(maxsize=2)
def _starts(earlier: Earlier) -> Rows:
    return np.cumsum([0, *(shard.rows for shard in earlier.open().shards)])


def _place(earlier: Earlier, row: int) -> tuple[int, int]:
    """Return the number of a row's shard, and its place among the shard's rows."""
    starts = _starts(earlier)
    shard = int(np.searchsorted(starts, row, side="right")) - 1
    return shard, row - int(starts[shard])


@lru_cache(maxsize=2)
def _columns(earlier: Earlier, shard: int) -> list[pa.ChunkedArray[Any]]:
    """Return the list columns of a shard; rows come in an order in which one shard follows the other."""
    table = earlier.open().table(shard, _NAMES)
    return [table[name] for name in _NAMES]
