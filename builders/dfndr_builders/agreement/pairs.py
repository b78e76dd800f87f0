"""Pairs of pictures and captions that were labelled or rated, from a file of tab-separated columns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.errors import DataError

__all__ = ["Pairs", "read_pairs"]

_LABELS = {"match": True, "no-match": False, "1": True, "0": False, "true": True, "false": False}
_RATING = re.compile("rating[0-9]{1,9}")


@dataclass(frozen=True, eq=False)
class Pairs:
    """A key and a caption for each pair, and what is known of it.

    `labels` of shape (pairs,) says which captions match; `ratings` of shape (pairs, raters) holds numbers, NaN where
    somebody gave none. One of them may be None.
    """

    keys: tuple[str, ...]
    captions: tuple[str, ...]
    labels: npt.NDArray[np.bool_] | None
    ratings: npt.NDArray[np.float64] | None

    def take(self, rows: npt.NDArray[np.int64]) -> Pairs:
        """Return some of the pairs."""
        return Pairs(
            tuple(self.keys[row] for row in rows),
            tuple(self.captions[row] for row in rows),
            None if self.labels is None else self.labels[rows],
            None if self.ratings is None else self.ratings[rows],
        )


def read_pairs(path: str) -> Pairs:
    """Return the pairs of a file with the columns `image`, `caption`, and `label` or `rating1`, `rating2` and so on.

    A label is match or no-match (or 1 and 0, true and false). Raises DataError, which names the line, for a missing
    column, a line of another length, a label or rating that is none, a pair without any rating, and an empty file.
    """
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, expected="UTF-8", found=str(error), do="Save it as UTF-8.") from error
    lines = (line.split("\t") for line in re.split("\r\n?|\n", text))
    names = [name.strip() for name in next(lines)]
    raters = sorted((name for name in names if _RATING.fullmatch(name)), key=lambda name: int(name[6:]))
    _check_columns(path, names, raters)
    rows: list[dict[str, str]] = []
    for number, line in enumerate(lines, start=2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(names):
            raise DataError(
                f"{path}, line {number}",
                expected=f"{len(names)} columns",
                found=str(len(line)),
                do="Separate them by one tab each.",
            )
        rows.append({**dict(zip(names, map(str.strip, line), strict=True)), "": f"{path}, line {number}"})
    if not rows:
        raise DataError(path, expected="pairs below the header", found="none", do="Check the file.")
    return Pairs(
        tuple(row["image"] for row in rows),
        tuple(row["caption"] for row in rows),
        np.array([_label(row) for row in rows]) if "label" in names else None,
        np.array([_ratings(row, raters) for row in rows]) if raters else None,
    )


def _check_columns(path: str, names: Sequence[str], raters: Sequence[str]) -> None:
    missing = [name for name in ("image", "caption") if name not in names]
    if "label" not in names and not raters:
        missing.append("label (or rating1, rating2, ...)")
    if missing or len(set(names)) != len(names):
        found = f"the columns {', '.join(names)}"[:160] if any(names) else "an empty file"
        do = "Name each column once in the first line, with tabs between them."
        raise DataError(path, expected=f"a column {missing[0]}" if missing else "other names", found=found, do=do)


def _label(row: dict[str, str]) -> bool:
    found = _LABELS.get(row["label"].lower())
    if found is None:
        raise DataError(row[""], expected="match or no-match", found=repr(row["label"][:80]), do="Mend the label.")
    return found


def _ratings(row: dict[str, str], raters: Sequence[str]) -> list[float]:
    found = []
    for rater in raters:
        try:
            number = float(row[rater]) if row[rater] else math.nan
        except ValueError:
            number = math.inf
        if math.isinf(number) or (row[rater] and math.isnan(number)):
            do = "Give a finite number, or nothing where there is no rating."
            raise DataError(f"{row['']}, {rater}", expected="a number", found=repr(row[rater][:80]), do=do)
        found.append(number)
    if all(map(math.isnan, found)):
        raise DataError(row[""], expected="a rating", found="none", do="Leave the pair out.")
    return found
