"""From a pool to training tars: the pairs that can be learnt from, as open_clip's trainer reads them.

The bytes of a picture go in as they are, except where the trainer's reader would see something else than
`dfndr.images.decode` does (GIF, BMP, transparency, EXIF rotation, 16 bits): those go in as a PNG of what we see.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import BinaryIO, Literal

from dfndr import storage
from dfndr.errors import PoolError
from dfndr.format.manifest import canonical
from dfndr.images import BadImage, decode
from dfndr.progress import SILENT, Progress
from dfndr_builders.pools.base import Pool

__all__ = ["TAR_SAMPLES", "TrainingData", "write_tars"]

TAR_SAMPLES = 512
_RECORD = "data.json"
_ORIENTATION = 0x0112
_Sample = tuple[str, bytes, str]
"""File extension, image bytes, text."""


@dataclass(frozen=True)
class TrainingData:
    """What lies in the tars: the pool's rows are `samples` and those counted in `problems`, by reason."""

    samples: int
    tars: int
    problems: Mapping[str, int] = field(default_factory=dict)
    licenses: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)


def write_tars(pool: Pool, folder: str, *, progress: Progress = SILENT) -> TrainingData:
    """Write `00000.tar`, ... of at most TAR_SAMPLES pairs each, then a record of them, which a second call reads.

    Every picture is decoded once, so that the trainer meets none that it would skip. Raises PoolError where nothing is
    left to learn from.
    """
    record = storage.join(folder, _RECORD)
    if storage.exists(record):
        return TrainingData(**json.loads(storage.read_bytes(record)))
    problems: Counter[str] = Counter()
    licenses: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    samples = tars = 0
    with progress.task("write training data", None) as task:
        for tar in _groups(_samples(pool, problems, licenses, sources)):
            storage.put(folder, f"{tars:05d}.tar", lambda file, tar=tar, first=samples: _write(file, tar, first))  # type: ignore[misc]
            samples, tars = samples + len(tar), tars + 1
            task.advance(len(tar))
    if not samples:
        found = ", ".join(f"{reason} {count}" for reason, count in sorted(problems.items())) or "no row at all"
        raise PoolError("training pool", expected="pairs to learn from", found=found, do="Check the pool's paths.")
    data = TrainingData(samples, tars, *(dict(sorted(counts.items())) for counts in (problems, licenses, sources)))
    storage.put(folder, _RECORD, canonical(asdict(data)))
    return data


def _samples(pool: Pool, problems: Counter[str], licenses: Counter[str], sources: Counter[str]) -> Iterator[_Sample]:
    """Yield what can be learnt from, and count the rest by its reason."""
    for shard in pool.shards():
        for table in pool.read(shard):
            for row in table.select(["image", "text", "license", "source", "problem"]).to_pylist():
                problem = row["problem"]
                if problem is None:
                    try:
                        extension, image = _readable(row["image"])
                    except BadImage as bad:
                        problem = bad.reason
                if problem is not None:
                    problems[problem] += 1
                    continue
                licenses[row["license"] or "unknown"] += 1
                sources[row["source"] or "unknown"] += 1
                yield extension, image, row["text"]


def _readable(image: bytes) -> tuple[Literal["jpg", "png", "webp"], bytes]:
    """Return the picture and its file extension, as it is or as a PNG; raises BadImage where it cannot be decoded."""
    from PIL import Image

    picture = decode(image)
    extensions: dict[str | None, Literal["jpg", "png", "webp"]] = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
    with Image.open(io.BytesIO(image)) as raw:
        upright = Image.Image.getexif(raw).get(_ORIENTATION, 1) == 1
        if raw.format in extensions and raw.mode in ("RGB", "L") and upright and not raw.has_transparency_data:
            return extensions[raw.format], image
    file = io.BytesIO()
    picture.save(file, "png")
    return "png", file.getvalue()


def _groups(samples: Iterator[_Sample]) -> Iterator[Sequence[_Sample]]:
    group: list[_Sample] = []
    for sample in samples:
        group.append(sample)
        if len(group) == TAR_SAMPLES:
            yield group
            group = []
    if group:
        yield group


def _write(file: BinaryIO, samples: Sequence[_Sample], first: int) -> None:
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for number, (extension, image, text) in enumerate(samples, first):
            for name, data in ((extension, image), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{number:09d}.{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
