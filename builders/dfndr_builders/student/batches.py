"""Batches to train a student on: pixels, tokens of texts and captions, and the teachers' vectors of exactly these.

Which rows, which view and which caption of each is what a `Loader` says: a function of (seed, epoch, position). Workers
only turn views into pixels, and texts into tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dfndr.batch import Batch
from dfndr.dataset import Dataset
from dfndr.errors import DataError, UsageError
from dfndr.format.schema import Modality
from dfndr.loader import Loader
from dfndr_builders.student.pack import Pack
from dfndr_builders.student.processes import ALONE, Processes
from dfndr_builders.student.samples import Samples, Tokens, Wanted
from dfndr_builders.student.spec import StudentSpec
from dfndr_builders.student.targets import Targets

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import torch

__all__ = ["StudentBatch", "batches"]


@dataclass(frozen=True, eq=False)
class StudentBatch:
    """Pixels, uint8 of shape (n, 3, height, width), tokens of shape (kinds, n, context), and what teachers see.

    The first kind of texts are the samples' own, the second, where there is one, their captions. `taught` has for each
    kind each teacher's vectors of these texts, `seen` each teacher's of the pictures. `state` is the loader's after it,
    `rank` the process that the batch, or this share of it, is for.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    seen: Sequence[torch.Tensor]
    taught: Sequence[Sequence[torch.Tensor]]
    state: Mapping[str, int]
    rank: int = 0


def batches(
    dataset: Dataset,
    pack: Pack,
    spec: StudentSpec,
    targets: Targets,
    *,
    size: tuple[int, int],
    tokenizer: Any,  # noqa: ANN401
    state: Mapping[str, int] | None = None,
    processes: Processes = ALONE,
    workers: int = 0,
) -> Iterator[StudentBatch]:
    """Yield a rank's share of each batch, without end, from a state on; rows without a picture are left out.

    Raises UsageError where the rows do not fill a batch, DataError for a view that is not as the dataset says.
    """
    import numpy as np
    import pyarrow.compute as pc
    from torch.utils.data import DataLoader

    has = pack.has()
    if int(has.sum()) < spec.batch_size:
        do = "Lower batch_size."
        raise UsageError("batch_size", expected=f"at most the {has.sum():,} rows", found=f"{spec.batch_size:,}", do=do)
    loader = Loader(
        dataset,
        targets.spaces,
        columns=_columns(dataset, targets, spec),
        batch_size=spec.batch_size // processes.count,
        seed=spec.seed,
        rank=processes.rank,
        world_size=processes.count,
        drop_last=True,
        where=None if has.all() else ~pc.field("uid").isin(_uids(dataset, np.flatnonzero(~has))),
        most=_most(spec),
    )
    if state is not None:
        loader.load_state_dict(state)
    waiting: deque[tuple[Batch, Chosen, dict[str, int]]] = deque()

    def wanted() -> Iterator[list[Wanted]]:
        while True:
            epoch = loader.state_dict()["epoch"]
            for batch in loader:
                chosen = _chosen(batch, targets)
                waiting.append((batch, chosen, loader.state_dict()))
                yield _wanted(batch, chosen, targets.views, epoch)

    made = DataLoader(
        Samples(pack, Tokens(tokenizer), size, spec.seed, spec.crop_scale if spec.is_plain else None),
        batch_sampler=wanted(),
        num_workers=workers,
        # Forked after torch has threads, a worker may wait for ever.
        multiprocessing_context="spawn" if workers else None,
        pin_memory=processes.device.startswith("cuda"),
    )
    for pixels, tokens in made:
        batch, chosen, after = waiting.popleft()
        seen, taught = targets.vectors(batch, "image"), [targets.vectors(batch, "text")]
        if targets.captions:
            taught.append(_instead(targets.vectors(batch, "caption"), taught[0], chosen.has_caption))
        yield StudentBatch(pixels, tokens.transpose(0, 1), seen, taught, after, processes.rank)


def _uids(dataset: Dataset, rows: npt.NDArray[np.int64]) -> pa.Array:
    return dataset.rows(["uid"])["uid"].combine_chunks().take(rows)


def _most(spec: StudentSpec) -> dict[Modality, int]:
    """Return among how many first views and captions of a row one is picked, where not among all."""
    given: dict[Modality, int | None] = {"image": spec.views, "caption": spec.captions}
    return {kind: count for kind, count in given.items() if count}


def _columns(dataset: Dataset, targets: Targets, spec: StudentSpec) -> list[str]:
    there = dataset.schema().names
    sizes = [name for name in ("width", "height") if name in there]
    views = ["views"] if "views" in there and not spec.is_plain else []
    return ["text", *(["captions"] if targets.captions else []), *views, *(sizes if len(sizes) == 2 else [])]


@dataclass(frozen=True)
class Chosen:
    """Which view each row of a batch is seen in, its texts, and whether it has the caption that was picked."""

    views: list[int]
    texts: list[tuple[str, ...]]
    has_caption: list[bool]


def _chosen(batch: Batch, targets: Targets) -> Chosen:
    views, texts = _places(batch, "image"), batch["text"]
    if not targets.captions:
        return Chosen(views, [(text,) for text in texts], [])
    places, captions = _places(batch, "caption"), [given or [] for given in batch["captions"]]
    there = [place < len(given) for place, given in zip(places, captions, strict=True)]
    # A sample without captions has its own text in the place of one.
    both: list[tuple[str, ...]] = [
        (text, given[place] if is_there else text)
        for text, given, place, is_there in zip(texts, captions, places, there, strict=True)
    ]
    return Chosen(views, both, there)


def _places(batch: Batch, kind: str) -> list[int]:
    """Return which view or caption of each row this is; all teachers have the same."""
    found: list[int] = batch.picked[kind].tolist() if kind in batch.picked else [0] * len(batch)
    return found


def _wanted(batch: Batch, chosen: Chosen, count: int, epoch: int) -> list[Wanted]:
    rows, names = batch.rows.tolist(), batch.columns.names
    given = [batch[name] if name in names else [None] * len(rows) for name in ("views", "width", "height")]
    found = []
    for row, place, texts, views, width, height in zip(rows, chosen.views, chosen.texts, *given, strict=True):
        if views is not None and len(views) != count:
            expected, do = f"{count} views, as many as teachers have vectors of", "Run `dfndr verify` on the dataset."
            raise DataError(f"row {row}", expected=expected, found=f"{len(views)}", do=do)
        made_for = None if width is None or height is None else (width, height)
        found.append(Wanted(row, texts, None if views is None else views[place], epoch, made_for))
    return found


def _instead(captions: list[torch.Tensor], texts: list[torch.Tensor], there: list[bool]) -> list[torch.Tensor]:
    import torch

    is_there = torch.tensor(there)[:, None]
    return [torch.where(is_there, caption, text) for caption, text in zip(captions, texts, strict=True)]
