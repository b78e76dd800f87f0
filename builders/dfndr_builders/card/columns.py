"""How each column of a dataset was made, in words: from its manifest and the text of its recipe.

A recipe may be of another version, or by another writer: what is not understood is left out, never guessed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from dfndr.format.manifest import Manifest

__all__ = ["columns", "recipe_of", "sections"]

_POOL = (
    ("uid", "the pool's identifier where it has one of that kind, else a hash of the image file and the text"),
    ("key, source", "what the pool calls the sample, and where it says that it is from"),
    ("license", "the licence of the sample: what the recipe says of its pool, else what the pool says of it"),
    ("text", "the pool's own text"),
    ("sha256, width, height", "of the image file as it was in the pool; sizes in pixels"),
)
_REPAIRED = ("original_text", "the pool's own text where boilerplate was taken out of it; text is what is left")
_MEASURES = {
    "image": "measured from each picture's pixels: brightness, entropy, sharpness, shape, perceptual hash",
    "text": "measured from each text: length, shares of kinds of characters, repetition, phrases",
    "language": "the text's language, and how sure the detector (lingua) is of it",
}
_VIEWS = "views of the picture as parameters (a crop and operations), in pixels of width and height; dfndr replays them"


def recipe_of(manifest: Manifest) -> Mapping[str, Any]:
    """Return the recipe as a mapping, empty where it is no TOML."""
    try:
        return tomllib.loads(manifest.recipe)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def sections(recipe: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the sections of a name, one or more of them, that are sections."""
    given = recipe.get(name)
    return [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, Mapping)]


def columns(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the columns (names that belong together are one) and how they were made, in the order of the rows."""
    return [*_POOL, *_made(manifest)]


def _made(manifest: Manifest) -> Iterator[tuple[str, str]]:
    recipe = recipe_of(manifest)
    for given in sections(recipe, "measure"):
        if given.get("repair") is True:
            yield _REPAIRED
        kind = str(given.get("kind"))
        if kind in _MEASURES:
            yield ", ".join(_measured(kind)), _MEASURES[kind]
    told: set[str] = set()
    for given in sections(recipe, "score"):
        name, told = str(given.get("name")), told | {str(given.get("name"))}
        yield name, _score(name, given, manifest)
    yield from ((name, _cosine(name)) for name in manifest.scorers if name not in told)
    for given in sections(recipe, "cluster"):
        yield "cluster", f"the nearest of {given.get('count', 'some')} centres of k-means in {given.get('space')}"
    for given in sections(recipe, "select"):
        deciles = given.get("deciles")
        for name in deciles if isinstance(deciles, list) else []:
            yield f"{name}_decile", f"the tenth of the scored rows that {name} falls into"
    yield from _reinforced(recipe, manifest)


def _measured(kind: str) -> list[str]:
    from dfndr_builders.sections.curation import MeasureImage, MeasureLanguage, MeasureText

    if kind == "image":
        return MeasureImage(kind="image").columns()
    return MeasureText(kind="text").columns() if kind == "text" else MeasureLanguage(kind="language").columns()


def _score(name: str, given: Mapping[str, Any], manifest: Manifest) -> str:
    from pydantic import TypeAdapter, ValidationError

    from dfndr_builders.sections.scores import Clip, ScoreRecipe

    try:
        section = TypeAdapter(ScoreRecipe).validate_python(dict(given))
    except ValidationError:
        return _cosine(name) if name in manifest.scorers else "a score of the recipe"
    if isinstance(section, Clip) and name not in manifest.scorers:
        return "a score of the recipe"
    return str(section.told())


def _cosine(name: str) -> str:
    return f"cosine of the picture's and the text's features, by the model {name} below"


def _captions(given: Mapping[str, Any]) -> str:
    of = "retrieved from a bank of texts" if given.get("kind") == "retrieval" else f"written by {_captioner(given)}"
    return f"{of}, best first, by the cosine of {given.get('scorer') or 'the first score'}"


def _captioner(given: Mapping[str, Any]) -> str:
    return f"{given.get('name', given.get('kind', 'a model'))} ({given.get('model') or given.get('pretrained', '?')})"


def _reinforced(recipe: Mapping[str, Any], manifest: Manifest) -> Iterator[tuple[str, str]]:
    told = [_captions(given) for given in sections(recipe, "caption")]
    if told:
        yield "captions, caption_models, caption_seeds, caption_scores", "synthetic: " + "; then ".join(told)
    views = sections(recipe, "views")
    if views:
        yield "views", _VIEWS
    output = next(iter(sections(recipe, "output")), {})
    if output.get("thumbnail", True):
        yield "thumbnail", "a small copy of the picture"
    for space in manifest.spaces:
        of = {
            "image": "each view of the picture" if views else "the picture",
            "text": "the column text",
            "caption": "each caption",
        }[space.modality]
        yield f"{space.name} (.npy)", f"vectors of {of}, by the encoder {space.encoder}"
