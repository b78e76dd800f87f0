"""What Apple publishes as DataCompDR and DFNDR: tars of `<uid>.npz` or `.pth.gz`, `.syn.json`, `.paug.json`, `.json`.

A sample's vectors are those of all teachers in one row, one after the other; here each teacher has spaces of its own.
Pictures and captions, which are not published, may have been joined to the tars: `.jpg`, `.png` or `.webp`, and `.txt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr import storage
from dfndr.errors import DataError, PoolError, UsageError
from dfndr.format.schema import Space
from dfndr.format.shard import parquet_file
from dfndr.format.storage_types import read_type
from dfndr.format.uid import unpack_uids
from dfndr.views import parse_views
from dfndr_builders.imports.arrays import Arrays
from dfndr_builders.imports.beside import batched, split_of, with_columns_of
from dfndr_builders.imports.layout import CAPTIONS, NOTHING_PROMISED, Promised, Teacher, imported_schema, table_of
from dfndr_builders.imports.pieces import Piece, rows_of_piece, walked
from dfndr_builders.imports.sample import IMAGES, Sample, Wrong, arrays_of, json_of, samples_of, uid_of_sample
from dfndr_builders.layout_file import LayoutFile
from dfndr_builders.pools.base import PoolShard
from dfndr_builders.pools.patterns import expand
from dfndr_builders.stage import POOL_SCHEMA

__all__ = ["Reinforced"]

_ROWS, _LOOKED_AT = 256, 1024
_COLUMNS = [
    *CAPTIONS,
    pa.field("url", pa.string()),
    pa.field("sha256", pa.string()),
]
_VIEWS = pa.field("views", pa.list_(pa.string()))
_MODALITIES = ("image", "text", "caption")


@dataclass(frozen=True)
class Reinforced:
    """Tars of reinforced samples; `teachers` are in the order of their numbers, each with its `dim`.

    Of an export (`layout`) the columns that tars have no place for lie in a Parquet file beside each.
    """

    path: str
    teachers: tuple[Teacher, ...]
    promised: Promised = NOTHING_PROMISED
    source: str | None = None
    license: str | None = None
    layout: LayoutFile | None = None
    kind: str = "dr"

    def shards(self) -> Sequence[PoolShard]:
        """List the pieces of the tars, which are walked through once for that; raises PoolError where there is none."""
        return self._shards

    @cached_property
    def _shards(self) -> list[PoolShard]:
        pieces = self._walked[0]
        return [PoolShard(number, f"{one.path}@{one.start}", one.size_bytes) for number, one in enumerate(pieces)]

    @cached_property
    def _paths(self) -> list[str]:
        paths = expand(self.path)
        if not paths:
            do = "Name tars, with braces or globs: 'DataCompDR-12M/{00000000..00001023}.tar'."
            raise PoolError(self.path, expected="tars of a reinforced dataset", found="none", do=do)
        return paths

    @cached_property
    def _walked(self) -> tuple[list[Piece], bool]:
        return walked(self._paths, rows_of_piece(sum(space.row_bytes for space in self.spaces())))

    def split(self, shard: PoolShard) -> str:
        """Return the split of the shard's tar."""
        return split_of(self.layout, self._walked[0][shard.index].path)

    @cached_property
    def _shape(self) -> tuple[int, int, bool]:
        """How many views and captions the first whole sample has, and whether it says which views.

        One that has captions without their vectors is the first only where 1,024 others are no better.
        """
        instead: tuple[int, int, bool] | None = None
        odd: str | None = None
        for sample in islice((sample for path in self._paths for sample in samples_of(path)), _LOOKED_AT):
            problem, arrays, texts = arrays_of(sample, self._needed)
            if problem is None and (unlike := self._unlike_encoders(arrays)):
                odd = odd or unlike
            elif problem is None:
                shape = len(arrays["image_emb"]), len(arrays["caption_emb"]), ".paug.json" in sample.members
                if shape[1] or not any(texts.values()):
                    return shape
                instead = instead or shape
        if instead is not None:
            return instead
        if odd is not None:
            found, do = f"{[one.dim for one in self.teachers]}", "Name all encoders, in the order of their numbers."
            raise UsageError("--encoder", expected=f"dims that add up to {odd}", found=found, do=do)
        raise PoolError(self.path, expected="a sample with vectors", found="none", do="Check the tars.")

    def _unlike_encoders(self, arrays: Arrays) -> str | None:
        """Return which array has rows of more or fewer numbers than the encoders have together, if one has."""
        told = self.promised.spaces
        for modality in _MODALITIES:
            array = arrays[f"{modality}_emb"]
            dims = [one.dim for one in self.teachers if not told or f"{modality}/{one.name}" in told]
            if len(array) and dims and array.shape[1] != sum(dims):
                return f"the {array.shape[1]} numbers of {modality}_emb"
        return None

    @cached_property
    def _needed(self) -> tuple[str, ...]:
        """The arrays that every sample has."""
        there = {space.modality for space in self.promised.spaces.values()} or {"image", "text"}
        return tuple(f"{modality}_emb" for modality in ("image", "text") if modality in there)

    def spaces(self) -> tuple[Space, ...]:
        """Return, for each teacher, the space of the views, of the captions' own texts, and of the synthetic ones."""
        return self._spaces

    @cached_property
    def _spaces(self) -> tuple[Space, ...]:
        views, captions, _ = self._shape
        counts = {"image": views, "text": 1, "caption": captions}
        told = self.promised.spaces
        return tuple(
            self.promised.space(modality, teacher, teacher.dim, per_row=counts[modality])
            for teacher in self.teachers
            for modality in _MODALITIES
            if (f"{modality}/{teacher.name}" in told if told else counts[modality])
        )

    @cached_property
    def _places(self) -> dict[str, tuple[str, int, int]]:
        """In which array each space's numbers lie, and where in its rows."""
        places: dict[str, tuple[str, int, int]] = {}
        for modality in _MODALITIES:
            start = 0
            for space in self.spaces():
                if space.modality == modality:
                    places[space.name] = (f"{modality}_emb", start, start + space.dim)
                    start += space.dim
        return places

    @cached_property
    def _wanted(self) -> dict[str, tuple[int, int]]:
        """The shape of each array; of captions there may be fewer."""
        shapes = {"image_emb": (0, 0), "text_emb": (0, 0), "caption_emb": (0, 0)}
        for space in self.spaces():
            shapes[f"{space.modality}_emb"] = (space.per_row, self._places[space.name][2])
        return shapes

    def schema(self) -> pa.Schema:
        """Return the schema: text (null where the tars hold none), captions, url, views where given, and the spaces."""
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        given = self._beside(self._paths[0])
        if given is not None:
            return imported_schema(
                [field for field in given.schema if field.name not in POOL_SCHEMA.names], self.spaces()
            )
        return imported_schema([*_COLUMNS, *([_VIEWS] if self._shape[2] else [])], self.spaces())

    def _beside(self, path: str) -> pa.Table | None:
        """Return the rows of the Parquet file beside a tar of an export's, None where there is none."""
        if self.layout is None:
            return None
        place = path.removesuffix(".tar") + ".parquet"
        with storage.open_read(place) as file, parquet_file(place, file) as opened:
            table = opened.read().replace_schema_metadata(None)
            table.validate(full=True)
            return table

    @property
    def has_pictures(self) -> bool:
        """Whether pictures lie in the tars whose sizes and thumbnails nobody wrote down beside them."""
        return self.layout is None and self._walked[1]

    def uids(self, shard: PoolShard) -> list[str]:
        """Return the uids of the shard's rows, in order."""
        return list(unpack_uids(self._walked[0][shard.index].uids).tolist())

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the piece's samples; one without vectors, or with others than the first had, has a problem."""
        piece = self._walked[0][shard.index]
        beside = self._beside(piece.path)
        for samples in batched(samples_of(piece.path, start=piece.start, count=len(piece.uids)), _ROWS):
            table = self._table(samples)
            yield table if beside is None else with_columns_of(table, beside, piece.path)

    def _table(self, samples: list[Sample]) -> pa.Table:
        blocks = {
            space.name: np.zeros((len(samples), space.per_row, space.dim), dtype=read_type(space.dtype))
            for space in self.spaces()
        }
        rows = [self._row(sample, number, blocks) for number, sample in enumerate(samples)]
        columns = {name: [row.get(name) for row in rows] for name in rows[0]}
        return table_of(columns, blocks, self.schema())

    def _row(self, sample: Sample, number: int, blocks: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        about = json_of(sample, ".json")
        problem, arrays, captions = arrays_of(sample, self._needed)
        views: list[str] | None = None
        problem = problem or self._unlike(arrays, sum(map(len, captions.values())))
        if problem is None and self._shape[2]:
            problem, views = _views(sample, self._shape[0])
        if problem is None:
            for name, (key, start, stop) in self._places.items():
                blocks[name][number, : len(arrays[key])] = arrays[key][:, start:stop]
        text, wrong = _text(sample)
        problem = problem or wrong
        return {
            "uid": uid_of_sample(sample, about),
            "key": sample.key,
            "text": text,
            "image": next((sample.members[suffix] for suffix in IMAGES if suffix in sample.members), None),
            "source": self.source,
            "license": self.license,
            "problem": None if problem is None else problem[0],
            "detail": None if problem is None else problem[1][:300],
            "captions": [text for texts in captions.values() for text in texts],
            "caption_models": [key for key, texts in captions.items() for _ in texts],
            "views": views,
            "url": sample.members.get(".url.txt", b"").decode("utf-8", "replace") or None,
            "sha256": about.get("sha256") if isinstance(about.get("sha256"), str) else None,
        }

    def _unlike(self, arrays: Arrays, captions: int) -> Wrong:
        """Return in what a sample is unlike the first one, if in anything: its vectors, or how many captions it has."""
        wanted, shapes = self._wanted, {key: array.shape for key, array in arrays.items()}
        odd = [key for key in ("image_emb", "text_emb") if shapes[key] != wanted[key] and wanted[key][0]]
        given, (most, dim) = shapes["caption_emb"], wanted["caption_emb"]
        fits = given[0] == captions == most or (given[0] == captions < most and self.layout is not None)
        if most and not odd and not fits:
            return "caption_failed", f"{captions} captions, {given[0]} with vectors, and the others have {most}"
        if odd or (given[0] and given[1] != dim and most):
            return "vector_missing", f"vectors of {shapes}, and the others have {wanted}"
        return None


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
