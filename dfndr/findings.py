"""What `verify` has to say: findings, each naming a file and where it applies a row, and the report that holds them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Finding", "Report", "What"]

What = Literal[
    "manifest",  # missing, not JSON, unsafe, or its counts do not add up; nothing else was checked
    "missing",
    "size",  # truncated, or longer than it was
    "altered",  # another sha256
    "unreadable",  # no permission, a folder, damaged Parquet
    "name",  # not <role>/<split>-<number>-<hash8>
    "columns",
    "rows",  # another number of rows than the manifest says
    "reasons",  # problems/ does not hold what the manifest counts
    "header",  # a .npy that is something else than the manifest says
    "uid",
    "duplicate",
    "views",  # what is no view, lies outside of the picture, or are more or fewer than the vectors
    "not finite",
    "zero",
    "norm",
    "scale",  # of an int8 vector: below zero
    "not free",  # a vector in a place beyond the row's captions
    "removed",  # what was taken out: lists, rows and log do not say the same
    "stray",  # not named by the manifest
]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: in which file (relative to the dataset), at which row of it, and what."""

    file: str
    what: What
    expected: str
    found: str
    row: int | None = None
    uid: str | None = None
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        row = "" if self.row is None else f", row {self.row}"
        uid = "" if self.uid is None else f" (uid {self.uid})"
        return f"{self.file}{row}{uid}: {self.what}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Report:
    """What `verify` found; `files`, `rows` and `size_bytes` say how much the manifest names and was looked at."""

    root: str
    digest: str | None
    files: int
    rows: int
    size_bytes: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the dataset keeps every promise; a warning, such as a file too many, breaks none."""
        return all(finding.level != "error" for finding in self.findings)

    def __str__(self) -> str:
        errors = sum(finding.level == "error" for finding in self.findings)
        verdict = "every promise of the format is kept" if self.ok else f"errors: {errors:,}"
        size = f"{self.rows:,} rows in {self.files:,} files of {self.size_bytes:,} bytes"
        return "\n".join([*(f"{found.level}: {found}" for found in self.findings), f"{self.root}: {size}; {verdict}"])

    def to_json(self) -> dict[str, object]:
        """Return what `dfndr verify --json` prints."""
        return {"ok": self.ok, **asdict(self), "findings": [asdict(finding) for finding in self.findings]}
