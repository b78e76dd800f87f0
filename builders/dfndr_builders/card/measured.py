"""What was measured on a dataset, as its card tells it: from files that `dfndr eval --json` wrote, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfndr.errors import DataError, UsageError
from dfndr.format.manifest import Manifest
from dfndr_builders.markdown import fenced, plain, table

__all__ = ["Evaluation", "measured", "read_evaluations"]

_MOST_FILES, _MOST_BYTES = 20, 1 << 20
_Percent = Annotated[float, Field(ge=0, le=100)]
_Cutoff = Annotated[str, Field(pattern=r"^R@[1-9][0-9]{0,8}$")]
_Recalls = Annotated[dict[_Cutoff, _Percent], Field(min_length=1, max_length=20)]
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+$"
_Name = Annotated[str, Field(pattern=_PRINTABLE, max_length=200)]
_Count = Annotated[int, Field(ge=1, le=2**53)]
_WAYS = (("image to text", "image_to_text"), ("text to image", "text_to_image"))


class _Exact(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _Recall(_Exact):
    """Recall at k in percent, each way, and what guessing would give."""

    images: _Count
    texts: _Count
    image_to_text: _Recalls
    text_to_image: _Recalls
    image_to_text_chance: _Recalls
    text_to_image_chance: _Recalls


class Evaluation(_Exact):
    """One measurement of retrieval: `dataset` is the digest of what it was measured on."""

    dataset: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    command: Annotated[str, Field(pattern=_PRINTABLE, max_length=2000)]
    versions: Annotated[dict[_Name, _Name], Field(max_length=50)]
    split: _Name
    image: _Name
    text: _Name
    before: _Recall | None
    after: _Recall | None


def read_evaluations(paths: Sequence[str | os.PathLike[str]], manifest: Manifest) -> tuple[Evaluation, ...]:
    """Return what files that `dfndr eval --json` wrote say of this dataset, in their order.

    Raises UsageError for more than 20 files, and DataError for one that cannot be read, is larger than 1 MiB, is no
    such JSON, or was measured on another dataset, be it this one before rows were removed.
    """
    if len(paths) > _MOST_FILES:
        do = "Choose the ones that matter."
        raise UsageError("--evaluation", expected=f"at most {_MOST_FILES} files", found=str(len(paths)), do=do)
    return tuple(_read(os.fspath(path), manifest) for path in paths)


def _read(path: str, manifest: Manifest) -> Evaluation:
    do = f"Write it with: dfndr eval {manifest.name} --json > FILE"
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        found = error.strerror or str(error)
        raise DataError(path, expected="a file of what was measured", found=found, do=do) from error
    if len(data) > _MOST_BYTES:
        raise DataError(path, expected=f"at most {_MOST_BYTES:,} bytes", found="more", do=do)
    try:
        given = Evaluation.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:200]
        found = f"{place}: {first['msg']}" if place else first["msg"]
        raise DataError(path, expected="what dfndr eval --json prints", found=found, do=do) from error
    if given.before is None and given.after is None:
        raise DataError(path, expected="something measured", found="neither before nor after", do=do)
    if given.dataset != manifest.digest:
        expected = f"figures of the dataset {manifest.name}, digest {manifest.digest[:16]}..."
        raise DataError(path, expected=expected, found=f"those of {given.dataset[:16]}...", do=do)
    return given


def measured(manifest: Manifest, given: Sequence[Evaluation]) -> str:
    """Return the figures and the commands that gave them as Markdown, or how to measure where there are none."""
    if not given:
        command = f"dfndr eval {manifest.name} --head DIR --json"
        return f"No figures were given. Retrieval on the vectors, before and after a head, is measured by `{command}`."
    return "\n\n".join(_told(one) for one in given)


def _told(given: Evaluation) -> str:
    known = given.after or given.before
    size = f" ({known.images:,} images, {known.texts:,} distinct texts)" if known else ""
    spaces = f"between {plain(given.image)} and {plain(given.text)}"
    versions = ", ".join(f"{name} {version}" for name, version in given.versions.items())
    about = f"Recall {spaces} in percent, on the split {plain(given.split)}{size}; {plain(versions)}:"
    figures = table(("figure", "by chance", "cached vectors", "after the head"), _figures(given))
    return "\n\n".join([about, fenced(given.command, "sh"), figures])


def _figures(given: Evaluation) -> Iterator[tuple[str, ...]]:
    known = given.after or given.before
    for words, way in _WAYS:
        parts = (
            getattr(known, f"{way}_chance", {}),
            getattr(given.before, way, {}),
            getattr(given.after, way, {}),
        )
        for cutoff in dict.fromkeys(name for part in parts for name in part):
            cells = (f"{part[cutoff]:.2f}" if cutoff in part else "" for part in parts)
            yield (f"{words}, {cutoff}", *cells)
