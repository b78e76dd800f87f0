"""What lies in the work folder of a training that ended early, and what can be done with it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from dfndr_builders.clip.process import CHECKPOINT
from dfndr_builders.clip.train import train_clip
from dfndr_builders.pools.glyphs import GlyphsPool
from support.training import MODEL, POOL, SPEC, Interrupting

from dfndr.errors import ModelError
from dfndr.models import in_a_line

OTHER = {**MODEL, "vision_cfg": {"image_size": 32, "patch_size": 8, "layers": 1, "width": 64, "head_width": 16}}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> Path:
    """The work folder of a training that was interrupted in its second round."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        train_clip(SPEC, POOL, str(folder / "out"), work=str(folder / "work"), progress=Interrupting())
    (work,) = (folder / "work").iterdir()
    return work


@pytest.mark.slow
def test_a_training_starts_from_the_checkpoint_of_another(interrupted, tmp_path):
    spec = replace(SPEC, epochs=None, samples_seen=100, learning_rate=1e-6, pretrained=str(interrupted / CHECKPOINT))
    fresh = replace(spec, pretrained=None)
    losses = [
        train_clip(one, POOL, str(tmp_path / name), work=str(tmp_path / "work")).losses[0][1]
        for name, one in (("on", spec), ("fresh", fresh))
    ]
    assert losses[0] < losses[1]


@pytest.mark.slow
def test_a_checkpoint_of_another_shape_is_refused_by_the_names_of_its_tensors(interrupted, tmp_path):
    spec = replace(SPEC, model=OTHER, pretrained=str(interrupted / CHECKPOINT))
    with pytest.raises(ModelError, match=r"weights of another model: .*visual\.\w+.* is \[.*\], and \[.*\] in"):
        train_clip(spec, POOL, str(tmp_path / "out"), work=str(tmp_path / "work"))


@pytest.mark.slow
def test_a_loss_that_is_no_number_leaves_the_last_finite_weights_and_says_where(tmp_path):
    import torch

    spec = replace(SPEC, epochs=5, learning_rate=1e30, warmup_steps=0, workers=0)
    with pytest.raises(ModelError, match=r"Lower learning_rate.*pretrained = ") as raised:
        train_clip(spec, GlyphsPool(count=100), str(tmp_path / "out"), work=str(tmp_path / "work"))
    (kept,) = re.findall(r'pretrained = "(.*?)"', str(raised.value))
    weights = torch.load(kept, weights_only=True, map_location="cpu")["state_dict"]
    assert weights and all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def test_what_torch_says_of_weights_that_do_not_fit_becomes_a_line_of_names():
    import torch

    model = torch.nn.Linear(3, 2)
    with pytest.raises(RuntimeError) as raised:
        model.load_state_dict({"weight": torch.zeros(5, 3), "scale": torch.zeros(1)})
    assert in_a_line(raised.value) == (
        'weights of another model: weight is [5, 3], and [2, 3] in the model; Missing "bias"; Unexpected "scale"'
    )
