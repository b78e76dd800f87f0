"""The example notebook: its code runs on a small build, and what it shows is free of scripts and of places."""

import json
import re
from pathlib import Path

import pytest
from dfndr_builders.build import build
from support.builds import write_recipe

NOTEBOOK = Path(__file__).parents[2] / "examples" / "look_at_neighbours.ipynb"
GIVEN = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in GIVEN["cells"] if cell["cell_type"] == "code"]


def test_the_code_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_recipe(tmp_path)
    text = recipe.read_text(encoding="utf-8").replace('encoder = "tiny"', 'encoder = "glyphs-vit"')
    recipe.write_text(text.replace("count = 2_500", "count = 300"), encoding="utf-8")
    build(recipe, str(tmp_path / "quickstart" / "dataset"), device="cpu")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, cell in enumerate(CODE):
        exec(compile(cell, f"{NOTEBOOK.name}, cell {number}", "exec"), names)
    assert names["item"]["image/glyphs-vit"].tolist() == names["pair"][0].tolist()


def test_the_notebook_was_run_from_top_to_bottom_without_an_error() -> None:
    cells = [cell for cell in GIVEN["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [output["output_type"] for cell in cells for output in cell["outputs"]]
    assert set(kinds) == {"execute_result"} and len(kinds) == len(cells)
    shown = ["".join(output["data"].get("text/html", [])) for cell in cells for output in cell["outputs"]]
    assert sum("data:image/" in page for page in shown) == 5
    assert not any(re.search(r"<script|https?:", page) for page in shown)


def test_the_notebook_names_no_place_and_no_machine() -> None:
    text = re.sub(r"data:image/[^\"\\]+", "", NOTEBOOK.read_text(encoding="utf-8"))
    assert not re.search(r"(?<![\w.<])/(?:home|Users|root|work|mnt|tmp|usr)/|localhost|0x[0-9a-f]{6,}", text)
    assert set(GIVEN["metadata"]) == {"kernelspec", "language_info"}
    assert not any(cell["metadata"] for cell in GIVEN["cells"])
