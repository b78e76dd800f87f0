"""What very large pools come down to: bytes of a manifest for each shard, and CPU seconds of a core for each picture.

    python benchmarks/scale.py manifest [--shards 5000] [--files 7] [--repeats 5]
    python benchmarks/scale.py picture --tar POOLS/flickr8k_native1k/flickr8k_native1k-000000.tar [--repeats 5]

The manifest is one as builds write it, of shards with that many files; it is written, read and checked. Pictures are
read from the tar, put together to some of 640 x 480 pixels (JPEG, quality 90), decoded, and put into a model's shape
(open_clip's own transform, 224 pixels). Their seconds are those of the process and not of the clock, so that other work
on the machine counts little.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dfndr.format.manifest import MANIFEST, Manifest, Shard, Step, read_manifest, write_manifest
from dfndr.format.schema import EncoderRecord, Preprocess, Space
from dfndr.storage import Stored

LIMIT = 1 << 27
"""The largest manifest that readers take (docs/format.md)."""


def manifest_of(shards: int, files: int) -> Manifest:
    """Return a manifest of shards with a file of rows and some of vectors."""
    names = [(kind, f"teacher-{number}") for number in (1, 2) for kind in ("image", "text", "caption")][: files - 1]
    spaces = tuple(Space(kind, teacher, 768) for kind, teacher in names)
    made = []
    for number in range(shards):
        roles = {"rows": "parquet", **{space.name: "npy" for space in spaces}}
        stored = {
            role: Stored(f"{role}/train-{number:05d}-{number:08x}.{end}", 76_800_128, f"{number:064x}")
            for role, end in roles.items()
        }
        made.append(Shard(number, "train", 10_000, 9_990, stored, failed={"caption_failed": 10}))
    step = Step("build", 10_000 * shards, 9_990 * shards, {}, {"caption_failed": 10 * shards})
    shape = Preprocess((224, 224), (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest")
    records = {
        name: EncoderRecord(name, "ViT-L-14", "", "0" * 64, 768, 77, shape, "fp32", 100.0, "mit", 64, 2)
        for name in sorted({space.encoder for space in spaces})
    }
    return Manifest("large", "mit", "", "0" * 64, 0, spaces, records, {}, tuple(made), (step,), {})


def measure_manifest(shards: int, files: int, repeats: int) -> None:
    """Print the bytes of each shard, how many fit, and the seconds to write and to read."""
    made = manifest_of(shards, files)
    with tempfile.TemporaryDirectory() as root:
        write_s = [timed(lambda: write_manifest(root, made)) for _ in range(repeats)]
        size = (Path(root) / MANIFEST).stat().st_size
        print(f"{shards:,} shards of {files} files: {size / 1e6:.1f} MB, {size / shards:.0f} bytes a shard; "
              f"{int(LIMIT / (size / shards)):,} shards fit into {LIMIT / 2**20:.0f} MiB")  # fmt: skip
        told("write, s of CPU", write_s)
        if size <= LIMIT:
            told("read and check, s of CPU", [timed(lambda: read_manifest(root)) for _ in range(repeats)])


def measure_pictures(tar: Path, repeats: int) -> None:
    """Print the CPU milliseconds of a picture: to read it, to decode it, to decode and transform it."""
    import open_clip
    from dfndr_builders.pools.webdataset import WebDatasetPool
    from dfndr_builders.stage import good_rows

    from dfndr.images import decode

    pool = WebDatasetPool((str(tar),))
    transform = open_clip.image_transform(224, is_train=False)

    def read() -> list[bytes]:
        tables = [table for shard in pool.shards() for table in pool.read(shard)]
        return [table["image"][row].as_py() for table in tables for row in good_rows(table)]

    images = read()
    told("read a sample, ms of CPU", [1e3 * timed(read) / len(images) for _ in range(repeats)])
    large = [mosaic(images[start : start + 12]) for start in range(0, min(len(images) - 12, 600), 12)]
    print(f"  {len(large)} pictures of 640 x 480, {statistics.mean(map(len, large)) / 1e3:.0f} kB")
    works: dict[str, Callable[[], object]] = {
        "decode": lambda: [decode(image) for image in large],
        "decode and transform": lambda: [transform(decode(image)) for image in large],
    }
    for name, work in works.items():
        work()
        told(f"{name}, ms of CPU", [1e3 * timed(work) / len(large) for _ in range(repeats)])


def mosaic(images: Sequence[bytes]) -> bytes:
    """Return twelve photographs as one of 640 x 480 pixels."""
    from PIL import Image, ImageOps

    from dfndr.images import decode

    whole = Image.new("RGB", (640, 480))
    for place, image in enumerate(images):
        whole.paste(ImageOps.fit(decode(image), (160, 160)), (place % 4 * 160, place // 4 * 160))
    file = io.BytesIO()
    whole.save(file, "JPEG", quality=90)
    return file.getvalue()


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of this process that some work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def told(name: str, seconds: Sequence[float]) -> None:
    """Print the median and the spread."""
    print(
        f"  {name:32} {statistics.median(seconds):8.3f} ({min(seconds):.3f} to {max(seconds):.3f}, {len(seconds)} runs)"
    )


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["manifest", "picture"])
    parser.add_argument("--shards", type=int, default=5_000)
    parser.add_argument("--files", type=int, default=7, choices=range(1, 8))
    parser.add_argument("--tar", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if given.what == "manifest":
        measure_manifest(given.shards, given.files, given.repeats)
    elif given.tar is None:
        parser.error("picture needs --tar")
    else:
        import torch

        torch.set_num_threads(1)
        measure_pictures(given.tar, given.repeats)


if __name__ == "__main__":
    main()
