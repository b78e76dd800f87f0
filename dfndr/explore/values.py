"""What a dataset's columns are to the page (numbers, choices, texts), their values, and which rows pass a filter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dfndr.errors import UsageError
from dfndr.explore.reading import Reading

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Mask = npt.NDArray[np.bool_]

__all__ = ["Filter", "Values", "plain"]

_FREE_TEXTS = ("uid", "key", "text", "original_text", "sha256", "url")
_MOST_CHOICES = 200
_MOST_WORDS = 400


@dataclass(frozen=True)
class Filter:
    """Which rows to look at: those that meet all of it.

    `choices` has the allowed values of a column ("" for null), `ranges` the least and the most of a number, both
    inclusive and either absent; `words` must occur, in any case, in the text or in one of the captions.
    """

    choices: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ranges: tuple[tuple[str, float | None, float | None], ...] = ()
    words: str = field(default="")

    @classmethod
    def from_json(cls, text: str) -> Filter:
        """Read `{"choices": {name: [value]}, "ranges": {name: [least, most]}, "words": text}`; raises UsageError."""
        try:
            given = json.loads(text) if text else {}
            choices = tuple((str(name), tuple(map(str, some))) for name, some in given.get("choices", {}).items())
            ranges = tuple(
                (str(name), None if least is None else float(least), None if most is None else float(most))
                for name, (least, most) in given.get("ranges", {}).items()
            )
            words = given.get("words", "")
            if not isinstance(words, str) or len(words) > _MOST_WORDS or len(choices) + len(ranges) > 100:
                raise ValueError("too long")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            do = "Clear the filters."
            raise UsageError("filter", expected="choices, ranges and words", found=str(error)[:80], do=do) from error
        return cls(choices, ranges, words)


class Values:
    """The columns of a dataset by what can be done with them; a column is read when it is first needed."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.numbers = lru_cache(maxsize=16)(self._numbers)
        self.choices = lru_cache(maxsize=64)(self._choices)
        self._one = lru_cache(maxsize=32)(self._passing)

    def number_columns(self) -> list[str]:
        """Return the names of the columns that a histogram can be drawn of: first the scores, then the rest."""
        import pyarrow.types as kinds

        def is_number(kind: pa.DataType) -> bool:
            small = kinds.is_integer(kind) and kind.bit_width <= 32
            return bool(kinds.is_floating(kind) or small or kinds.is_int64(kind))

        names = [item.name for item in self._reading.schema if is_number(item.type)]
        return sorted(names, key=lambda name: name not in self._reading.dataset.manifest.scorers)

    def choice_columns(self) -> list[str]:
        """Return the names of the columns of few values: short strings and booleans."""
        import pyarrow.types as kinds

        return [
            item.name
            for item in self._reading.schema
            if kinds.is_boolean(item.type) or (kinds.is_string(item.type) and item.name not in _FREE_TEXTS)
        ]

    def _numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column as float64, a value per row; what is null or not finite is NaN."""
        import numpy as np
        import pyarrow as pa

        if name not in self.number_columns():
            raise UsageError(
                f"column {name[:40]!r}", expected="a column of numbers", found="another one", do="Choose one."
            )
        pieces = [piece.cast(pa.float64(), safe=False) for piece in self._reading.column(name)]
        arrays = [np.asarray(piece.fill_null(np.nan), dtype=np.float64) for piece in pieces]
        found = np.concatenate([*arrays, np.empty(0)])
        found[~np.isfinite(found)] = np.nan
        return found

    def _choices(self, name: str) -> dict[str, int] | None:
        """Return how many rows have each value of a column, largest first; None for more than 200 values."""
        import pyarrow as pa

        counts: dict[str, int] = {}
        for piece in self._reading.column(name):
            for entry in piece.cast(pa.string()).fill_null("").value_counts().to_pylist():
                counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
            if len(counts) > _MOST_CHOICES:
                return None
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def passing(self, wanted: Filter) -> Mask | None:
        """Return which rows meet a filter, or None where it asks for nothing."""
        single = [Filter(choices=(choice,)) for choice in wanted.choices if choice[1]]
        single += [Filter(ranges=(limits,)) for limits in wanted.ranges if limits[1:] != (None, None)]
        single += [Filter(words=wanted.words.strip())] if wanted.words.strip() else []
        found: Mask | None = None
        for one in single:
            found = self._one(one) if found is None else found & self._one(one)
        return found

    def _passing(self, one: Filter) -> Mask:
        import numpy as np

        for name, least, most in one.ranges:
            values = self.numbers(name)
            with np.errstate(invalid="ignore"):
                above = np.isfinite(values) if least is None else values >= least
                return above if most is None else above & (values <= most)
        for name, allowed in one.choices:
            return self._chosen(name, allowed)
        return self._containing(one.words)

    def _chosen(self, name: str, allowed: tuple[str, ...]) -> Mask:
        import pyarrow as pa
        import pyarrow.compute as pc

        if name not in self.choice_columns():
            raise UsageError(
                f"column {name[:40]!r}", expected="a column of few values", found="another one", do="Choose one."
            )
        some = pa.array(allowed, pa.string())
        return _joined(pc.is_in(piece.cast(pa.string()).fill_null(""), some) for piece in self._reading.column(name))

    def _containing(self, words: str) -> Mask:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        found = np.zeros(len(self._reading), dtype=bool)
        names = [name for name in ("text", "captions") if name in self._reading.schema.names]
        for name in names:
            start = 0
            for piece in self._reading.column(name):
                for chunk in piece.chunks:
                    texts, owners = chunk, np.arange(len(chunk))
                    if pa.types.is_list(chunk.type):
                        texts, owners = chunk.flatten(), chunk.value_parent_indices().to_numpy()
                    hits = pc.match_substring(texts, words, ignore_case=True).fill_null(False)
                    found[start + owners[np.asarray(hits, dtype=bool)]] = True
                    start += len(chunk)
        return found


def _joined(pieces: Any) -> Mask:  # noqa: ANN401  boolean ChunkedArrays
    import numpy as np

    return np.concatenate([np.asarray(piece, dtype=bool) for piece in pieces] or [np.empty(0, dtype=bool)])


def plain(value: Any, *, depth: int = 0) -> Any:  # noqa: ANN401  anything that Parquet may hold
    """Return a value as JSON can say it: what is too long is cut, bytes are told by their length."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= 1 << 53 else str(value)
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, Mapping) and depth < 4:
        return {str(name)[:200]: plain(inner, depth=depth + 1) for name, inner in list(value.items())[:200]}
    if isinstance(value, list | tuple) and depth < 4:
        return [plain(inner, depth=depth + 1) for inner in value[:200]]
    return str(value)[:20_000]
