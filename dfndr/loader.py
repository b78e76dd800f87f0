"""Batches of cached vectors: memory-mapped, shuffled, split over ranks, and resumable from three integers.

    loader = Loader(dataset, ["image/vit-b-32", "caption/vit-b-32"], batch_size=4096, seed=7)
    for batch in loader:                      # one epoch; iterating again gives the next one
        images, captions = batch["image/vit-b-32"], batch["caption/vit-b-32"]

Which rows a step holds depends on (seed, epoch, position) alone. Step by step all ranks together take the next
`batch_size * world_size` rows of the epoch's order, rank r the r-th part of them, so a run may be resumed with other
batch sizes and numbers of ranks: no row is skipped or seen twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from dfndr.batch import Batch
from dfndr.columns import Columns
from dfndr.dataset import Dataset
from dfndr.errors import MissingExtra, UsageError
from dfndr.fetching import Fetched
from dfndr.format.schema import Modality, Space
from dfndr.format.storage_types import decode, is_coded, read_type
from dfndr.gather import Buffers, Lookup, Stack
from dfndr.order import BLOCK, WINDOW, Order, Runs, Shuffle, share
from dfndr.picking import Draws, Pick
from dfndr.sampling import Sampling
from dfndr.streaming import Stream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow.compute as pc

    Rows: TypeAlias = npt.NDArray[np.int64]
    Where: TypeAlias = pc.Expression | None
    Weights: TypeAlias = str | npt.NDArray[Any] | None

__all__ = ["Batch", "Framework", "Loader", "Pick"]

Framework = Literal["auto", "torch", "numpy"]

_AHEAD, _PLANNED = 1 << 15, WINDOW * BLOCK


class Loader:
    """An endless row of epochs over a dataset; its whole state is {seed, epoch, position}.

    `shuffle` is "exact" (a permutation of all rows), "block" (runs of 64 neighbours stay together: about twice as fast,
    far faster where the data is larger than memory, and best with large batches; see `dfndr.order`), "window" or None.
    Of a remote dataset the shards come when they are needed, the next ones meanwhile: with "window" and None these are
    few at a time, and those that are done with make room; "exact" and "block" soon need all of them. At the end
    of an epoch the last rows are split over the ranks as evenly as can be, so a rank's last batch may be smaller, or
    empty where fewer rows than ranks are left; `drop_last` leaves them out. Every rank has the same number of steps.

    Of a space with several vectors per row, `pick` takes one at random (a hash of seed, epoch and row, the same one in
    all spaces of a modality, so that several teachers' vectors are of one view and one caption), the first, or all; a
    place that a row with fewer captions leaves free is never picked. `batch.picked` says which, and `batch.drawn` draws
    whatever else is to be drawn for each row, such as a teacher. With `most`, such as {"image": 5, "caption": 2}, it is
    one of so many first ones of a modality.

    `where`, a condition over the dataset's columns, says which rows an epoch holds; a null meets none. `weights`, a
    column of numbers or an array with one for each row of the dataset (which is not copied), says how often a row comes
    beside the others: an epoch stays as long, and holds a row floor(e) or ceil(e) times, where e is its share of the
    weights times the rows of the epoch (see `dfndr.sampling`; `shuffle="exact"` keeps the copies apart, and each copy
    picks its own caption). Either may be a mapping from first epochs, {0: ..., 5: ...}, a curriculum; an epoch's length
    then depends on the epoch, and `len(loader)` is that of the present one.

    Vectors come as torch tensors where torch is installed, as NumPy arrays otherwise, in the storage type (mostly
    float16: cast before computing), as float32 where that is bfloat16 or int8. They are the caller's to keep and to
    change.

    An iteration that was left early goes on where it stopped, as a resumed one does; `set_epoch` goes to another epoch.
    Raises UsageError for arguments that cannot be, and MissingExtra for `framework="torch"` without torch.
    """

    def __init__(
        self,
        dataset: Dataset,
        spaces: Sequence[str],
        *,
        columns: Sequence[str] = ("uid",),
        batch_size: int = 4096,
        shuffle: Shuffle | None = "exact",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        pick: Pick = "random",
        framework: Framework = "auto",
        where: Where | Mapping[int, Where] = None,
        weights: Weights | Mapping[int, Weights] = None,
        most: Mapping[Modality, int] | None = None,
    ) -> None:
        import numpy as np

        _check_choice("shuffle", shuffle, (*get_args(Shuffle), None))
        _check_choice("pick", pick, get_args(Pick))
        _check_choice("framework", framework, get_args(Framework))
        _check_count("seed", seed, 0)
        _check_count("batch_size", batch_size, 1)
        _check_count("world_size", world_size, 1)
        _check_count("rank", rank, 0, below=world_size)
        self._seed, self._epoch, self._position = seed, 0, 0
        self._batch_size, self._rank, self._world_size, self._drop_last = batch_size, rank, world_size, drop_last
        self._shuffle, self._pick, self._rows = shuffle, pick, len(dataset)
        self._most = dict(most or {})
        for modality, count in self._most.items():
            _check_count(f"most[{modality!r}]", count, 1)
        self._torch = find_spec("torch") is not None if framework == "auto" else framework == "torch"
        if self._torch and find_spec("torch") is None:
            raise MissingExtra.of("torch", "train")
        self._dataset = dataset
        self._spaces = [dataset.space(name) for name in _names("spaces", spaces)]
        self._columns = Columns(dataset, _names("columns", columns))
        self._lookup = Lookup([shard.stored for shard in dataset.shards if shard.stored])
        self._stacks: dict[str, Stack] = {}
        self._stream = self._open_stream(dataset.files) if isinstance(dataset.files, Fetched) else None
        self._planned: object = None
        self._buffers = Buffers()
        plain = where is None and weights is None
        self._sampling = None if plain else Sampling(dataset, where=where, weights=weights)
        self._ahead: tuple[object, int, Runs] = (None, 0, Runs(np.empty(0, dtype=np.int64), 1, 0))

    def __len__(self) -> int:
        """Return the steps of a whole epoch, the present one, the same on every rank."""
        whole, rest = divmod(self._count(self._epoch), self._batch_size * self._world_size)
        return whole + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of this epoch that are still to come, then make ready for the next epoch."""
        while part := share(
            self._count(self._epoch) - self._position,
            batch_size=self._batch_size,
            rank=self._rank,
            world_size=self._world_size,
            drop_last=self._drop_last,
        ):
            first, last, taken = part
            if self._stream is not None:
                self._plan(self._stream)
            batch = self._batch(self._runs(self._position + first, self._position + last))
            self._position += taken  # before the yield: what the loop's body has been given counts as consumed
            yield batch
        self._epoch, self._position = self._epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Return {seed, epoch, position}; position counts the rows that all ranks together took of this epoch."""
        return {"seed": self._seed, "epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state, with its seed; raises UsageError for what is no state of a loader over this dataset."""
        if set(state) != {"seed", "epoch", "position"}:
            expected = "the keys seed, epoch and position"
            raise UsageError(
                "loader state", expected=expected, found=f"{sorted(state)}", do="Pass what state_dict gave."
            )
        _check_count("seed", state["seed"], 0)
        _check_count("epoch", state["epoch"], 0)
        _check_count("position", state["position"], 0, below=self._count(state["epoch"]) + 1)
        self._seed, self._epoch, self._position = state["seed"], state["epoch"], state["position"]

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; where the loader is in it already, it stays where it is."""
        _check_count("epoch", epoch, 0)
        if epoch != self._epoch:
            self._epoch, self._position = epoch, 0

    def _count(self, epoch: int) -> int:
        """Return how many rows an epoch has."""
        return self._rows if self._sampling is None else self._sampling.count(epoch)

    def _runs(self, start: int, stop: int) -> Runs:
        """Return the rows at some positions, counted among those that `where` leaves.

        A lone rank works many steps out at once, which costs little more.
        """
        order, count = Order(self._count(self._epoch), self._shuffle, self._seed), stop - start
        if self._world_size > 1 or not count:
            return order.at(self._epoch, start, stop)
        known, first, runs = self._ahead
        if known != (order, self._epoch) or not first <= start <= stop <= first + len(runs):
            steps = max(1, min(_AHEAD, order.rows - BLOCK - start) // count)
            first, runs = start, order.at(self._epoch, start, start + steps * count)
            self._ahead = ((order, self._epoch), first, runs)
        return runs.part(start - first, stop - first)

    def _batch(self, runs: Runs) -> Batch:
        import numpy as np

        rows, vectors = runs.rows(), {}
        chosen = None if self._sampling is None else self._sampling.chosen(self._seed, self._epoch)
        positions = rows
        if chosen is not None:
            rows = chosen.rows(positions)
            runs = Runs(rows, 1, self._rows)
        keys = rows if chosen is None else rows + self._rows * chosen.times(positions, rows)
        stored = self._dataset.places.stored(rows)
        if stored is not rows:
            runs = Runs(stored, 1, self._rows)
        shard = self._lookup.shard_of(runs.heads)
        if self._stream is not None and len(rows):
            here = np.unique(self._lookup.shard_of(stored)).tolist()
            self._stacks = self._stream.stacks(here, torch=self._torch)

        def used(space: Space) -> npt.NDArray[np.bool_]:
            stack = self._stack(space.name)
            return stack.used(stack.words_of(stored, self._lookup.shard_of(stored)))

        draws = Draws(self._seed, self._epoch, keys)
        places = draws.places(self._spaces, used, pick=self._pick, most=self._most)
        for space in self._spaces:
            stack, one = self._stack(space.name), space.name in places
            shape = (len(rows),) if self._pick != "all" else (len(rows), space.per_row)
            out = self._buffers.take(len(rows) * (stack.place_bytes if one else stack.row_bytes))
            if one:
                words = stack.words_of(stored, self._lookup.shard_of(stored))
                stack.copy_places(words, places[space.name], out.reshape(len(rows), stack.place_bytes))
            else:
                stack.copy_rows(runs, shard, out.reshape(len(rows), stack.row_bytes))
            found = out.view(stack.dtype).reshape((*shape, space.stored_dim))
            vectors[space.name] = self._framed(self._decoded(found, space) if is_coded(space.dtype) else found)
        return Batch(rows, vectors, places, self._columns, draws)

    def _decoded(self, stored: npt.NDArray[Any], space: Space) -> npt.NDArray[np.floating[Any]]:
        """Return coded vectors as float32, in memory that is used again."""
        shape, kind = (*stored.shape[:-1], space.dim), read_type(space.dtype)
        out = self._buffers.take(math.prod(shape) * kind.itemsize)
        return decode(stored, space.dtype, out.view(kind).reshape(shape))

    def _open_stream(self, files: Fetched) -> Stream:
        roles = [*(["rows"] if self._columns.names else []), *(space.name for space in self._spaces)]
        return Stream(self._dataset, files, self._spaces, self._lookup, roles=roles)

    def _plan(self, stream: Stream) -> None:
        """Say which shards the next 65,536 to 131,072 positions lie in, once for each 65,536."""
        step = self._position // _PLANNED
        if self._planned == (self._seed, self._epoch, step):
            return
        self._planned = self._seed, self._epoch, step
        count = self._count(self._epoch)
        order = Order(count, self._shuffle, self._seed)
        rows = order.at(self._epoch, step * _PLANNED, min((step + 2) * _PLANNED, count)).rows()
        chosen = None if self._sampling is None else self._sampling.chosen(self._seed, self._epoch)
        rows = rows if chosen is None else chosen.rows(rows)
        numbers = dict.fromkeys(self._lookup.shard_of(self._dataset.places.stored(rows)).tolist())
        stream.plan(numbers)
        self._columns.keep([stream.numbers[number] for number in numbers])

    def _stack(self, space: str) -> Stack:
        if space not in self._stacks:
            shards = [shard for shard in self._dataset.stored_vectors(space) if len(shard)]
            self._stacks[space] = Stack(shards, self._lookup, torch=self._torch)
        return self._stacks[space]

    def _framed(self, array: npt.NDArray[np.floating[Any]]) -> Any:  # noqa: ANN401  a tensor or an array
        if not self._torch:
            return array
        import torch

        return torch.from_numpy(array)


def _names(where: str, given: Sequence[str]) -> list[str]:
    """Check that a list of names is one: not a lone string, and nothing named twice."""
    if isinstance(given, str) or len(set(given)) != len(given):
        raise UsageError(where, expected="a list of different names", found=repr(given), do="Pass a list.")
    return list(given)


def _check_choice(where: str, given: object, choices: Sequence[object]) -> None:
    if given not in choices:
        raise UsageError(where, expected=f"one of {list(choices)}", found=repr(given), do="Pass one of them.")


def _check_count(where: str, given: object, least: int, below: int | None = None) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or given < least or (below is not None and given >= below):
        expected = f"a whole number from {least} " + ("up" if below is None else f"to {below - 1}")
        raise UsageError(where, expected=expected, found=repr(given), do="Check it.")
