"""[dfn]: presets, what fits together, and what a training would cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.dfn.cost import Cost, cost_of, model_config
from dfndr_builders.dfn.presets import PRESETS
from dfndr_builders.plan import plan
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import parse_recipe
from support.models import TINY_CONFIG
from support.verbs import run

from dfndr.errors import RecipeError

BASE = """
name = "mine"
license = "mit"
pool = [{ kind = "glyphs" }]
score = [{ name = "dfn", pretrained = "recipe:dfn" }]
select = { by = "dfn", top_fraction = 0.5 }

[dfn]
pool = [{ kind = "glyphs" }]
"""
PLAIN = BASE + "model = 'ViT-B-32'\nepochs = 1\nbatch_size = 8\nlearning_rate = 1e-3\n"
TUNED = (
    PLAIN + "\n[dfn.finetune]\nsamples_seen = 9\nbatch_size = 8\nlearning_rate = 1e-5\npool = [{ kind = 'glyphs' }]\n"
)
AVERAGED = TUNED + "\n[dfn.averaging]\npool = [{ kind = 'glyphs' }]\n"


def read(text: str) -> Recipe:
    return parse_recipe(text, "mine.toml")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_alone_makes_a_training(name: str) -> None:
    dfn = read(BASE + f"preset = {name!r}\n").dfn
    assert dfn is not None
    said = dfn.model_dump()
    assert {key: said[key] for key in PRESETS[name].keys} == dict(PRESETS[name].keys)
    assert isinstance(dfn.spec(seed=0, threads=1, device="cpu"), TrainingSpec)


def test_what_is_given_goes_before_the_preset() -> None:
    given = "preset = 'paper-final'\nmodel = 'ViT-B-16'\nepochs = 2\nbeta2 = 0.9\n"
    dfn = read(BASE + given).dfn
    assert dfn is not None
    assert (dfn.model, dfn.pretrained, dfn.epochs, dfn.samples_seen) == ("ViT-B-16", None, 2, None)
    assert (dfn.beta2, dfn.batch_size) == (0.9, 16_384)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE + "preset = 'paper-small'\n", "preset = 'paper-small', but the presets are paper-medium"),
        (PLAIN + "preset = 3\n", "mine.toml, dfn.preset: expected a valid string"),
        (PLAIN + "samples_seen = 5\n", "both of epochs and samples_seen"),
        (PLAIN.replace("epochs = 1", ""), "neither of epochs and samples_seen"),
        (PLAIN + "crop_ratio = [0.5, 2]\ngray_scale_probability = 0.1\n", "leave one side out"),
        (PLAIN + "color_jitter_probability = 0.1\n", "expected color_jitter, whose probability is given"),
        (PLAIN + "[dfn.averaging]\npool = [{ kind = 'glyphs' }]\n", r"needs a \[dfn.finetune\] section"),
        (AVERAGED + "alphas = [0.5, 1.5]\n", r"dfn.averaging.alphas\[1\]: expected less than or equal to 1, found 1.5"),
        (AVERAGED + "alphas = [-0.1]\n", r"dfn.averaging.alphas\[0\]: .*found -0.1"),
        (PLAIN + "crop_scale = [1.0, 0.5]\n", "crop_scale from above 0 up to at most 1"),
        (PLAIN + "crop_ratio = [0.0, -1.0]\n", "crop_ratio from above 0 up"),
        (PLAIN + "color_jitter = [0.1, 0.1, 0.1, 0.6]\n", "the hue's at most 0.5"),
        (PLAIN + "image_std = [0.5, 0.0, 0.5]\n", r"dfn.image_std\[1\]: expected greater than 0"),
        (AVERAGED + "alphas = [0.5, 0.0, 0.5]\n", "where one comes twice"),
        (AVERAGED + "alphas = []\n", "dfn.averaging.alphas: expected .*at least 1"),
        (
            TUNED.replace("[{ kind = 'glyphs' }]\n", "[{ kind = 'glyphs', templates = 'openai' }]\n"),
            "did you mean 'openai-",
        ),
        (TUNED.replace("'glyphs' }]\n", "'glyphs', templates = ['a photo'] }]\n"), "'a photo' has 0"),
        (TUNED + "model = 'ViT-B-16'\n", "dfn.finetune.model: expected a known key"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read(text)


def test_the_augmentation_is_what_open_clip_is_told() -> None:
    jitter = {"color_jitter": (0.4, 0.4, 0.4, 0.1), "gray_scale_probability": 0.2}
    plain, timm = TrainingSpec("m", epochs=1, **jitter), TrainingSpec("m", epochs=1, crop_ratio=(0.5, 2.0))  # type: ignore[arg-type]
    assert plain.augmentation() == {
        "scale": (0.9, 1.0), "color_jitter": (0.4, 0.4, 0.4, 0.1), "color_jitter_prob": 1.0, "gray_scale_prob": 0.2,
    }  # fmt: skip
    assert timm.augmentation() == {"scale": (0.9, 1.0), "ratio": (0.5, 2.0), "use_timm": True}


@pytest.mark.parametrize("config", [TINY_CONFIG, "ViT-B-32"], ids=["tiny", "ViT-B-32"])
def test_the_cost_is_what_torch_counts_exactly(config: dict[str, object] | str) -> None:
    import open_clip
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    known = model_config(config) if isinstance(config, str) else config
    assert known is not None
    with torch.device("meta"):
        model = open_clip.CLIP(**known)
        size = known["vision_cfg"]["image_size"]  # type: ignore[index]
        pictures, texts = torch.zeros(1, 3, size, size), torch.zeros(1, known["text_cfg"]["context_length"], dtype=int)  # type: ignore[index]
    model.train()
    with FlopCounterMode(display=False) as counted:
        pair = model(pictures, texts)
        (pair[0].sum() + pair[1].sum()).backward()
    flops = cost_of(config, 1).flops
    assert flops == counted.get_total_flops()


def test_a_model_whose_config_does_not_tell_has_no_cost() -> None:
    for name in ("RN50", "ViT-B-16-SigLIP", "no-such-model"):
        assert "FLOPs not known" in str(cost_of(name, 10))


def test_a_training_of_seconds_is_said_to_be_short_and_not_in_powers_of_ten() -> None:
    assert ", less than 0.01 GPU hours at 40%" in str(Cost(100, 1e10))


def test_the_presets_are_listed_with_their_cost_without_a_recipe() -> None:
    result = run(["train-dfn", "--presets"])
    assert result.exit_code == 0
    for name, preset in PRESETS.items():
        assert name in result.stdout and preset.note in result.stdout
    assert "5,120,000,000 samples seen" in result.stdout and "GPU hours at 40% of an H100" in result.stdout


def test_a_plan_tells_what_the_trainings_cost(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(AVERAGED.replace("epochs = 1", "samples_seen = 128_000_000"))
    phases = plan(path).phases
    assert phases[0].startswith("train a filter: 128,000,000 samples seen, ") and "over 1 pool(s)" in phases[0]
    assert (
        phases[1].startswith("fine-tune it: 9 samples seen")
        and phases[2] == "average its weights: the best of 5 alphas"
    )
    assert json.dumps(plan(path).to_json())
