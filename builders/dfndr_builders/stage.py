"""A stage: a frozen value that opens into a function from table to table; a chain of stages is a stage.

Four laws hold for every stage, and one shared test checks them (`tests/laws`):

1. batches do not matter: a table cut anywhere gives the same rows, within a stated float tolerance;
2. order is kept: rows leave as they came, none is invented, moved or lost;
3. same in, same out: randomness comes only from (seed, uid, purpose); a bad row gets a reason in the reserved column
   `problem`, and a row that has one is passed on untouched;
4. the promised schema is the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import pyarrow as pa

from dfndr.errors import DataError
from dfndr.format.schema import FAILED
from dfndr.looks import Looks

__all__ = [
    "HAPPENED",
    "POOL_SCHEMA",
    "Chain",
    "Stage",
    "Step",
    "good_rows",
    "looks_of",
    "mark_problems",
    "parted",
    "require",
]

Step = Callable[[pa.Table], pa.Table]

POOL_SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("image", pa.large_binary()),
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
"""What every pool gives, followed by the columns its recipe keeps. `image` holds the encoded bytes as they are in the
pool; `problem` is null or a reason of `FAILED`, and `detail` says more in words."""

HAPPENED = pa.field("happened", pa.list_(pa.string()))
"""A column that a stage may add once: what happened to a row on the way, in words that the shard's notes count. It is
not stored."""


class Stage(Protocol):
    """A frozen value that opens into a step."""

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the schema that leaves; raises DataError where a column is missing."""

    def open(self) -> Step:
        """Load what is heavy, once per worker, and return the function from table to table."""


@dataclass(frozen=True)
class Chain:
    """Stages one after the other; a stage itself."""

    stages: tuple[Stage, ...]

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return what leaves the last stage."""
        return reduce(lambda schema, stage: stage.schema(schema), self.stages, given)

    def open(self) -> Step:
        """Open every stage, in order."""
        steps = [stage.open() for stage in self.stages]
        return lambda table: reduce(lambda rows, step: step(rows), steps, table)


def parted(stage: Stage) -> tuple[Stage, Stage]:
    """Return what runs no model and can be done ahead, which are the first links of a chain, and what is left."""
    links = stage.stages if isinstance(stage, Chain) else (stage,)
    count = next((place for place, link in enumerate(links) if not getattr(link, "is_light", False)), len(links))
    return Chain(tuple(links[:count])), Chain(tuple(links[count:]))


def looks_of(stage: Stage) -> tuple[Looks[Any], ...]:
    """Return who, in a stage or a chain, looks at the picture of every row, each once; loads their models."""
    links = stage.stages if isinstance(stage, Chain) else (stage,)
    return tuple(dict.fromkeys(looks for link in links for looks in getattr(link, "looks", ())))


def require(stage: str, given: pa.Schema, columns: Mapping[str, pa.DataType]) -> None:
    """Raise DataError where a stage's input lacks a column or holds another type."""
    for name, kind in columns.items():
        found = str(given.field(name).type) if name in given.names else "no such column"
        if found != str(kind):
            do = "Put the stage that makes it before this one."
            raise DataError(f"stage {stage}", expected=f"a column {name!r} of {kind}", found=found, do=do)


def good_rows(table: pa.Table) -> list[int]:
    """Return the positions of the rows that have no problem so far."""
    return [position for position, problem in enumerate(table["problem"].to_pylist()) if problem is None]


def mark_problems(table: pa.Table, problems: Mapping[int, tuple[str, str]]) -> pa.Table:
    """Return the table with reasons (and details in words) set at the given positions, which must be unset so far."""
    if not problems:
        return table
    columns: dict[str, Sequence[str | None]] = {
        "problem": table["problem"].to_pylist(),
        "detail": table["detail"].to_pylist(),
    }
    reasons, details = list(columns["problem"]), list(columns["detail"])
    for position, (reason, detail) in problems.items():
        if reason not in FAILED or reasons[position] is not None:
            do = "Report this: a stage broke its promise."
            raise DataError(f"row {position}", expected="a known reason for a row without one", found=reason, do=do)
        reasons[position], details[position] = reason, detail[:300]
    for name, values in (("problem", reasons), ("detail", details)):
        table = table.set_column(
            table.schema.get_field_index(name), pa.field(name, pa.string()), pa.array(values, pa.string())
        )
    return table
