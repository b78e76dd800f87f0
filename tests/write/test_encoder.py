"""Encoders: vectors that are open_clip's own, whatever the batch, and a record of what the model really is."""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from support import weights as tiny_weights
from support.pairs import jpeg
from support.weights import PICTURES, TEXTS, Weights, opened

from dfndr.encoder import Encoder, EncoderSpec
from dfndr.images import decode
from dfndr.models import load_model

weights = tiny_weights.weights


def test_vectors_are_those_of_open_clip_itself(weights: Weights) -> None:
    encoder = opened(weights, f"local-dir:{weights.folder}/local")
    with torch.inference_mode():
        images = weights.own.encode_image(torch.stack([weights.preprocess(decode(data)) for data in PICTURES]))
        texts = weights.own.encode_text(weights.tokenizer(TEXTS))
    for mine, own in ((encoder.encode_images(PICTURES), images), (encoder.encode_texts(TEXTS), texts)):
        assert not mine.problems
        assert mine.vectors.dtype == np.float32
        unit = own / own.norm(dim=-1, keepdim=True)
        np.testing.assert_allclose(mine.vectors, unit.numpy(), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(mine.vectors.astype(np.float64), axis=1), 1, atol=1e-6)


def test_neither_the_batch_nor_its_padding_nor_the_company_changes_a_vector(weights: Weights) -> None:
    one = opened(weights, "random:0", batch_size=1)
    images, texts = one.encode_images(PICTURES).vectors, one.encode_texts(TEXTS).vectors
    for batch_size in (5, 8, 21, 64):
        encoder = opened(weights, "random:0", batch_size=batch_size)
        np.testing.assert_allclose(encoder.encode_images(PICTURES).vectors, images, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS).vectors, texts, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_images(PICTURES[3:4]).vectors, images[3:4], atol=1e-5)


def test_bad_pictures_among_good_ones_are_named_and_move_nothing(weights: Weights) -> None:
    encoder = opened(weights, "random:0")
    mixed = [b"no picture", *PICTURES[:9], b"", *PICTURES[9:12]]
    encoded = encoder.encode_images(mixed)
    assert {place: reason for place, (reason, _) in encoded.problems.items()} == {
        0: "image_unreadable",
        10: "image_empty",
    }
    good = encoder.encode_images(PICTURES[:12]).vectors
    np.testing.assert_allclose(np.delete(encoded.vectors, [0, 10], axis=0), good, atol=1e-5)
    assert not encoded.vectors[[0, 10]].any()
    assert encoder.encode_images([b"", b"x"]).problems.keys() == {0, 1}
    assert encoder.encode_images([]).vectors.shape == encoder.encode_texts([]).vectors.shape == (0, 16)


def test_a_picture_too_long_and_thin_to_be_resized_is_refused_before_it_is(weights: Weights) -> None:
    encoder = opened(weights, "random:0")
    long, longer = (jpeg((width, 2), kind="PNG") for width in (20_000, 1_000_000))
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    encoded = encoder.encode_images([longer, PICTURES[0], long])
    assert encoded.problems == {0: ("image_too_large", "1000000 x 2 pixels, too long and thin to be resized to 32")}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started < 300_000, "its 32 x 16,000,000 take 1.5 GB"
    squashed = opened(weights, f"local-dir:{weights.folder}/local").encode_images([longer])
    assert not squashed.problems, "which a model that takes the whole picture does not mind"


@pytest.mark.parametrize("text", ["", "\0", "x" * 9999, "\ud800 lone", "\u202e\U0001f9c0", "<start_of_text>", "&#0;"])
def test_any_string_has_a_vector(weights: Weights, text: str) -> None:
    encoded = opened(weights, "random:0").encode_texts([text])
    assert not encoded.problems
    assert abs(np.linalg.norm(encoded.vectors) - 1) < 1e-5


def test_the_record_says_what_the_model_really_is(weights: Weights) -> None:
    record = opened(weights, f"local-dir:{weights.folder}/local", license="mit").record
    assert (record.name, record.license, record.dim, record.context_length) == ("tiny", "mit", 16, 16)
    assert (record.batch_size, record.threads, record.precision) == (8, 1, "fp32")
    assert record.logit_scale == pytest.approx(float(weights.own.logit_scale.detach().exp()))
    shape = record.preprocess
    assert (shape.size, shape.mean, shape.std) == ((32, 32), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (shape.interpolation, shape.resize_mode) == ("bilinear", "squash")
    assert (record.activation, record.logit_bias, record.distillation_scale) == ("gelu", None, None)
    own = opened(weights, "random:0").record.preprocess
    assert own.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
    assert (own.interpolation, own.resize_mode) == ("bicubic", "shortest")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_lower_precision_is_recorded_and_close(weights: Weights, precision: str) -> None:
    encoder = opened(weights, "random:0", precision=precision)
    assert encoder.record.precision == precision
    wanted = opened(weights, "random:0").encode_images(PICTURES).vectors
    assert (encoder.encode_images(PICTURES).vectors * wanted).sum(axis=1).min() > 0.99


def test_a_vector_that_is_not_finite_is_a_problem_of_its_row_alone(weights: Weights) -> None:
    class Dark(torch.nn.Module):
        """The tiny model, but for a picture that is all black, of which it makes NaN, and all white, zeros."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.visual, self.logit_scale = inner, inner.visual, inner.logit_scale

        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            flat = images.flatten(1)
            scale = torch.where((flat < -1.4).all(1), torch.nan, torch.where((flat > 1.8).all(1), 0.0, 1.0))
            return self.inner.encode_image(images) * scale[:, None]

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.inner.encode_text(tokens)

    spec = EncoderSpec("tiny", str(weights.folder / "tiny.json"), "random:0", batch_size=8, device="cpu")
    inner, preprocess, tokenizer = load_model(spec)
    encoder = Encoder(spec, Dark(inner), preprocess, tokenizer)
    encoded = encoder.encode_images([PICTURES[0], jpeg(colour=(0, 0, 0)), jpeg(colour=(255, 255, 255)), PICTURES[1]])
    assert {place: reason for place, (reason, _) in encoded.problems.items()} == dict.fromkeys(
        (1, 2), "vector_not_finite"
    )
    np.testing.assert_allclose(encoded.vectors[[0, 3]], encoder.encode_images(PICTURES[:2]).vectors, atol=1e-5)
