"""The documentation is a site that builds without a warning, and what it tells beginners to do works."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.documented import ROOT, blocks, commands, with_a_tiny_model, write_pictures
from support.verbs import run

GETTING_STARTED, COOKBOOK = (
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("getting-started.md", "cookbook.md")
)
TASKS = re.split(r"^(?=## \d+\. )", COOKBOOK, flags=re.MULTILINE)[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder where everything of docs/getting-started.md was done, on 200 pictures and with a tiny model."""
    root = tmp_path_factory.mktemp("site")
    write_pictures(root / "pictures", 200)
    (recipe,) = blocks(GETTING_STARTED, "toml")
    (root / "recipe.toml").write_text(with_a_tiny_model(recipe, root))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for words in commands(GETTING_STARTED, "dfndr"):
            result = run(words)
            assert result.exit_code == 0, f"{words}: {result.output}{result.exception!r}"
        yield root


def test_there_are_twelve_tasks_in_the_cookbook() -> None:
    numbers = [int(re.match(r"## (\d+)", task)[1]) for task in TASKS]  # type: ignore[index]
    assert numbers == list(range(1, len(TASKS) + 1))
    assert len(TASKS) >= 12


@pytest.mark.parametrize("number", range(len(TASKS)))
def test_a_task_of_the_cookbook_runs(folder: Path, number: int) -> None:
    task = TASKS[number]
    steps = [step for step in re.findall(r"^```(\w*)\n(.*?)^```$", task, flags=re.MULTILINE | re.DOTALL) if step[0]]
    assert steps, "a task without code"
    for place, (language, code) in enumerate(steps):
        if language == "python":
            names: dict[str, Any] = {}
            exec(compile(code, f"docs/cookbook.md, task {number + 1}, block {place}", "exec"), names)
            continue
        for words in commands(f"```sh\n{code}```\n", "dfndr"):
            result = run(words)
            assert result.exit_code == 0, f"{words}: {result.output}{result.exception!r}"


def test_the_site_builds_with_warnings_as_errors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        [*command, "--config-file", str(ROOT / "mkdocs.yml")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.html")}
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert {page.removesuffix(".md") + ".html" for page in written} <= built
    for page in sorted((tmp_path / "site").rglob("*.html")):
        html = page.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|iframe)\b[^>]*\bsrc="(https?:[^"]*)"', html)
        fetched += re.findall(r'<link\b[^>]*\brel="(?:stylesheet|preconnect)"[^>]*\bhref="(https?:[^"]*)"', html)
        assert not fetched, f"{page.name} fetches {fetched}"
    reference = (tmp_path / "site" / "reference" / "dfndr.html").read_text(encoding="utf-8")
    assert "Return vectors of shape (n, per_row, dim)" in reference
