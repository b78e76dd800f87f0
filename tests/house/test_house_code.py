"""What the style guide (docs/design.md) promises of the code, looked up in the code itself."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import dfndr

ROOT = Path(__file__).parents[2]
SOURCES = {"dfndr": ROOT / "dfndr", "dfndr_builders": ROOT / "builders" / "dfndr_builders"}
FILES = [path for folder in SOURCES.values() for path in sorted(folder.rglob("*.py"))]
MODULES = sorted(
    ".".join([package, *path.relative_to(folder).with_suffix("").parts])
    for package, folder in SOURCES.items()
    for path in folder.rglob("*.py")
    if path.stem != "__init__"
)
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)


def _public_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name: the order of isort and of ruff's RUF022."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.rpartition(".")[2].startswith("_")])
def test_all_is_sorted_and_every_name_in_it_is_there(name: str) -> None:
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(set(module.__all__), key=_public_order)
    assert all(hasattr(module, public) for public in module.__all__)


def test_every_public_name_of_the_library_resolves_and_is_listed() -> None:
    assert dfndr.__all__ == sorted(set(dfndr.__all__), key=_public_order)
    for name in dfndr.__all__:
        assert getattr(dfndr, name).__name__ == name
        assert name in dir(dfndr)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = dfndr.Nothing


def test_importing_the_library_loads_nothing_heavy() -> None:
    heavy = {"numpy", "pyarrow", "torch", "faiss", "pandas", "rich", "typer", "fsspec"}
    loaded = _python("import dfndr, sys; print(*sys.modules)").stdout.split()
    assert not heavy & set(loaded)


HELP = """
import sys
from dfndr.cli import main
sys.argv[1:] = ["--help"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_the_help_of_the_command_loads_nothing_heavy() -> None:
    done = _python(HELP)
    assert "train-dfn" in done.stdout
    assert not {"numpy", "pyarrow", "torch", "faiss", "pydantic", "open_clip"} & set(done.stderr.split())


def test_the_help_of_the_command_tells_each_verb_whole() -> None:
    told = _python(HELP).stdout.partition("Commands:")[2]
    assert "..." not in told and "every row of a dataset; exit 1" in told


IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sys.modules)
"""


def test_only_the_modules_that_are_made_of_torch_load_it_when_imported() -> None:
    others = [
        name
        for name in MODULES
        if name
        not in (
            "dfndr.heads.model",
            "dfndr.losses.gathering",
            "dfndr.torch_batches",
            "dfndr_builders.m3ae.network",
        )
    ]
    assert not {"torch", "faiss", "open_clip", "datasets", "matplotlib"} & set(
        _python(IMPORT_ALL, *others).stdout.split()
    )


def test_the_floors_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_the_floors_in_the_design_are_those_that_are_checked() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = page.partition("| read side, from the top")[2].partition("\n\n")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    contracts = {contract["name"]: contract.get("layers") for contract in CONFIG["importlinter"]["contracts"]}
    for side, name in enumerate(("read", "write")):
        told = [re.findall(r"`(\w+)`", row[side]) for row in rows]
        checked = [floor.split(" | ") for floor in contracts[f"The floors of the {name} side"]]
        assert [floor for floor in told if floor] == checked


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_short_and_holds_nothing_that_is_forbidden(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert (lines := len(text.splitlines())) <= 300, lines
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)
    assert [found for node in _nodes(path) for found in _forbidden(node, path)] == []


def _forbidden(node: ast.AST, path: Path) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
        yield from (f"import {module}" for module in modules if module.split(".")[0] in unsafe)
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        is_safe = called == "torch.load" and any(
            keyword.arg == "weights_only" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            for keyword in node.keywords
        )
        # what Apple's sets in bfloat16 are made of; readers take it by the safe loader, which refuses all but tensors
        is_safe = is_safe or (called == "torch.save" and path.parts[-2:] == ("exports", "tensors.py"))
        runs_code = called in ("torch.save", "torch.load", "eval", "exec") and not is_safe
        if runs_code or (called == "print" and path.name != "cli.py"):
            yield f"{called}()"
        yield from (f"{called}(allow_pickle=...)" for keyword in node.keywords if _is_on(keyword, "allow_pickle"))
    if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body):
        kind = "" if node.type is None else ast.unparse(node.type)
        if kind in ("", "Exception", "BaseException"):
            yield f"except {kind}: pass"


def _is_on(keyword: ast.keyword, name: str) -> bool:
    return keyword.arg == name and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)


def test_nothing_names_a_place_on_a_machine() -> None:
    folders = [ROOT / name for name in ("dfndr", "builders", "cards", "docs", "tests", "benchmarks", "examples")]
    files = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".toml", ".json")
    ]
    files += [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml") or path.name in ("Makefile", "check")]
    places = re.compile(r"(?<![\w.:/{}])/(?:home|Users|root|work|mnt|tmp/\w+)/")
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if places.search(line)
    ]
    assert found == []
