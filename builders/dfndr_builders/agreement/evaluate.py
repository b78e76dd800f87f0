"""A filter's scores of labelled or rated pairs, and the figures of how well they agree."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dfndr.errors import DataError, UsageError
from dfndr.progress import SILENT, Progress
from dfndr_builders.agreement.bootstrap import LEVEL, Figure, measured
from dfndr_builders.agreement.figures import kendall, of_labels
from dfndr_builders.agreement.pairs import Pairs
from dfndr_builders.agreement.scorers import SCORE, Named
from dfndr_builders.pools.base import Pool, Sample, tables_of
from dfndr_builders.stage import POOL_SCHEMA
from dfndr_builders.zero_shot.problems import Problems, in_words

__all__ = ["Agreement", "agreement_of"]

_SHOWN = {"roc_auc": "ROC-AUC", "average_precision": "average precision"}


@dataclass(frozen=True)
class Agreement:
    """How well a filter's scores agree with labels or ratings of `pairs` pairs of `images` pictures.

    `matches` is the share of pairs that are labelled as matching, None without labels. `problems` names, by reason, the
    pictures (keys) whose pairs could not be scored, once for each pair, and shards that are not whole.
    """

    filter: Mapping[str, object]
    pairs: int
    images: int
    matches: float | None
    figures: Mapping[str, Figure]
    resamples: int
    seed: int
    problems: Mapping[str, tuple[str, ...]]

    def to_json(self) -> dict[str, object]:
        """Return a JSON object of the same fields, and the level of the intervals."""
        figures = {name: asdict(figure) for name, figure in self.figures.items()}
        problems = {reason: list(keys) for reason, keys in self.problems.items()}
        return {**vars(self), "figures": figures, "level": LEVEL, "problems": problems}

    def __str__(self) -> str:
        share = "" if self.matches is None else f", {self.matches:.1%} of them match"
        lines = [f"{self.pairs:,} pairs of {self.images:,} images{share}"]
        for name, figure in self.figures.items():
            label = _SHOWN.get(name, name.replace("_", " "))
            if figure.value is None:
                lines.append(f"  {label}: undefined, {figure.why}")
            else:
                lines.append(f"  {label}: {figure.value:.4f}{_interval(figure)}")
        lines.append(
            f"  intervals hold {LEVEL:.0%} of {self.resamples:,} resamples of the images, seed {self.seed}"
            + in_words(self.problems)
        )
        return "\n".join(lines)


def _interval(figure: Figure) -> str:
    return f" ({figure.why})" if figure.low is None else f" [{figure.low:.4f}, {figure.high:.4f}]"


def agreement_of(
    named: Named,
    pool: Pool,
    pairs: Pairs,
    *,
    fraction: float = 0.15,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Agreement:
    """Score every pair whose picture the pool holds under its key, and measure labels, ratings, or both.

    `fraction` is the share of pairs that a filter would keep. Ratings count each in a row of its own, under the score
    of its pair (Hessel et al. 2021, arXiv 2104.08718, on Flickr8k-Expert). Raises DataError where no pair is scored.
    """
    if not 0 < fraction <= 1:
        found, do = str(fraction), "Give the share of pairs that is kept."
        raise UsageError("--fraction", expected="more than 0 and at most 1", found=found, do=do)
    problems = Problems()
    scores = _scores(named, pool, pairs, problems, progress)
    used = np.flatnonzero(np.isfinite(scores))
    if not len(used):
        expected, do = "pairs whose pictures are in the pool", "Columns `image` and the pool's keys must be the same."
        found = f"{problems.counted()}; the first image is {pairs.keys[0]!r}"
        raise DataError("pairs", expected=expected, found=found, do=do)
    chosen, scores = pairs.take(used), scores[used]
    groups = np.unique(np.array(chosen.keys), return_inverse=True)[1]
    how = {"resamples": resamples, "seed": seed}
    figures: dict[str, Figure] = {}
    if chosen.labels is not None:
        labels = chosen.labels.astype(np.float64)
        kind = "match" if labels.all() else "no-match"
        why = f"labels all of one kind: {len(labels):,} {kind}" if len({*labels}) < 2 else "the share keeps no pair"
        figures |= measured(of_labels(fraction), scores, labels, groups, why=why, **how)
    if chosen.ratings is not None:
        rows, raters = np.nonzero(~np.isnan(chosen.ratings))
        why = "scores or ratings are all the same"
        figures |= measured(kendall, scores[rows], chosen.ratings[rows, raters], groups[rows], why=why, **how)
    return Agreement(
        filter=named.record,
        pairs=len(used),
        images=int(groups.max()) + 1,
        matches=None if chosen.labels is None else float(chosen.labels.mean()),
        figures=figures,
        problems=problems.named(),
        **how,
    )


def _scores(named: Named, pool: Pool, pairs: Pairs, problems: Problems, progress: Progress) -> npt.NDArray[np.float64]:
    """Return the score of each pair, NaN where there is none; pictures are read once, in the pool's order."""
    step, scores = named.stage.open(), np.full(len(pairs.keys), np.nan)
    missing = set(pairs.keys)
    with progress.task("score pairs", len(pairs.keys)) as task:
        for rows, table in _tables(pool, pairs, missing, problems):
            scored = step(table)
            for row, key, reason, score in zip(
                rows, *(scored[name].to_pylist() for name in ("key", "problem", SCORE)), strict=True
            ):
                if reason is None and score is not None:
                    scores[row] = score
                else:
                    problems.add(reason or "score_missing", key)
            task.advance(len(rows))
    for key in pairs.keys:
        if key in missing:
            problems.add("not_in_pool", key)
    return scores


def _tables(pool: Pool, pairs: Pairs, missing: set[str], problems: Problems) -> Iterator[tuple[list[int], pa.Table]]:
    """Yield numbers of pairs, and their table as a pool would give it; keys that are found leave `missing`."""
    wanted: dict[str, list[int]] = {}
    for row, key in enumerate(pairs.keys):
        wanted.setdefault(key, []).append(row)
    rows: list[int] = []

    def samples() -> Iterator[Sample]:
        for key, image in _pictures(pool, wanted, problems):
            missing.discard(key)
            for row in wanted[key]:
                rows.append(row)
                yield Sample(key, image, pairs.captions[row].encode())

    for table in tables_of(samples(), POOL_SCHEMA):
        yield rows[: len(table)], table
        del rows[: len(table)]


def _pictures(pool: Pool, wanted: Collection[str], problems: Problems) -> Iterator[tuple[str, bytes]]:
    """Yield the picture of each wanted key that the pool holds, whatever its text; shards that are not whole are told.

    Raises DataError where a key comes again with another picture, as keys of several tars may.
    """
    taken: dict[str, bytes] = {}
    for shard in pool.shards():
        for table in pool.read(shard):
            for key, reason in zip(table["key"].to_pylist(), table["problem"].to_pylist(), strict=True):
                if reason is not None and reason.startswith("shard_"):
                    problems.add(reason, key)
            for key, image in zip(table["key"].to_pylist(), table["image"], strict=True):
                if key not in wanted or not image.is_valid:
                    continue
                digest, known = hashlib.sha256(image.as_py()).digest(), taken.get(key)
                if known is None:
                    taken[key] = digest
                    yield key, image.as_py()
                elif known != digest:
                    expected, found = "one picture of each key", f"another one in {shard.name}"
                    do = "Name one pool alone, or rename the samples and the pairs' images."
                    raise DataError(f"key {key!r}", expected=expected, found=found, do=do)
