"""The members of one reinforced sample, and the columns that lie beside the tars."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.format.schema import Space
from dfndr_builders.exports.tensors import tensor_file

__all__ = ["Form", "Vectors", "grouped", "members"]

_LISTS = ("captions", "caption_models", "caption_seeds", "caption_scores")
_ELSEWHERE = ("text", "url")

Vectors = Mapping[str, npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class Form:
    """How vectors lie in a sample: `bfloat16` in a `.pth.gz` in the place of float32 in a `.npz`; `legacy` puts those
    of the synthetic captions below that of the text, as the older sets do, in the place of arrays of their own.
    """

    bfloat16: bool = False
    legacy: bool = False


def members(
    row: Mapping[str, Any], vectors: Vectors, spaces: Sequence[Space], form: Form
) -> Iterator[tuple[str, bytes]]:
    """Yield the suffix and bytes of each member of a row, but for its picture; `vectors` are those of its spaces."""
    captions, keys = list(row.get("captions") or ()), _keys(row, form)
    most = max([space.per_row for space in spaces if space.modality == "caption"], default=len(keys))
    order = _order(keys, most)[:most]
    if isinstance(row.get("url"), str):
        yield ".url.txt", row["url"].encode()
    if isinstance(row.get("text"), str):
        yield ".txt", row["text"].encode()
    if keys or any(space.modality == "caption" for space in spaces):
        told: dict[str, list[str]] = {}
        for place in order:
            told.setdefault(keys[place], []).append(captions[place])
        yield ".syn.json", _json(told)
    if row.get("views"):
        yield ".paug.json", _json({"param_aug": [json.loads(view) for view in row["views"]]})
    arrays = _arrays(vectors, spaces, keys, order, form)
    if form.bfloat16:
        yield ".pth.gz", tensor_file(arrays)
    else:
        file = io.BytesIO()
        np.savez_compressed(file, **{name: array.astype(np.float32) for name, array in arrays.items()})  # type: ignore[arg-type]
        yield ".npz", file.getvalue()
    plain = {name: _plain(value) for name, value in row.items() if name not in _ELSEWHERE}
    yield ".json", _json({name: value for name, value in plain.items() if value is not None})


def _keys(row: Mapping[str, Any], form: Form) -> list[str]:
    """Return under which key of `.syn.json` each caption stands: `syn_text`, or that with its captioner's name."""
    captions = row.get("captions") or ()
    models = row.get("caption_models") or [None] * len(captions)
    if form.legacy:
        return ["syn_text"] * len(captions)
    return [_key(model) for model in models]


def _key(model: str | None) -> str:
    if model is None:
        return "syn_text"
    if re.fullmatch(r"syn_text[a-z0-9_]*", model):
        return model  # as it was called where it was imported from
    return "syn_text_" + re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")


def _order(keys: Sequence[str], most: int) -> list[int]:
    """Return the places of captions: of the first `most`, which have vectors, those of one key together."""
    firsts, places = list(dict.fromkeys(keys)), range(len(keys))
    return sorted(places[:most], key=lambda place: firsts.index(keys[place])) + list(places[most:])


def _arrays(
    vectors: Vectors, spaces: Sequence[Space], keys: Sequence[str], places: Sequence[int], form: Form
) -> dict[str, npt.NDArray[np.floating[Any]]]:
    joined = {}
    for modality in ("image", "text", "caption"):
        blocks = [vectors[space.name] for space in spaces if space.modality == modality]
        if blocks:
            joined[modality] = np.concatenate(blocks, axis=1)
    arrays = {f"{modality}_emb": joined[modality] for modality in ("image", "text") if modality in joined}
    if "caption" in joined:
        if form.legacy and "text_emb" in arrays:
            arrays["text_emb"] = np.concatenate([arrays["text_emb"], joined["caption"][list(places)]])
        else:
            for key in dict.fromkeys(keys[place] for place in places):
                arrays[f"{key}_emb"] = joined["caption"][[place for place in places if keys[place] == key]]
    return arrays


def _plain(value: object) -> object:
    """Return a value that JSON has a word for, else None: the Parquet file beside the tar holds it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool) else None


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def grouped(rows: pa.Table, spaces: Sequence[Space], form: Form) -> pa.Table:
    """Return the rows with their captions, and what is told of each, in the order in which `.syn.json` has them."""
    if "caption_models" not in rows.column_names or form.legacy:
        return rows
    most = max([space.per_row for space in spaces if space.modality == "caption"], default=1 << 20)
    orders = [_order([_key(model) for model in models or ()], most) for models in rows["caption_models"].to_pylist()]
    if all(order == sorted(order) for order in orders):
        return rows
    for name in _LISTS:
        if name in rows.column_names:
            lists = rows[name].to_pylist()
            found = [given and [given[place] for place in order] for given, order in zip(lists, orders, strict=True)]
            field = rows.schema.field(name)
            rows = rows.set_column(rows.schema.get_field_index(name), field, pa.array(found, field.type))
    return rows
