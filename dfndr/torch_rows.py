"""A dataset for torch's own DataLoader: rows by number, read from memory maps that each worker opens for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dfndr.errors import MissingExtra
from dfndr.format.schema import Space
from dfndr.format.shard import map_vectors, read_parquet
from dfndr.format.storage_types import decode
from dfndr.places import Places

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Block = npt.NDArray[Any]

__all__ = ["TorchRows"]


class TorchRows:
    """A map-style dataset as `torch.utils.data.DataLoader` takes it: item i is a dict of row i.

    Each process maps the files by itself when it first reads of them, so workers, forked or spawned, share the pages
    of the vectors and never a file position. The chosen columns are held in memory, a copy in each worker.
    """

    def __init__(
        self,
        files: Sequence[tuple[int, str, Mapping[str, str]]],
        spaces: Mapping[str, Space],
        columns: Sequence[str],
        places: Places,
        *,
        owner: object = None,
    ) -> None:
        """Take, for each shard, the rows in its files, its Parquet file, and its `.npy` file by space, all local.

        `owner` is whatever keeps these files there; it lives for as long as this.
        """
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise MissingExtra.of("torch", "train") from error
        self._owner = owner
        self._files, self._spaces, self._columns = tuple(files), dict(spaces), tuple(columns)
        self._places = places
        self._maps: dict[tuple[str, int], Block] = {}
        self._tables: dict[int, pa.Table] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "_maps": {},
            "_tables": {},
            "_owner": None,
        }  # a memory map would be sent to workers as its content

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return a float32 tensor per space, of shape (dim,) or, with several vectors per row, (per_row, dim); and
        the values of the columns. Raises IndexError."""
        import numpy as np
        import torch

        wanted = int(row)
        if not -len(self) <= wanted < len(self):
            raise IndexError(f"row {wanted} of {len(self)}")
        shards, within = self._places.within(np.array([wanted % len(self)]))
        number, inside = int(shards[0]), int(within[0])
        found: dict[str, Any] = {}
        for name, space in self._spaces.items():
            vectors = np.array(decode(self._map(name, number)[inside], space.dtype), dtype=np.float32)
            found[name] = torch.from_numpy(vectors[0] if space.per_row == 1 else vectors)
        if self._columns:
            table = self._table(number)
            found |= {name: table[name][inside].as_py() for name in self._columns}
        return found

    def _map(self, name: str, number: int) -> Block:
        if (name, number) not in self._maps:
            rows, _, paths = self._files[number]
            self._maps[name, number] = map_vectors(paths[name], self._spaces[name], rows)
        return self._maps[name, number]

    def _table(self, number: int) -> pa.Table:
        if number not in self._tables:
            rows, path, _ = self._files[number]
            self._tables[number] = read_parquet(path, rows, self._columns).combine_chunks()
        return self._tables[number]
