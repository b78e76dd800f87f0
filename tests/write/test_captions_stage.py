"""The stage around captioners: scores, the best of several, failures, notes, and one captioner beside another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from dfndr_builders.captions.captioner import Asked, CaptionerRecord, Unwritten, Write, Written, caption_seed
from dfndr_builders.captions.rules import Rules
from dfndr_builders.captions.stage import CAPTION_FIELDS, Captions, CaptionStage
from support.models import tiny_spec
from support.pairs import mixed_table

from dfndr.encoder import open_encoder

WORDS = ["dog", "cat", "bird", "boat", "tree", "kite", "red", "green", "two", "old"]


@dataclass(frozen=True)
class Drawn:
    """Two words by the caption's own seed; `mute` says nothing at all."""

    name: str
    mute: bool = False

    def record(self) -> CaptionerRecord:
        return CaptionerRecord("drawn", "none", "mit")

    def open(self) -> Write:
        def write(asked: Sequence[Asked]) -> list[list[Written]]:
            return [[self._one(one, number) for number in one.numbers] for one in asked]

        return write

    def _one(self, asked: Asked, number: int) -> Written:
        drawn = caption_seed(1, self.name, asked, number)
        return Unwritten("mute", "not a word") if self.mute else f"{WORDS[drawn % 10]} {WORDS[drawn // 10 % 10]}"


def _captions(folder: Path, captioner: Drawn, *, per_image: int = 2, best_of: int = 2, tries: int = 5) -> Captions:
    return Captions(captioner, tiny_spec(folder), per_image, best_of, tries, Rules(), seed=1)


def _rows(table: pa.Table) -> list[list[tuple[str, str, int, float]]]:
    columns = [table[field.name].to_pylist() for field in CAPTION_FIELDS]
    return [list(zip(*row, strict=True)) for row in zip(*columns, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captions")


def test_every_caption_has_its_captioner_its_seed_and_its_cosine_to_the_picture_best_first(folder: Path) -> None:
    table = mixed_table()
    step = CaptionStage((_captions(folder, Drawn("drawn"), per_image=3, best_of=3),)).open()
    encoder = open_encoder(tiny_spec(folder))
    for given, row in zip(table.to_pylist(), _rows(step(table)), strict=True):
        if given["problem"] is not None or not row:
            assert row == []
            continue
        image = encoder.encode_images([given["image"]]).vectors[0]
        texts = encoder.encode_texts([text for text, *_ in row]).vectors
        np.testing.assert_allclose([score for *_, score in row], texts @ image, atol=1e-5)
        assert [score for *_, score in row] == sorted((score for *_, score in row), reverse=True)
        seeds = {
            caption_seed(1, "drawn", Asked(given["uid"], b"", (), attempt), number)
            for number in range(3)
            for attempt in range(5)
        }
        assert all(model == "drawn" and seed in seeds for _, model, seed, _ in row)


def test_the_best_by_score_are_kept_of_all_that_are_written(folder: Path) -> None:
    table = mixed_table()
    all_of_them = CaptionStage((_captions(folder, Drawn("drawn"), per_image=6, best_of=6),)).open()(table)
    best = CaptionStage((_captions(folder, Drawn("drawn"), per_image=2, best_of=6),)).open()(table)
    assert _rows(best) == [row[:2] for row in _rows(all_of_them)]


def test_another_captioner_changes_no_caption_of_the_first(folder: Path) -> None:
    table = mixed_table()
    first, other = _captions(folder, Drawn("first")), _captions(folder, Drawn("other"), per_image=1)
    alone = _rows(CaptionStage((first,)).open()(table))
    beside = _rows(CaptionStage((first, other)).open()(table))
    before = _rows(CaptionStage((other, first)).open()(table))
    assert [[one for one in row if one[1] == "first"] for row in beside] == alone
    assert [[one for one in row if one[1] == "first"] for row in before] == alone
    assert max(map(len, beside)) == 3
    assert all([one[1] for one in row] == sorted(one[1] for one in row) for row in beside)


def test_a_row_without_captions_fails_with_the_reasons_unless_it_is_kept_or_another_captioner_has_one(
    folder: Path,
) -> None:
    table = mixed_table()
    mute = _captions(folder, Drawn("mute", mute=True), tries=3)
    failed = CaptionStage((mute,)).open()(table)
    kept = CaptionStage((mute,), keeps_uncaptioned=True).open()(table)
    both = CaptionStage((mute, _captions(folder, Drawn("first")))).open()(table)
    good = [row for row, problem in enumerate(kept["problem"].to_pylist()) if problem is None]
    assert len(good) > 3
    assert {failed["problem"][row].as_py() for row in good} == {"caption_failed"}
    assert {failed["detail"][row].as_py() for row in good} == {"mute: 6 mute (not a word)"}
    assert {len(_rows(kept)[row]) for row in good} == {0}
    assert both["problem"].to_pylist() == kept["problem"].to_pylist()
    words = failed["happened"][good[0]].as_py()
    assert words == ["captions by mute, not kept: mute"] * 6 + ["captions by mute, asked again"] * 4
