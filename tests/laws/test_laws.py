"""The four laws of `dfndr_builders.stage`, for every stage there is, by one shared test each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from dfndr_builders.bank import BankRows, write_texts
from dfndr_builders.captions.captioner import Asked, CaptionerRecord, Unwritten, Write, Written, caption_seed
from dfndr_builders.captions.retrieval import Retrieval
from dfndr_builders.captions.rules import Rules
from dfndr_builders.captions.stage import Captions, CaptionStage
from dfndr_builders.embed import Embed
from dfndr_builders.fitting import Fitting
from dfndr_builders.image_classifier.network import Conv
from dfndr_builders.image_classifier.train import train_conv
from dfndr_builders.inspect import Inspect
from dfndr_builders.m3ae.shape import Shape
from dfndr_builders.m3ae.train import train_m3ae
from dfndr_builders.measure.image import MeasureImage
from dfndr_builders.measure.language import MeasureLanguage
from dfndr_builders.measure.repair import Repair
from dfndr_builders.measure.text import MeasureText
from dfndr_builders.phase import Model, made_with, run_phase
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.score.clip import ClipScore
from dfndr_builders.score.image_classifier import ImageClassifierScore
from dfndr_builders.score.m3ae import M3aeScore
from dfndr_builders.score.text_quality import TextQualityScore
from dfndr_builders.stage import Chain, Stage
from dfndr_builders.text_quality import train
from dfndr_builders.thumbnail import Thumbnail
from dfndr_builders.views import DrawViews
from support.models import tiny_spec
from support.pairs import glyph_table, mixed_table

from dfndr.format.schema import FAILED, Space
from dfndr.views import Sampler

TOLERANCE = 2e-3
"""How far a number may move when a row falls into another batch: half a unit in the last place of float16 near one."""


def _bank(folder: Path) -> str:
    from dfndr_builders.work import Job

    from dfndr.format.manifest import Manifest, write_manifest
    from dfndr.progress import SILENT

    spec = tiny_spec(folder)
    root, model = str(folder / "bank"), Model(spec, "random:0")
    texts = folder / "texts.txt"
    texts.write_text("\n".join(glyph_table(40, seed=3)["text"].to_pylist()))
    count, _ = write_texts(root, str(texts))
    space = Space("text", spec.name, model.record.dim)
    source = BankRows(root)
    shards = run_phase("bank", Job(root, "b" * 64, source, Embed(space, spec), (space,)), source.units(count), SILENT)
    manifest = Manifest(
        "bank", "mit", "", "b" * 64, 0, (space,), {spec.name: model.record}, {}, shards, (), made_with()
    )
    write_manifest(root, manifest)
    return root


@dataclass(frozen=True)
class Drawn:
    """A captioner that draws words by each caption's own seed, and often says nothing."""

    name: str
    seed: int

    def record(self) -> CaptionerRecord:
        return CaptionerRecord("drawn", "none", "mit")

    def open(self) -> Write:
        return lambda asked: [[self._one(one, number) for number in one.numbers] for one in asked]

    def _one(self, asked: Asked, number: int) -> Written:
        drawn = caption_seed(self.seed, self.name, asked, number)
        colour, thing = COLOURS[drawn % len(COLOURS)], THINGS[drawn // 7 % len(THINGS)]
        return f"a {colour} {thing}" if drawn % 3 else Unwritten("mute")


def _captions(folder: Path) -> Stage:
    spec = tiny_spec(folder)
    bank = Captions(Retrieval("bank", _bank(folder), "tiny", "", ""), spec, 2, 2, 1, Rules(), seed=5)
    drawn = Captions(Drawn("drawn", seed=5), spec, 2, 3, 4, Rules(), seed=5)
    return CaptionStage((bank, drawn))


def _embed(modality: str, per_row: int = 1) -> Callable[[Path], Stage]:
    return lambda folder: Embed(Space(modality, "tiny", 16, per_row), tiny_spec(folder))


def _quality(folder: Path) -> Stage:
    curated = [f"a {colour} {thing} on the grass" for colour in COLOURS for thing in THINGS]
    raw = [f"{thing} {number} of {colour}" for colour in COLOURS for number, thing in enumerate(THINGS)]
    train(curated, raw, seed=0).save(folder / "quality")
    return TextQualityScore("quality", str(folder / "quality"))


def _image_classifier(folder: Path) -> Stage:
    good, raw = GlyphsPool(count=80, take=(0.0, 0.4)), GlyphsPool(count=80, take=(0.4, 1.0))
    train_conv(good, raw, Conv(16, 4), Fitting(256, 32, threads=1, device="cpu")).save(folder / "classifier")
    return ImageClassifierScore("looks", str(folder / "classifier"), batch_size=8, threads=1, device="cpu")


def _m3ae(folder: Path) -> Stage:
    shape, how = Shape(16, 8, words=6, width=16, layers=1, heads=2), Fitting(256, 32, threads=1, device="cpu")
    train_m3ae(GlyphsPool(count=80), shape, how).save(folder / "m3ae")
    return M3aeScore("restored", str(folder / "m3ae"), masks=2, batch_size=8, threads=1, device="cpu")


COLOURS = ["red", "blue", "green", "white", "black", "brown", "pink", "grey", "orange", "yellow", "purple", "golden"]
THINGS = ["dog", "cat", "horse", "bird", "ball", "car", "boat", "kite", "tree", "chair"]


def _score_with_vectors(folder: Path) -> Stage:
    spaces = (Space("image", "dfn", 16), Space("text", "dfn", 16))
    return ClipScore("dfn", tiny_spec(folder), spaces)


VIEWS = DrawViews(Sampler(count=3), seed=5)

STAGES: dict[str, Callable[[Path], Stage]] = {
    "inspect": lambda folder: Inspect(),
    "score": lambda folder: ClipScore("dfn", tiny_spec(folder)),
    "score-with-vectors": _score_with_vectors,
    "text-quality": _quality,
    "image-classifier": _image_classifier,
    "m3ae": _m3ae,
    "measure-image": lambda folder: MeasureImage(),
    "measure-text": lambda folder: MeasureText(("sign",)),
    "measure-language": lambda folder: MeasureLanguage(("de", "en", "fr")),
    "repair": lambda folder: Chain((Repair(), MeasureText())),
    "caption": _captions,
    "embed-image": _embed("image"),
    "views": lambda folder: Chain((Inspect(), VIEWS)),
    "embed-views": lambda folder: Chain(
        (Inspect(), VIEWS, Embed(Space("image", "tiny", 16, 3), tiny_spec(folder), views=True))
    ),
    "embed-text": _embed("text"),
    "embed-caption": lambda folder: Chain((_captions(folder), _embed("caption", 3)(folder))),
    "thumbnail": lambda folder: Thumbnail(16),
    "chain": lambda folder: Chain((Inspect(), ClipScore("dfn", tiny_spec(folder)), _embed("image")(folder))),
}


@pytest.fixture(params=STAGES, ids=list(STAGES), scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return STAGES[request.param](tmp_path_factory.mktemp(request.param))


def _same(one: pa.Table, other: pa.Table) -> None:
    assert one.schema == other.schema
    for name in one.column_names:
        kind = one.schema.field(name).type
        first, second = one[name].combine_chunks(), other[name].combine_chunks()
        if pa.types.is_fixed_size_list(kind) or pa.types.is_floating(kind):
            assert first.is_valid().equals(second.is_valid())
            flat = [
                (part.flatten() if pa.types.is_fixed_size_list(kind) else part.drop_null()) for part in (first, second)
            ]
            np.testing.assert_allclose(*(part.to_numpy(zero_copy_only=False) for part in flat), atol=TOLERANCE)
        elif name == "caption_scores":
            for given, found in zip(first.to_pylist(), second.to_pylist(), strict=True):
                np.testing.assert_allclose(given, found, atol=TOLERANCE)
        else:
            assert first.to_pylist() == second.to_pylist(), name


def test_law_one_batches_do_not_matter(stage: Stage) -> None:
    table, step = mixed_table(), stage.open()
    whole = step(table)
    for size in (1, 5, 7):
        parts = [step(table.slice(start, size)) for start in range(0, len(table), size)]
        _same(pa.concat_tables(parts), whole)


def test_law_two_order_is_kept_and_no_row_is_lost(stage: Stage) -> None:
    table = mixed_table()
    done = stage.open()(table)
    assert done["uid"].to_pylist() == table["uid"].to_pylist()
    assert done["key"].to_pylist() == table["key"].to_pylist()


def test_law_three_same_in_same_out_and_bad_rows_have_reasons(stage: Stage) -> None:
    table = mixed_table()
    once, again = stage.open()(table), stage.open()(table)
    assert once.equals(again)
    for before, after in zip(table["problem"].to_pylist(), once["problem"].to_pylist(), strict=True):
        assert after == before if before is not None else (after is None or after in FAILED)
    good = [
        key
        for key, problem in zip(once["key"].to_pylist(), once["problem"].to_pylist(), strict=True)
        if problem is None
    ]
    assert sum(key.startswith("DejaVu") for key in good) == 18


def test_law_four_the_promised_schema_is_the_schema(stage: Stage) -> None:
    table = mixed_table()
    assert stage.open()(table).schema == stage.schema(table.schema)
    empty = table.slice(0, 0)
    assert stage.open()(empty).schema == stage.schema(table.schema)


def test_a_stage_that_looks_at_its_batch_is_caught(tmp_path: Path) -> None:
    class Centred:
        """A planted stage that breaks the first law: it subtracts the batch's mean."""

        def schema(self, given: pa.Schema) -> pa.Schema:
            return given.append(pa.field("length", pa.float32()))

        def open(self) -> Callable[[pa.Table], pa.Table]:
            def step(table: pa.Table) -> pa.Table:
                lengths = np.array([len(key) for key in table["key"].to_pylist()], dtype=np.float32)
                return table.append_column(
                    self.schema(table.schema).field("length"), pa.array(lengths - lengths.mean())
                )

            return step

    with pytest.raises(AssertionError):
        test_law_one_batches_do_not_matter(Centred())
