"""Adding a column of scores to a table whose bad rows have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr_builders.stage import mark_problems

__all__ = ["with_scores"]


def with_scores(
    table: pa.Table,
    name: str,
    rows: Sequence[int],
    scores: npt.NDArray[np.floating[Any]],
    problems: Mapping[int, tuple[str, str]],
) -> pa.Table:
    """Return the table with a float32 column: the scores at `rows`, null elsewhere.

    `problems` are by place in `rows`; so is a score that is not finite, as `score_not_finite`. Rows with a problem get
    its reason and a null.
    """
    found = np.zeros(len(table), dtype=np.float32)
    is_null = np.ones(len(table), dtype=bool)
    not_finite = np.flatnonzero(~np.isfinite(scores)).tolist()
    bad = {**{place: ("score_not_finite", f"a score of {scores[place]}") for place in not_finite}, **problems}
    good = [place for place in range(len(rows)) if place not in bad]
    places = [rows[place] for place in good]
    found[places], is_null[places] = scores[good], False
    column = pa.array(found, pa.float32(), mask=is_null)
    table = table.append_column(pa.field(name, pa.float32()), column)
    return mark_problems(table, {rows[place]: problem for place, problem in bad.items()})
