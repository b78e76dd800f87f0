"""What storage types cost retrieval, zero-shot and heads: `python -m benchmarks.claims.stored --seeds 0 1 2`.

The encoder of the experiment on heads (seed 0, five classes of CIFAR-10) makes vectors of real pictures, which are kept
in each type and read back. Heads are trained on vectors so kept, one for each seed, and measured on such.
What was measured goes to benchmarks/claims/results/stored.json and from there to docs/claims.md and storage-types.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.claims.heads import encoder_of_heads
from benchmarks.claims.heads_tasks import Pairs, Task, task_of
from benchmarks.claims.heads_ways import BATCH, STEPS, Encode, Encoder, Vectors, cached
from benchmarks.claims.photos import photo_scale
from benchmarks.claims.scales import SCALES
from benchmarks.claims.stored_tables import filled_stored, read_stored, stored_file, stored_table
from dfndr.format.schema import StorageType
from dfndr.format.storage_types import decode, encode
from dfndr.heads.train import train_head

PAGES = tuple(Path(__file__).parents[2] / "docs" / name for name in ("claims.md", "storage-types.md"))
_RATE = 1e-2


def main() -> None:
    """Train the encoder, keep its vectors in each type, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("work/claims-heads"))
    given = parser.parse_args()
    scale = photo_scale(SCALES["cpu"])
    torch.set_num_threads(scale.threads)
    encoder = encoder_of_heads(scale, 0)
    like, unlike = (task_of(name, scale, 0, given.work) for name in ("like", "unlike"))
    records = [record for dtype in get_args(StorageType) for record in _measured(encoder, like, unlike, dtype, given)]
    stored_file().write_text("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n")
    print(stored_table(read_stored(stored_file())))
    for page in PAGES:
        page.write_text(filled_stored(page.read_text(), read_stored(stored_file())))


def _measured(
    encoder: Encoder, like: Task, unlike: Task, dtype: StorageType, given: argparse.Namespace
) -> Iterator[dict[str, object]]:
    """Yield what one type keeps: first what needs no training, then a head of each seed."""
    views = _kept(encoder.images(like.test.views[:, :2]), dtype)
    yield {"dtype": dtype, "seed": None, "zero_shot": _accuracy(encoder, like, like.test, dtype), **_retrieved(views)}
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            dataset = cached(encoder, unlike.train, Path(folder), views=5, dtype=dtype)
            options = {"batch_size": BATCH, "learning_rate": _RATE, "seed": seed, "device": "cpu"}
            head = train_head(dataset, kind="mlp", steps=STEPS, **options).head.cpu()
        found = _accuracy(encoder, unlike, unlike.test, dtype, (head.encode_image, head.encode_text))
        print(dtype, seed, found, flush=True)
        yield {"dtype": dtype, "seed": seed, "head": found}


def _kept(vectors: Vectors, dtype: StorageType) -> Vectors:
    """Return vectors as they are read back from a type."""
    read: Vectors = decode(encode(vectors, dtype), dtype).astype(np.float32)
    return read


def _retrieved(views: Vectors) -> dict[str, float]:
    """Return how often a crop's own picture is the best, and among the five best, of all whole pictures."""
    scores = views[:, 1].astype(np.float64) @ views[:, 0].T.astype(np.float64)
    rank = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return {"recall_1": float((rank < 1).mean()), "recall_5": float((rank < 5).mean())}


def _accuracy(encoder: Encoder, task: Task, pairs: Pairs, dtype: StorageType, head: Encode | None = None) -> float:
    """Return zero-shot accuracy by the mean prompt of each class, before or after a head."""
    of_image, of_text = head or (_same, _same)
    images = of_image(_kept(encoder.images(pairs.views[:, 0]), dtype))
    classes = [of_text(_kept(encoder.texts(prompts), dtype)).mean(axis=0) for prompts in task.prompts]
    unit: npt.NDArray[np.float32] = np.array([vector / np.linalg.norm(vector) for vector in classes])
    return float(((images @ unit.T).argmax(axis=1) == pairs.labels).mean())


def _same(vectors: Vectors) -> Vectors:
    return vectors


if __name__ == "__main__":
    main()
