"""The losses against published values, against open_clip, and against sums written out."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="heads need torch")

from support.reference import features  # noqa: E402

from dfndr.losses.contrastive import clip_loss, siglip_loss  # noqa: E402


def random_pairs(rows=7, dim=5):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, rows, dim, dtype=torch.float64, generator=generator)
    return torch.nn.functional.normalize(drawn, dim=2)


def test_the_clip_loss_has_the_reference_values_of_real_and_synthetic_captions():
    image, real, synthetic = features(4, 8, 0.0), features(4, 8, 0.5), features(4, 8, 1.0)
    on_real, on_synthetic = clip_loss(20 * image @ real.T), clip_loss(20 * image @ synthetic.T)
    assert on_real.item() == pytest.approx(1.6526639964, abs=1e-9)
    assert (on_real + on_synthetic).item() == pytest.approx(8.14875954, abs=1e-8)


def test_the_clip_loss_is_that_of_open_clip():
    open_clip_loss = pytest.importorskip("open_clip.loss", reason="open_clip is the reference")
    image, text = random_pairs()
    expected = open_clip_loss.ClipLoss()(image, text, torch.tensor(14.0))
    assert clip_loss(14.0 * image @ text.T).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_siglip_loss_is_that_of_open_clip():
    open_clip_loss = pytest.importorskip("open_clip.loss", reason="open_clip is the reference")
    image, text = random_pairs()
    expected = open_clip_loss.SigLipLoss()(image, text, torch.tensor(10.0), torch.tensor(-10.0))
    assert siglip_loss(10.0 * image @ text.T - 10.0).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_siglip_loss_is_the_sum_over_all_pairs_divided_by_the_images():
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=torch.float64)
    expected = sum(math.log1p(math.exp(value)) for value in (-2.0, -1.0, 0.5, -3.0)) / 2
    assert siglip_loss(logits).item() == pytest.approx(expected, abs=1e-12)


def test_logits_that_tell_nothing_cost_the_logarithm_of_the_batch():
    assert clip_loss(torch.zeros(8, 8)).item() == pytest.approx(math.log(8), abs=1e-6)


def test_both_losses_fall_to_nothing_when_pairs_are_told_apart():
    logits = 100 * (2 * torch.eye(4) - 1)
    assert max(clip_loss(logits).item(), siglip_loss(logits).item()) < 1e-40
