"""Rows to look at in a notebook: small pictures with their texts, scores and uids, as HTML that asks for nothing else.

Styles stand on the elements themselves and take the notebook's own colours, so it reads on a light and a dark page, and
where a viewer takes style sheets away. All that a dataset says is escaped by `dfndr.markup`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dfndr.errors import UsageError
from dfndr.format.manifest import Manifest
from dfndr.markup import Html, data_url, element, join, outside, shortened, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["Rows", "Sample", "Shown", "Strip", "picture_in", "samples_of", "shown_rows"]

_FIRST, _MOST_SCORES = 12, 2

_MOST_BYTES = 1 << 20
_GRID = "display:grid;grid-template-columns:repeat(auto-fill,minmax(120px,1fr));gap:12px;margin:8px 0 16px"
_CARD = "border:1px solid rgba(128,128,128,.35);border-radius:8px;overflow:hidden;min-width:0"
_PICTURE = "width:100%;aspect-ratio:1;object-fit:contain;display:block;background:rgba(128,128,128,.12);margin:0"
_NONE = "aspect-ratio:1;display:grid;place-items:center;background:rgba(128,128,128,.12);font-size:12px;opacity:.7"
_WORDS = "padding:6px 8px 8px;font-size:12.5px;line-height:1.4;overflow-wrap:anywhere;text-align:left"
_SCORE = "font-weight:600;font-variant-numeric:tabular-nums"
_UID = "font-size:10.5px;opacity:.65;background:none;padding:0"


@dataclass(frozen=True)
class Sample:
    """One row: `picture` is what the column `thumbnail` holds, of any type; `scores` are numbers by name."""

    uid: str
    text: str | None = None
    picture: bytes | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Strip:
    """Some samples under one title."""

    title: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Shown:
    """Strips of samples: a picture page in Jupyter, lines of text in a terminal."""

    strips: tuple[Strip, ...]

    @property
    def uids(self) -> list[str]:
        """The uids, strip by strip, in the order shown."""
        return [sample.uid for strip in self.strips for sample in strip.samples]

    def _repr_html_(self) -> str:
        return str(element("div", *map(_strip, self.strips)))

    def __repr__(self) -> str:
        lines = []
        for strip in self.strips:
            lines += [visible(strip.title), *map(_line, strip.samples)]
        return "\n".join(lines)


def _line(sample: Sample) -> str:
    scores = "  ".join(f"{name} {score:.4f}" for name, score in sample.scores.items())
    return f"  {sample.uid}  {scores}  {shortened(visible(sample.text or 'no text'), 80)}"


def _strip(strip: Strip) -> Html:
    title = element("p", outside(strip.title), style="margin:8px 0 0;font-weight:600")
    return element("section", title, element("div", *map(_card, strip.samples), style=_GRID))


def _card(sample: Sample) -> Html:
    source = data_url(sample.picture) if len(sample.picture or b"") <= _MOST_BYTES else None
    picture = (
        element("div", "no picture", style=_NONE)
        if source is None
        else element("img", src=source, alt=shortened(sample.text or "", 160), style=_PICTURE)
    )
    scores = [
        element("span", f"{score:.4f}", title=name if len(sample.scores) > 1 else None, style=_SCORE)
        for name, score in sample.scores.items()
    ]
    text = outside(sample.text, limit=120) if sample.text else element("em", "no text")
    words = [element("div", join(scores, " ")) if scores else None, element("div", text)]
    uid = element("code", sample.uid, style=_UID)
    return element("div", picture, element("div", *words, uid, style=_WORDS), style=_CARD)


class Rows(Protocol):
    """What is asked of a dataset here."""

    @property
    def manifest(self) -> Manifest: ...  # noqa: D102

    def schema(self) -> pa.Schema: ...  # noqa: D102

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]: ...  # noqa: D102

    def rows(self, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> pa.Table: ...  # noqa: D102


def shown_rows(dataset: Rows, uids: str | Sequence[str] | None) -> Shown:
    """Return the rows of some uids in their order, the first twelve for None; raises UsageError for an unknown uid."""
    if isinstance(uids, str):
        uids = [uids]
    if uids is None:
        tables = (table.slice(0, _FIRST)["uid"].to_pylist() for table in dataset.tables(["uid"]))
        found: list[str] = []
        while len(found) < _FIRST and (more := next(tables, None)) is not None:
            found += more
        uids = found[:_FIRST]
    return Shown((Strip(dataset.manifest.name, samples_of(dataset, uids)),))


def samples_of(
    dataset: Rows, uids: Sequence[str], *, scores: Sequence[Mapping[str, float]] | None = None
) -> tuple[Sample, ...]:
    """Return the samples of some uids, in their order, each with its `scores`; with the dataset's own ones for None.

    Raises UsageError for a uid that no row has.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    there, wanted = dataset.schema().names, [str(uid).lower() for uid in uids]
    own = [name for name in dataset.manifest.scorers if name in there][:_MOST_SCORES] if scores is None else []
    names = [name for name in ("uid", "text", "thumbnail", *own) if name in there]
    table = dataset.rows(names, where=pc.field("uid").isin(pa.array(wanted, pa.string())))
    rows = {row["uid"]: row for row in table.to_pylist()}
    for uid in wanted:
        if uid not in rows:
            raise UsageError(
                f"uid {uid[:40]}", expected="a row of this dataset", found="no such row", do="Check the uid."
            )
    return tuple(
        Sample(
            uid,
            None if rows[uid].get("text") is None else str(rows[uid]["text"]),
            picture_in(rows[uid].get("thumbnail")),
            {name: rows[uid][name] for name in own if isinstance(rows[uid][name], float | int)}
            if scores is None
            else scores[place],
        )
        for place, uid in enumerate(wanted)
    )


def picture_in(thumbnail: object) -> bytes | None:
    """Return the bytes of a thumbnail as the rows hold it, None where there are none, or it is something else."""
    data = thumbnail.get("bytes") if isinstance(thumbnail, dict) else None
    return data if isinstance(data, bytes) else None
