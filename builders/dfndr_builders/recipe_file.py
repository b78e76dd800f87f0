"""Recipe files: where they are, how they are read, and what is said of one that is wrong."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from dfndr.errors import RecipeError
from dfndr_builders.recipe import (
    Caption,
    Compute,
    Dfn,
    Embed,
    Folder,
    Glyphs,
    Hf,
    Output,
    Parquet,
    Recipe,
    Score,
    Select,
    WebDataset,
)

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

__all__ = ["read_recipe", "resolve", "resolve_weights", "shipped_recipe"]


def read_recipe(path: str | os.PathLike[str]) -> tuple[Recipe, str]:
    """Return the recipe at a local path and its text; raises RecipeError that says where and what to do."""
    from pydantic import ValidationError

    where = Path(path)
    try:
        text = where.read_bytes().decode("utf-8")
        given = tomllib.loads(text)
    except OSError as error:
        found = error.strerror or str(error)
        raise RecipeError(str(path), expected="a recipe file (TOML)", found=found, do="Check the path.") from error
    except (ValueError, RecursionError) as error:  # besides its own errors, tomllib lets those of int() through
        raise RecipeError(str(path), expected="TOML in UTF-8", found=str(error), do="Mend that line.") from error
    try:
        return Recipe.model_validate(given), text
    except ValidationError as error:
        raise _explain(where.name, error) from error


def resolve(path: str, folder: Path) -> str:
    """Return a path of the recipe as an absolute one: variables and ~ expanded, relative to the recipe's folder."""
    expanded = os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111
    unset = re.search(r"\$(\w+)", expanded)
    if unset:
        do = f"Set it: {unset.group(1)}=/some/folder dfndr build ..."
        raise RecipeError(path, expected=f"the environment variable {unset.group(1)}", found="it is not set", do=do)
    return expanded if "://" in expanded or os.path.isabs(expanded) else os.path.normpath(folder / expanded)  # noqa: PTH117


def resolve_weights(pretrained: str, folder: Path) -> str:
    """Return a recipe's `pretrained` with the path in it, if there is one, resolved against the recipe's folder."""
    if pretrained.startswith("local-dir:"):
        return "local-dir:" + resolve(pretrained.removeprefix("local-dir:"), folder)
    local = resolve(pretrained, folder) if "/" in pretrained or "." in pretrained else pretrained
    return local if Path(local).is_file() else pretrained


def _explain(name: str, error: ValidationError) -> RecipeError:
    """Turn the first of pydantic's complaints into one of ours."""
    first = error.errors(include_url=False)[0]
    parts = [part for part in first["loc"] if not (isinstance(part, str) and part in _TAGS)]
    where = name + ", " + _dotted(parts) if parts else name
    more = len(error.errors()) - 1
    after = f" ({more} more to mend after it.)" if more else ""
    if first["type"] == "extra_forbidden":
        known = _fields_near(first["loc"])
        near = difflib.get_close_matches(str(parts[-1]), known, n=1, cutoff=0.5)
        do = f"Did you mean {near[0]!r}?" if near else f"Known keys here: {', '.join(known)}."
        return RecipeError(where, expected="a known key", found=repr(parts[-1]), do=do + after)
    if first["type"] == "missing":
        return RecipeError(where, expected="this key", found="nothing", do="Add it." + after)
    if first["type"].startswith("union_tag"):
        kinds = first.get("ctx", {}).get("expected_tags", "'webdataset', 'folder', 'parquet', 'hf', 'glyphs'")
        found = repr(first["input"].get("kind", "nothing")) if isinstance(first["input"], dict) else "no section"
        return RecipeError(f"{where}.kind", expected=f"one of {kinds}", found=found, do="See docs/recipes.md." + after)
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    found = repr(first["input"])[:80] if not isinstance(first["input"], dict) else "this section"
    return RecipeError(where, expected=message[0].lower() + message[1:], found=found, do="See docs/recipes.md." + after)


_TAGS = {"webdataset", "folder", "parquet", "hf", "glyphs", "str"}


def _dotted(parts: list[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _fields_near(loc: tuple[str | int, ...]) -> list[str]:
    """Return the keys that are known where an unknown one was found, by walking the models along its place."""
    sections: dict[str, type[BaseModel]] = {
        "dfn": Dfn, "score": Score, "select": Select, "caption": Caption, "embed": Embed, "output": Output,
        "compute": Compute, "webdataset": WebDataset, "folder": Folder, "parquet": Parquet, "hf": Hf, "glyphs": Glyphs,
    }  # fmt: skip
    model: type[BaseModel] = Recipe
    for part in loc[:-1]:
        model = sections.get(str(part), model)
    return list(model.model_fields)


def shipped_recipe(name: str) -> Path:
    """Return the path of a recipe that comes with the package, such as "quickstart".

    An installed wheel holds them inside the package, a checkout beside it.
    """
    package = Path(__file__).parent
    for folder in (package / "_recipes", package.parent / "recipes"):
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    raise RecipeError(
        name, expected="a recipe that comes with dfndr", found="none of that name", do="See docs/recipes.md."
    )
