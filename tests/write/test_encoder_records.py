"""What is recorded of a teacher beside its weights: its activation, its bias, the scale that it teaches with."""

import json
from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.card import card
from dfndr_builders.recipe_file import read_recipe
from support.builds import RECIPE, write_recipe
from support.models import TINY_CONFIG
from support.tiny import encoder_record

from dfndr.describe import describe
from dfndr.encoder import open_encoder
from dfndr.errors import FormatError, RecipeError
from dfndr.format.manifest import read_manifest
from dfndr.format.schema import EncoderRecord
from dfndr.models import EncoderSpec

SMALL = RECIPE.replace("count = 2_500\n", "count = 100\n").replace("swap_texts = 0.3\n", "")
QUICK = {**TINY_CONFIG, "quick_gelu": True}
SIGMOID = {**TINY_CONFIG, "init_logit_bias": -10.0, "init_logit_scale": 2.0}
RESNET = {**QUICK, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}}


def read_again(record: EncoderRecord) -> EncoderRecord:
    return EncoderRecord.from_json(json.loads(json.dumps(record.to_json())), "here")


@pytest.mark.parametrize(
    ("config", "activation", "bias", "scale"),
    [
        (TINY_CONFIG, "gelu", None, 1 / 0.07),
        (QUICK, "quick_gelu", None, 1 / 0.07),
        (SIGMOID, "gelu", -10.0, 7.389056),
        (RESNET, "relu / quick_gelu", None, 1 / 0.07),
    ],
)
def test_activation_and_bias_are_those_of_the_model_as_it_was_built(
    tmp_path: Path, config: dict[str, object], activation: str, bias: float | None, scale: float
) -> None:
    (tmp_path / "model.json").write_text(json.dumps(config))
    spec = EncoderSpec("one", str(tmp_path / "model.json"), "random:0", batch_size=4, threads=1, device="cpu")
    record = open_encoder(spec).record
    assert (record.activation, record.logit_bias) == (activation, bias)
    assert record.logit_scale == pytest.approx(scale)
    assert read_again(record) == record


def test_what_nobody_knows_is_left_out_and_read_as_unknown() -> None:
    record = encoder_record()
    assert {"distillation_scale", "logit_bias", "activation"}.isdisjoint(record.to_json())
    assert read_again(record) == record
    assert record.teaching_scale == record.logit_scale == 100


@pytest.mark.parametrize(
    "field", [{"distillation_scale": None}, {"distillation_scale": "70"}, {"logit_bias": True}, {"activation": ""}]
)
def test_a_field_that_says_nothing_or_has_another_type_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(FormatError, match=next(iter(field))):
        EncoderRecord.from_json(json.loads(json.dumps({**encoder_record().to_json(), **field})), "here")


def test_a_recipe_s_scale_to_teach_with_is_recorded_and_shown(tmp_path: Path) -> None:
    scaled = SMALL.replace('pretrained = "random:1"', 'pretrained = "random:1"\ndistillation_scale = 70.0')
    build(write_recipe(tmp_path, text=scaled), tmp_path / "out", device="cpu")
    manifest = read_manifest(str(tmp_path / "out"))
    record = manifest.encoders["tiny"]
    assert (record.distillation_scale, record.teaching_scale) == (70, 70)
    assert manifest.scorers["dfn"].distillation_scale is None
    assert manifest.scorers["dfn"].teaching_scale == pytest.approx(1 / 0.07)
    assert "gelu, scale 14.2857, teaches with scale 70" in describe(manifest)
    assert "| gelu | 70.0 |" in card(manifest)
    assert f"| gelu | {manifest.scorers['dfn'].logit_scale} |" in card(manifest)


@pytest.mark.parametrize("scale", ["0", "-1", "1001", '"70"'])
def test_a_scale_that_no_student_could_use_is_refused(tmp_path: Path, scale: str) -> None:
    scaled = SMALL.replace('pretrained = "random:1"', f'pretrained = "random:1"\ndistillation_scale = {scale}')
    with pytest.raises(RecipeError, match="distillation_scale"):
        read_recipe(write_recipe(tmp_path, text=scaled))
