"""Which rows an epoch holds, and how often each: a condition, weights, and a schedule of both over the epochs.

What is held in memory is the number of each chosen row (4 bytes; 8 from 2**31 rows on) and, with weights, the weight of
each row that may come. It is worked out again only where an epoch asks for something else than the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.shard import parquet_errors
from dfndr.schedule import Stage, stages_of
from dfndr.seeds import hash_fraction

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.compute as pc

    Rows: TypeAlias = npt.NDArray[np.int64]
    Index: TypeAlias = npt.NDArray[np.integer[Any]]
    Weights: TypeAlias = npt.NDArray[Any]

__all__ = ["Chosen", "Sampling", "systematic"]

_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Chosen:
    """The rows of one epoch in the dataset's order, a row as often as it comes in it."""

    index: Index
    repeats: bool

    def rows(self, positions: Rows) -> Rows:
        """Return the rows at some positions, int64."""
        return self.index[positions].astype("int64")

    def times(self, positions: Rows, rows: Rows) -> Rows:
        """Return how many times each of the rows at some positions has come before it in the dataset's order."""
        import numpy as np

        if not self.repeats:
            return np.zeros(len(rows), dtype=np.int64)
        times: Rows = positions - np.searchsorted(self.index, rows.astype(self.index.dtype))
        return times


@dataclass(frozen=True, eq=False)
class _Held:
    """The rows of a stage, None for all of them, and their weights, None for once each."""

    index: Index | None
    weights: Weights | None


_NOTHING = (-1, _Held(None, None))


class Sampling:
    """A schedule of conditions and weights over one dataset, and the rows of the epoch that was last asked for.

    Every stage of the schedule is tried at once, so what cannot be is found before the first epoch and not in the
    night after it. Raises UsageError for it: a column that is not there, a condition that no row meets, a weight that
    is null, negative or not finite, weights that are all zero.
    """

    def __init__(self, dataset: Dataset, *, where: object, weights: object) -> None:
        self._dataset, self._stages = dataset, stages_of(dataset, where, weights)
        for number in reversed(range(len(self._stages))):
            self._held = (number, _read(dataset, self._stages[number]))
        self._chosen: tuple[tuple[int, int] | None, Chosen | None] = (None, None)

    def count(self, epoch: int) -> int:
        """Return how many rows an epoch has: as many as meet its condition."""
        held = self._at(epoch)
        return len(self._dataset) if held.index is None else len(held.index)

    def chosen(self, seed: int, epoch: int) -> Chosen | None:
        """Return the rows of an epoch; None where it holds every row once."""
        import numpy as np

        held = self._at(epoch)
        if held.weights is None:
            return None if held.index is None else Chosen(held.index, repeats=False)
        if self._chosen[0] != (seed, epoch):
            self._chosen = (None, None)  # so that the old rows are not held beside the new ones
            places = systematic(held.weights, hash_fraction(seed, "weights", epoch))
            index = places if held.index is None else np.take(held.index, places)
            self._chosen = ((seed, epoch), Chosen(index, repeats=True))
        return self._chosen[1]

    def _at(self, epoch: int) -> _Held:
        number = sum(stage.first <= epoch for stage in self._stages) - 1
        if self._held[0] != number:
            self._chosen, self._held = (None, None), _NOTHING  # the old rows are not held beside the new ones
            self._held = (number, _read(self._dataset, self._stages[number]))
        return self._held[1]


def _read(dataset: Dataset, stage: Stage) -> _Held:
    """Work out a stage's rows and their weights; raises UsageError where there are none, or a weight is none."""
    if not len(dataset):
        return _Held(None, None)
    index, weights = _scanned(dataset, stage)
    if index is not None and not len(index):
        found, do = f"none of {len(dataset):,}", "Loosen the condition, or leave the stage out."
        raise UsageError(stage.named("where"), expected="rows that meet it", found=found, do=do)
    if weights is None and stage.weights is not None and not isinstance(stage.weights, str):
        weights = stage.weights if index is None else stage.weights[index]
    if weights is not None:
        _check_weights(weights, index, stage)
    return _Held(index, weights)


def _scanned(dataset: Dataset, stage: Stage) -> tuple[Index | None, Weights | None]:
    """Read, shard by shard, which rows meet a stage's condition and the column of their weights, where it has them."""
    import numpy as np
    import pyarrow.compute as pc

    columns = {} if stage.where is None else {"met": stage.where}
    kind, done = np.dtype(np.float64), 0
    if isinstance(stage.weights, str):
        columns["weight"] = pc.field(stage.weights)
        kind = np.dtype(dataset.schema().field(stage.weights).type.to_pandas_dtype())
    # Room for all is taken at once, which costs nothing before it is filled, and what is left over is given back.
    rows: Index = np.empty(len(dataset), dtype=_kind(len(dataset)))
    weights: Weights = np.empty(len(dataset), dtype=kind)
    for start, table in _tables(dataset, columns):
        if "met" in columns:
            met = table["met"].fill_null(False)
            table = table.filter(met)
            rows[done : done + len(table)] = np.flatnonzero(met) + start
        if "weight" in columns:
            if table["weight"].null_count:
                place = done + int(np.argmax(table["weight"].is_null()))
                row, do = rows[place] if "met" in columns else place, "Leave such rows out with `where`."
                where = stage.named(f"weights {stage.weights!r}")
                raise UsageError(f"{where}, row {row}", expected="a number", found="null", do=do)
            weights[done : done + len(table)] = table["weight"].to_numpy()
        done += len(table)
    rows.resize(done, refcheck=False)
    weights.resize(done, refcheck=False)
    return rows if "met" in columns else None, weights if "weight" in columns else None


def _tables(dataset: Dataset, columns: Mapping[str, pc.Expression]) -> Iterator[tuple[int, pa.Table]]:
    """Yield for each shard its first row's number and what the expressions are over its rows."""
    import pyarrow.dataset as pads

    start, schema = 0, dataset.schema()
    for number, shard in enumerate(dataset.shards if columns else ()):
        path = str(dataset.local_file(shard.files["rows"]))
        with parquet_errors(path):
            table = pads.dataset(path, schema=schema).to_table(columns=dict(columns))
        yield start, dataset.kept(number, table)
        start += shard.rows


def _check_weights(weights: Weights, index: Index | None, stage: Stage) -> None:
    import numpy as np

    where = stage.named(f"weights {stage.weights!r}" if isinstance(stage.weights, str) else "weights")
    fine = np.isfinite(weights)
    fine &= weights >= 0
    if not fine.all():
        place = int(fine.argmin())
        row, do = place if index is None else index[place], "Give a weight of 0 to what shall not come."
        raise UsageError(f"{where}, row {row}", expected="a finite number from 0 up", found=f"{weights[place]}", do=do)
    if not weights.any():
        raise UsageError(where, expected="a weight above 0", found="only zeros", do="Give some row a weight above 0.")


def systematic(weights: Weights, offset: float) -> Index:
    """Draw as many items as there are, with a chance by weight: their numbers in order, int32 where that is enough.

    Item i comes floor(e) or ceil(e) times, where e = n x weight / sum of weights is how often it is expected:
    systematic resampling (Kitagawa 1996; Carpenter, Clifford and Fearnhead 1999). One comb of n teeth, 1 apart and
    shifted by `offset` from [0, 1), is laid over the sums of the weights, which are scaled to n.
    """
    import numpy as np

    count, places, done = len(weights), np.empty(len(weights), dtype=_kind(len(weights))), 0
    total = max((float(sums[-1]) for _, sums in _running(weights)), default=0.0)
    for start, sums in _running(weights):
        reached = sums / total * count
        teeth = np.ceil(reached - offset).astype(np.int64)
        teeth[reached >= count] = count  # where the offset is lost beside n in rounding, no tooth may be
        items = np.arange(start, start + len(sums), dtype=places.dtype)
        places[done : teeth[-1]] = np.repeat(items, np.diff(teeth, prepend=done))
        done = int(teeth[-1])
    return places


def _running(weights: Weights) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Yield the running sums of weights, as shares of the largest one, chunk by chunk, with where each chunk starts."""
    import numpy as np

    largest, carried = float(weights.max(initial=0)), 0.0
    for start in range(0, len(weights), _CHUNK):
        sums = weights[start : start + _CHUNK].astype(np.float64) / largest
        sums[0] += carried
        np.cumsum(sums, out=sums)
        carried = float(sums[-1])
        yield start, sums


def _kind(count: int) -> str:
    return "int32" if count < 2**31 else "int64"
