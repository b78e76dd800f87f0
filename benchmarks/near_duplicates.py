"""Precision and recall of near duplicates between two pools of the same photos, over thresholds.

    python benchmarks/near_duplicates.py --pools DIR [--pretrained local-dir:FOLDER] [--model MODEL]

The pools are tars of Flickr8k: `flickr8k/`, squashed to 224 x 224, and `flickr8k_native1k/`, of which each sample names
in `same_photo_as` the one of the other that is the same photo at another size and shape. A pair is one picture of each
pool; a pair that is named so is true, and every other is counted as false, though a few show one scene taken twice.
The last column extrapolates the rate of false pairs to all pairs of a million pictures. With --pretrained, cosines of
that model's image vectors are tabled as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from dfndr_builders.duplicates.hamming import MAX_RADIUS, pairs_within
from dfndr_builders.measure.image import MeasureImage
from dfndr_builders.pools.webdataset import WebDatasetPool

from dfndr.encoder import Encoder, open_encoder
from dfndr.models import EncoderSpec

COSINES = (0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93, 0.92, 0.90, 0.88, 0.85, 0.80)


def main() -> None:
    """Measure the pictures of both pools, and print a table for each kind of duplicates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=Path, required=True)
    parser.add_argument("--pretrained", help="local-dir:FOLDER or hf-hub:NAME of an open_clip model, or a tag")
    parser.add_argument("--model", default="ViT-B-32", help="the model, where --pretrained brings no config")
    given = parser.parse_args()
    encoder = open_encoder(EncoderSpec("given", given.model, given.pretrained)) if given.pretrained else None
    native = pool_of(given.pools, "flickr8k_native1k", ("same_photo_as",))
    squashed = pool_of(given.pools, "flickr8k", ())
    names, left, seen = measured(native, encoder)
    keys, right, known = measured(squashed, encoder)
    places = {f"flickr8k:{key}": place for place, key in enumerate(keys)}
    wanted = np.array([places.get(name, -1) for name in names])
    print(f"{len(left):,} x {len(right):,} pictures, {(wanted >= 0).sum():,} true pairs")
    print(f"pictures without a hash: {sum(value is None for value in left + right)}")
    hashed = [
        np.array([place for place, value in enumerate(side) if value is not None], dtype=np.int64)
        for side in (left, right)
    ]
    hashes = [np.array([value for value in side if value is not None], dtype=np.uint64) for side in (left, right)]
    parts = list(pairs_within(hashes[0], hashes[1], MAX_RADIUS))
    every = np.unique(np.concatenate([np.stack(part).astype(np.int64) for part in parts], axis=1), axis=1)
    ones, others, bits = hashed[0][every[0]], hashed[1][every[1]], every[2]
    table("radius", range(MAX_RADIUS + 1), lambda radius: bits <= radius, wanted[ones] == others, wanted, len(right))
    inside = list(pairs_within(hashes[1], None, MAX_RADIUS))
    pairs = np.concatenate([np.stack([*np.sort(np.stack(part[:2]), axis=0), part[2]]) for part in inside], axis=1)
    apart = np.unique(pairs.astype(np.int64), axis=1)[2]
    print(f"pairs of different photos of flickr8k, of {len(right) * (len(right) - 1) // 2:,}, none of them known:")
    print(", ".join(f"{(apart <= radius).sum():,} within {radius}" for radius in range(0, MAX_RADIUS + 1, 2)))
    if encoder is not None:
        cosines = seen @ known.T
        one, other = np.nonzero(cosines >= min(COSINES))
        found = cosines[one, other]
        table("cosine", COSINES, lambda cosine: found >= cosine, wanted[one] == other, wanted, len(right))


def table(name, thresholds, within, is_true, wanted, others) -> None:  # noqa: ANN001  as main has them
    """Print pairs, precision and recall at each threshold."""
    print(f"{name:>8}{'true':>8}{'false':>8}{'precision':>11}{'recall':>9}{'false in a million pictures':>30}")
    for threshold in thresholds:
        chosen = within(threshold)
        true, false = int((chosen & is_true).sum()), int((chosen & ~is_true).sum())
        precision = true / (true + false) if true + false else float("nan")
        scale = 1e12 / 2 / (len(wanted) * others)
        line = f"{threshold:>8}{true:8,}{false:8,}{precision:11.4f}{true / (wanted >= 0).sum():9.4f}"
        print(f"{line}{false * scale:30,.0f}")


def pool_of(pools: Path, name: str, keep: tuple[str, ...]) -> WebDatasetPool:
    """Return a pool of a folder's tars."""
    return WebDatasetPool((str(pools / name / "*.tar"),), keep=keep)


def measured(pool: WebDatasetPool, encoder: Encoder | None) -> tuple[list[str], list[int | None], np.ndarray]:
    """Return what each picture is called (or which other it is), its hash, and its vector where there is a model."""
    names: list[str] = []
    hashes: list[int | None] = []
    blocks = [np.empty((0, 0), dtype=np.float32)]
    for rows in tables(pool):
        names += rows["same_photo_as" if "same_photo_as" in rows.column_names else "key"].to_pylist()
        hashes += rows["phash"].to_pylist()
        if encoder is not None:
            blocks.append(encoder.encode_images(rows["image"].to_pylist()).vectors.astype(np.float32))
    return names, hashes, np.concatenate(blocks[1:] or blocks)


def tables(pool: WebDatasetPool) -> Iterator[pa.Table]:
    """Yield the pool's rows with what is measured of each picture."""
    step = MeasureImage().open()
    for shard in pool.shards():
        for rows in pool.read(shard):
            yield step(rows)


if __name__ == "__main__":
    main()
