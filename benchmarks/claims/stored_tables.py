"""The table of the experiment on storage types, made from recorded results alone."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev

__all__ = ["filled_stored", "read_stored", "stored_file", "stored_table"]

_TITLES = {
    "recall_1": "a crop's picture is the nearest",
    "recall_5": "among the 5 nearest",
    "zero_shot": "zero-shot accuracy, its own classes",
}
_HEAD = "accuracy of a head, the other five classes"

Records = tuple[dict[str, object], ...]


def stored_file() -> Path:
    """Return where the results lie."""
    return Path(__file__).parent / "results" / "stored.json"


def read_stored(file: Path) -> Records:
    """Return all records: of each type one without a seed, and one of each head."""
    return tuple(json.loads(file.read_text(encoding="utf-8")))


def stored_table(records: Records) -> str:
    """Return a row for each type; of heads the mean over seeds and their standard deviation."""
    lines = [["type", *_TITLES.values(), _HEAD, "and each seed's points above float32"]]
    exact = _heads(records, "float32")
    for dtype in dict.fromkeys(str(record["dtype"]) for record in records):
        (alone,) = (record for record in records if record["dtype"] == dtype and record["seed"] is None)
        heads = _heads(records, dtype)
        gained = ", ".join(f"{100 * (one - other):+.1f}" for one, other in zip(heads, exact, strict=True))
        figures = [f"{100 * float(str(alone[name])):.1f}%" for name in _TITLES]
        lines.append([dtype, *figures, f"{100 * fmean(heads):.1f}% ± {100 * stdev(heads):.1f}%", gained])
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], "|" + " --- |" * len(lines[0]), *rows[1:]])


def _heads(records: Records, dtype: str) -> list[float]:
    return [float(str(record["head"])) for record in records if record["dtype"] == dtype and record["seed"] is not None]


def filled_stored(text: str, records: Records) -> str:
    """Return a page with what is between `<!-- stored -->` and `<!-- /stored -->` made anew."""
    first, last = "<!-- stored -->\n", "<!-- /stored -->"
    before, rest = text.split(first)
    return f"{before}{first}{stored_table(records)}\n{last}{rest.split(last)[1]}"
