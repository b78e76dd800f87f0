"""The vectors of a space made unit length, shard by shard, each with the uid of its row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dfndr.dataset import Dataset
from dfndr.errors import FormatError
from dfndr.format.schema import Space
from dfndr.format.uid import pack_uids

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

__all__ = ["Block", "taking", "unit", "unit_blocks"]


@dataclass(frozen=True)
class Block:
    """The vectors of one shard: `uids` (n, 16), `places` (n,) among all the space's places, `vectors` (n, dim).

    `rows` counts the rows of the shard, with or without a vector.
    """

    uids: npt.NDArray[np.uint8]
    places: npt.NDArray[np.int64]
    vectors: Vectors
    rows: int


def unit(vectors: npt.NDArray[np.floating[Any]]) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Return float32 vectors of length one, and which of them could be: those that are finite and not zero."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        length = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=-1, keepdims=True))
        found = (vectors / length).astype(np.float32)
    return found, np.isfinite(length[..., 0]) & (length[..., 0] > 0)


def unit_blocks(dataset: Dataset, space: Space) -> Iterator[Block]:
    """Yield the vectors of each shard in turn; free caption places are left out.

    Raises FormatError, which names the row, for a vector that is not finite or is zero.
    """
    import numpy as np

    start = 0
    pairs = zip(dataset.tables(["uid"]), dataset.mapped(space.name), strict=True)
    for number, (table, block) in enumerate(pairs):
        where = dataset.shards[number].files[space.name].path
        vectors = np.asarray(block)
        found, fine = unit(vectors)
        free = (vectors == 0).all(axis=2) & (space.modality == "caption")
        if not (fine | free).all():
            row = int(np.argwhere(~(fine | free))[0, 0])
            do = "Run `dfndr verify` on the dataset."
            raise FormatError(f"{where}, row {row}", expected="finite vectors, not zero", found="another one", do=do)
        rows, columns = np.nonzero(fine)
        uids = pack_uids(table["uid"].to_pylist(), dataset.shards[number].files["rows"].path)[rows]
        yield Block(uids, (start + rows) * space.per_row + columns, found[fine], len(block))
        start += len(block)


def taking(
    dataset: Dataset, space: Space, places: npt.NDArray[np.int64]
) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]:
    """Return what reads vectors as they are stored from the dataset's own files, by their positions in an index.

    `places` says where the vector at each position stands among all the space's places.
    """

    def take(positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        import numpy as np

        rows, columns = np.divmod(places[positions], space.per_row)
        return dataset.stored(space.name, rows)[np.arange(len(rows)), columns]

    return take
