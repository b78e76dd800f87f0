"""Counting a unit that cannot be done: its rows are read and named, each as failed, and nothing is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from dfndr_builders.stage import Stage, Step, good_rows, mark_problems
from dfndr_builders.work import Job

__all__ = ["Count", "counting"]


@dataclass(frozen=True)
class Count:
    """The stage that stands in for another: every row that had no problem gets `unit_failed`, and `why` in words."""

    stage: Stage
    why: str

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return what the other stage promises."""
        return self.stage.schema(given)

    def open(self) -> Step:
        """Open nothing of the other stage."""

        def step(table: pa.Table) -> pa.Table:
            rows, promised = len(table), self.stage.schema(table.schema)
            marked = mark_problems(table, dict.fromkeys(good_rows(table), ("unit_failed", self.why)))
            columns = [
                marked[field.name] if field in marked.schema else pa.nulls(rows, field.type) for field in promised
            ]
            return pa.table(columns, names=promised.names)

        return step


def counting(job: Job, strikes: Sequence[str]) -> Job:
    """Return the job that counts a unit's rows in place of the one that its workers died over."""
    why = f"its unit was put aside: {', and then: '.join(strikes)}"
    return replace(job, stage=Count(job.stage, why), encoders=())
