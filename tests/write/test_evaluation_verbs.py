"""The verbs that evaluate, as their user meets them: what they print, and what they end with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.models import tiny_config
from support.pools import picture, tar_of

import dfndr.cli

COLORS = ["red", "green", "blue"]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run the command line in this process; return its status, stdout, and stderr in one line."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dfndr", *map(str, words)])
        capsys.readouterr()
        status = 0
        try:
            dfndr.cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        found = capsys.readouterr()
        return status, found.out, " ".join(found.err.split())

    return run


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    members = [(f"{number:02d}.png", picture(COLORS[number % 3], size=(8, 8 + number))) for number in range(12)]
    texts = [(f"{number:02d}.txt", COLORS[number % 3]) for number in range(12)]
    path = tmp_path / "colors.tar"
    path.write_bytes(tar_of([part for pair in zip(members, texts, strict=True) for part in pair]))
    return path


def test_eval_clip_prints_a_line_for_people_and_json_for_programs(colors, tmp_path, said):
    model = ["random:0", "--model", str(tiny_config(tmp_path)), "--batch-size", "8", "--device", "cpu"]
    status, out, _ = said("eval-clip", model[0], str(colors), *model[1:])
    assert status == 0
    assert out.startswith("colors.tar: zero-shot classification of 12 images, 3 classes, 1 template(s)\n  acc1 ")
    status, out, _ = said("eval-clip", model[0], str(colors), *model[1:], "--retrieval", "--json")
    (result,) = json.loads(out)["results"]
    assert (status, result["task"], result["images"], result["captions"]) == (0, "retrieval", 12, 12)
    assert result["text_to_image"]["R@10"] > result["text_to_image"]["R@1"]


def test_eval_clip_takes_classes_and_templates_from_files(colors, tmp_path, said):
    (tmp_path / "classes.txt").write_text("\n".join([*COLORS, "mauve"]))
    (tmp_path / "prompts.txt").write_text("a {}\n\nthe {c} one\n")
    words = ["eval-clip", "random:0", str(colors), "--model", str(tiny_config(tmp_path)), "--json", "--device", "cpu"]
    files = ["--classnames", str(tmp_path / "classes.txt"), "--templates", str(tmp_path / "prompts.txt")]
    status, out, _ = said(*words, *files)
    (result,) = json.loads(out)["results"]
    assert (status, result["classes"], result["templates"], len(result["recalls"])) == (0, 4, 2, 3)


def test_eval_clip_says_what_is_missing(colors, tmp_path, said):
    status, _, err = said("eval-clip", "random:0", str(colors))
    assert (status, "a model that these weights are of" in err, "--model" in err) == (2, True, True)
    status, _, err = said("eval-clip", "local-dir:nowhere", str(tmp_path / "none.tar"))
    assert (status, "nothing there" in err) == (1, True)
