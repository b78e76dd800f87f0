"""What scorers and contrastive heads say of rows, and which vectors they refuse."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from support import scorers
from support.scorers import DIM, DIRECTION, FITS, ROWS, scorer_of, vectors_of
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

safetensors = pytest.importorskip("safetensors.numpy", reason="scorers are kept as safetensors")

from dfndr.errors import DataError, UsageError  # noqa: E402
from dfndr.format.schema import Space  # noqa: E402
from dfndr.heads.scorer import Fits, row_vectors  # noqa: E402
from dfndr.heads.scorer_train import train_scorer  # noqa: E402
from dfndr.heads.scores import head_scores, shard_scores  # noqa: E402

planted = scorers.planted


@pytest.mark.parametrize("space", ["image/enc", "image/other", "text/enc", "caption/enc"])
def test_a_score_is_the_sigmoid_of_the_mean_of_a_rows_unit_vectors(planted, space):
    fits = Fits.of(planted, planted.space(space))
    scorer = scorer_of(3 * DIRECTION, -0.5, fits)
    given, expected = planted.vectors(space).astype(np.float64), []
    for row in given:
        used = [vector / np.linalg.norm(vector) for vector in row if vector.any()]
        logit = 3 * DIRECTION @ np.mean(used, axis=0) - 0.5 if used else math.nan
        expected.append(1 / (1 + math.exp(-logit)))
    found = head_scores(planted, scorer, space=space)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isnan(found).sum() == (sum(row % 4 == 0 for row in range(ROWS)) if space == "caption/enc" else 0)
    assert [len(part) for part in shard_scores(planted, scorer, space=space)] == [300, 0, 300, 300]


def test_shards_and_chunks_do_not_matter_to_a_score(planted, monkeypatch):
    scorer = scorer_of()
    whole = head_scores(planted, scorer)
    monkeypatch.setattr("dfndr.heads.scores._CHUNK_ROWS", 7)
    np.testing.assert_allclose(head_scores(planted, scorer), whole, rtol=1e-6)
    assert np.array_equal(head_scores(planted.split("validation"), scorer), head_scores(planted, scorer)[600:])


def test_a_scorer_of_texts_scores_captions_of_the_same_encoder_where_there_are_no_texts(tmp_path):
    dataset = write_dataset(tmp_path, [6], (IMAGE, CAPTION))
    scorer = scorer_of(fits=Fits("text", "named-otherwise", FITS.weights_sha256, DIM))
    assert np.array_equal(head_scores(dataset, scorer), scorer.scores(dataset.vectors("caption/enc")))


@pytest.mark.parametrize(
    ("fits", "space"),
    [
        (Fits("image", "enc", "1" * 64, DIM), None),
        (Fits("image", "enc", "1" * 64, DIM), "image/enc"),
        (FITS, "image/other"),
        (FITS, "text/enc"),
        (Fits("text", "enc", FITS.weights_sha256, DIM), "image/enc"),
        (Fits("image", "enc", FITS.weights_sha256, 6), "image/enc"),
    ],
)
def test_vectors_of_another_encoder_or_of_another_kind_are_refused(planted, fits, space):
    scorer = scorer_of(np.ones(fits.dim), fits=fits)
    with pytest.raises(UsageError, match=f"{fits.dim} dims by enc .{fits.weights_sha256[:16]}"):
        head_scores(planted, scorer, space=space)


def test_vectors_of_another_shape_are_refused():
    with pytest.raises(UsageError, match=r"expected shape \(rows, per_row, 8\), found shape \(3, 8\)"):
        scorer_of().scores(np.ones((3, 8)))


def test_a_vector_that_is_not_finite_has_no_score_and_cannot_be_learned_from(tmp_path):
    images = vectors_of(40)
    images[31, 2], images[33] = np.nan, np.inf
    dataset = write_dataset(tmp_path, [30, 10], vectors={"image/enc": images})
    assert np.flatnonzero(np.isnan(head_scores(dataset, scorer_of()))).tolist() == [31, 33]
    with pytest.raises(DataError, match=r"space image/enc, row 3[13]: expected a finite vector"):
        train_scorer(dataset, labels=np.arange(40) % 2 == 0)


def test_the_mean_of_a_rows_vectors_leaves_out_free_places():
    given = np.zeros((2, 3, 2), dtype=np.float16)
    given[0, 0], given[0, 2] = [0, 2], [3, 4]
    means, there = row_vectors(given)
    np.testing.assert_allclose(means, [[0.3, 0.9], [0, 0]])
    assert there.tolist() == [True, False]


@pytest.fixture
def head():
    pytest.importorskip("torch", reason="contrastive heads need torch")
    from dfndr.heads.model import Head, Origin

    return lambda **given: Head(
        "mlp",
        image_dim=DIM,
        text_dim=DIM,
        seed=5,
        origin=Origin("tiny", "0" * 64, given.get("image", "image/enc"), given.get("text", ("text/enc",)), 1),
    )


@pytest.mark.parametrize("space", ["text/enc", "caption/enc"])
def test_a_contrastive_heads_score_is_the_mean_cosine_of_all_pairs_of_views_and_captions(tmp_path, head, space):
    views = Space("image", "enc", dim=DIM, per_row=2)
    columns = {"captions": pa.array([["caption"] * (row % 4) for row in range(9)], pa.list_(pa.string()))}
    dataset = write_dataset(tmp_path / "set", [4, 5], (views, TEXT, CAPTION), columns=columns)
    model = head(text=(space,))
    model.save(tmp_path / "head")
    images, texts = dataset.vectors("image/enc"), dataset.vectors(space)
    expected = []
    for image, text in zip(images, texts, strict=True):
        used = text[text.any(axis=1)]
        cosines = [
            float(model.encode_image(one[None])[0] @ model.encode_text(other[None])[0])
            for one in image
            for other in used
        ]
        expected.append(np.mean(cosines) if cosines else math.nan)
    np.testing.assert_allclose(head_scores(dataset, tmp_path / "head"), expected, atol=1e-6)
    np.testing.assert_allclose(head_scores(dataset, model, space=space), expected, atol=1e-6)


def test_a_contrastive_head_is_not_used_on_spaces_it_was_not_trained_on_unless_they_are_named(planted, head):
    with pytest.raises(UsageError, match="spaces of the head: expected image/away with one of: text/away"):
        head_scores(planted, head(image="image/away", text=("text/away",)))
    named = head_scores(planted, head(image="image/away", text=("text/away",)), space="text/enc")
    assert np.array_equal(named, head_scores(planted, head()))
