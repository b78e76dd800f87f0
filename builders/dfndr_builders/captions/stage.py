"""The stage around captioners: ask, drop, ask again, score, keep the best.

Every caption has an entry in four list columns of one length: `captions`, `caption_models` (what the recipe calls the
captioner), `caption_seeds` and `caption_scores` (the cosine of picture and caption by the model that scores it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from dfndr.encoder import Encoded, open_encoder
from dfndr.models import EncoderSpec
from dfndr_builders.captions.asking import Answer, ask
from dfndr_builders.captions.captioner import Asked, Captioner, caption_seed
from dfndr_builders.captions.rules import Rules
from dfndr_builders.stage import HAPPENED, Step, good_rows, mark_problems, require

__all__ = ["CAPTION_FIELDS", "CaptionStage", "Captions"]

CAPTION_FIELDS = (
    pa.field("captions", pa.list_(pa.string())),
    pa.field("caption_models", pa.list_(pa.string())),
    pa.field("caption_seeds", pa.list_(pa.int64())),
    pa.field("caption_scores", pa.list_(pa.float32())),
)


@dataclass(frozen=True)
class Captions:
    """The captions of one captioner: `best_of` are asked for, each up to `tries` times, and `per_image` kept.

    Those with the highest score by `scorer` are kept, of equal ones the smaller number; best first.
    """

    captioner: Captioner
    scorer: EncoderSpec
    per_image: int
    best_of: int
    tries: int
    rules: Rules
    seed: int


@dataclass(frozen=True)
class _Caption:
    text: str
    model: str
    seed: int
    score: float


@dataclass
class _Row:
    """What becomes of one row: its captions so far, what happened, and why it has none."""

    captions: list[_Caption] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CaptionStage:
    """Captions of several captioners, one after the other; a row without any fails, unless `keeps_uncaptioned`."""

    captions: tuple[Captions, ...]
    keeps_uncaptioned: bool = False

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the four list columns, and the one of what happened."""
        require("caption", given, {"uid": pa.string(), "image": pa.large_binary()})
        return pa.schema([*given, *CAPTION_FIELDS, HAPPENED])

    def open(self) -> Step:
        """Open the captioners and the models that score."""
        steps = [_opened(captions) for captions in self.captions]

        def step(table: pa.Table) -> pa.Table:
            rows = {row: _Row() for row in good_rows(table)}
            problems: dict[int, tuple[str, str]] = {}
            for caption in steps:
                places = [row for row in rows if row not in problems]
                given = [(table["uid"][row].as_py(), table["image"][row].as_py()) for row in places]
                found = caption(given, [rows[row] for row in places])
                problems |= {places[place]: problem for place, problem in found.items()}
            for row, told in rows.items():
                if row not in problems and not told.captions and not self.keeps_uncaptioned:
                    problems[row] = ("caption_failed", "; ".join(told.why))
            return mark_problems(_with_columns(table, rows), problems)

        return step


def _with_columns(table: pa.Table, rows: dict[int, _Row]) -> pa.Table:
    told = [rows.get(row, _Row()) for row in range(len(table))]
    for column, part in zip(CAPTION_FIELDS, ("text", "model", "seed", "score"), strict=True):
        values = [[getattr(caption, part) for caption in row.captions] for row in told]
        table = table.append_column(column, pa.array(values, column.type))
    return table.append_column(HAPPENED, pa.array([row.happened for row in told], HAPPENED.type))


_CaptionRows = Callable[[Sequence[tuple[str, bytes]], Sequence[_Row]], dict[int, tuple[str, str]]]


def _opened(given: Captions) -> _CaptionRows:
    """Return what adds a captioner's captions to rows, and gives the problems of pictures without a vector."""
    write, scorer, name = given.captioner.open(), open_encoder(given.scorer), given.captioner.name

    def caption(pictures: Sequence[tuple[str, bytes]], rows: Sequence[_Row]) -> dict[int, tuple[str, str]]:
        encoded = scorer.encode_images([image for _, image in pictures])
        good = [place for place in range(len(pictures)) if place not in encoded.problems]
        numbers = tuple(range(given.best_of))
        asked = [Asked(*pictures[place], numbers, vector=encoded.vectors[place]) for place in good]
        answers = ask(write, asked, given.rules, tries=given.tries)
        scored = scorer.encode_texts([text.text for answer in answers for text in answer.texts])
        start = 0
        for one, answer, place in zip(asked, answers, good, strict=True):
            stop = start + len(answer.texts)
            captions = list(_scored(given, one, answer, scored, range(start, stop)))
            start = stop
            captions.sort(key=lambda caption: -caption.score)
            rows[place].captions += captions[: given.per_image]
            rows[place].happened += _happened(name, answer)
            rows[place].why.append(_why(name, answer))
        return encoded.problems

    return caption


def _scored(
    given: Captions, asked: Asked, answer: Answer, scored: Encoded, places: Iterable[int]
) -> Iterable[_Caption]:
    name = given.captioner.name
    for text, place in zip(answer.texts, places, strict=True):
        if place in scored.problems:
            answer.dropped["vector_not_finite"] += 1
            continue
        seed = caption_seed(given.seed, name, asked, text.number, attempt=text.attempt)
        cosine = float(np.float32(asked.vector @ scored.vectors[place]))
        yield _Caption(text.text, name, seed, cosine)


def _happened(name: str, answer: Answer) -> list[str]:
    """Return an entry for each caption that was dropped or asked for again, for the shard's notes to count."""
    again = [f"captions by {name}, asked again"] * answer.again
    return [*(f"captions by {name}, not kept: {reason}" for reason in answer.dropped.elements()), *again]


def _why(name: str, answer: Answer) -> str:
    told = [
        f"{count} {reason}" + (f" ({answer.details[reason]})" if reason in answer.details else "")
        for reason, count in sorted(answer.dropped.items())
    ]
    return f"{name}: {', '.join(told) or 'nothing was written'}"
