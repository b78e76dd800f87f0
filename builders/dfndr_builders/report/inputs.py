"""What the page is made from: the dataset, and what its build left in `phases/`, as far as it is still there.

All of it may be gone, damaged or made by somebody else; what cannot be used is left out, and the page says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import DfndrError
from dfndr.format.shard import parquet_errors
from dfndr_builders.captions.tally import SPENDING, Tally, read_tallies
from dfndr_builders.report.samples import AUDIT, SAMPLES
from dfndr_builders.timings import Spent

__all__ = ["AUDIT_ROLE", "Inputs", "Timing", "finite", "open_inputs"]

AUDIT_ROLE = "audit/duplicates"
_FOLDER = re.compile(r"phases/[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")
_MAX_BYTES = 32_000_000
_LARGEST = 1e15
_TIMINGS, _PLAN = "phases/timings.jsonl", "phases/plan.json"


@dataclass(frozen=True)
class Timing:
    """How long a phase took, over all the runs that it needed."""

    phase: str
    rows: int
    units: int
    seconds: float
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True)
class Inputs:
    """A dataset and what is left of its build; `missing` says in words what is not."""

    dataset: Dataset
    scores: Dataset | None
    rule: Mapping[str, Any]
    rules: Mapping[str, Mapping[str, object]]
    """The recipe's rules by the reason they drop rows for."""
    cut: float | None
    samples: pa.Table | None
    audit: str | None
    """Path of a local or remote Parquet with uid, reason, kept_uid and perhaps distance."""
    timings: tuple[Timing, ...]
    asked: Mapping[str, Tally]
    """What servers were asked that wrote captions, by captioner."""
    plan: Mapping[str, Any]
    """What was planned before the build; empty where nothing was kept, or of another recipe."""
    missing: tuple[str, ...]

    @property
    def by(self) -> str | None:
        """The score that rows were selected by, None where that is not known."""
        by = self.rule.get("by")
        return by if isinstance(by, str) else None

    def score_names(self) -> list[str]:
        """Return the names of the scores: what was selected by first, then all that the recipe names, then limits."""
        also, told = self.rule.get("also"), self.dataset.manifest.provenance.get("score_names")
        limits = [limit.get("by") for limit in also if isinstance(limit, Mapping)] if isinstance(also, list) else []
        names = [self.by, *self.dataset.manifest.scorers, *(told if isinstance(told, list) else []), *limits]
        return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def open_inputs(path: str) -> Inputs:
    """Open a dataset, local or remote, and what its build left; raises FormatError where there is no dataset."""
    dataset = open_dataset(path, check="size")
    given = dataset.manifest.provenance
    chosen = given.get("selection")
    selection: Mapping[str, Any] = chosen if isinstance(chosen, Mapping) else {}
    missing: list[str] = []
    scores = _scores(dataset, given.get("scores"), missing)
    folder = _folder(dataset.root, selection.get("phase"))
    told = _json(storage.join(folder, "selection.json")) if folder else {}
    rule = {**_mapping(told.get("rule")), **_mapping(selection.get("rule"))}
    samples = _samples(folder)
    if samples is None:
        missing.append("pictures of dropped rows: a build keeps some in phases/, beside the selection")
    return Inputs(
        dataset=dataset,
        scores=scores,
        rule=rule,
        rules=_rules(told.get("rule"), selection.get("rule"), selection),
        cut=finite(selection.get("cut")),
        samples=samples,
        audit=_audit(dataset, folder),
        timings=_timings(dataset.root),
        plan=_plan(dataset),
        asked=read_tallies(storage.join(dataset.root, SPENDING)),
        missing=tuple(missing),
    )


def finite(given: object) -> float | None:
    """Return a number that can be drawn, or None: JSON may hold integers of any length, and NaN."""
    if not isinstance(given, float | int) or isinstance(given, bool):
        return None
    return float(given) if abs(given) < _LARGEST else None


def _plan(dataset: Dataset) -> Mapping[str, Any]:
    given = _json(storage.join(dataset.root, _PLAN))
    return given if given.get("digest") == dataset.manifest.recipe_digest else {}


def _mapping(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def _folder(root: str, given: object) -> str | None:
    """Return a phase's folder where a manifest names one that lies below the dataset and is there."""
    if not isinstance(given, str) or not _FOLDER.fullmatch(given.rstrip("/")) or ".." in given:
        return None
    folder = storage.join(root, given.rstrip("/"))
    try:
        return folder if storage.is_folder(folder) else None
    except DfndrError:
        return None


def _scores(dataset: Dataset, given: object, missing: list[str]) -> Dataset | None:
    folder = _folder(dataset.root, given)
    if folder is None:
        missing.append("the table of scores of all rows: a build keeps it in phases/, and it is not there any more")
        return None
    try:
        scores = open_dataset(folder, check="size")
        scores.schema()
    except DfndrError as error:
        missing.append(f"the table of scores of all rows, which cannot be read: {error.found}")
        return None
    return scores


def _json(path: str) -> Mapping[str, Any]:
    try:
        if not storage.exists(path) or storage.size_of(path) > _MAX_BYTES:
            return {}
        return _mapping(json.loads(storage.read_bytes(path)))
    except (DfndrError, ValueError, RecursionError):
        return {}


def _rules(*places: object) -> dict[str, Mapping[str, object]]:
    """Return the rules by reason, from wherever a list of them stands under `drop` or `rules`."""
    found: dict[str, Mapping[str, object]] = {}
    for place in map(_mapping, places):
        for given in (place.get("drop"), place.get("rules")):
            for rule in given if isinstance(given, list | tuple) else ():
                if isinstance(rule, Mapping) and isinstance(rule.get("reason"), str):
                    found.setdefault(rule["reason"], rule)
    return found


def _samples(folder: str | None) -> pa.Table | None:
    path = storage.join(folder, SAMPLES) if folder else None
    if path is None or not storage.exists(path):
        return None
    try:
        with storage.open_read(path) as source, parquet_errors(path):
            table = pq.read_table(source)
    except DfndrError:
        return None
    return table if {"uid", "reason", "thumbnail"} <= set(table.column_names) else None


def _audit(dataset: Dataset, folder: str | None) -> str | None:
    """Return where the audit of duplicates is: among the dataset's files, or beside the selection."""
    stored = dataset.manifest.files.get(AUDIT_ROLE)
    try:
        if stored is not None:
            return str(dataset.local_file(stored))
        path = storage.join(folder, AUDIT) if folder else None
        return path if path is not None and storage.exists(path) else None
    except DfndrError:
        return None


def _timings(root: str) -> tuple[Timing, ...]:
    """Return the seconds by phase, in the order the phases came: the runs under each phase's last digest added up."""
    path = storage.join(root, _TIMINGS)
    try:
        if not storage.exists(path) or storage.size_of(path) > _MAX_BYTES:
            return ()
        lines = storage.read_bytes(path).decode("utf-8", "replace").splitlines()
    except DfndrError:
        return ()
    runs: dict[str, tuple[str, Timing]] = {}
    for line in lines:
        try:
            given = _mapping(json.loads(line))
        except (ValueError, RecursionError):
            continue  # a line that a killed build cut short
        phase, digest, seconds = str(given.get("phase")), str(given.get("digest")), finite(given.get("seconds"))
        rows, units = (int(finite(given.get(name)) or 0) for name in ("rows", "units"))
        if seconds is None or seconds < 0:
            continue
        told = _mapping(given.get("spent"))
        spent = Spent(*(max(0.0, finite(told.get(one.name)) or 0.0) for one in fields(Spent)))
        before = runs.get(phase)
        if before is not None and before[0] == digest:
            rows, units, seconds = rows + before[1].rows, units + before[1].units, seconds + before[1].seconds
            spent += before[1].spent
        runs[phase] = (digest, Timing(phase, rows, units, seconds, spent))
    return tuple(timing for _, timing in runs.values())
