"""How fast this machine is at a recipe's work: a minute of it, on real rows and models of the recipe's shapes.

A model's weights change nothing of its speed, so they are random ones, and nothing is fetched or trained for a probe.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfndr.encoder import Encoder, open_encoder, pick_device
from dfndr.errors import DfndrError
from dfndr.images import BadImage, decode, inspect, thumbnail
from dfndr.models import EncoderSpec
from dfndr.progress import SILENT, Progress
from dfndr_builders.estimate.forward import config_of
from dfndr_builders.inspect import Inspect
from dfndr_builders.opened import open_measures, open_pools
from dfndr_builders.recipe import Recipe
from dfndr_builders.sections.models import Model
from dfndr_builders.stage import Chain, good_rows

__all__ = ["Probe", "Rate", "probe"]

_ROWS, _CHUNK, _FIRST = 512, 256, 8
_READ_S, _STEP_S, _MODELS_S = 8.0, 5.0, 30.0


@dataclass(frozen=True)
class Rate:
    """Seconds that one picture (decoded, resized and encoded), one text and one view take a model, and to load it."""

    image_s: float
    text_s: float
    view_s: float | None
    start_s: float


@dataclass(frozen=True)
class Probe:
    """Seconds for one row each: to read it, to measure it, to decode its picture alone, to make a thumbnail."""

    device: str
    rows: int
    read_s: float
    measure_s: float
    decode_s: float
    thumbnail_s: float
    thumbnail_bytes: float
    text_bytes: float
    models: Mapping[str, Rate] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    """Models that could not be probed, and why."""


@dataclass(frozen=True)
class _Rows:
    table: pa.Table
    images: list[bytes]
    texts: list[str]
    uids: list[str]


def probe(recipe: Recipe, folder: Path, *, device: str, progress: Progress = SILENT) -> Probe:
    """Read rows of the pool, measure them, and run every model of the recipe's shapes on them for some seconds.

    Raises PoolError where there is no pool.
    """
    device = pick_device(device)
    rows, read_s = _read(recipe, folder)
    step = Chain((Inspect(), *open_measures(recipe.measure, folder)[0])).open()
    step(rows.table.slice(0, 1))  # what loads on its first use
    measure_s = _each(lambda part: step(rows.table.take(list(part))), range(len(rows.table)), 64)
    pictures: list[Any] = []
    decode_s = _each(lambda part: pictures.extend(_decoded(part)), rows.images, _FIRST)
    side, small = recipe.output.thumbnail, list[bytes]()
    thumbnail_s = _each(lambda part: small.extend(thumbnail(one, side) for one in part), pictures, 32) if side else 0.0
    rates, missing = _rates(recipe, folder, rows, device, progress)
    return Probe(
        device,
        len(rows.table),
        read_s,
        measure_s,
        decode_s,
        thumbnail_s,
        _mean(map(len, small)),
        _mean(len(text.encode()) for text in rows.texts),
        rates,
        missing,
    )


def _mean(numbers: Iterable[int]) -> float:
    given = list(numbers)
    return sum(given) / max(len(given), 1)


def _each(work: Callable[[Any], object], given: Sequence[Any], size: int, *, budget_s: float = _STEP_S) -> float:
    """Return the seconds that one thing takes, of as many as fit the budget, `size` at a time."""
    start, done = time.monotonic(), 0
    while done < len(given) and time.monotonic() - start < budget_s:
        work(given[done : done + size])
        done += len(given[done : done + size])
    return (time.monotonic() - start) / done if done else 0.0


def _read(recipe: Recipe, folder: Path) -> tuple[_Rows, float]:
    """Return rows of all pools in turn, a table from each, and the seconds that one took to read."""
    start, tables = time.monotonic(), list[pa.Table]()
    sources = [_tables(recipe, number, folder) for number in range(len(recipe.pool))]
    while sources and sum(map(len, tables)) < _ROWS and time.monotonic() - start < _READ_S:
        for source in list(sources):
            table = next(source, None)
            tables.append(table) if table is not None else sources.remove(source)
    table = pa.concat_tables(tables, promote_options="default")
    read_s = (time.monotonic() - start) / max(len(table), 1)
    table = table.take(list(range(0, len(table), -(-len(table) // _ROWS) or 1)))
    good = table.take(good_rows(table))
    columns = [good[name].to_pylist() for name in ("image", "text", "uid")]
    return _Rows(table, *columns), read_s


def _tables(recipe: Recipe, number: int, folder: Path) -> Iterator[pa.Table]:
    pool = open_pools([recipe.pool[number]], folder, recipe.seed)
    for shard in pool.shards():
        yield from pool.read(shard)


def _decoded(images: Sequence[bytes]) -> Iterator[Any]:
    for image in images:
        try:
            yield decode(image)
        except BadImage:
            continue


def _rates(
    recipe: Recipe, folder: Path, rows: _Rows, device: str, progress: Progress
) -> tuple[dict[str, Rate], dict[str, str]]:
    """Return the rate of each model, those of one shape measured once, and why there is none."""
    shapes: dict[str, list[tuple[str, Model]]] = {}
    captioners = {caption.name for caption in recipe.caption}
    for name, model in dict(recipe.models).items():
        if name in captioners:
            continue
        config = config_of(model, recipe, folder)
        shape = json.dumps([config or [model.model, model.pretrained], model.precision], sort_keys=True)
        shapes.setdefault(shape, []).append((name, model))
    rates: dict[str, Rate] = {}
    missing: dict[str, str] = {}
    with progress.task("probe", total=len(shapes), unit="models") as task:
        for alike in shapes.values():
            try:
                rate = _rate(recipe, alike[0][1], folder, rows, device, _MODELS_S / len(shapes))
                rates |= {name: rate for name, _ in alike}
            except DfndrError as error:
                missing |= {name: f"{error.where}: {error.found}" for name, _ in alike}
            task.advance()
    return rates, missing


def _rate(recipe: Recipe, model: Model, folder: Path, rows: _Rows, device: str, budget_s: float) -> Rate:
    """Time a model at the recipe's batch shape, or at a small one where a whole batch would take too long."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        spec = _spec(recipe, model, folder, device, Path(scratch))
        encoder = open_encoder(replace(spec, batch_size=_FIRST))
        start_s = time.monotonic() - start
        encoder.encode_images(rows.images[:_FIRST])
        each_s = _each(encoder.encode_images, rows.images[:_FIRST], _FIRST)
        if each_s * spec.batch_size < budget_s / 4:
            encoder = open_encoder(spec)
    parts = 3 if recipe.views is not None else 2
    return Rate(
        _encoding(encoder, encoder.encode_images, rows.images, budget_s / parts),
        _encoding(encoder, encoder.encode_texts, rows.texts, budget_s / parts),
        None if recipe.views is None else _views(recipe, encoder, rows, budget_s / parts),
        start_s,
    )


def _spec(recipe: Recipe, model: Model, folder: Path, device: str, scratch: Path) -> EncoderSpec:
    """Return a spec with the model's shape and random weights; where its config is not here, the model itself."""
    config = config_of(model, recipe, folder)
    if config is None:
        return model.spec("probe", recipe.compute, device, model.pretrained)
    path = scratch / "model.json"
    path.write_text(json.dumps(config))
    return replace(model.spec("probe", recipe.compute, device, "random:0"), model=str(path))


def _encoding(encoder: Encoder, encode: Callable[[Any], object], given: Sequence[Any], budget_s: float) -> float:
    """Return the seconds of one picture or text, in whole batches, for the last one is padded; equal ones left out."""
    distinct, size = list(dict.fromkeys(given)), encoder.passes.batch_size
    if len(distinct) < size:
        return _each(lambda _: encode(distinct), range(size), size, budget_s=budget_s)
    encode(distinct[:size])
    return _each(encode, distinct[: len(distinct) // size * size], max(size, _CHUNK // size * size), budget_s=budget_s)


def _views(recipe: Recipe, encoder: Encoder, rows: _Rows, budget_s: float) -> float:
    """Return the seconds of one view, its share of decoding the picture included."""
    if recipe.views is None:
        return 0.0
    sampler, count = recipe.views.sampler(), recipe.views.count

    def encode(places: Sequence[int]) -> None:
        images = [rows.images[place] for place in places]
        sizes = [inspect(image)[:2] for image in images]
        drawn = [sampler.views(recipe.seed, rows.uids[place], size) for place, size in zip(places, sizes, strict=True)]
        encoder.encode_views(images, drawn)

    good = [place for place, image in enumerate(rows.images) if _is_picture(image)]
    at_once = max(1, encoder.passes.batch_size // count)
    return _each(encode, good, at_once, budget_s=budget_s) / count


def _is_picture(image: bytes) -> bool:
    try:
        inspect(image)
    except BadImage:
        return False
    return True
