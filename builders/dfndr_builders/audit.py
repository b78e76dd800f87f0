"""Who was dropped because of whom: duplicates with the row that stayed, contaminated rows with what they match."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.format.shard import parquet_errors, write_rows
from dfndr_builders.choosing import Chosen
from dfndr_builders.context import Context
from dfndr_builders.deriving import REASONS, Derivation
from dfndr_builders.scoring import Scored

__all__ = ["write_audits"]

_DUPLICATES, _CONTAMINATED = "audit/duplicates", "audit/contaminated"


def write_audits(context: Context, scored: Scored, derived: Sequence[Derivation], chosen: Chosen) -> None:
    """Write the audit files of the recipe's duplicates and contamination into the dataset, under their roles."""
    scores = scored.dataset()
    tables: dict[str, pa.Table | None] = {
        _DUPLICATES: _duplicates(scores, derived, chosen.root),
        _CONTAMINATED: _contaminated(scores, derived),
    }
    for role, table in tables.items():
        if table is not None:
            context.files[role] = write_rows(context.root, f"{role}-{{hash8}}.parquet", table)


def _duplicates(scores: Dataset, derived: Sequence[Derivation], selection: str) -> pa.Table | None:
    """Return uid, reason, kept_uid and the distance between the two: 0, bits, or 1 - cosine."""
    makers = {reason: one.made for one in derived for reason, column in REASONS.items() if column in one.names}
    if not makers:
        return None
    path = storage.join(selection, "audit.parquet")
    with storage.open_read(path) as file, parquet_errors(path):
        audit = pq.read_table(file)
    starts = np.cumsum([0, *(shard.rows for shard in scores.shards)])
    distances = np.zeros(len(audit), dtype=np.float32)
    for reason, made in makers.items():
        places = np.flatnonzero(pc.equal(audit["reason"], reason).to_numpy())
        if len(places):
            part = audit.take(places)
            distances[places] = made.distance(scores, _rows(part, "", starts), _rows(part, "kept_", starts))  # type: ignore[attr-defined]
    return audit.select(["uid", "reason", "kept_uid"]).append_column("distance", pa.array(distances))


def _rows(audit: pa.Table, which: str, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows among all scores."""
    rows: npt.NDArray[np.int64] = starts[audit[f"{which}shard"].to_numpy()] + audit[f"{which}row"].to_numpy()
    return rows


def _contaminated(scores: Dataset, derived: Sequence[Derivation]) -> pa.Table | None:
    """Return uid, key, contaminated_by and contaminated_distance of every contaminated row."""
    found = [one for one in derived if "contaminated" in one.names]
    if not found:
        return None
    parts = []
    for rows, path in zip(scores.tables(["uid", "key"]), found[0].columns.paths(), strict=True):
        with storage.open_read(path) as file, parquet_errors(path):
            told = pq.read_table(file)
        for name in ("contaminated_by", "contaminated_distance"):
            rows = rows.append_column(told.schema.field(name), told[name])
        parts.append(rows.filter(told["contaminated"]))
    return pa.concat_tables(parts)
