"""A read-only view of one manifest: rows, vectors and splits of a dataset, local or remote.

Row i of every file is the same sample. Nothing is read before it is asked for; each file's size, and by default its
sha256, is checked the first time it is touched, so an altered or swapped file is refused and never used. Rows that
were taken out are nowhere to be seen: what is read of a shard's files passes `kept`, `mapped` or `places`.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfndr import storage
from dfndr.errors import FormatError, UsageError
from dfndr.fetching import Check, Files, files_at
from dfndr.filtered import filtered
from dfndr.format.manifest import Manifest, Shard, read_manifest
from dfndr.format.removed import ROWS, Tombstones, read_tombstones
from dfndr.format.schema import SPLITS, Space
from dfndr.format.shard import map_vectors, parquet_errors, read_parquet
from dfndr.format.storage_types import Block, decode, stored_type
from dfndr.places import Blocks, Places, row_numbers
from dfndr.progress import SILENT, Progress
from dfndr.storage import Stored

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.compute as pc

    from dfndr.show import Shown
    from dfndr.torch_rows import TorchRows

    Wanted = slice | Sequence[int] | npt.NDArray[np.integer[Any]] | None

__all__ = ["Check", "Dataset", "open_dataset"]

_DO = "Run `dfndr verify` on the dataset, then fetch or build the file again."


def open_dataset(
    path: str | os.PathLike[str], *, split: str | None = None, check: Check = "hash", progress: Progress = SILENT
) -> Dataset:
    """Open the dataset at a local path or any fsspec URL (`s3://...`, `hf://datasets/me/my-dataset@v1`).

    `check` says how a file is checked when it is first touched: "hash" compares its sha256 (about a second per GB,
    once per process), "size" only its length. Of a remote dataset only the manifest is read; its files are fetched
    whole when they are asked for, into a cache (`dfndr.cache`), and are always hashed; `progress` is told. At the Hub
    the commit is settled here, so what is published later changes nothing of what was opened. Raises FormatError where
    the manifest is missing or wrong, StorageError where the repository or revision is.
    """
    root = storage.pinned(os.fspath(path))
    dataset = Dataset(root, read_manifest(root), check=check, files=files_at(root, check=check, progress=progress))
    return dataset if split is None else dataset.split(split)


class Dataset:
    """A dataset, or the part of one that `split` gives; immutable, and cheap to make."""

    def __init__(
        self,
        root: str,
        manifest: Manifest,
        *,
        shards: Sequence[Shard] | None = None,
        check: Check = "hash",
        files: Files | None = None,
    ) -> None:
        self.root, self.manifest, self.check = root, manifest, check
        self.files = files_at(root, check=check) if files is None else files
        self.shards: tuple[Shard, ...] = tuple(manifest.shards if shards is None else shards)
        self._starts = [0, *accumulate(shard.rows for shard in self.shards)]
        self._maps: dict[tuple[str, int], npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        return self._starts[-1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # a memory map would be sent to another process as its content

    def __repr__(self) -> str:
        return f"Dataset({self.manifest.name!r}, {len(self):,} rows, spaces={list(self.spaces)})"

    @property
    def spaces(self) -> dict[str, Space]:
        """The spaces by name."""
        return {space.name: space for space in self.manifest.spaces}

    @property
    def digest(self) -> str:
        """The manifest's digest: what indexes and heads are bound to."""
        return self.manifest.digest

    def split(self, name: str) -> Dataset:
        """Return the view of one split, `train` or `validation`; raises UsageError for another name."""
        if name not in SPLITS:
            raise UsageError("split", expected=f"one of {list(SPLITS)}", found=repr(name), do="Name one of them.")
        return self.only([shard for shard in self.shards if shard.split == name])

    def only(self, shards: Sequence[Shard]) -> Dataset:
        """Return the view of some of the shards."""
        view = Dataset(self.root, self.manifest, shards=shards, check=self.check, files=self.files)
        if "removed" in self.__dict__:
            view.removed = self.removed
        return view

    def space(self, name: str) -> Space:
        """Return one space; raises UsageError that lists those there are."""
        found = self.spaces.get(name)
        if found is None:
            expected = f"one of: {', '.join(self.spaces) or 'none at all'}"
            raise UsageError(f"space {name!r}", expected=expected, found="no such space", do="Name one of them.")
        return found

    def local_file(self, stored: Stored) -> Path:
        """Return a checked local copy of one of the dataset's files; raises FormatError where it was altered."""
        return self.files.path(stored)

    def fetch(self, spaces: Sequence[str] | None = None, *, rows: bool = True) -> None:
        """Bring the files of some spaces, all by default, and of the rows here, several at a time; local ones are."""
        names = [self.space(name).name for name in (self.spaces if spaces is None else spaces)]
        roles = [*(["rows"] if rows else []), *names]
        self.files.fetch(shard.files[role] for shard in self.shards for role in roles)

    @cached_property
    def removed(self) -> Tombstones | None:
        """The rows that files still hold and that were taken out; None where there are none in the whole dataset."""
        if not self.manifest.removed:
            return None
        shards = {shard.index: (shard.stored, shard.removed) for shard in self.manifest.shards if shard.removed}
        return read_tombstones(str(self.local_file(self.manifest.files[ROWS])), shards)

    @cached_property
    def places(self) -> Places:
        """Where each row lies in the shards' files; shards are numbered as in this view."""
        removed = {} if self.removed is None else self.removed.rows
        return Places.of([(shard.stored, removed.get(shard.index, ())) for shard in self.shards])

    def kept(self, number: int, table: pa.Table) -> pa.Table:
        """Return a table that has a row for each row of a shard's files without the rows that were taken out.

        Raises FormatError for a table of another length.
        """
        shard = self.shards[number]
        if len(table) != shard.stored:
            path, found = shard.files["rows"].path, f"{len(table)} rows"
            raise FormatError(path, expected=f"{shard.stored} rows", found=found, do=_DO)
        return self.places.kept(number, table) if shard.removed else table

    def mapped(self, space: str) -> Sequence[Block]:
        """Return each shard's vectors, memory-mapped, in order: what reads as arrays of shape (rows, per_row, dim).

        Where rows were taken out they are copied, and what is coded (bfloat16, int8) is decoded, when asked for.
        """
        return Blocks(self.stored_vectors(space), self.places, self.space(space).dtype)

    def stored_vectors(self, space: str) -> list[npt.NDArray[Any]]:
        """Return each shard's whole map, as stored: (rows, per_row, stored_dim); `places` says where rows lie."""
        self.fetch([space], rows=False)
        return [self._map(space, number) for number in range(len(self.shards))]

    def _map(self, space: str, number: int) -> npt.NDArray[Any]:
        if (space, number) not in self._maps:
            shard = self.shards[number]
            local = self.local_file(shard.files[self.space(space).name])
            self._maps[space, number] = map_vectors(str(local), self.space(space), shard.stored)
        return self._maps[space, number]

    def vectors(self, space: str, rows: Wanted = None) -> npt.NDArray[np.floating[Any]]:
        """Return vectors of shape (n, per_row, dim); all rows by default, in the order asked for.

        They are float16 or float32 as they are stored, and float32 where they are stored as bfloat16 or int8. Raises
        UsageError for a space that is not there and for a row outside [-len, len).
        """
        return decode(self.stored(space, rows), self.space(space).dtype)

    def stored(self, space: str, rows: Wanted = None) -> npt.NDArray[Any]:
        """Return what `vectors` returns, coded as it is stored: of shape (n, per_row, stored_dim)."""
        import numpy as np

        wanted = self.space(space)
        if rows is None or isinstance(rows, slice):
            span = range(len(self))[slice(None) if rows is None else rows]
            if span:
                first, last = sorted(bisect_right(self._starts, row) - 1 for row in (span[0], span[-1]))
                self.files.fetch(shard.files[wanted.name] for shard in self.shards[first : last + 1])
                for number in range(first, last + 1):
                    self._map(space, number)  # before anything is allocated: a manifest may claim any number of rows
            given = np.arange(span.start, span.stop, span.step)
        else:
            given = np.asarray(rows)
        index = row_numbers(given, len(self), where=f"rows of {space}")
        where, inside = self.places.within(index)
        self.files.fetch(self.shards[int(number)].files[wanted.name] for number in np.unique(where))
        maps = {int(number): self._map(space, int(number)) for number in np.unique(where)}
        out = np.empty((len(index), wanted.per_row, wanted.stored_dim), dtype=stored_type(wanted.dtype))
        for number, vectors in maps.items():
            here = where == number
            out[here] = vectors[inside[here]]
        return out

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield each shard's rows as a table, in order; the streaming form of `rows`."""
        paths = self.files.stream([shard.files["rows"] for shard in self.shards])
        for number, path in enumerate(paths):
            yield self.kept(number, read_parquet(str(path), self.shards[number].stored, columns))

    def table(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return one shard's rows."""
        shard = self.shards[number]
        with closing(self.files.stream([shard.files["rows"]])) as paths:
            return self.kept(number, read_parquet(str(next(paths)), shard.stored, columns))

    def rows(self, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """Return rows as one table; `where` is a pyarrow expression over any of the dataset's columns.

        Raises UsageError for a column that is not there.
        """
        import pyarrow as pa

        schema, names = self.schema(), self._columns(columns)
        if not self.shards:
            return schema.empty_table().select(names)
        self.fetch([])
        if where is None:
            with parquet_errors(self.root):
                return pa.concat_tables(self.tables(columns))
        files = [(str(self.local_file(shard.files["rows"])), shard.stored) for shard in self.shards]
        without = None if self.removed is None else self.removed.uids
        return filtered(files, schema, where, columns=columns, without=without)

    def _columns(self, columns: Sequence[str] | None) -> list[str]:
        there = self.schema().names
        missing = [name for name in columns or () if name not in there]
        if missing:
            expected = f"some of {there}"
            raise UsageError(f"columns {missing}", expected=expected, found="no such column", do="Name some of them.")
        return there if columns is None else list(columns)

    def schema(self) -> pa.Schema:
        """Return the schema of the rows; raises FormatError where the dataset holds no shard to take it from."""
        import pyarrow.parquet as pq

        shards = self.shards or self.manifest.shards
        if not shards:
            raise FormatError(self.root, expected="at least one shard", found="none", do="Check what was selected.")
        path = str(self.local_file(shards[0].files["rows"]))
        with parquet_errors(path):
            return pq.read_schema(path).remove_metadata()

    def to_pandas(self, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> Any:  # noqa: ANN401
        """Return rows as a pandas DataFrame, chosen as by `rows`; raises MissingExtra without pandas."""
        from dfndr.frames import pandas_frame

        return pandas_frame(self.rows(columns, where))

    def to_hf(self, columns: Sequence[str] | None = None, *, spaces: Sequence[str] = ()) -> Any:  # noqa: ANN401
        """Return a `datasets.Dataset` of the rows, thumbnails as its Image feature, with the vectors of some spaces.

        Vectors are lists of dim numbers (lists of per_row such lists where that is not 1), over the memory maps, or
        decoded in memory where they are stored as bfloat16 or int8; `image/vit-b-32` is called `image__vit_b_32`. The
        other columns are read into memory.
        """
        from dfndr.frames import hf_dataset, vector_columns

        names = self._columns(columns)
        called = vector_columns([self.space(name) for name in spaces], names)
        tables = self.tables(names) if self.shards else iter([self.rows(names)])
        vectors = {called[name]: self.mapped(name) or [self.vectors(name)] for name in called}
        identity = [self.digest, *(str(shard.index) for shard in self.shards), *names, *called]
        return hf_dataset(tables, vectors, identity="\n".join(identity))

    def to_torch(self, spaces: Sequence[str] | None = None, columns: Sequence[str] = ()) -> TorchRows:
        """Return a map-style torch dataset of dicts: a float32 tensor per space (all by default), and columns' values.

        A tensor is of shape (dim,), or (per_row, dim) where a row has several vectors. For a training loop `Loader` is
        far faster; this is for code that wants a DataLoader.
        """
        from dfndr.torch_rows import TorchRows

        chosen = {name: self.space(name) for name in (self.spaces if spaces is None else spaces)}
        self.fetch(list(chosen))
        files = []
        for shard in self.shards:
            paths = {role: str(self.local_file(shard.files[role])) for role in ("rows", *chosen)}
            files.append((shard.stored, paths.pop("rows"), paths))
        return TorchRows(files, chosen, self._columns(columns), self.places, owner=self)

    def show(self, uids: str | Sequence[str] | None = None) -> Shown:
        """Return some rows, the first twelve by default, as a notebook shows them: picture, scores, text and uid."""
        from dfndr.show import shown_rows

        return shown_rows(self, uids)
