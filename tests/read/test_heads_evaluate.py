"""Retrieval on cached vectors against a slow count written out in plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from support.tiny import CAPTION, IMAGE, TEXT, write_dataset

torch = pytest.importorskip("torch", reason="retrieval is measured with torch")
pytest.importorskip("safetensors", reason="heads are kept as safetensors")

from dfndr.errors import DataError, UsageError  # noqa: E402
from dfndr.format.schema import Space  # noqa: E402
from dfndr.heads.evaluate import compare, evaluate_retrieval, paired_spaces  # noqa: E402
from dfndr.heads.model import Head, Origin  # noqa: E402

NAMES = ["arrow", "star", "arrow", "moon", "sun", "star", "arrow", "tree", "sea", "sun"]
KS = (1, 2, 5, 10)


def unit(vectors):
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def slow_recall(images, texts, belong, k):
    """Both ways: the share of queries with a right answer among the first k, wrong answers going first in a tie."""

    def one_way(queries, candidates, right):
        hits = []
        for query in range(len(queries)):
            scores = [float(queries[query] @ candidate) for candidate in candidates]
            order = sorted(range(len(candidates)), key=lambda place: (-scores[place], right(query, place)))
            hits.append(any(right(query, place) for place in order[:k]))
        return 100 * sum(hits) / len(hits)

    return (
        one_way(images, texts, lambda image, text: (image, text) in belong),
        one_way(texts, images, lambda text, image: (image, text) in belong),
    )


def validation(root, spaces=(IMAGE, TEXT), **given):
    return write_dataset(root, (6, 4), spaces, splits=["validation", "validation"], **given)


@pytest.mark.parametrize("block_rows", [1, 3, 10, None])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_recall_is_that_of_a_slow_count_with_shared_texts_as_one_candidate(tmp_path, seed, block_rows):
    dataset = validation(tmp_path, columns={"text": NAMES}, seed=seed)
    names = list(dict.fromkeys(NAMES))
    images = unit(dataset.vectors("image/enc")[:, 0])
    texts = unit(dataset.vectors("text/enc")[:, 0])[[NAMES.index(name) for name in names]]
    belong = {(row, names.index(name)) for row, name in enumerate(NAMES)}
    found = evaluate_retrieval(dataset, ks=KS, block_rows=block_rows)
    assert (found.images, found.texts) == (10, 6)
    for k in KS:
        assert (found.image_to_text[k], found.text_to_image[k]) == pytest.approx(slow_recall(images, texts, belong, k))


def test_every_caption_in_use_counts_and_empty_places_do_not(tmp_path):
    captions = [[f"c{row}", "shared"][: 1 + row % 2] for row in range(9)] + [[]]
    columns = {"captions": pa.array(captions, pa.list_(pa.string()))}
    dataset = validation(tmp_path, (IMAGE, CAPTION), columns=columns)
    strings = list(dict.fromkeys(text for row in captions for text in row))
    places = {text: (row, given.index(text)) for row, given in reversed(list(enumerate(captions))) for text in given}
    images, vectors = unit(dataset.vectors("image/enc")[:, 0]), dataset.vectors("caption/enc")
    texts = unit([vectors[places[text]] for text in strings])
    belong = {(row, strings.index(text)) for row, given in enumerate(captions) for text in given}
    found = evaluate_retrieval(dataset, ks=(1, 3))
    assert (found.images, found.texts) == (9, 10)
    for k in (1, 3):
        to_text = slow_recall(images[:9], texts, belong, k)[0]
        to_image = slow_recall(images, texts, belong, k)[1]
        assert (found.image_to_text[k], found.text_to_image[k]) == pytest.approx((to_text, to_image))


def test_vectors_that_are_all_the_same_find_nothing(tmp_path):
    same = np.eye(1, 8).repeat(10, axis=0)
    found = evaluate_retrieval(validation(tmp_path, vectors={"image/enc": same, "text/enc": same}), ks=(1, 9, 10))
    assert found.image_to_text == found.text_to_image == {1: 0.0, 9: 0.0, 10: 100.0}


def test_vectors_that_agree_find_everything(tmp_path):
    vectors = np.linspace(-1, 1, 80).reshape(10, 8) ** 3
    dataset = validation(tmp_path, vectors={"image/enc": unit(vectors), "text/enc": unit(vectors)})
    assert evaluate_retrieval(dataset).image_to_text == {1: 100.0, 5: 100.0, 10: 100.0}


def test_chance_is_what_blind_draws_reach_on_average(tmp_path):
    found = evaluate_retrieval(validation(tmp_path, columns={"text": NAMES}), ks=(1, 2, 5))
    for k in (1, 2, 5):
        to_text = list(combinations(range(6), k))
        assert found.image_to_text_chance[k] == pytest.approx(100 * sum(0 in drawn for drawn in to_text) / len(to_text))
        to_image = [
            sum(any(NAMES[row] == name for row in drawn) for drawn in combinations(range(10), k)) for name in set(NAMES)
        ]
        draws = len(list(combinations(range(10), k)))
        assert found.text_to_image_chance[k] == pytest.approx(100 * sum(to_image) / (6 * draws))


def test_only_the_split_that_was_named_is_measured(tmp_path):
    dataset = write_dataset(tmp_path, (6, 4), splits=["train", "validation"])
    assert evaluate_retrieval(dataset).images == 4
    assert evaluate_retrieval(dataset, split="train").images == 6
    assert evaluate_retrieval(dataset, split=None).images == 10


def test_the_first_view_stands_for_an_image(tmp_path):
    views = Space("image", "enc", dim=8, per_row=3)
    dataset = validation(tmp_path / "views", (views, TEXT))
    first = dataset.vectors("image/enc")[:, 0]
    alone = validation(tmp_path / "first", vectors={"image/enc": first, "text/enc": dataset.vectors("text/enc")})
    assert evaluate_retrieval(dataset) == evaluate_retrieval(alone)


def test_a_head_is_measured_on_what_it_makes_of_the_vectors(tmp_path):
    images = unit(np.linspace(-1, 1, 80).reshape(10, 8) ** 3)
    dataset = validation(tmp_path, vectors={"image/enc": images, "text/enc": -images})
    head = Head(image_dim=8, text_dim=8)
    with torch.no_grad():
        head.text.weight *= -1
    head.save(tmp_path / "head")
    for given in (head, tmp_path / "head", str(tmp_path / "head")):
        found = compare(dataset, given)
        assert (found.before.image_to_text[1], found.after.image_to_text[1]) == (0.0, 100.0)
    assert compare(dataset).after is None
    assert "image to text, after the head       100.00  100.00  100.00" in str(found)
    chance = found.to_json()["before"]["text_to_image_chance"]
    assert chance == pytest.approx({"R@1": 10.0, "R@5": 50.0, "R@10": 100.0})


def test_spaces_of_other_dimensions_need_a_head(tmp_path):
    other = Space("text", "other", dim=6)
    dataset = validation(tmp_path, (IMAGE, other))
    with pytest.raises(UsageError, match=r"expected one dimension, found 8 and 6 dimensions.*a head"):
        evaluate_retrieval(dataset, text="text/other")
    found = compare(dataset, Head(image_dim=8, text_dim=6), text="text/other")
    assert found.before is None and found.after.images == 10


def test_a_head_for_other_dimensions_is_refused(tmp_path):
    with pytest.raises(UsageError, match="expected vectors of 6 dimensions"):
        compare(validation(tmp_path), Head(image_dim=6, text_dim=6))


def test_a_head_is_measured_on_the_spaces_it_was_trained_on(tmp_path):
    dataset = validation(
        tmp_path, (Space("image", "first", dim=8), Space("text", "first", dim=8), IMAGE, TEXT, CAPTION)
    )
    origin = Origin("another", "0" * 64, "image/enc", ("caption/enc", "text/enc"), 1)
    found = compare(dataset, Head(image_dim=8, text_dim=8, origin=origin))
    assert (found.image, found.text) == ("image/enc", "caption/enc")
    assert compare(dataset).image == "image/first"


def test_an_empty_split_is_refused_and_never_gives_a_nan(tmp_path):
    with pytest.raises(UsageError, match=r"split 'validation' of .*expected rows to evaluate, found none"):
        evaluate_retrieval(write_dataset(tmp_path))


def test_captions_that_are_all_missing_are_refused(tmp_path):
    columns = {"captions": pa.array([[]] * 10, pa.list_(pa.string()))}
    with pytest.raises(UsageError, match="expected texts to evaluate"):
        evaluate_retrieval(validation(tmp_path, (IMAGE, CAPTION), columns=columns))


def test_vectors_that_are_not_finite_are_an_error_and_not_a_hit(tmp_path):
    images = np.ones((10, 8))
    images[3, 2] = np.nan
    with pytest.raises(DataError, match="space image/enc: expected finite vectors, found 1 that are not"):
        evaluate_retrieval(validation(tmp_path, vectors={"image/enc": images}))


def test_spaces_default_to_text_then_captions_of_the_first_image_space(tmp_path):
    dataset = validation(tmp_path, (Space("text", "other", dim=8), CAPTION, IMAGE, TEXT))
    assert paired_spaces(dataset) == ("image/enc", ("text/enc", "caption/enc"))


@pytest.mark.parametrize("wrong", [{"image": "text/enc"}, {"text": ["image/enc"]}, {"image": "image/none"}])
def test_spaces_of_the_wrong_kind_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError):
        paired_spaces(validation(tmp_path), **wrong)


def test_a_dataset_without_spaces_says_that_it_has_none(tmp_path):
    with pytest.raises(UsageError, match="none at all"):
        paired_spaces(validation(tmp_path, ()))
