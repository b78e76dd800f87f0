"""What docs/students.md says is true: its commands parse and the files they name exist, and no trainer is patched."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from dfndr_builders.recipe import Recipe
from dfndr_builders.student.spec import StudentSpec
from support.documented import ROOT, blocks
from support.verbs import parsed, verbs

PAGE = (ROOT / "docs" / "students.md").read_text(encoding="utf-8")
STUDENT = ROOT / "builders" / "dfndr_builders" / "student"


def lines() -> list[str]:
    return [line for block in blocks(PAGE, "sh") for line in block.splitlines()]


def test_the_documented_commands_of_student_training_parse_and_their_files_exist() -> None:
    """A published reinforced dataset's README names its patches a folder off from where they lie."""
    made = {"reinforced.toml"}  # by the page itself
    verbs_shown = []
    for line in lines():
        words = shlex.split(line)
        if words[0] == "torchrun":
            assert words[words.index("-m") + 1] == "dfndr"
            words = words[words.index("-m") + 1 :]
        assert words[0] == "dfndr"
        found = parsed(words[1:])
        verbs_shown.append(words[1])
        made |= {words[words.index("--out") + 1]} if "--out" in words else set()
        for name in (
            found.get("dataset"),
            found.get("recipe"),
            found.get("pretrained") if words[1] == "eval-clip" else None,
        ):
            assert name is None or str(name) in made, f"{line}: {name} was not made before"
    assert verbs_shown.count("train-student") == 4
    for link in re.findall(r"\]\(([a-z_]+\.md)\)", PAGE):
        assert (ROOT / "docs" / link).is_file()
    Recipe.model_validate(tomllib.loads(blocks(PAGE, "toml")[0]))


def test_no_patch_to_a_trainer_is_needed() -> None:
    """The published patch of open_clip is corrupt: its hunk header counts lines that it does not have."""
    sources = "".join(path.read_text(encoding="utf-8") for path in STUDENT.glob("*.py"))
    assert "open_clip_train" not in sources and "webdataset" not in sources
    said = "".join(line for line in lines())
    assert "patch" not in said and "git " not in said
    assert not list(ROOT.glob("**/*.patch"))


def test_every_option_is_in_the_table_with_its_default() -> None:
    table = PAGE[PAGE.index("| option |") :].split("\n\n")[0]
    shown = set(re.findall(r"`(--[a-z-]+)", table))
    options = {name for one in verbs()["train-student"].params for name in one.opts if name.startswith("--")}
    assert options - shown == {"--out", "--json", "--device", "--seed"}
    spec = StudentSpec("any")
    for value in (spec.samples_seen, spec.batch_size, spec.warmup_steps):
        assert f"{value:,}" in table or str(value) in table
    assert spec.learning_rate == pytest.approx(1e-3) and (spec.contrastive_weight, spec.distillation_weight) == (0, 1)


def test_the_page_stands_in_the_sites_navigation() -> None:
    assert "students.md" in Path(ROOT / "mkdocs.yml").read_text(encoding="utf-8")
