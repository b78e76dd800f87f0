"""Selection, the only global step: which scored rows are kept. Exact, out of core (DuckDB), ties broken by uid.

In this order: rows without a finite score fail; a uid that comes again is a `duplicate` (the first in the pool's order
stays); rows on the list `exclude` go; then those that meet a rule; then duplicates by groups. N is the number of rows
that are left. Of these the limits and the quota keep exactly so many as the rule says; best first is the higher score,
and among equal scores the smaller uid. Rows on the list `include` pass rules, limits and quotas.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.storage import Stored
from dfndr_builders.select.database import interruptible, open_database, rows_of
from dfndr_builders.select.frame import open_frame
from dfndr_builders.select.keeping import keep, ranges_of
from dfndr_builders.select.limits import Verdict, verdict_of
from dfndr_builders.select.marks import Uids, mark_groups, mark_listed
from dfndr_builders.select.rule import Rule
from dfndr_builders.select.running import KEPT, NOT_FINITE, Running, columns_needed
from dfndr_builders.select.selection import DONE, Selection
from dfndr_builders.select.writing import write_audit, write_kept, write_samples
from dfndr_builders.sources import COUNTED, step_of_counts

__all__ = ["select"]


def select(
    scores: Dataset,
    rule: Rule,
    out: str,
    *,
    derived: Sequence[Sequence[str]] = (),
    include: Uids | None = None,
    exclude: Uids | None = None,
    threads: int = 2,
    sorting: str | None = None,
) -> Selection:
    """Write the selection's files into `out`, `selection.json` last, and return what it says.

    `<split>.parquet` has shard int32, row int32, uid, score, the fused scores and deciles, in the pool's order; `shard`
    and `row` point into the dataset of scores. `audit.parquet` says which duplicate went because of which row, and
    `dropped_samples.parquet` shows some of what was dropped. `derived` are columns made from all rows: each a list of
    local Parquet files, one per shard, that go with the rows. What is sorted on disk lies in the folder `sorting`; see
    `open_database`. Raises RecipeError where there is no such column.
    """
    rule.check()
    with open_database(threads, sorting=sorting) as (opened, folder):

        def work(database: Any) -> tuple[Selection, list[Stored]]:  # noqa: ANN401
            frame = open_frame(database, scores, derived, needed=columns_needed(rule), folder=folder)
            running = Running(database, frame, rule)
            absent = _narrow_down(running, folder, include=include, exclude=exclude)
            return _write(running, verdict_of(running), out, absent=absent, scores=scores)

        chosen, stored = interruptible(opened, work)
    files = {file.path: file.size_bytes for file in stored}
    given = {**asdict(chosen), "step": chosen.step.to_json(), "rule": asdict(rule), "files": files}
    storage.put(out, DONE, (json.dumps(given, indent=1, sort_keys=True) + "\n").encode())
    return chosen


def _narrow_down(running: Running, folder: Path, *, include: Uids | None, exclude: Uids | None) -> dict[str, int]:
    running.start(folder)
    absent = mark_listed(running, include=include, exclude=exclude)
    running.apply_rules()
    if running.rule.fusions and running.rule.groups:
        running.fuse()
    mark_groups(running)
    if running.rule.fusions:
        running.fuse()
    running.settle()
    return absent


def _write(
    running: Running, verdict: Verdict, out: str, *, absent: dict[str, int], scores: Dataset
) -> tuple[Selection, list[Stored]]:
    database, rule, reasons = running.database, running.rule, running.reasons
    last = len(reasons) - 1
    database.execute(
        "CREATE OR REPLACE TEMP VIEW final AS SELECT judged.* EXCLUDE (forced, outcome), CAST(CASE "
        f"WHEN outcome IS NOT NULL THEN outcome WHEN {verdict.is_kept} THEN {KEPT} "
        f"WHEN {verdict.without_quota} THEN {last - 1} ELSE {last} END AS UTINYINT) "
        f"AS fate FROM judged {verdict.join}"
    )
    counts = "SELECT source, fate, count(*) AS rows FROM final GROUP BY ALL"
    has_source = "source" in running.frame.types
    text, join = ("CAST(value AS VARCHAR)", "JOIN source_codes ON source = code") if has_source else ("NULL", "")
    found = rows_of(database, f"SELECT {text}, fate, rows FROM ({counts}) {join}")
    always = ["duplicate", *(["excluded"] if "exclude" in absent else []), *reasons[4:-2]]
    always += [*(["over_quota"] if rule.quota else []), "not_selected"]
    step = step_of_counts(
        "select",
        _counted(found, reasons),
        rows_in=len(scores),
        reasons=always,
        by_source=has_source,
        named=scores.manifest.funnel[-1].sources or None if scores.manifest.funnel else None,
    )
    ranges = ranges_of([shard.rows for shard in scores.shards])
    rows = keep(running, ranges)
    cut = rows_of(database, "SELECT min(score) FROM kept")[0][0]
    dropped: dict[int, int] = {}
    for _, fate, count in found:
        if fate not in (KEPT, NOT_FINITE):
            dropped[fate] = dropped.get(fate, 0) + count
    stored = [
        *write_kept(
            database, out, ranges=ranges, floats=[fusion.name for fusion in rule.fusions], deciles=rule.deciles
        ),
        write_audit(database, out),
        write_samples(database, out, reasons=reasons, counts=dropped, score=running.scores[rule.by]),
    ]
    return Selection(rows, cut, verdict.samples, step, absent), stored


def _counted(found: list[tuple[Any, ...]], reasons: list[str]) -> pa.Table:
    """Return counted rows (source, code, count) as a table of `COUNTED`."""
    records = []
    for source, fate, count in found:
        outcome = "kept" if fate == KEPT else "failed" if fate == NOT_FINITE else "dropped"
        records.append({"source": source, "outcome": outcome, "reason": reasons[fate] or None, "count": count})
    return pa.Table.from_pylist(records, schema=COUNTED)
