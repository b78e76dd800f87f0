"""The masked autoencoder of pairs: its loss against a plain reckoning, what it learns, and what it refuses."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from dfndr_builders.fitting import Fitting, fit, seeded
from dfndr_builders.m3ae.model import M3ae, orders
from dfndr_builders.m3ae.network import Network
from dfndr_builders.m3ae.shape import Shape, masked_of, words_of
from dfndr_builders.m3ae.train import train_m3ae
from dfndr_builders.pools.parquet import ParquetPool
from PIL import Image
from support.pairs import jpeg

from dfndr.errors import DataError, FormatError, ModelError, RecipeError

SHAPE = Shape(side=16, patch=4, words=6, buckets=50, width=16, layers=1, heads=2)
HOW = Fitting(samples_seen=6000, batch_size=32, learning_rate=5e-3, seed=2, threads=1, device="cpu")
COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220), "grey": (128, 128, 128)}


def _texts(count: int) -> list[str]:
    return [f"a {list(COLOURS)[at % 4]} square" for at in range(count)]


def _images(count: int) -> list[bytes]:
    """Return pictures that are dark on the left and of a colour on the right."""
    images = []
    for at in range(count):
        colour = list(COLOURS.values())[at % 4]
        picture = Image.new("RGB", (32, 32), (at // 4, 0, 0))
        picture.paste(colour, (16, 0, 32, 32))
        file = BytesIO()
        picture.save(file, "PNG")
        images.append(file.getvalue())
    return images


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> M3ae:
    path = tmp_path_factory.mktemp("good") / "good.parquet"
    pq.write_table(pa.table({"image": [*_images(120), b""], "text": [*_texts(120), "nothing"]}), path)
    return train_m3ae(ParquetPool((str(path),)), SHAPE, HOW)


def _by_hand(network: Network, pixels, words, patch_order, word_order) -> tuple[float, float]:
    """Reckon one pair's losses from lists: no padding, no batch, nothing that is hidden goes in."""
    shape = network.shape
    patches = []
    for top in range(0, shape.side, shape.patch):
        for left in range(0, shape.side, shape.patch):
            part = pixels[top : top + shape.patch, left : left + shape.patch].reshape(-1)
            patches.append((torch.from_numpy(part).float() / 255 - 0.5) / 0.25)
    there = [place for place in word_order if words[place]]
    seen_patches = list(patch_order[: shape.patches - shape.hidden_patches])
    hidden_words = round(len(there) * shape.text_mask) if len(there) > 1 else len(there)
    seen_words = there[: len(there) - max(hidden_words, min(1, len(there)))]
    tokens = [network.patch_in(patches[place]) + network.places[place] for place in seen_patches]
    tokens += [network.word_in(torch.tensor(words[p])) + network.places[shape.patches + p] for p in seen_words]
    inner = network.narrow(network.encoder(torch.stack(tokens)[None]))[0]
    seen = {("patch", place): inner[at] for at, place in enumerate(seen_patches)}
    seen |= {("word", place): inner[len(seen_patches) + at] for at, place in enumerate(seen_words)}
    parts = [("patch", place) for place in range(shape.patches)] + [("word", place) for place in sorted(there)]
    given = [
        seen.get(part, network.hidden[0 if part[0] == "patch" else 1])
        + network.narrow_places[part[1] + (0 if part[0] == "patch" else shape.patches)]
        for part in parts
    ]
    restored = dict(zip(parts, network.decoder(torch.stack(given)[None])[0], strict=True))
    errors = []
    for place in set(range(shape.patches)) - set(seen_patches):
        wanted = (patches[place] - patches[place].mean()) / (patches[place].var(unbiased=False) + 1e-6).sqrt()
        errors.append(float((network.patch_out(restored["patch", place]) - wanted).square().mean()))
    surprises = [
        -float(torch.log_softmax(network.word_out(restored["word", place]), 0)[words[place]])
        for place in set(there) - set(seen_words)
    ]
    return float(np.mean(errors)), float(np.mean(surprises)) if surprises else 0.0


@pytest.mark.parametrize("text_mask", [0.75, 1.0, 0.3])
def test_the_losses_are_those_reckoned_pair_by_pair_from_what_is_not_hidden(text_mask):
    shape = replace(SHAPE, text_mask=text_mask)
    network = seeded(1, lambda: Network(shape)).eval()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    words = words_of(["one", "", "a b c d e f g h", "two words", "three more words", "x y z w"], shape)
    drawn = orders(words, shape, [(0, str(row), 0) for row in range(6)])
    with torch.no_grad():
        found = network(*map(torch.from_numpy, (pixels, words, *drawn))).numpy()
        wanted = [_by_hand(network, *row) for row in zip(pixels, words, *drawn, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert found[1, 1] == 0


def test_shares_that_are_hidden_are_rounded_and_take_one_at_least():
    assert masked_of(np.arange(7), 0.75).tolist() == [0, 1, 2, 2, 3, 4, 4]
    assert Shape(side=16, patch=8, image_mask=0.99).hidden_patches == 3
    assert Shape(side=16, patch=8, image_mask=0.01).hidden_patches == 1


def test_masks_depend_on_the_row_alone_and_hide_words_that_are_there():
    words = words_of(["one two three", "four"], SHAPE)
    together = orders(words, SHAPE, [(5, "a", 0), (5, "b", 0)])
    alone = orders(words[1:], SHAPE, [(5, "b", 0)])
    other = orders(words[1:], SHAPE, [(5, "b", 1)])
    assert (together[0][1] == alone[0][0]).all() and (alone[0] != other[0]).any()
    assert sorted(together[1][0][:3]) == [0, 1, 2] and together[1][1][0] == 0


def test_it_learns_and_finds_the_pairs_whose_text_was_swapped(trained):
    about = trained.training
    assert (about.pairs, about.problems) == (120, {"image_empty": 1})
    assert 0 < about.held_out < 40
    assert about.text_loss < 0.8 < np.log(4)  # less than it takes to guess a colour, a fixed word and another
    images, texts = _images(40), _texts(40)
    uids = [f"{at:032x}" for at in range(40)]
    score = trained.open(masks=8, threads=1, device="cpu")
    right, problems = score(images, texts, uids)
    wrong, _ = score(images, texts[1:] + texts[:1], uids)
    assert not problems and (right > wrong).mean() > 0.9


def test_a_score_does_not_depend_on_the_batch_and_is_the_mean_over_its_masks(trained):
    images, texts = _images(5), _texts(5)
    uids = list("abcde")
    score = trained.open(masks=3, seed=9, batch_size=4, threads=1, device="cpu")
    whole = score(images, texts, uids)[0]
    alone = [score([image], [text], [uid])[0][0] for image, text, uid in zip(images, texts, uids, strict=True)]
    np.testing.assert_allclose(whole, alone, atol=1e-5)
    assert (score([*images, b""], [*texts, "x"], [*uids, "f"])[1][5][0]) == "image_empty"


def test_one_seed_gives_one_autoencoder_and_it_is_read_back_as_it_was(trained, tmp_path):
    trained.save(tmp_path)
    read = M3ae.load(tmp_path)
    assert (read.shape, read.text_weight, read.training) == (SHAPE, 0.5, trained.training)
    assert all((read.tensors[name] == value).all() for name, value in trained.tensors.items())


def _record(folder: Path, **changes: object) -> None:
    path = folder / "m3ae.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "m3ae.json").unlink(),
        lambda folder: (folder / "m3ae.safetensors").write_bytes(b"other"),
        lambda folder: _record(folder, shape={"side": 16, "patch": 5}),
        lambda folder: _record(folder, shape={"width": 1 << 18, "heads": 2}),
        lambda folder: _record(folder, text_weight="much"),
        lambda folder: _record(folder, format="dfndr-m3ae/2"),
    ],
)
def test_what_was_damaged_is_refused(trained, tmp_path, harm):
    trained.save(tmp_path)
    harm(tmp_path)
    with pytest.raises(FormatError):
        M3ae.load(tmp_path)


@pytest.mark.parametrize("wrong", [{"patch": 5}, {"width": 18}, {"patch": 16}, {"image_mask": 1.0}, {"words": 0}])
def test_a_shape_that_does_not_fit_together_is_an_error(wrong):
    with pytest.raises(RecipeError, match="m3ae"):
        replace(SHAPE, **wrong)


def test_too_few_pairs_are_an_error(tmp_path):
    pq.write_table(pa.table({"image": [jpeg()], "text": ["one"]}), tmp_path / "one.parquet")
    with pytest.raises(DataError, match="50 distinct pairs"):
        train_m3ae(ParquetPool((str(tmp_path / "one.parquet"),)), SHAPE, HOW)


def test_a_loss_that_is_not_finite_stops_the_training():
    network = torch.nn.Linear(1, 1)
    with pytest.raises(ModelError, match="finite"):
        fit(network, 4, lambda places, step: network(torch.full((1, 1), torch.inf)).sum(), HOW, what="it")
