"""Batches of cached vectors: memory-mapped, shuffled, split over ranks, and resumable from three integers.

    loader = Loader(dataset, ["image/vit-b-32", "caption/vit-b-32"], batch_size=4096, seed=7)
    for batch in loader:                      # one epoch; iterating again gives the next one
        images, captions = batch["image/vit-b-32"], batch["caption/vit-b-32"]

Which rows a step holds depends on (seed, epoch, position) alone. Step by step all ranks together take the next
`batch_size * world_size` rows of the epoch's order, rank r the r-th part of them, so a run may be resumed with other
batch sizes and numbers of ranks: no row is skipped or seen twice.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from dfndr.arguments import check_choice, check_count, different_names, takes_torch
from dfndr.batch import Batch
from dfndr.columns import Columns
from dfndr.dataset import Dataset
from dfndr.encoder import pick_device
from dfndr.errors import UsageError
from dfndr.format.schema import Modality
from dfndr.mapped import Mapped, Source, Stretch
from dfndr.order import BLOCK, WINDOW, Order, Runs, Shuffle, share
from dfndr.picking import Draws, Pick
from dfndr.resident import Resident, Stay, stays
from dfndr.sampling import Sampling
from dfndr.sending import Sender, Sent

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow.compute as pc

    from dfndr.torch_batches import TorchBatches

    Rows: TypeAlias = npt.NDArray[np.int64]
    Where: TypeAlias = pc.Expression | None
    Weights: TypeAlias = str | npt.NDArray[Any] | None

__all__ = ["Batch", "Framework", "Loader", "Pick"]

Framework = Literal["auto", "torch", "numpy"]

_AHEAD = {"exact": 1 << 15, "block": 1 << 18, "window": 1 << 18, None: 1 << 18}
"""Positions that are worked out at once: one by one, or in runs, which are far fewer."""
_PLANNED = WINDOW * BLOCK


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
    change; of one batch they lie in one piece of memory, which stays as long as any of them: to keep those of one space
    out of several, copy them. With `device`, "auto" for the best there is, they are tensors there: to a CUDA device
    they are copied from pinned memory while it works, two batches early. `resident` holds all vectors on the device, so
    that nothing is copied any more: True, or "auto" for an accelerator with the room (see `dfndr.resident`); batches
    stay the same.

    In a worker of torch's DataLoader a loader gives that worker's share of the steps (see `dfndr.torch_batches`).

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
        device: str | None = None,
        resident: Stay = False,
    ) -> None:
        check_choice("shuffle", shuffle, (*get_args(Shuffle), None))
        check_choice("pick", pick, get_args(Pick))
        check_choice("framework", framework, get_args(Framework))
        check_count("seed", seed, 0)
        check_count("batch_size", batch_size, 1)
        check_count("world_size", world_size, 1)
        check_count("rank", rank, 0, below=world_size)
        self._seed, self._epoch, self._position = seed, 0, 0
        self._batch_size, self._rank, self._world_size, self._drop_last = batch_size, rank, world_size, drop_last
        self._shuffle, self._pick, self._rows = shuffle, pick, len(dataset)
        self._most = dict(most or {})
        for modality, count in self._most.items():
            check_count(f"most[{modality!r}]", count, 1)
        self._torch = takes_torch(framework, needed=device is not None or resident is not False)
        self._device = "cpu" if device is None else pick_device(device)
        self._dataset = dataset
        self._spaces = [dataset.space(name) for name in different_names("spaces", spaces)]
        self._columns = Columns(dataset, different_names("columns", columns))
        self._stays = self._torch and stays(resident, dataset, self._spaces, device=self._device)
        self._opened: Source | None = None
        self._sender: Sender | None = None
        self._sent: dict[tuple[int, int, int], Sent] = {}
        self._planned: object = None
        plain = where is None and weights is None
        self._sampling = None if plain else Sampling(dataset, where=where, weights=weights)
        self._ahead: tuple[object, int, Stretch | None] = None, 0, None

    def __len__(self) -> int:
        """Return the steps of a whole epoch, the present one, the same on every rank."""
        whole, rest = divmod(self._count(self._epoch), self._batch_size * self._world_size)
        return whole + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of this epoch that are still to come, then make ready for the next epoch."""
        worker, workers = _worker()
        if workers > 1 and self._device != "cpu":
            do = "Leave `device` out, and copy in the process that trains."
            raise UsageError("loader", expected="no device in a worker", found=f"device {self._device!r}", do=do)
        step = 0
        while part := self._share(self._position):
            mine = step % workers == worker
            batch = self._batch(part) if mine else None
            step, self._position = step + 1, self._position + part[2]
            if batch is not None:  # after the position: what the loop's body has been given counts as consumed
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
        check_count("seed", state["seed"], 0)
        check_count("epoch", state["epoch"], 0)
        check_count("position", state["position"], 0, below=self._count(state["epoch"]) + 1)
        self._seed, self._epoch, self._position = state["seed"], state["epoch"], state["position"]

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; where the loader is in it already, it stays where it is."""
        check_count("epoch", epoch, 0)
        if epoch != self._epoch:
            self._epoch, self._position = epoch, 0

    def _count(self, epoch: int) -> int:
        """Return how many rows an epoch has."""
        return self._rows if self._sampling is None else self._sampling.count(epoch)

    def _at(self, start: int, stop: int) -> Stretch:
        """Return the rows at some positions of this epoch; a lone rank works many steps out at once."""
        order, count = Order(self._count(self._epoch), self._shuffle, self._seed), stop - start
        if self._world_size > 1 or not count:
            return self._stretch(order, start, stop)
        known, first, ahead = self._ahead
        if ahead is None or known != (order, self._epoch) or not first <= start <= stop <= first + len(ahead.rows):
            steps = max(1, min(_AHEAD[self._shuffle], order.rows - BLOCK - start) // count)
            first, ahead = start, self._stretch(order, start, start + steps * count)
            self._ahead = ((order, self._epoch), first, ahead)
        return ahead.part(start - first, stop - first)

    def _stretch(self, order: Order, start: int, stop: int) -> Stretch:
        runs = order.at(self._epoch, start, stop)
        rows = positions = runs.rows()
        chosen = None if self._sampling is None else self._sampling.chosen(self._seed, self._epoch)
        if chosen is None:
            return Stretch(rows, rows, self._source.at(rows, runs))
        rows = chosen.rows(positions)
        keys = rows + self._rows * chosen.times(positions, rows)
        return Stretch(rows, keys, self._source.at(rows, Runs(rows, 1, self._rows)))

    def to_torch(self) -> TorchBatches:
        """Return this as an iterable dataset for torch's DataLoader, with `batch_size=None` and any workers."""
        from dfndr.torch_batches import TorchBatches

        return TorchBatches(self)

    def __getstate__(self) -> dict[str, object]:
        # Another process opens the files by itself.
        return {**self.__dict__, "_opened": None, "_ahead": (None, 0, None), "_sender": None, "_sent": {}}

    def _share(self, position: int) -> tuple[int, int, int] | None:
        """Return the part of the step at a position that is this rank's, and the rows of all ranks; None at the end."""
        return share(
            self._count(self._epoch) - position,
            batch_size=self._batch_size,
            rank=self._rank,
            world_size=self._world_size,
            drop_last=self._drop_last,
        )

    def _batch(self, part: tuple[int, int, int]) -> Batch:
        """Return the batch of the present position, and begin to send those that come next where that is worth it."""
        if self._stays or self._device == "cpu":
            return self._gathered(self._position, part)
        self._sender = self._sender or Sender(self._device)
        position, sent = self._position, dict[tuple[int, int, int], Sent]()
        for _ in range(1 + self._sender.early):
            if (coming := self._share(position)) is not None:
                key = self._seed, self._epoch, position
                sent[key] = self._sent.get(key) or self._sender.send(self._gathered(position, coming))
                position += coming[2]
        self._sent = sent
        return sent.pop((self._seed, self._epoch, self._position)).arrived()

    def _gathered(self, position: int, part: tuple[int, int, int]) -> Batch:
        self._plan(position)
        here = self._at(position + part[0], position + part[1])
        draws = Draws(self._seed, self._epoch, here.keys)
        places = draws.places(self._spaces, here.stored.used, pick=self._pick, most=self._most)
        vectors = here.stored.vectors(self._spaces, places, flat=self._pick != "all")
        return Batch(here.rows, vectors, places, self._columns, draws)

    @property
    def _source(self) -> Source:
        if self._opened is None:
            if self._stays:
                self._opened = Resident(self._dataset, self._spaces, device=self._device)
            else:
                self._opened = Mapped(
                    self._dataset,
                    self._spaces,
                    columns=bool(self._columns.names),
                    torch=self._torch,
                    pinned=self._device.startswith("cuda"),
                    in_blocks=self._shuffle != "exact" and self._sampling is None,
                )
        return self._opened

    def _plan(self, position: int) -> None:
        """Say which rows the next 65,536 to 131,072 positions hold, once for each 65,536, where anybody wants that."""
        step = position // _PLANNED
        if self._planned == (planned := (self._seed, self._epoch, step)):
            return
        self._planned = planned
        if not self._source.wants_plan():
            return
        coming = [runs for part in (step, step + 1) for runs in self._coming(part * _PLANNED, (part + 1) * _PLANNED)]
        if (shards := self._source.plan(coming)) is not None:
            self._columns.keep(shards)

    def _coming(self, start: int, stop: int) -> list[Runs]:
        """Return the rows at some positions, also of the next epoch's start, where that holds the same rows."""
        count = self._count(self._epoch)
        order = Order(count, self._shuffle, self._seed)
        runs = order.at(self._epoch, min(start, count), min(stop, count))
        if self._sampling is None:
            later = max(0, start - count), min(max(0, stop - count), count)
            return [runs, order.at(self._epoch + 1, *later)] if later[0] < later[1] else [runs]
        chosen = self._sampling.chosen(self._seed, self._epoch)
        return [runs if chosen is None else Runs(chosen.rows(runs.rows()), 1, self._rows)]


def _worker() -> tuple[int, int]:
    """Return which worker of torch's DataLoader this is, and of how many; (0, 1) where it is none."""
    if sys.modules.get("torch") is None:
        return 0, 1
    from torch.utils.data import get_worker_info

    told = get_worker_info()
    return (0, 1) if told is None else (told.id, told.num_workers)
