"""Training a filter: what goes into the tars, that it repeats bit for bit, resumes, and fails with a clear word."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from dfndr_builders.clip.process import _parse
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.steps import usable_workers
from dfndr_builders.clip.tars import TrainingData, write_tars
from dfndr_builders.clip.train import train_clip
from dfndr_builders.clip.trainer import change_all_at_once
from dfndr_builders.pools.base import PoolShard, Sample, pool_schema, tables_of
from dfndr_builders.pools.glyphs import GlyphsPool
from PIL import Image
from support.training import MODEL, POOL, SPEC, Interrupting

from dfndr.encoder import weights_sha256
from dfndr.errors import ModelError, PoolError, RecipeError, UsageError
from dfndr.images import decode


@dataclass(frozen=True)
class Listed:
    """A pool of the samples given."""

    samples: tuple[Sample, ...]

    def schema(self):
        return pool_schema([])

    def shards(self) -> Sequence[PoolShard]:
        return [PoolShard(0, "listed")]

    def read(self, shard: PoolShard):
        return tables_of(self.samples, self.schema())


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def members(folder) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found.update({member.name: tar.extractfile(member).read() for member in tar})
    return found


def picture(mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (12, 20, len(mode)), dtype=np.uint8)
    return Image.fromarray(values, mode="RGBA" if mode == "RGBA" else "RGB")


def test_bytes_that_the_trainer_reads_as_we_do_go_in_as_they_are(tmp_path):
    given = [encoded(picture(), kind) for kind in ("JPEG", "PNG", "WEBP")]
    write_tars(Listed(tuple(Sample(f"{n}", image, b"a text") for n, image in enumerate(given))), str(tmp_path))
    found = members(tmp_path)
    assert [found[f"00000000{n}.{kind}"] for n, kind in enumerate(("jpg", "png", "webp"))] == given
    assert found["000000002.txt"] == b"a text"


def test_a_picture_that_the_trainer_would_see_differently_goes_in_as_we_see_it(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    given = [
        encoded(picture("RGBA"), "PNG"),
        encoded(picture(), "JPEG", exif=turned),
        encoded(picture(), "GIF"),
        encoded(Image.fromarray(np.full((4, 4), 30_000, np.uint16)), "PNG"),
    ]
    write_tars(Listed(tuple(Sample(f"{n}", image, b"a text") for n, image in enumerate(given))), str(tmp_path))
    found = members(tmp_path)
    for number, image in enumerate(given):
        with Image.open(io.BytesIO(found[f"00000000{number}.png"])) as seen:
            assert (np.asarray(seen.convert("RGB")) == np.asarray(decode(image))).all()


def test_rows_that_cannot_be_learnt_from_are_counted_by_reason(tmp_path):
    whole = encoded(picture(), "JPEG")
    samples = (
        Sample("whole", whole, b"a text", license="MIT"),
        Sample("cut", whole[:-40], b"a text"),
        Sample("no picture", b"hello", b"a text"),
        Sample("blank", whole, b"  "),
        Sample("alone", None, b"a text"),
    )
    data = write_tars(Listed(samples), str(tmp_path))
    problems = {"image_missing": 1, "image_unreadable": 2, "text_empty": 1}
    assert data == TrainingData(samples=1, tars=1, problems=problems, licenses={"MIT": 1}, sources={"unknown": 1})
    assert write_tars(Listed(samples), str(tmp_path)) == data


def test_a_pool_with_nothing_to_learn_from_is_refused_with_its_reasons(tmp_path):
    with pytest.raises(PoolError, match="image_unreadable 1"):
        write_tars(Listed((Sample("no picture", b"hello", b"a text"),)), str(tmp_path))


def test_tars_hold_every_sample_once_and_no_more_than_they_should(tmp_path):
    data = write_tars(GlyphsPool(count=1100), str(tmp_path))
    assert (data.samples, data.tars) == (1100, 3)
    texts = [content.decode() for name, content in members(tmp_path).items() if name.endswith(".txt")]
    pool = GlyphsPool(count=1100)
    assert texts == [
        text for shard in pool.shards() for table in pool.read(shard) for text in table["text"].to_pylist()
    ]


@pytest.mark.parametrize(
    ("samples", "batch_size", "wanted", "usable"),
    [(16_000, 256, 1, 1), (16_000, 256, 4, 4), (600, 100, 4, 1), (600, 80, 2, 2), (600, 500, 0, 0), (1024, 512, 2, 2)],
)
def test_no_more_workers_run_than_can_fill_a_batch(samples, batch_size, wanted, usable):
    data = TrainingData(samples=samples, tars=-(-samples // 512))
    assert usable_workers(TrainingSpec(MODEL, epochs=1, batch_size=batch_size, workers=wanted), data) == usable


def test_a_batch_larger_than_the_pool_is_refused(tmp_path):
    spec = TrainingSpec(MODEL, epochs=1, batch_size=50)
    with pytest.raises(RecipeError, match="at most the 20 pairs there are, found 50"):
        train_clip(spec, GlyphsPool(count=20), str(tmp_path / "out"), work=str(tmp_path / "work"))


def test_the_trainers_log_is_understood_line_by_line():
    line = (
        "2026-11-21,09:47:04 | INFO | Train Epoch: 2 [  512/16128 (2%)] Data (t): 0.490 Batch (t): 9.380, 27.2914/s, "
        "27.2914/s/gpu LR: 0.000340 Logit Scale: 14.179 Contrastive_loss: 4.9715 (4.9715) Loss: 4.9716 (4.9715)"
    )
    assert _parse(line, 256) == (2 * 63 + 2, 4.9716)
    assert np.isnan(_parse(line.replace("4.9716", "nan"), 256)[1])
    assert _parse("2026-11-21,09:46:55 | INFO | Start epoch 2", 256) is None


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="something else"):
        train_clip(SPEC, POOL, str(tmp_path), work=str(tmp_path / "work"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_config_without_its_parts_is_refused():
    with pytest.raises(RecipeError, match=r"no \['text_cfg'\]"):
        TrainingSpec({"embed_dim": 8, "vision_cfg": {}}, epochs=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, train_clip(SPEC, POOL, str(folder / "out"), work=str(folder / "work"))


@pytest.mark.slow
def test_the_trained_model_loads_like_any_other_and_says_what_it_is(trained):
    import open_clip

    folder, result = trained
    where = f"local-dir:{folder / 'out'}"
    model, _, preprocess = open_clip.create_model_and_transforms(where)
    assert weights_sha256(model.state_dict()) == result.weights_sha256
    assert open_clip.get_tokenizer(where)(["arrow"]).shape == (1, 12)
    assert preprocess(picture()).shape == (3, 32, 32)
    assert (result.samples, result.steps, result.samples_seen) == (600, 18, 1800)
    assert [step for step, _ in result.losses] == list(range(1, 19))
    record = json.loads((folder / "out" / "training.json").read_text())
    assert record["result"]["weights_sha256"] == result.weights_sha256
    assert record["data"] == {
        "samples": 600,
        "problems": {},
        "licenses": {"Bitstream-Vera": 600},
        "sources": {"glyphs": 600},
    }


@pytest.mark.slow
def test_nothing_but_the_model_is_left_behind(trained):
    folder, _ = trained
    names = ["open_clip_config.json", "open_clip_model.safetensors", "training.json"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == names
    assert not list((folder / "work").iterdir())


@pytest.mark.slow
def test_a_finished_training_is_read_back_and_another_one_is_refused(trained):
    folder, result = trained
    out, work = str(folder / "out"), str(folder / "work")
    assert train_clip(SPEC, POOL, out, work=work) == result
    with pytest.raises(UsageError, match="another training's model"):
        train_clip(SPEC, GlyphsPool(count=601), out, work=work)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_and_ends_in_the_same_bits_as_one_that_was_not(trained, tmp_path):
    _, result = trained
    out, work = str(tmp_path / "out"), str(tmp_path / "work")
    with pytest.raises(KeyboardInterrupt):
        train_clip(SPEC, POOL, out, work=work, progress=Interrupting())
    assert not (tmp_path / "out").exists()
    resumed = train_clip(SPEC, POOL, out, work=work)
    assert resumed.weights_sha256 == result.weights_sha256
    assert resumed.losses == result.losses


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_training_and_says_what_to_do(tmp_path):
    spec = TrainingSpec(MODEL, epochs=50, batch_size=100, learning_rate=1e30, warmup_steps=0, workers=0, device="cpu")
    with pytest.raises(ModelError, match=r"step \d+: expected a finite loss, found nan. Lower learning_rate"):
        train_clip(spec, POOL, str(tmp_path / "out"), work=str(tmp_path / "work"))


@pytest.mark.slow
def test_a_trainer_that_fails_is_quoted_without_its_traceback(tmp_path):
    spec = TrainingSpec("ViT-B-32", pretrained="no-such-weights", epochs=1, batch_size=8, device="cpu")
    with pytest.raises(ModelError, match="no-such-weights' is not a known tag") as raised:
        train_clip(spec, GlyphsPool(count=20), str(tmp_path / "out"), work=str(tmp_path / "work"))
    assert "Traceback" not in str(raised.value)


def test_weights_that_change_at_once_become_what_they_become_one_by_one(monkeypatch):
    trainer = pytest.importorskip("open_clip_train.main")
    monkeypatch.setattr(trainer, "optim", trainer.optim)  # what is changed here is put back
    change_all_at_once()
    ended = []
    for made in (trainer.optim.AdamW, torch.optim.AdamW):
        weight = torch.linspace(-1, 1, 50).requires_grad_()
        optimizer = made([{"params": [weight], "weight_decay": 0.2}], lr=0.01, betas=(0.9, 0.98), eps=1e-6)
        for _ in range(5):
            optimizer.zero_grad()
            (weight**3).sum().backward()
            optimizer.step()
        ended.append((optimizer.defaults["fused"], weight.detach()))
    assert [fused for fused, _ in ended] == [True, None]
    torch.testing.assert_close(ended[0][1], ended[1][1])
