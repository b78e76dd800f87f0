"""One sample of a reinforced tar: its members, its uid, its arrays; nothing in them is believed."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.errors import FormatError
from dfndr_builders.imports.arrays import MOST_BYTES, Arrays, npz_arrays, tensor_arrays
from dfndr_builders.imports.layout import uid_without_image
from dfndr_builders.pools.base import storable
from dfndr_builders.pools.tars import StrictHeader

__all__ = ["IMAGES", "Sample", "Wrong", "arrays_of", "json_of", "samples_of", "uid_of_sample"]

Wrong = tuple[str, str] | None
"""A reason of the format and words about it, or nothing."""

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
"""Suffixes of pictures, the preferred one first."""

_SUFFIXES = (".url.txt", ".syn.json", ".paug.json", ".pth.gz", ".npz", ".json", ".txt", *IMAGES)
"""The members that mean something; a key may hold dots, so names are cut at these and not at the first dot."""

_DO = "Fetch the tar again, or leave it out of the pattern."


@dataclass
class Sample:
    """The members of one key, as they are found; `start` is where in the tar the first of them begins."""

    key: str
    start: int
    members: dict[str, bytes] = field(default_factory=dict)


def samples_of(
    path: str, *, only: tuple[str, ...] | None = None, start: int = 0, count: int | None = None
) -> Iterator[Sample]:
    """Yield the tar's samples, from a place where one starts, at most `count`: members of one key in a row.

    Other members' bytes than those `only` are not read. Members of unknown suffixes are passed over. Raises FormatError
    where the tar cannot be read to its end.
    """
    sample: Sample | None = None
    given = 0
    try:
        with storage.open_read(path) as file, _opened(file, start) as tar:
            size_bytes = file.seek(0, io.SEEK_END)
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else it remembers every header
                key, suffix = _key_and_suffix(storable(member.name)) if member.isreg() else ("", "")
                if not suffix:
                    continue
                if sample is None or sample.key != key or suffix in sample.members:
                    if sample is not None:
                        yield sample
                        given += 1
                        if given == count:
                            return
                    sample = Sample(key, member.offset)
                if member.size > MOST_BYTES:
                    found = f"{member.name} of {member.size:,} bytes"
                    raise FormatError(path, expected=f"members of at most {MOST_BYTES:,} bytes", found=found, do=_DO)
                if member.offset_data + member.size > size_bytes:
                    raise tarfile.ReadError(f"{member.name} ends beyond the file")
                is_wanted = only is None or suffix in only
                sample.members[suffix] = tar.extractfile(member).read() if is_wanted else b""  # type: ignore[union-attr]
    except tarfile.TarError as error:
        raise FormatError(path, expected="a whole tar", found=str(error), do=_DO) from error
    if sample is not None:
        yield sample


def _opened(file: BinaryIO, start: int) -> tarfile.TarFile:
    file.seek(start)
    return tarfile.open(fileobj=file, mode="r:", tarinfo=StrictHeader)


def _key_and_suffix(name: str) -> tuple[str, str]:
    lower = name.lower()
    suffix = next((suffix for suffix in _SUFFIXES if lower.endswith(suffix)), "")
    return name[: len(name) - len(suffix)].removeprefix("./"), suffix


def uid_of_sample(sample: Sample, about: dict[str, Any]) -> str:
    """Return the uid: that of `about`, else its name, where that is 32 hex digits; else a hash of name and text.

    `about` is the object in its `.json`.
    """
    own, name = about.get("uid"), sample.key.rpartition("/")[2]
    text = sample.members.get(".txt", b"").decode("utf-8", "replace")
    return uid_without_image(own if isinstance(own, str) else name, sample.key, text)


def json_of(sample: Sample, suffix: str) -> dict[str, Any]:
    """Return the object in a member of the sample, an empty one where there is none that can be read."""
    try:
        found = json.loads(sample.members.get(suffix) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def arrays_of(
    sample: Sample, needed: Collection[str] = ("image_emb", "text_emb")
) -> tuple[Wrong, Arrays, dict[str, list[str]]]:
    """Return what is wrong, if anything; arrays `image_emb`, `text_emb` (one row), `caption_emb`; and the captions.

    The captions are the lists of texts in `.syn.json` by their keys, in the order in which `caption_emb` has them. A
    key's vectors are `<key>_emb`, or the rows of `text_emb` after the first (the older sets); no other array is taken
    for vectors, whatever it is called.
    """
    texts = {
        key: value
        for key, value in json_of(sample, ".syn.json").items()
        if isinstance(value, list) and all(isinstance(text, str) for text in value)
    }
    names = {"image_emb", "text_emb", *(f"{key}_emb" for key in texts)}
    try:
        given = _loaded(sample, names)
    except (ValueError, OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        return ("vector_missing", f"the vectors cannot be read: {error}"), {}, {}
    if given is None:
        return ("vector_missing", "no .npz and no .pth.gz"), {}, {}
    wrong = [name for name, array in given.items() if array.ndim != 2]
    missing = sorted(name for name in needed if not len(given.get(name, ())))
    if wrong or missing:
        there = {name: array.shape for name, array in given.items()}
        return ("vector_missing", f"no {missing[0]}, but {there}" if missing else f"arrays of {there}"), {}, {}
    given = dict.fromkeys(("image_emb", "text_emb"), _NOTHING) | given
    captions = given["text_emb"][1:]
    if not len(captions) and texts:
        lengths = {key: len(given.get(f"{key}_emb", ())) for key in texts}
        odd = [key for key, found in texts.items() if len(found) != lengths[key]]
        if not any(lengths.values()):  # captions alone, which is fine where no other sample has their vectors either
            return (
                None,
                {"image_emb": given["image_emb"], "text_emb": given["text_emb"][:1], "caption_emb": _NOTHING},
                texts,
            )
        if odd:
            return ("caption_failed", f"{len(texts[odd[0]])} of {odd[0]}, and {lengths[odd[0]]} have vectors"), {}, {}
        captions = _below([given[f"{key}_emb"] for key, found in texts.items() if found])
    return None, {"image_emb": given["image_emb"], "text_emb": given["text_emb"][:1], "caption_emb": captions}, texts


_NOTHING: npt.NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)


def _below(blocks: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return arrays one below the other, nothing where their rows are of different lengths."""
    return np.concatenate(blocks) if len({block.shape[1] for block in blocks}) == 1 else _NOTHING


def _loaded(sample: Sample, names: set[str]) -> Arrays | None:
    """Return the arrays of a sample by name, None where it has none."""
    if ".npz" in sample.members:
        return npz_arrays(sample.members[".npz"], names.__contains__)
    if ".pth.gz" in sample.members:
        return tensor_arrays(sample.members[".pth.gz"], names.__contains__)
    return None
