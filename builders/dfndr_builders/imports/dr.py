"""What Apple publishes as DataCompDR and DFNDR: tars of `<uid>.npz` or `.pth.gz`, `.syn.json`, `.paug.json`, `.json`.

A sample's vectors are those of all teachers in one row, one after the other; here each teacher has spaces of its own.
Of `text_emb` the first row is the caption's own; more rows in it are the synthetic captions' (the older sets), else
these have a key of their own (`syn_text..._emb`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr import storage
from dfndr.errors import DataError, PoolError
from dfndr.format.schema import Space
from dfndr.views import parse_views
from dfndr_builders.imports.layout import CAPTIONS, Dtype, Teacher, imported_schema, table_of
from dfndr_builders.imports.sample import Arrays, Sample, Wrong, arrays_of, json_of, samples_of, uid_of_sample
from dfndr_builders.pools.base import PoolShard
from dfndr_builders.pools.patterns import expand

__all__ = ["Reinforced"]

_ROWS = 256
_COLUMNS = [
    *CAPTIONS,
    pa.field("url", pa.string()),
    pa.field("sha256", pa.string()),
]
_VIEWS = pa.field("views", pa.list_(pa.string()))


@dataclass(frozen=True)
class Reinforced:
    """Tars of reinforced samples; `teachers` are in the order of their numbers, each with its `dim`."""

    path: str
    teachers: tuple[Teacher, ...]
    dtype: Dtype = "float16"
    unit_norm: bool = True
    source: str | None = None
    license: str | None = None
    kind: str = "dr"

    def shards(self) -> Sequence[PoolShard]:
        """List the tars; raises PoolError where there is none."""
        return self._listed

    @cached_property
    def _listed(self) -> Sequence[PoolShard]:
        paths = expand(self.path)
        if not paths:
            do = "Name tars, with braces or globs: 'DataCompDR-12M/{00000000..00001023}.tar'."
            raise PoolError(self.path, expected="tars of a reinforced dataset", found="none", do=do)
        return [PoolShard(index, path, storage.size_of(path)) for index, path in enumerate(paths)]

    @cached_property
    def _shape(self) -> tuple[int, int, bool]:
        """How many views and captions the first whole sample has, and whether it says which views."""
        for shard in self.shards():
            for sample in samples_of(shard.name):
                problem, arrays = arrays_of(sample)
                if problem is None:
                    return len(arrays["image_emb"]), len(arrays["caption_emb"]), ".paug.json" in sample.members
        raise PoolError(self.path, expected="a sample with vectors", found="none", do="Check the tars.")

    def spaces(self) -> tuple[Space, ...]:
        """Return, for each teacher, the space of the views, of the captions' own texts, and of the synthetic ones."""
        views, captions, _ = self._shape
        kinds = [("image", views), ("text", 1), *([("caption", captions)] if captions else [])]
        return tuple(
            Space(modality, teacher.name, teacher.dim, per_row, self.dtype, self.unit_norm)  # type: ignore[arg-type]
            for teacher in self.teachers
            for modality, per_row in kinds
        )

    def schema(self) -> pa.Schema:
        """Return the schema: text (null where the tars hold none), captions, url, views where given, and the spaces."""
        return imported_schema([*_COLUMNS, *([_VIEWS] if self._shape[2] else [])], self.spaces())

    def uids(self, shard: PoolShard) -> list[str]:
        """Return the uids by the members' names and the samples' json; no vector is read."""
        return [uid_of_sample(sample) for sample in samples_of(shard.name, only=(".json",))]

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the tar's samples; one without vectors, or with others than the first had, has a problem."""
        samples: list[Sample] = []
        for sample in samples_of(shard.name):
            samples.append(sample)
            if len(samples) == _ROWS:
                yield self._table(samples)
                samples = []
        if samples:
            yield self._table(samples)

    def _table(self, samples: list[Sample]) -> pa.Table:
        spaces = self.spaces()
        blocks = {space.name: np.zeros((len(samples), space.per_row, space.dim), dtype=self.dtype) for space in spaces}
        rows = [self._row(sample, number, blocks) for number, sample in enumerate(samples)]
        columns = {name: [row.get(name) for row in rows] for name in rows[0]}
        return table_of(columns, blocks, self.schema())

    def _row(self, sample: Sample, number: int, blocks: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        problem, arrays = arrays_of(sample)
        captions: list[str] = []
        models: list[str] = []
        views: list[str] | None = None
        if problem is None:
            problem, captions, models = self._captions(sample, arrays)
        if problem is None and self._shape[2]:
            problem, views = _views(sample, self._shape[0])
        if problem is None:
            for modality, key in (("image", "image_emb"), ("text", "text_emb"), ("caption", "caption_emb")):
                start = 0
                for teacher in self.teachers:
                    if f"{modality}/{teacher.name}" in blocks:
                        block = arrays[key][:, start : start + teacher.dim]
                        blocks[f"{modality}/{teacher.name}"][number, : len(block)] = block
                    start += teacher.dim
        text, wrong = _text(sample)
        problem = problem or wrong
        about = json_of(sample, ".json")
        return {
            "uid": uid_of_sample(sample),
            "key": sample.key,
            "text": text,
            "source": self.source,
            "license": self.license,
            "problem": None if problem is None else problem[0],
            "detail": None if problem is None else problem[1][:300],
            "captions": captions,
            "caption_models": models,
            "views": views,
            "url": sample.members.get(".url.txt", b"").decode("utf-8", "replace") or None,
            "sha256": about.get("sha256") if isinstance(about.get("sha256"), str) else None,
        }

    def _captions(self, sample: Sample, arrays: Arrays) -> tuple[Wrong, list[str], list[str]]:
        """Return what is wrong with the sample's captions or vectors, the captions, and under which key each stood."""
        captions: list[str] = []
        models: list[str] = []
        for key, texts in json_of(sample, ".syn.json").items():
            if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
                captions, models = captions + texts, models + [key] * len(texts)
        views, per_row, _ = self._shape
        dim = sum(teacher.dim for teacher in self.teachers)
        shapes = {key: array.shape for key, array in arrays.items()}
        wanted = {"image_emb": (views, dim), "text_emb": (1, dim), "caption_emb": (per_row, dim)}
        if shapes != wanted:
            return ("vector_missing", f"vectors of shape {shapes}, and the others have {wanted}"), [], []
        if len(captions) != per_row:
            return ("caption_failed", f"{len(captions)} captions, and {per_row} have vectors"), [], []
        return None, captions, models


def _views(sample: Sample, count: int) -> tuple[Wrong, list[str] | None]:
    """Return what is wrong with the sample's views, and each as JSON."""
    try:
        views = parse_views(json_of(sample, ".paug.json").get("param_aug", ""))
    except DataError as error:
        return ("json_unreadable", str(error)), None
    if len(views) != count:
        return ("json_unreadable", f"{len(views)} views, and {count} have vectors"), None
    return None, [view.to_json() for view in views]


def _text(sample: Sample) -> tuple[str | None, Wrong]:
    """Return the caption that was joined to the sample, None where there is none, and what is wrong with it."""
    text = sample.members.get(".txt")
    try:
        return None if text is None else text.decode("utf-8"), None
    except UnicodeDecodeError as error:
        return None, ("text_not_utf8", str(error))
