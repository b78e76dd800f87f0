"""What the page asks of a dataset, answered as plain values: about, find, around a score, one sample, a thumbnail."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dfndr.dataset import Dataset
from dfndr.errors import DfndrError, UsageError
from dfndr.explore import drawn
from dfndr.explore.alike import Alike
from dfndr.explore.asking import Asking
from dfndr.explore.dropped import Dropped
from dfndr.explore.pooled import Find, Pooled
from dfndr.explore.reading import Reading
from dfndr.explore.values import Filter, Values, plain
from dfndr.images import BadImage, inspect
from dfndr.seeds import rng_for

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

__all__ = ["MAX_COUNT", "Explorer"]

MAX_COUNT = 1000
"""How many rows one answer holds at most, and how far a list of neighbours goes."""

_BARS = 60
_MOST_PIXELS = 1 << 22
_MEDIA = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}


class Explorer:
    """One dataset, opened to be looked at."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        index: str | None = None,
        pretrained: str | None = None,
        device: str = "auto",
        find: Find | None = None,
    ) -> None:
        self.dataset, self.reading = dataset, Reading(dataset)
        self.values = Values(self.reading)
        self.asking = Asking(self.reading, index=index, pretrained=pretrained, device=device)
        self._dropped, self._alike = Dropped(dataset), Alike(self.reading, self.asking)
        self._summary = [name for name in ("text", "source", "captions") if name in self.reading.schema.names]
        self._thumbnails = "thumbnail" in self.reading.schema.names
        self._pooled = None if find is None else Pooled(self.reading, find)
        self._shuffle = lru_cache(maxsize=2)(lambda rows: rng_for(0, "explore").permutation(rows))
        self._about = self._read_about()

    def prepare(self) -> None:
        """Make ready what the first search would wait for: the first image index, and the packages of encoders.

        No model is loaded or fetched. What goes wrong is told to whoever searches.
        """
        images = [space.name for space in self.dataset.manifest.spaces if space.modality == "image"]
        with suppress(DfndrError):
            self.reading.warm(self._summary)
            if images:
                self.asking.indexes.of(images[0])
        with suppress(ImportError):
            import_module("open_clip")

    def about(self) -> dict[str, Any]:
        """Return what the page needs to know before it can ask anything."""
        return self._about

    def _read_about(self) -> dict[str, Any]:
        manifest = self.dataset.manifest
        choices = {name: self.values.choices(name) for name in self.values.choice_columns()}
        return {
            "name": manifest.name,
            "license": manifest.license,
            "digest": manifest.digest,
            "rows": len(self.reading),
            "spaces": [{"name": space.name, "modality": space.modality} for space in manifest.spaces],
            "numbers": self.values.number_columns(),
            "scores": sorted(manifest.scorers),
            "choices": {name: found for name, found in choices.items() if found and len(found) > 1},
            "thumbnails": self._thumbnails or self._pooled is not None,
            "pooled": self._pooled is not None,
        }

    def browse(self, wanted: Filter, *, order: str = "shuffled", start: int = 0, count: int = 60) -> dict[str, Any]:
        """Return rows in an order: `stored`, `shuffled`, or by a column of numbers, `+name` or `-name`."""
        import numpy as np

        mask = self.values.passing(wanted)
        rows = np.arange(len(self.reading)) if mask is None else np.flatnonzero(mask)
        notes: list[float | None] = []
        if order == "shuffled":
            rows = rows[self._shuffle(len(rows))[start : start + count]]
        elif order[:1] in ("+", "-"):
            values = self.values.numbers(order[1:])[rows]
            rows, values = rows[np.isfinite(values)], values[np.isfinite(values)]
            page = _ordered(values if order[0] == "+" else -values, start, count)
            rows, notes = rows[page], [float(value) for value in values[page]]
        else:
            rows = rows[start : start + count]
        total = len(self.reading) if mask is None else int(mask.sum())
        pairs = zip(rows.tolist(), notes or [None] * len(rows), strict=True)
        return {"matched": total, "samples": self._samples(list(pairs))}

    def near(
        self,
        space: str,
        wanted: Filter,
        *,
        words: str | None = None,
        image: bytes | None = None,
        uid: str | None = None,
        start: int = 0,
        count: int = 60,
    ) -> dict[str, Any]:
        """Return the nearest rows to words, a picture or a sample (which is left out), best first."""
        leave_out = None if uid is None else self.reading.row_of(uid)
        if leave_out is not None:
            vector = self.asking.sample(space, leave_out)
        elif image is not None:
            vector = self.asking.picture(space, image)
        else:
            vector = self.asking.words(space, words or "")
        mask = self.values.passing(wanted)
        until = min(start + count, MAX_COUNT)
        found = self.asking.nearest(space, vector, count=until, mask=mask, leave_out=leave_out)
        total = len(self.reading) if mask is None else int(mask.sum())
        recall = self.asking.recall_of(space, mask)
        return {"matched": total, "recall": recall, "samples": self._samples(list(found[start:until]))}

    def indexes(self) -> dict[str, Any]:
        """Return how the index of each space stands."""
        return {"indexes": self.asking.indexes.told()}

    def histogram(self, name: str, wanted: Filter) -> dict[str, Any]:
        """Return equal bars from the least to the most of a column: `edges`, one more than `counts`."""
        import numpy as np

        values = self._chosen(name, wanted)[1]
        if not len(values):
            return {"counts": [], "edges": [], "median": None}
        counts, edges = np.histogram(values, bins=_BARS)
        return {"counts": counts.tolist(), "edges": edges.tolist(), "median": float(np.median(values))}

    def around(self, name: str, at: float, wanted: Filter, *, count: int = 24) -> dict[str, Any]:
        """Return how many rows lie below and from a threshold on, and the samples closest to it on either side."""
        import numpy as np

        rows, values = self._chosen(name, wanted)
        below = values < at
        sides = {}
        for side, here, sign in (("below", below, -1.0), ("above", ~below, 1.0)):
            mine, its = rows[here], values[here]
            page = _ordered(sign * its, 0, count)
            pairs: list[tuple[int, float | None]] = [(int(mine[place]), float(its[place])) for place in page]
            sides[side] = {"rows": int(np.count_nonzero(here)), "samples": self._samples(pairs)}
        return sides

    def _chosen(self, name: str, wanted: Filter) -> tuple[Rows, npt.NDArray[np.float64]]:
        import numpy as np

        values, mask = self.values.numbers(name), self.values.passing(wanted)
        fine = np.isfinite(values) if mask is None else np.isfinite(values) & mask
        rows = np.flatnonzero(fine)
        return rows, values[rows]

    def _samples(self, pairs: list[tuple[int, float | None]]) -> list[dict[str, Any]]:
        rows = [row for row, _ in pairs]
        found = []
        for (row, value), told in zip(pairs, self.reading.take(self._summary, rows), strict=True):
            captions = told.get("captions") or []
            text = told.get("text") or next((one for one in captions if one), None)
            source = plain(told.get("source"))
            found.append({"uid": self.reading.uid(row), "value": value, "text": plain(text), "source": source})
        return found

    def sample(self, uid: str) -> dict[str, Any]:
        """Return every field of a sample but its thumbnail, its split, the spaces it is in, and what it stands for."""
        row = self.reading.row_of(uid)
        names = [name for name in self.reading.schema.names if name != "thumbnail"]
        (fields,) = self.reading.take(names, [row])
        shard = self.dataset.shards[self.reading.shard_of(row)]
        spaces = [name for name in self.dataset.spaces if self.dataset.vectors(name, [row]).any()]
        told = {name: plain(fields[name]) for name in names}
        dropped = self._dropped.of(self.reading.uid(row))
        return {
            "uid": self.reading.uid(row),
            "split": shard.split,
            "fields": told,
            "spaces": spaces,
            "dropped": dropped,
            "views": drawn.told(fields),
        }

    def view(self, uid: str, number: int) -> bytes:
        """Return a view of a sample, drawn from its thumbnail, as a JPEG; raises UsageError where it has none."""
        names = [name for name in ("views", "width", "height") if name in self.reading.schema.names]
        (fields,) = self.reading.take(names, [self.reading.row_of(uid)])
        return drawn.draw(fields, number, self.thumbnail(uid)[0], max_pixels=_MOST_PIXELS)

    def alike(self, uid: str) -> dict[str, Any]:
        """Return the samples that are one's duplicates, exact or near; it may wait for an index."""
        return {"samples": self._alike.of(uid)}

    def thumbnail(self, uid: str) -> tuple[bytes, str]:
        """Return a sample's thumbnail and its media type; raises UsageError where it has none that can be shown.

        Where the dataset has none and the pool may, it is looked for meanwhile: asked again, it may be there.
        """
        found: dict[str, Any] = {}
        if self._thumbnails:
            (found,) = self.reading.take(["thumbnail"], [self.reading.row_of(uid)])
        data = (found.get("thumbnail") or {}).get("bytes") or b""
        if not data and self._pooled is not None:
            data = self._pooled.of(self.reading.uid(self.reading.row_of(uid))) or b""
        try:
            kind = inspect(data, max_pixels=_MOST_PIXELS)[2]
        except BadImage as problem:
            do = "The page shows its text in its place."
            raise UsageError(f"uid {uid}", expected="a thumbnail", found=problem.detail, do=do) from problem
        if kind not in _MEDIA:
            raise UsageError(
                f"uid {uid}", expected="a thumbnail", found=kind, do="Only JPEG, PNG, WebP, GIF are shown."
            )
        return data, _MEDIA[kind]


def _ordered(values: npt.NDArray[np.float64], start: int, count: int) -> Rows:
    """Return the places of the values that stand at start..start+count in ascending order; ties by place."""
    import numpy as np

    until = min(start + count, len(values))
    if until < len(values):
        limit = np.partition(values, until - 1)[until - 1] if until else -np.inf
        near = np.flatnonzero(values <= limit)
    else:
        near = np.arange(len(values))
    order: Rows = near[np.argsort(values[near], kind="stable")][start:until]
    return order
