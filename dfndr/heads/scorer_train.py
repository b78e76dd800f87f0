"""Training a scorer: logistic regression on cached vectors, measured on rows that training did not see.

The same dataset, arguments and seed give the same scorer on one machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import DataError, UsageError
from dfndr.format.uid import UID, pack_uids
from dfndr.heads.logistic import Fit, fit_logistic, roc_auc, sigmoid
from dfndr.heads.scorer import Fits, Scorer, ScorerOrigin, row_vectors
from dfndr.order import draw
from dfndr.progress import SILENT, Progress
from dfndr.seeds import hash_int

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]
    Bools: TypeAlias = npt.NDArray[np.bool_]
    Truth: TypeAlias = npt.NDArray[np.int8]

__all__ = ["Measured", "TrainedScorer", "read_positives", "train_scorer"]

_CHUNK_ROWS = 4096
_HELD_OUT = 0.2


@dataclass(frozen=True)
class Measured:
    """How well a scorer tells `rows` apart, of which `positives` are; without rows of both classes there is no `auc`.

    `accuracy` is the share of rows on the right side of 0.5, `majority` that of always saying the commoner class.
    """

    rows: int
    positives: int
    auc: float | None
    accuracy: float
    majority: float


@dataclass(frozen=True)
class TrainedScorer:
    """What training gives: the scorer, how the fit went, and how it does on the rows held out, where there are any."""

    scorer: Scorer
    fit: Fit
    held_out: Measured | None

    def to_json(self) -> dict[str, object]:
        """Return a JSON object of the space and of the metrics, as `scorer.json` holds them."""
        return {"space": self.scorer.origin and self.scorer.origin.space, **_metrics(self.fit, self.held_out)}

    def __str__(self) -> str:
        space = self.scorer.origin.space if self.scorer.origin else self.scorer.fits.modality
        trained = f"scorer on {space}, trained on {self.fit.rows:,} rows, {self.fit.positives:,} of them positive"
        found = self.held_out
        if found is None:
            return f"{trained}; no rows were held out, so it is not measured"
        auc = "not defined: the rows are of one class" if found.auc is None else f"{found.auc:.4f}"
        return (
            f"{trained}\nheld out: {found.rows:,} rows, {found.positives:,} of them positive\n"
            f"ROC AUC   {auc}\naccuracy  {found.accuracy:.2%} (the commoner class alone: {found.majority:.2%})"
        )


def train_scorer(
    dataset: Dataset,
    out: str | os.PathLike[str] | None = None,
    *,
    space: str | None = None,
    labels: str | npt.NDArray[np.bool_] | None = None,
    positives: Iterable[str] | None = None,
    l2: float = 1e-3,
    balanced: bool = False,
    held_out: float | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> TrainedScorer:
    """Train a scorer on a space, the first image space by default, and write it to the folder `out`.

    `labels` is a column of booleans, or an array with one for each row; a row whose label is null takes no part.
    `positives` are uids instead: all other rows are negative. Measured are the rows of the validation split, or a share
    of all rows by a hash of uid and seed: `held_out` of them, a fifth where the dataset has no validation split. See
    `dfndr.heads.logistic` for `l2` and `balanced`.

    Raises UsageError for arguments that make no sense and where all rows are of one class, and DataError for vectors
    that are not finite.
    """
    _check(l2, held_out)
    if out is not None:
        _check_place(os.fspath(out))
    space = space or next((name for name, given in dataset.spaces.items() if given.modality == "image"), "image/...")
    fits = Fits.of(dataset, dataset.space(space))
    truth = _truth(dataset, labels, positives, progress)
    measured = _held_out(dataset, held_out, seed)
    train, rest = (truth >= 0) & ~measured, (truth >= 0) & measured
    with progress.task("train scorer", None, "passes") as task:

        def blocks() -> Iterator[tuple[Floats, Bools]]:
            task.advance()
            return _blocks(dataset, space, truth, train)

        fit = fit_logistic(blocks, fits.dim, l2=l2, balanced=balanced)
    found = _measure(fit, _blocks(dataset, space, truth, rest))
    if found is None:
        progress.say("No rows are held out, so the scorer is not measured.")
    how = {"labels": labels if isinstance(labels, str) else "an array" if positives is None else "a list of uids"}
    training = {**how, "l2": l2, "balanced": balanced, "held_out": held_out, "seed": seed}
    origin = ScorerOrigin(dataset.manifest.name, dataset.digest, space, training, _metrics(fit, found))
    scorer = Scorer(fit.weight, fit.bias, fits, origin)
    if out is not None:
        scorer.save(out)
    return TrainedScorer(scorer, fit, found)


def _metrics(fit: Fit, held_out: Measured | None) -> dict[str, object]:
    found = None if held_out is None else asdict(held_out)
    return {"rows": fit.rows, "positives": fit.positives, "loss": fit.loss, "passes": fit.passes, "held_out": found}


def read_positives(path: str) -> list[str]:
    """Read a text file with a uid on each line; blank lines and what follows a # do not count. Raises UsageError."""
    uids = []
    for number, line in enumerate(storage.read_bytes(path).decode("utf-8", "replace").splitlines(), 1):
        uid = line.partition("#")[0].strip().lower()
        if uid and not UID.fullmatch(uid):
            do = "Write one uid on each line."
            raise UsageError(f"{path}, line {number}", expected="a uid of 32 hex digits", found=repr(uid)[:80], do=do)
        uids += [uid] if uid else []
    return uids


def _check(l2: float, held_out: float | None) -> None:
    if not 0 < l2 < float("inf"):
        raise UsageError("l2", expected="a number above 0", found=repr(l2), do="The default is 0.001.")
    if held_out is not None and not 0 < held_out < 1:
        raise UsageError("held_out", expected="a share between 0 and 1", found=repr(held_out), do="Give such a share.")


def _check_place(out: str) -> None:
    """Raise UsageError, before anything is trained, where `out` is a file or holds something that is no scorer."""
    there = [out] if storage.exists(out) and not storage.is_folder(out) else storage.list_files(out)
    if there and "scorer.json" not in there:
        do = "Choose another folder."
        raise UsageError(out, expected="a new folder, or one with a scorer", found=f"{there[0]!r}", do=do)


def _truth(
    dataset: Dataset, labels: str | npt.NDArray[np.bool_] | None, positives: Iterable[str] | None, progress: Progress
) -> Truth:
    """Return 1 for each positive row, 0 for each negative one, -1 for those that are neither."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if (labels is None) == (positives is None):
        found, do = "neither" if labels is None else "both", "Say what is positive in just one way."
        raise UsageError("train_scorer", expected="labels or positives", found=found, do=do)
    parts = [np.empty(0, dtype=np.int8)]
    if isinstance(labels, str):
        boolean = [field.name for field in dataset.schema() if pa.types.is_boolean(field.type)]
        if labels not in boolean:
            do = "Name one of them, or give positives."
            expected = f"a column of booleans: {', '.join(boolean) or 'there is none'}"
            raise UsageError("labels", expected=expected, found=repr(labels), do=do)
        for table in dataset.tables([labels]):
            parts.append(table[labels].cast(pa.int8()).fill_null(-1).to_numpy())
        return np.concatenate(parts)
    if positives is None:
        given = np.asarray(labels)
        if given.shape != (len(dataset),) or given.dtype != np.bool_:
            found, do = f"{given.dtype} of shape {given.shape}", "Give each row of the dataset a label."
            raise UsageError("labels", expected=f"{len(dataset)} booleans", found=found, do=do)
        return given.astype(np.int8)
    wanted = pa.array(sorted(set(positives)), pa.string())
    seen = pa.array([], pa.string())
    for table in dataset.tables(["uid"]):
        uids = table["uid"].combine_chunks()
        met = pc.is_in(uids, wanted)
        parts.append(met.cast(pa.int8()).to_numpy(zero_copy_only=False))
        seen = pc.unique(pa.concat_arrays([seen, uids.filter(met)]))
    if len(seen) < len(wanted):
        progress.say(f"{len(wanted) - len(seen):,} of {len(wanted):,} uids are not in the dataset.")
    return np.concatenate(parts)


def _held_out(dataset: Dataset, share: float | None, seed: int) -> Bools:
    """Say of each row whether it is kept for measuring."""
    import numpy as np

    if share is None and len(dataset.split("validation")):
        return np.repeat([shard.split == "validation" for shard in dataset.shards], [s.rows for s in dataset.shards])
    parts = [np.empty(0, dtype=np.bool_)]
    key, below = hash_int(seed, "held out"), round((_HELD_OUT if share is None else share) * 2**32)
    for table in dataset.tables(["uid"]):
        words = pack_uids(table["uid"].to_pylist(), dataset.root)[:, 8:].copy().view("<u8")[:, 0]
        parts.append(draw(words.astype(np.uint64), key, 2**32) < below)
    return np.concatenate(parts)


def _blocks(dataset: Dataset, space: str, truth: Truth, chosen: Bools) -> Iterator[tuple[Floats, Bools]]:
    """Yield the vectors of the chosen rows that have any, and whether they are positive; raises DataError."""
    import numpy as np

    first = 0
    for shard in dataset.mapped(space):
        for start in range(0, len(shard), _CHUNK_ROWS):
            rows = np.flatnonzero(chosen[first + start : first + min(start + _CHUNK_ROWS, len(shard))])
            vectors, there = row_vectors(shard[start : start + _CHUNK_ROWS][rows])
            bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            if len(bad):
                where, do = f"space {space}, row {first + start + rows[bad[0]]}", "Run `dfndr verify` on the dataset."
                raise DataError(where, expected="a finite vector", found="one that is not", do=do)
            yield vectors[there], truth[first + start + rows[there]] == 1
        first += len(shard)


def _measure(fit: Fit, blocks: Iterator[tuple[Floats, Bools]]) -> Measured | None:
    import numpy as np

    parts = [(sigmoid(vectors @ fit.weight + fit.bias), positive) for vectors, positive in blocks]
    scores: npt.NDArray[Any] = np.concatenate([np.empty(0), *(part for part, _ in parts)])
    positive = np.concatenate([np.empty(0, dtype=np.bool_), *(part for _, part in parts)])
    count, rows = int(positive.sum()), len(positive)
    if not rows:
        return None
    right = float(((scores >= 0.5) == positive).mean())
    return Measured(rows, count, roc_auc(scores, positive), right, max(count, rows - count) / rows)
