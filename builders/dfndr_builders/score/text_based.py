"""DataComp's text-based filter: a text counts where one of its words is on a list (arXiv 2304.14108, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import RecipeError
from dfndr.progress import SILENT, Progress

__all__ = ["TextBasedScore", "read_words"]


@dataclass(frozen=True)
class TextBasedScore:
    """Derive column `name`, float32: 1 where a word of the text, in small letters, is one of `words`, else 0.

    Words are what stands between white space, punctuation and all: "a dog." has the words "a" and "dog.". A row without
    a text has a null.
    """

    name: str
    words: frozenset[str] = field(repr=False)

    def fields(self) -> list[pa.Field]:
        """Return the column."""
        return [pa.field(self.name, pa.float32())]

    def tables(self, scores: Dataset, progress: Progress = SILENT) -> Iterator[pa.Table]:
        """Yield the column of each shard's rows."""
        with progress.task(self.name, len(scores)) as task:
            for table in scores.tables(["text"]):
                texts = table["text"].to_pylist()
                found = [None if text is None else float(self._has_one(text)) for text in texts]
                yield pa.table([pa.array(found, pa.float32())], schema=pa.schema(self.fields()))
                task.advance(len(texts))

    def _has_one(self, text: str) -> bool:
        return not self.words.isdisjoint(text.lower().split())


def read_words(path: str) -> frozenset[str]:
    """Read a UTF-8 file with a word on each line, in small letters; raises RecipeError where there is none."""
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(path, expected="UTF-8", found=str(error), do="Save the list as UTF-8.") from error
    words = frozenset(line.strip().lower() for line in text.splitlines() if line.strip())
    phrases = sorted(word for word in words if len(word.split()) > 1)
    if not words or phrases:
        found, do = (repr(phrases[0]) if phrases else "none"), "Write one word a line; white space ends a word."
        raise RecipeError(path, expected="words, one a line", found=found, do=do)
    return words
