"""How far the fast way of decoding takes vectors from the exact ones, measured on the pool before it is relied on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from dfndr import storage
from dfndr.encoder import open_encoder
from dfndr.errors import ModelError
from dfndr.models import EncoderSpec
from dfndr_builders.context import Context, listing
from dfndr_builders.phase import phase_digest
from dfndr_builders.pools.base import Pool
from dfndr_builders.stage import good_rows

__all__ = ["MOST_PICTURES", "Drift", "check_drift", "measure"]

MOST_PICTURES = 1_000
_SHARDS, _AT_ONCE = 10, 256


@dataclass(frozen=True)
class Drift:
    """Cosines between vectors of the same pictures read in both ways: how many pictures, the mean and the worst."""

    pictures: int
    mean: float
    worst: float


def measure(spec: EncoderSpec, pictures: Iterator[bytes]) -> Drift:
    """Encode pictures both ways; those that cannot be used are passed over."""
    fast, exact = (open_encoder(replace(spec, decode=decode)) for decode in ("fast", "exact"))
    cosines: list[float] = []
    for block in _blocks(pictures):
        one, other = fast.encode_images(block), exact.encode_images(block)
        good = [place for place in range(len(block)) if place not in one.problems and place not in other.problems]
        found = np.einsum("nd,nd->n", one.vectors[good], other.vectors[good], dtype=np.float64)
        cosines += found.clip(-1.0, 1.0).tolist()
    if not cosines:
        return Drift(0, 1.0, 1.0)
    return Drift(len(cosines), round(float(np.mean(cosines)), 9), round(min(cosines), 9))


def check_drift(context: Context, pool: Pool) -> None:
    """Measure each encoder of a recipe that decodes the fast way, and keep what was found for the manifest.

    Raises ModelError where a vector moves too far. What was measured once is read again.
    """
    compute = context.recipe.compute
    if compute.decode == "exact":
        return
    for name, given in context.recipe.models:
        model = context.model(given, name)
        digest = phase_digest("drift", listing=listing(pool), encoder=model.record.to_json(), most=MOST_PICTURES)
        path = storage.join(context.root, "phases", f"drift-{digest[:12]}.json")
        if not storage.exists(path):
            with context.timings.timed(f"drift of {name}", digest) as timing:
                drift = measure(model.spec, _spread(pool))
                timing.rows = drift.pictures
            text = json.dumps(asdict(drift)) + "\n"
            storage.put(storage.join(context.root, "phases"), f"drift-{digest[:12]}.json", text.encode())
        drift = Drift(**json.loads(storage.read_bytes(path)))
        if drift.worst < compute.min_cosine:
            raise ModelError(
                f'encoder {name!r}, decode = "fast"',
                expected=f"cosines of at least {compute.min_cosine:g} to vectors of exactly decoded pictures",
                found=f"{drift.worst:.6f} at worst, {drift.mean:.6f} in the mean of {drift.pictures:,} pictures",
                do='Say decode = "exact" in [compute], or a lower min_cosine if you can live with that.',
            )
        context.drift[name] = asdict(drift)
        context.progress.say(
            f"decode = fast, {name}: cosine to exact {drift.mean:.6f} in the mean, {drift.worst:.6f} at worst "
            f"({drift.pictures:,} pictures)"
        )


def _spread(pool: Pool) -> Iterator[bytes]:
    """Yield pictures from the beginnings of shards spread over the pool, at most MOST_PICTURES in all."""
    shards = pool.shards()
    chosen: Sequence[int] = sorted({len(shards) * place // _SHARDS for place in range(_SHARDS)})
    for number, place in enumerate(chosen):
        left = MOST_PICTURES // len(chosen) + (number < MOST_PICTURES % len(chosen))
        for table in pool.read(shards[place]):
            rows = good_rows(table)[:left]
            yield from (table["image"][row].as_py() for row in rows)
            left -= len(rows)
            if not left:
                break


def _blocks(pictures: Iterator[bytes]) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    for picture in pictures:
        block.append(picture)
        if len(block) == _AT_ONCE:
            yield block
            block = []
    if block:
        yield block
