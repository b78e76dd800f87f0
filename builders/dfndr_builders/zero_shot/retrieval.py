"""Zero-shot retrieval both ways, with several captions to a picture, as CLIP papers and CLIP_benchmark count it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.encoder import Encoder
from dfndr.errors import DataError
from dfndr.progress import SILENT, Progress
from dfndr_builders.pools.base import TABLE_ROWS, Pool
from dfndr_builders.stage import good_rows
from dfndr_builders.zero_shot.hits import hits_at, scores_of
from dfndr_builders.zero_shot.problems import Problems, in_words
from dfndr_builders.zero_shot.sets import CaptionedSet

__all__ = ["Retrieval", "retrieval_of"]

_SCORES_PER_BLOCK = 4_000_000


@dataclass(frozen=True)
class Retrieval:
    """Recall at k in [0, 1]: of a picture, whether one of its captions is among the k best of all captions; of a
    caption, whether its picture is among the k best pictures.

    A caption that stands at several pictures counts at each, and only that picture is right, as in CLIP_benchmark.
    `problems` names, by reason, the keys of the samples that could not be used.
    """

    name: str
    images: int
    captions: int
    image_to_text: Mapping[int, float]
    text_to_image: Mapping[int, float]
    problems: Mapping[str, tuple[str, ...]]

    def to_json(self) -> dict[str, object]:
        """Return a JSON object of the same fields, with `R@k` for k."""
        ways = {
            "image_to_text": {f"R@{k}": value for k, value in self.image_to_text.items()},
            "text_to_image": {f"R@{k}": value for k, value in self.text_to_image.items()},
        }
        problems = {reason: list(keys) for reason, keys in self.problems.items()}
        return {"task": "retrieval", **vars(self), **ways, "problems": problems}

    def __str__(self) -> str:
        lines = [f"{self.name}: zero-shot retrieval, {self.images:,} images, {self.captions:,} captions"]
        for label, recall in (("image to text", self.image_to_text), ("text to image", self.text_to_image)):
            lines.append(f"  {label}: " + ", ".join(f"R@{k} {value:.2%}" for k, value in recall.items()))
        return "\n".join(lines) + in_words(self.problems)


def retrieval_of(
    encoder: Encoder, given: CaptionedSet, *, ks: Sequence[int] = (1, 5, 10), progress: Progress = SILENT
) -> Retrieval:
    """Measure retrieval by cosine over a whole set; scores are held for some queries at a time, never for all.

    Raises DataError where not one picture can be used.
    """
    problems = Problems()
    pictures = _pictures(given.pool, problems)
    vectors: list[npt.NDArray[np.float32]] = []
    captions: list[str] = []
    owner: list[int] = []
    with progress.task(f"encode {given.name}", None) as task:
        while block := list(islice(pictures, TABLE_ROWS)):
            encoded = encoder.encode_images([picture.image for picture in block])
            for place, picture in enumerate(block):
                if place in encoded.problems:
                    problems.add(encoded.problems[place][0], picture.key)
                    continue
                captions += picture.captions
                owner += [len(vectors)] * len(picture.captions)
                vectors.append(encoded.vectors[place])
            task.advance(len(block))
    if not vectors:
        do = "Check the set's pictures and captions."
        raise DataError(f"set {given.name!r}", expected="pictures with captions", found=problems.counted(), do=do)
    images, texts, owners = np.stack(vectors), _encoded(encoder, captions, given.name), np.array(owner)
    each = np.arange(len(images))
    return Retrieval(
        name=given.name,
        images=len(images),
        captions=len(captions),
        image_to_text=_recall(ks, images, texts, each, owners),
        text_to_image=_recall(ks, texts, images, owners, each),
        problems=problems.named(),
    )


def _encoded(encoder: Encoder, captions: Sequence[str], name: str) -> npt.NDArray[np.float32]:
    """Return the vectors of the captions; each distinct one is encoded once, so that equal ones score the same."""
    distinct = {text: place for place, text in enumerate(dict.fromkeys(captions))}
    encoded = encoder.encode_texts(list(distinct))
    for reason, detail in encoded.problems.values():
        found = f"{reason}: {detail}"
        raise DataError(f"set {name!r}", expected="a vector of each caption", found=found, do="Check the model.")
    return encoded.vectors[[distinct[text] for text in captions]]


@dataclass
class _Picture:
    """A picture and its captions."""

    key: str
    image: bytes
    captions: list[str]


def _pictures(pool: Pool, problems: Problems) -> Iterator[_Picture]:
    """Yield the pictures of a pool; rows in a row with one picture (keys `KEY#0`, `KEY#1`, ...) are one."""
    last: _Picture | None = None
    for shard in pool.shards():
        for table in pool.read(shard):
            problems.add_rows(table)
            good = pa.array(good_rows(table), pa.int64())
            for row in table.select(["key", "image", "text"]).take(good).to_pylist():
                key = row["key"].rpartition("#")[0] or row["key"]
                captions = [line.strip() for line in row["text"].splitlines() if line.strip()]
                if last is not None and (last.key, last.image) == (key, row["image"]):
                    last.captions += captions
                    continue
                if last is not None:
                    yield last
                last = _Picture(key, row["image"], captions)
    if last is not None:
        yield last


def _recall(
    ks: Sequence[int],
    queries: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.float32],
    query_owner: npt.NDArray[np.int64],
    candidate_owner: npt.NDArray[np.int64],
) -> dict[int, float]:
    """Return the recall at each k; a candidate is right where it belongs to the query's picture."""
    step = max(1, _SCORES_PER_BLOCK // len(candidates))
    totals = dict.fromkeys(ks, 0.0)
    for start in range(0, len(queries), step):
        scores = scores_of(queries[start : start + step], candidates)
        right = query_owner[start : start + step, None] == candidate_owner
        for k in ks:
            totals[k] += float(hits_at(k, scores, right).sum())
    return {k: total / len(queries) for k, total in totals.items()}
