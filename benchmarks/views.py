"""Views drawn, written, read and drawn again by another process, and by torchvision: are they the same to the bit?

    python benchmarks/views.py [--pools DIR] [--pictures 1000] [--views 30] [--size 224]

Without --pools the pictures are random ones of random sizes, from 2 x 2 up to 1,200 a side; with it they are real ones
of `flickr8k_native1k/`. A first process draws every view and writes its parameters and its sha256 to Parquet, as a
dataset holds them; a second one has the file, the pictures and nothing else, and replays every view. torchvision's
functions are given the same parameters in a third pass; at --size 224 they shift by the same number of pixels.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dfndr_builders.pools.webdataset import WebDatasetPool
from PIL import Image

from dfndr.images import decode
from dfndr.seeds import rng_for
from dfndr.views import Sampler, View, apply, parse_views, replay
from dfndr.views.operations import NAMES


def main() -> None:
    """Draw, replay in a process of its own, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--replay", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.replay is not None:
        report(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        path, sampler, rows = Path(folder) / "views.parquet", Sampler(count=given.views), []
        started = time.process_time()
        for uid, data in pictures(given):
            picture = decode(data)
            views = sampler.views(0, uid, picture.size)
            row = {"uid": uid, "views": [view.to_json() for view in views], "sha256": hashlib.sha256(data).hexdigest()}
            row |= {"width": picture.size[0], "height": picture.size[1]}
            rows.append(row | {"drawn": [digest(apply(view, picture, size=given.size)) for view in views]})
        took = time.process_time() - started
        count = sum(len(row["views"]) for row in rows)
        pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
        column = pq.read_metadata(path).row_group(0)
        stored = next(
            column.column(place).total_compressed_size
            for place in range(column.num_columns)
            if column.column(place).path_in_schema.startswith("views.")
        )
        print(f"{len(rows):,} pictures, {count:,} views at {given.size}: {1000 * took / count:.2f} ms of CPU a view")
        print(
            f"parameters: {sum(len(one) for row in rows for one in row['views']) / count:.1f} bytes a view as JSON, ",
            end="",
        )
        print(f"{stored / count:.1f} in Parquet", flush=True)
        subprocess.run([sys.executable, *sys.argv, "--replay", str(path)], check=True)


def report(given: argparse.Namespace) -> None:
    """Replay every row and say how many views are the same."""
    same = known = count = 0
    rows = {row["uid"]: row for row in pq.read_table(given.replay).to_pylist()}
    for uid, data in pictures(given):
        row = rows[uid]
        again = replay(data, row, size=given.size)
        same += sum(digest(view) == drawn for view, drawn in zip(again, row["drawn"], strict=True))
        picture = decode(data)
        theirs = [by_torchvision(view, picture, given.size) for view in parse_views(row["views"])]
        known += sum(digest(view) == drawn for view, drawn in zip(theirs, row["drawn"], strict=True))
        count += len(again)
    print(f"replayed by another process: {same:,} of {count:,} views are the same to the bit")
    print(f"made by torchvision:         {known:,} of {count:,} views are the same to the bit")


def by_torchvision(view: View, picture: Image.Image, size: int) -> Image.Image:
    """Return what torchvision's RandomResizedCrop and RandAugment make of the same parameters."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.autoaugment import _apply_op
    from torchvision.transforms.functional import resized_crop

    box = (view.top, view.left, view.height, view.width)
    seen = resized_crop(picture, *box, [size, size], InterpolationMode.BICUBIC)
    for one in view.operations:
        seen = _apply_op(seen, NAMES[one.code], one.magnitude, InterpolationMode.NEAREST, None)
    return seen


def digest(picture: Image.Image) -> str:
    """Return a hash of the pixels."""
    return hashlib.sha256(picture.tobytes()).hexdigest()


def pictures(given: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """Yield uids and files, the same in every process."""
    if given.pools is None:
        yield from ((f"{number:032x}", random_picture(number)) for number in range(given.pictures))
        return
    pool = WebDatasetPool((str(given.pools / "flickr8k_native1k" / "*.tar"),))
    left = given.pictures
    for shard in pool.shards():
        for table in pool.read(shard):
            rows = table.select(["uid", "image"]).slice(0, left).to_pylist()
            left -= len(rows)
            yield from ((row["uid"], row["image"]) for row in rows)


def random_picture(number: int) -> bytes:
    """Return a PNG or JPEG of blurred noise."""
    rng = rng_for(number, "picture")
    width, height = (int(side) for side in np.exp(rng.uniform(np.log(2), np.log(1200), 2)))
    coarse = rng.integers(0, 256, (max(1, height // 4), max(1, width // 4), 3), dtype=np.uint8)
    file = io.BytesIO()
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(file, ("PNG", "JPEG")[number % 2])
    return file.getvalue()


if __name__ == "__main__":
    main()
