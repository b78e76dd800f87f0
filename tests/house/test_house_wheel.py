"""The wheel holds the library, its recipes and its card, and nothing else."""

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def _tree(folder: Path, inside: str) -> set[str]:
    return {f"{inside}/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_holds_the_two_packages_recipes_and_cards_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    wanted = {
        *_tree(ROOT / "dfndr", "dfndr"),
        *_tree(ROOT / "builders" / "dfndr_builders", "dfndr_builders"),
        *_tree(ROOT / "builders" / "recipes", "dfndr_builders/_recipes"),
        *_tree(ROOT / "cards", "dfndr_builders/_cards"),
    }
    about = f"dfndr-{PROJECT['version']}.dist-info"
    wanted = {name for name in wanted if "__pycache__" not in name}
    wanted |= {f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert set(wheel.namelist()) == wanted
    assert {"dfndr/py.typed", "dfndr_builders/py.typed", "dfndr_builders/_recipes/quickstart.toml"} <= wanted


def test_the_metadata_names_the_command_the_licence_and_every_extra(wheel: zipfile.ZipFile) -> None:
    about = f"dfndr-{PROJECT['version']}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{about}/METADATA").decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert "dfndr = dfndr.cli:main" in wheel.read(f"{about}/entry_points.txt").decode()


def test_the_version_is_said_once_and_the_same(wheel: zipfile.ZipFile) -> None:
    import dfndr

    assert dfndr.__version__ == PROJECT["version"]
