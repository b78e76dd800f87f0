"""Recipe files: where they are, how they are read, and what is said of one that is wrong."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from dfndr.errors import RecipeError
from dfndr_builders.recipe import Recipe
from dfndr_builders.sections.base import TRAINED, Misfit, Strict

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
__all__ = ["fetched", "parse_recipe", "read_recipe", "resolve", "resolve_weights", "shipped_recipe"]

_DEEPEST = 32


def read_recipe(path: str | os.PathLike[str]) -> tuple[Recipe, str]:
    """Return the recipe at a local path and its text; raises RecipeError that says where and what to do."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        found = error.strerror or str(error)
        raise RecipeError(str(path), expected="a recipe file (TOML)", found=found, do="Check the path.") from error
    except ValueError as error:
        raise RecipeError(str(path), expected="TOML in UTF-8", found=str(error), do="Save it as UTF-8.") from error
    return parse_recipe(text, str(path)), text


def parse_recipe(text: str, where: str) -> Recipe:
    """Return the recipe that a text says; `where` is what errors call it."""
    from pydantic import ValidationError

    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides its own errors, tomllib lets those of int() through
        raise RecipeError(where, expected="TOML in UTF-8", found=str(error), do="Mend that line.") from error
    if not _is_flat(given):
        expected, do = f"values in at most {_DEEPEST} others", "See docs/recipes.md."
        raise RecipeError(where, expected=expected, found="one that lies deeper", do=do)
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        raise _explain(where.rpartition("/")[2], error) from error


def _is_flat(given: object) -> bool:
    """Say whether nothing is nested so deep that what comes later would fail over it."""
    level = [given]
    for _ in range(_DEEPEST):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        ]
        if not level:
            return True
    return False


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


def fetched(recipe: Recipe, folder: Path) -> tuple[str, ...]:
    """Return what a recipe fetches from the internet unless it is cached: weights of its models, and captioners."""
    models = [one for _, one in recipe.models if one.pretrained != TRAINED]
    specs = [one.spec("", recipe.compute, "cpu", resolve_weights(one.pretrained, folder)) for one in models]
    captioners = (one.fetched(lambda path: resolve(path, folder)) for one in recipe.caption)
    return tuple(sorted({*(spec.pretrained for spec in specs if spec.needs_network), *filter(None, captioners)}))


def _explain(name: str, error: ValidationError) -> RecipeError:
    """Turn the first of pydantic's complaints into one of ours."""
    first = error.errors(include_url=False)[0]
    parts, sections = _place(first["loc"])
    where = name + ", " + _dotted(parts) if parts else name
    more = len(error.errors()) - 1
    after = f" ({more} more to mend after it.)" if more else ""
    if first["type"] == "extra_forbidden":
        known = list(sections[0].model_fields)
        near = difflib.get_close_matches(str(parts[-1]), known, n=1, cutoff=0.5)
        do = f"Did you mean {near[0]!r}?" if near else f"Known keys here: {', '.join(known)}."
        return RecipeError(where, expected="a known key", found=repr(parts[-1]), do=do + after)
    if first["type"] == "missing":
        return RecipeError(where, expected="this key", found="nothing", do="Add it." + after)
    if first["type"].startswith("union_tag"):
        kinds = ", ".join(repr(get_args(section.model_fields["kind"].annotation)[0]) for section in sections)
        found = repr(first["input"].get("kind", "nothing")) if isinstance(first["input"], dict) else "no section"
        return RecipeError(f"{where}.kind", expected=f"one of {kinds}", found=found, do="See docs/recipes.md." + after)
    message = re.sub(r"^(Value error, |Input should be |(List|Dictionary|Tuple) should have )", "", first["msg"])
    if isinstance(first.get("ctx", {}).get("error"), Misfit):
        do = "See docs/recipes.md." + after
        return RecipeError(where, expected="sections that fit together", found=message, do=do)
    if first["type"] == "string_pattern_mismatch":
        message = f"a name like {first['ctx']['pattern']}"
    found = repr(first["input"])[:80] if not isinstance(first["input"], dict) else "this section"
    return RecipeError(where, expected=message[0].lower() + message[1:], found=found, do="See docs/recipes.md." + after)


def _dotted(parts: list[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _place(loc: tuple[str | int, ...]) -> tuple[list[str | int], list[type[BaseModel]]]:
    """Return a complaint's place, without pydantic's names for the members of a union, and the sections it may be in.

    The last key of an unknown or missing one leads nowhere: it is said of the section before.
    """
    parts: list[str | int] = []
    sections: list[type[BaseModel]] = [Recipe]
    for part in loc:
        if isinstance(part, int):
            parts.append(part)
        elif len(sections) > 1:  # a union: this part names its member, by its kind
            sections = [one for one in sections if part in get_args(one.model_fields["kind"].annotation)] or sections
        else:
            parts.append(part)
            field = sections[0].model_fields.get(part)
            sections = (_sections(field.annotation) if field else []) or sections
    return parts, sections


def _sections(annotation: object) -> list[type[BaseModel]]:
    """Return the sections that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]


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
