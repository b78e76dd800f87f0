"""Zero-shot classification and retrieval: the numbers against brute force, the layouts, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.zero_shot.classification import classification_of
from dfndr_builders.zero_shot.hits import hits_at
from dfndr_builders.zero_shot.prompts import class_vectors, filled, named_templates
from dfndr_builders.zero_shot.retrieval import retrieval_of
from dfndr_builders.zero_shot.sets import CaptionedSet, LabelledSet, labelled_set, open_set
from support.models import tiny_spec
from support.pools import picture, tar_of

from dfndr.encoder import Encoder, open_encoder
from dfndr.errors import DataError, PoolError, UsageError
from dfndr.images import decode
from dfndr.models import load_model

TOLERANCE = 1e-6
"""How far a cosine may move when a picture or a prompt falls into another batch, in float32."""
COLORS = ["red", "green", "blue", "white", "black", "orange", "purple"]


def _encoder(folder: Path, **more: object) -> Encoder:
    return open_encoder(tiny_spec(folder, **more))


def _sample(number: int, label: str, suffix: str = "txt") -> list[tuple[str, object]]:
    image = picture((number * 37 % 256, number * 91 % 256, number * 53 % 256), size=(8 + number, 9))
    return [(f"{number:03d}.png", image), (f"{number:03d}.{suffix}", label)]


def _tar(path: Path, samples: Sequence[list[tuple[str, object]]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_of([part for sample in samples for part in sample]))
    return str(path)


def _plain(path: Path, count: int = 30, classes: int = 7) -> LabelledSet:
    tar = _tar(path, [_sample(number, COLORS[number % classes]) for number in range(count)])
    return labelled_set("colors", WebDatasetPool((tar,)), COLORS[:classes], ["a {}.", "a photo of {c}"])


def _brute_vectors(folder: Path, images: Sequence[bytes], texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of pictures and texts, by the model itself, one at a time."""
    model, preprocess, tokenizer = load_model(tiny_spec(folder))
    with torch.inference_mode():
        image = [model.encode_image(preprocess(decode(one))[None])[0].double() for one in images]
        text = [model.encode_text(tokenizer([one]))[0].double() for one in texts]
    return tuple(torch.stack([one / one.norm() for one in rows]).numpy() for rows in (image, text))  # type: ignore[return-value]


def test_a_hit_is_the_share_of_orders_of_equal_scores_that_put_a_right_candidate_among_the_best():
    drawn = np.random.default_rng(0)
    scores = drawn.integers(0, 3, (40, 5)).astype(np.float32)
    right = drawn.random((40, 5)) < 0.4
    right[~right.any(axis=1), 2] = True
    for k in (1, 2, 3, 5, 9):
        for row, found in enumerate(hits_at(k, scores, right)):
            orders = list(permutations(range(5)))
            best = [sorted(order, key=lambda place: -scores[row, place])[:k] for order in orders]
            share = np.mean([any(right[row, place] for place in order) for order in best])
            assert found == pytest.approx(share, abs=1e-12)


def test_accuracy_and_recall_of_classes_are_those_of_a_loop_over_pictures(tmp_path):
    given = _plain(tmp_path / "set.tar", count=30)
    found = classification_of(_encoder(tmp_path), given)
    images = [_sample(number, "")[0][1] for number in range(30)]
    prompts = [filled(template, name) for name in COLORS for template in given.templates]
    vectors, texts = _brute_vectors(tmp_path, images, prompts)  # type: ignore[arg-type]
    classes = texts.reshape(7, 2, -1).mean(axis=1)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    order = np.argsort(-(vectors @ classes.T), axis=1)
    labels = np.arange(30) % 7
    assert found.acc1 == pytest.approx((order[:, 0] == labels).mean())
    assert found.acc5 == pytest.approx((order[:, :5] == labels[:, None]).any(axis=1).mean())
    recalls = {COLORS[label]: (order[labels == label, 0] == label).mean() for label in range(7)}
    assert found.recalls == pytest.approx(recalls)
    assert found.mean_per_class_recall == pytest.approx(np.mean(list(recalls.values())))
    assert (found.images, found.classes, found.templates, found.problems) == (30, 7, 2, {})
    assert json.loads(json.dumps(found.to_json()))["acc1"] == found.acc1


def test_the_mean_of_recalls_is_over_the_classes_that_have_pictures_and_acc5_needs_six_classes(tmp_path):
    tar = _tar(tmp_path / "set.tar", [_sample(number, COLORS[number % 2]) for number in range(9)])
    found = classification_of(_encoder(tmp_path), labelled_set("two", WebDatasetPool((tar,)), COLORS[:4]))
    assert found.acc5 is None
    assert list(found.recalls) == COLORS[:2]
    assert found.mean_per_class_recall == pytest.approx(np.mean(list(found.recalls.values())))
    assert found.acc1 == pytest.approx((found.recalls["red"] * 5 + found.recalls["green"] * 4) / 9)


def test_vectors_of_classes_and_accuracy_do_not_depend_on_the_batch_or_on_order(tmp_path):
    given, one, other = _plain(tmp_path / "set.tar"), _encoder(tmp_path), _encoder(tmp_path, batch_size=3)
    vectors = class_vectors(one, given.classnames, given.templates)
    np.testing.assert_allclose(class_vectors(other, given.classnames, given.templates), vectors, atol=TOLERANCE)
    turned = class_vectors(one, given.classnames[::-1], given.templates[::-1])[::-1]
    np.testing.assert_allclose(turned, vectors, atol=TOLERANCE)
    backwards = [_sample(number, COLORS[number % 7]) for number in reversed(range(30))]
    tar = _tar(tmp_path / "backwards.tar", backwards)
    found = classification_of(one, given)
    for encoder, pool in ((other, given.pool), (one, WebDatasetPool((tar,)))):
        assert classification_of(encoder, labelled_set("colors", pool, COLORS, given.templates)) == found


def test_retrieval_is_that_of_a_loop_over_all_pairs_with_several_captions_to_a_picture(tmp_path):
    captions = [
        [f"a {COLORS[(number + step) % 7]} thing {number}" for step in range(1 + number % 3)] for number in range(20)
    ]
    captions[4][0] = captions[9][0]
    samples = [_sample(number, "\n".join(lines)) for number, lines in enumerate(captions)]
    pool = WebDatasetPool((_tar(tmp_path / "set.tar", samples),))
    found = retrieval_of(_encoder(tmp_path), CaptionedSet("set", pool))
    owner = np.array([number for number, lines in enumerate(captions) for _ in lines])
    texts = [text for lines in captions for text in lines]
    images, words = _brute_vectors(tmp_path, [_sample(number, "")[0][1] for number in range(20)], texts)  # type: ignore[arg-type]
    scores = (images @ words.T).astype(np.float32)
    assert (found.images, found.captions) == (20, len(texts))
    for k in (1, 5, 10):
        there = [(owner[np.argsort(-scores[row], kind="stable")[:k]] == row).any() for row in range(20)]
        back = [owner[text] in np.argsort(-scores[:, text], kind="stable")[:k] for text in range(len(texts))]
        assert found.image_to_text[k] == pytest.approx(np.mean(there))
        assert found.text_to_image[k] == pytest.approx(np.mean(back))


def test_captions_in_rows_of_their_own_are_of_one_picture(tmp_path):
    captions = {number: [f"{color} one", f"the {color} {number}"] for number, color in enumerate(COLORS)}
    lines = [_sample(number, "\n".join(texts)) for number, texts in captions.items()]
    lists = [_sample(number, json.dumps({"captions": texts}), "json") for number, texts in captions.items()]
    one = WebDatasetPool((_tar(tmp_path / "lines.tar", lines),))
    other = WebDatasetPool((_tar(tmp_path / "lists.tar", lists),), text="json:captions", every_text=True)
    encoder = _encoder(tmp_path)
    assert retrieval_of(encoder, CaptionedSet("set", other)) == retrieval_of(encoder, CaptionedSet("set", one))


def test_the_layout_of_clip_benchmark_is_read_with_its_classes_templates_and_numbers(tmp_path):
    root = tmp_path / "wds_colors"
    for shard in range(2):
        samples = [_sample(number, str(number % 7), "cls") for number in range(15 * shard, 15 * shard + 15)]
        _tar(root / "test" / f"{shard}.tar", samples)
    (root / "test" / "nshards.txt").write_text("2\n")
    (root / "classnames.txt").write_text("\n".join(COLORS) + "\n")
    (root / "zeroshot_classification_templates.txt").write_text("a {c}.\na photo of {c}\n")
    given, encoder = open_set(str(root)), _encoder(tmp_path)
    assert isinstance(given, LabelledSet)
    assert (given.classnames, given.templates) == (tuple(COLORS), ("a {c}.", "a photo of {c}"))
    plain = classification_of(encoder, _plain(tmp_path / "set.tar"))
    assert classification_of(encoder, given).acc1 == plain.acc1
    (root / "test" / "1.tar").unlink()
    with pytest.raises(PoolError, match=r"1\.tar: expected at least one match"):
        given = open_set(str(root))
        assert isinstance(given, LabelledSet)
        classification_of(encoder, given)
    (root / "test" / "nshards.txt").write_text("two")
    with pytest.raises(PoolError, match="the number of tars, found 'two'"):
        open_set(str(root))


def test_a_set_tells_that_it_is_for_retrieval_and_another_task_is_refused(tmp_path):
    root = tmp_path / "wds_pairs"
    _tar(root / "test" / "0.tar", [_sample(number, f"one\ntwo {number}") for number in range(4)])
    (root / "test" / "nshards.txt").write_text("1")
    (root / "dataset_type.txt").write_text("retrieval\n")
    given = open_set(str(root))
    assert isinstance(given, CaptionedSet)
    found = retrieval_of(_encoder(tmp_path), given)
    assert (found.images, found.captions, found.image_to_text[5]) == (4, 8, 1.0)
    assert found.text_to_image[1] == pytest.approx(0.25), "four equal captions find each picture once"
    (root / "dataset_type.txt").write_text("multilabel")
    with pytest.raises(PoolError, match="classification or retrieval, found 'multilabel'"):
        open_set(str(root))


def test_samples_that_cannot_be_used_are_counted_and_named(tmp_path):
    samples = [_sample(number, COLORS[number % 3]) for number in range(9)]
    samples[2][0] = ("002.png", b"no picture")
    samples[5][1] = ("005.txt", "mauve")
    del samples[7][0]
    pool = WebDatasetPool((_tar(tmp_path / "set.tar", samples),))
    encoder = _encoder(tmp_path)
    found = classification_of(encoder, labelled_set("set", pool, COLORS[:3]))
    left_out = {"image_missing": ("007",), "image_unreadable": ("002",), "label_unknown": ("005",)}
    assert (found.images, found.problems) == (6, left_out)
    assert "left out: 1 label_unknown (005)" in str(found)
    other = retrieval_of(encoder, CaptionedSet("set", pool))
    assert (other.images, dict(other.problems)) == (7, {"image_missing": ("007",), "image_unreadable": ("002",)})
    with pytest.raises(DataError, match="pictures to classify, found image_missing 1, label_unknown 8"):
        classification_of(encoder, labelled_set("set", pool, ["a", "b"]))


def test_classes_that_are_not_given_are_those_that_occur(tmp_path):
    path = _tar(tmp_path / "set.tar", [_sample(number, COLORS[number % 3]) for number in range(9)])
    given = open_set(path)
    assert isinstance(given, LabelledSet)
    assert given.classnames == ("blue", "green", "red")
    one = _tar(tmp_path / "one.tar", [_sample(number, "red") for number in range(3)])
    with pytest.raises(UsageError, match="two classes or more, found 1"):
        open_set(one)


def test_a_template_without_a_place_for_the_class_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"template 2: expected a place for the class, \{\} or \{c\}"):
        _ = labelled_set("set", WebDatasetPool(()), COLORS, ["a {}", "a photo"])
    with pytest.raises(UsageError, match="at least one template"):
        labelled_set("set", WebDatasetPool(()), COLORS, [])
    with pytest.raises(UsageError, match="'openai-imagenet', found 'openai'"):
        named_templates("openai")


def test_the_templates_of_imagenet_are_the_eighty_of_openai():
    templates = named_templates("openai-imagenet")
    assert len(set(templates)) == 80
    assert filled(templates[0], "crane {bird}") == "a bad photo of a crane {bird}."
