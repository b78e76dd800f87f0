"""One sample of a reinforced tar: its members, its uid, its arrays; nothing in them is believed.

Vectors come as `.npz`, or as `.pth.gz`, a gzipped file of torch, of which only tensors are read (`weights_only`).
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.errors import FormatError
from dfndr_builders.imports.layout import uid_without_image

__all__ = ["Arrays", "Sample", "Wrong", "arrays_of", "json_of", "samples_of", "uid_of_sample"]

Arrays = dict[str, npt.NDArray[np.float32]]
Wrong = tuple[str, str] | None
"""A reason of the format and words about it, or nothing."""

_MOST_BYTES = 256_000_000
_DO = "Fetch the tar again, or leave it out of the pattern."


@dataclass
class Sample:
    """The members of one uid, as they are found."""

    key: str
    members: dict[str, bytes] = field(default_factory=dict)


def samples_of(path: str, *, only: tuple[str, ...] = ()) -> Iterator[Sample]:
    """Yield the tar's samples: members that follow one another and share their name up to the first dot.

    With `only`, other members' bytes are not read. Raises FormatError where the tar cannot be read to its end.
    """
    sample: Sample | None = None
    try:
        with storage.open_read(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                key, _, suffix = member.name.rpartition("/")[2].partition(".")
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = Sample(key)
                if member.size > _MOST_BYTES:
                    found = f"{member.name} of {member.size:,} bytes"
                    raise FormatError(path, expected=f"members of at most {_MOST_BYTES:,} bytes", found=found, do=_DO)
                wanted = not only or f".{suffix}" in only
                sample.members[f".{suffix}"] = tar.extractfile(member).read() if wanted else b""  # type: ignore[union-attr]
    except tarfile.TarError as error:
        raise FormatError(path, expected="a whole tar", found=str(error), do=_DO) from error
    if sample is not None:
        yield sample


def uid_of_sample(sample: Sample) -> str:
    """Return the uid: its json's, else its name, where that is 32 hex digits; else a hash of name and text."""
    own = json_of(sample, ".json").get("uid")
    text = sample.members.get(".txt", b"").decode("utf-8", "replace")
    return uid_without_image(own if isinstance(own, str) else sample.key, sample.key, text)


def json_of(sample: Sample, suffix: str) -> dict[str, Any]:
    """Return the object in a member of the sample, an empty one where there is none that can be read."""
    try:
        found = json.loads(sample.members.get(suffix) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def arrays_of(sample: Sample) -> tuple[Wrong, Arrays]:
    """Return what is wrong, if anything, and the arrays `image_emb`, `text_emb` (one row) and `caption_emb`."""
    try:
        given = _loaded(sample)
    except (ValueError, OSError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        return ("vector_missing", f"the vectors cannot be read: {error}"), {}
    if given is None:
        return ("vector_missing", "no .npz and no .pth.gz"), {}
    wrong = [name for name, array in given.items() if array.ndim != 2]
    if wrong or not {"image_emb", "text_emb"} <= set(given) or not len(given["text_emb"]):
        return ("vector_missing", f"no image_emb and text_emb of two dimensions, but {sorted(given)}"), {}
    synthetic = [given[name] for name in sorted(given) if name.startswith("syn_") and name.endswith("_emb")]
    texts = given["text_emb"]
    captions = np.concatenate(synthetic) if synthetic and len(texts) == 1 else texts[1:]
    return None, {"image_emb": given["image_emb"], "text_emb": texts[:1], "caption_emb": captions}


def _loaded(sample: Sample) -> Arrays | None:
    """Return the arrays of a sample by name, as float32, None where it has none."""
    if ".npz" in sample.members:
        with np.load(io.BytesIO(sample.members[".npz"]), allow_pickle=False) as arrays:
            return {name: arrays[name].astype(np.float32) for name in arrays.files if name.endswith("_emb")}
    if ".pth.gz" not in sample.members:
        return None
    import torch

    with gzip.GzipFile(fileobj=io.BytesIO(sample.members[".pth.gz"])) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES:,} bytes when unpacked")
    try:
        given = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a stranger's bytes make of torch's safe loader, it is no dict of tensors
        raise ValueError(f"no file of tensors alone: {str(error).partition(chr(10))[0][:150]}") from error
    if not isinstance(given, dict):
        raise ValueError(f"a {type(given).__name__}, and not a dict of tensors")
    return {
        name: value.float().numpy()
        for name, value in given.items()
        if isinstance(name, str) and name.endswith("_emb") and isinstance(value, torch.Tensor)
    }
