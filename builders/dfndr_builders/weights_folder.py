"""A small model of our own on disk: NAME.safetensors, and NAME.json, which is written last and names its sha256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.errors import FormatError, MissingExtra, StorageError
from dfndr.format.fields import json_object, json_of

try:
    import safetensors.numpy
    from safetensors import SafetensorError
except ModuleNotFoundError as error:
    raise MissingExtra.of(error.name or "safetensors", "build") from error

__all__ = ["Tensors", "load_weights", "save_weights"]

Tensors = Mapping[str, npt.NDArray[np.float32]]
_MOST_BYTES = 1 << 31
_DO = "It was altered or written by something else: fetch or train it again."


def save_weights(folder: str, name: str, record: Mapping[str, object], tensors: Tensors) -> str:
    """Write both files and return the sha256 of the weights; `record` must have a `format`."""
    given = {key: np.ascontiguousarray(value, dtype="<f4") for key, value in sorted(tensors.items())}
    stored = storage.put(folder, f"{name}.safetensors", safetensors.numpy.save(given))
    text = json.dumps({**record, "sha256": stored.sha256}, indent=1, ensure_ascii=False, allow_nan=False)
    storage.put(folder, f"{name}.json", text.encode() + b"\n")
    return stored.sha256


def load_weights(folder: str, name: str, *, format_name: str) -> tuple[Mapping[str, Any], Tensors]:
    """Return the record and the tensors, which are finite; raises FormatError for what is missing or altered."""
    where, weights = storage.join(folder, f"{name}.json"), storage.join(folder, f"{name}.safetensors")
    if not storage.exists(where):
        do = f"Check the path; `dfndr train-{name.replace('_', '-')}` writes one."
        raise FormatError(folder, expected=f"a folder with {name}.json", found="none", do=do)
    try:
        record = json_object(json_of(storage.read_bytes(where)), where)
        if record.get("format") != format_name:
            do = "Use the dfndr version that wrote it."
            raise FormatError(where, expected=f"format {format_name!r}", found=repr(record.get("format"))[:80], do=do)
        if storage.size_of(weights) > _MOST_BYTES:
            raise ValueError(f"weights of {storage.size_of(weights):,} bytes")
        if storage.sha256_of(weights) != record["sha256"]:
            raise ValueError(f"weights that are not those that {name}.json names")
        tensors = safetensors.numpy.load(storage.read_bytes(weights))
        if not all(tensor.dtype == np.float32 and np.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValueError("weights that are not finite float32")
    except (ValueError, RecursionError, KeyError, TypeError, StorageError, SafetensorError) as error:
        found = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise FormatError(folder, expected="a model as dfndr saves it", found=found, do=_DO) from error
    return record, tensors
