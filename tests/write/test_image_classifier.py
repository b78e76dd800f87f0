"""The binary classifier of pictures: what it learns, that it keeps it, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.fitting import Fitting
from dfndr_builders.image_classifier.model import ImageClassifier
from dfndr_builders.image_classifier.network import Conv
from dfndr_builders.image_classifier.train import train_conv, train_linear
from dfndr_builders.pools.parquet import ParquetPool
from dfndr_builders.sampled import sample, squares
from support.models import tiny_spec
from support.pairs import jpeg

from dfndr.encoder import open_encoder
from dfndr.errors import DataError, FormatError, PoolError, UsageError

SHORT = Fitting(samples_seen=1500, batch_size=32, learning_rate=3e-3, seed=3, threads=1, device="cpu")
SHAPE = Conv(side=16, width=4)


def _pool(folder: Path, name: str, images: list[bytes]) -> ParquetPool:
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table({"image": images, "text": [f"{name} {at}" for at in range(len(images))]}), path)
    return ParquetPool((str(path),))


def _reds(count: int, start: int = 0) -> list[bytes]:
    return [jpeg((20, 30), colour=(150 + at % 100, at // 100, 10), kind="PNG") for at in range(start, start + count)]


def _blues(count: int) -> list[bytes]:
    return [jpeg((30, 20), colour=(10, at // 100, 150 + at % 100), kind="PNG") for at in range(count)]


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> tuple[ParquetPool, ParquetPool]:
    folder = tmp_path_factory.mktemp("pools")
    return _pool(folder, "good", _reds(200)), _pool(folder, "raw", [*_blues(150), *_reds(20), b"no picture"])


@pytest.fixture(scope="module")
def trained(pools: tuple[ParquetPool, ParquetPool]) -> ImageClassifier:
    return train_conv(*pools, SHAPE, SHORT)


def test_it_tells_the_good_pictures_from_the_others_and_says_how_well(trained):
    about = trained.training
    assert (about.good, about.raw) == (200, 150)  # the raw pool's twenty that are good as well count once, as good
    assert about.auc > 0.99 and about.accuracy > 0.95
    assert 0 < about.good_held_out < 60 and 0 < about.raw_held_out < 60
    assert about.problems == {"raw: image_unreadable": 1}
    scores, problems = trained.open(threads=1, device="cpu")([*_reds(5, 500), *_blues(5), b"no picture"])
    assert scores[:5].min() > 0 > scores[5:10].max()
    assert problems[10][0] == "image_unreadable"


def test_the_log_odds_are_those_of_the_network_run_on_the_picture_alone(trained):
    import torch

    network = SHAPE.make()
    state = {name: torch.from_numpy(np.array(value)) for name, value in trained.tensors.items()}
    network.load_state_dict(state, strict=False)
    images = _blues(3)
    pixels = squares(images, 16)[0]
    with torch.inference_mode():
        alone = [float(network.eval()(SHAPE.ready(pixels[at : at + 1]))[0]) for at in range(3)]
    np.testing.assert_allclose(trained.open(batch_size=8, threads=1, device="cpu")(images)[0], alone, atol=1e-5)


def test_one_seed_gives_one_classifier_and_another_another(pools, trained):
    again, other = train_conv(*pools, SHAPE, SHORT), train_conv(*pools, SHAPE, Fitting(64, 32, seed=4, threads=1))
    assert all((again.tensors[name] == value).all() for name, value in trained.tensors.items())
    assert any((other.tensors[name] != value).any() for name, value in trained.tensors.items())


def test_it_is_read_back_as_it_was(trained, tmp_path):
    trained.save(tmp_path)
    read = ImageClassifier.load(tmp_path)
    assert (read.shape, read.training) == (trained.shape, trained.training)
    assert all((read.tensors[name] == value).all() for name, value in trained.tensors.items())


def _record(folder: Path, **changes: object) -> None:
    path = folder / "image_classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "image_classifier.json").unlink(),
        lambda folder: (folder / "image_classifier.safetensors").unlink(),
        lambda folder: (folder / "image_classifier.safetensors").write_bytes(b"other"),
        lambda folder: (folder / "image_classifier.json").write_text("["),
        lambda folder: _record(folder, format="dfndr-image-classifier/9"),
        lambda folder: _record(folder, kind="magic"),
        lambda folder: _record(folder, shape={"side": 16, "width": 5}),
        lambda folder: _record(folder, shape={"side": 16, "width": 10**9}),
        lambda folder: _record(folder, training={}),
    ],
)
def test_what_was_damaged_is_refused(trained, tmp_path, harm):
    trained.save(tmp_path)
    harm(tmp_path)
    with pytest.raises(FormatError):
        ImageClassifier.load(tmp_path)


def test_a_linear_one_is_the_logistic_regression_of_the_encoders_vectors(pools, tmp_path):
    spec = tiny_spec(tmp_path)
    encoder = open_encoder(spec)
    trained = train_linear(*pools, encoder, seed=1)
    assert trained.training.auc > 0.9
    trained.save(tmp_path / "saved")
    images = [*_reds(3), *_blues(3)]
    scores, problems = ImageClassifier.load(tmp_path / "saved").open(spec)([*images, b""])
    vectors = encoder.encode_images(images).vectors.astype(np.float64)
    by_hand = vectors @ trained.tensors["weight"].astype(np.float64) + float(trained.tensors["bias"][0])
    np.testing.assert_allclose(scores[:6], by_hand, atol=1e-4)
    assert list(problems) == [6]
    with pytest.raises(UsageError, match="weights"):
        trained.open(tiny_spec(tmp_path, seed=5))
    with pytest.raises(UsageError, match="encoder"):
        trained.open()


def test_a_side_with_too_few_pictures_is_an_error(pools, tmp_path):
    with pytest.raises(DataError, match="raw pictures"):
        train_conv(pools[0], _pool(tmp_path, "few", _blues(49)), SHAPE, SHORT)
    with pytest.raises(PoolError, match="image_empty"):
        train_conv(_pool(tmp_path, "none", [b""]), pools[1], SHAPE, SHORT)


def test_a_sample_is_the_rows_of_smallest_hash_in_any_order_of_the_pool(tmp_path):
    images = _reds(60)
    forwards, backwards = _pool(tmp_path, "one", images), _pool(tmp_path, "two", [*images[::-1], images[3]])

    def ready(given):
        return squares(given, 4)

    first = sample(forwards, ready, most=7, seed=2, distinct="image")
    second = sample(backwards, ready, most=7, seed=2, distinct="image")
    everything = sample(forwards, ready, most=1000, seed=2, distinct="image")
    assert first.names == second.names == everything.names[:7] and len(set(everything.names)) == 60
    assert (first.values == second.values).all()
