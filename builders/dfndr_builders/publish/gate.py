"""What a dataset holds and was made with, under which licences; and whether it may be published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from dfndr.dataset import Dataset
from dfndr.errors import DataError
from dfndr.format.manifest import Manifest
from dfndr.format.schema import EncoderRecord
from dfndr_builders.card import missing
from dfndr_builders.card.columns import recipe_of, sections
from dfndr_builders.licenses import Accepted, Use, conflicts, own_use
from dfndr_builders.pools.glyphs import LICENSE

__all__ = ["check", "uses"]

_MOST_SOURCES = 50
_SHOWN = 30


def uses(dataset: Dataset) -> tuple[Use, ...]:
    """Return all that a dataset holds or was made with: samples by source and licence, captions, models.

    The licences of the samples are read from the rows (columns `source` and `license`), where these have them, and
    else from what the recipe says of its pools.
    """
    manifest = dataset.manifest
    samples = list(_of_rows(dataset)) or list(_of_pools(manifest))
    return (*samples, *_of_captions(manifest), *_of_models(manifest))


def check(manifest: Manifest, given: Sequence[Use], accepted: Sequence[Accepted] = ()) -> None:
    """Raise DataError that lists all that keeps a dataset from being published: what is missing, licences."""
    lacks = [f"missing: {what}" for what in missing(manifest)]
    unused = [
        f"--accept-license {one.name!r}: nothing goes by that name"
        for one in accepted
        if not any(one.covers(use) for use in (*given, own_use(manifest.license)))
    ]
    found = [*lacks, *map(str, conflicts(manifest.license, given, accepted)), *unused]
    if found:
        more = f"\n  ... and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DataError(
            manifest.name,
            expected="a dataset that may be published",
            found="what forbids it:\n  " + "\n  ".join(found[:_SHOWN]) + more,
            do='\nState the licences in the recipe and build again, or decide: --accept-license "NAME: reason".',
        )


def _of_rows(dataset: Dataset) -> Iterator[Use]:
    counts: Counter[tuple[str | None, str | None]] = Counter()
    columns = [name for name in ("source", "license") if dataset.shards and name in dataset.schema().names]
    if "license" not in columns:
        return
    for table in dataset.tables(columns):
        if "source" not in columns:
            table = table.append_column("source", pa.nulls(len(table), pa.string()))
        grouped = table.group_by(["source", "license"]).aggregate([([], "count_all")]).to_pylist()
        counts.update({(row["source"], row["license"]): row["count_all"] for row in grouped})
    if len({source for source, _ in counts}) > _MOST_SOURCES:
        merged: Counter[tuple[str | None, str | None]] = Counter()
        for (_, license), rows in counts.items():
            merged["(many sources)", license] += rows
        counts = merged
    for (source, license), rows in sorted(counts.items(), key=lambda item: (item[0][0] or "", item[0][1] or "")):
        yield Use("samples from", source or "(no source named)", license, rows=rows)


def _of_pools(manifest: Manifest) -> Iterator[Use]:
    pools = manifest.provenance.get("pools")
    for number, pool in enumerate(pools if isinstance(pools, list) else []):
        if isinstance(pool, Mapping):
            name = str(pool.get("source") or f"{pool.get('kind', 'pool')} {number + 1}")
            yield Use("samples from", name, _license(pool))


def _of_captions(manifest: Manifest) -> Iterator[Use]:
    """Yield the banks that captions were taken from, and the models that wrote some, by the captioners' names."""
    written = {name: record for name, record in manifest.captioners.items() if record.kind != "retrieval"}
    for given in sections(recipe_of(manifest), "caption"):
        bank = given.get("bank")
        pool = bank if isinstance(bank, Mapping) else {}
        if bank is not None or given.get("name", given.get("kind")) not in written:
            yield Use("captions from", str(pool.get("source") or "caption bank"), _license(pool))
    for name, record in written.items():
        yield Use("captions by", name, record.license, is_data=False)


def _license(pool: Mapping[str, object]) -> str | None:
    stated = pool.get("license") or (LICENSE if pool.get("kind") == "glyphs" else None)
    return stated if isinstance(stated, str) else None


def _of_models(manifest: Manifest) -> Iterator[Use]:
    for kind, records in (("scorer", manifest.scorers), ("encoder", manifest.encoders)):
        for name, record in records.items():
            yield Use(kind, name, record.license, is_data=_is_passed_on(record, manifest))


def _is_passed_on(record: EncoderRecord, manifest: Manifest) -> bool:
    """Say whether a model's weights are among the dataset's files."""
    folder = record.pretrained.removeprefix("local-dir:").rstrip("/") + "/"
    return any(stored.path.startswith(folder) for stored in manifest.files.values())
