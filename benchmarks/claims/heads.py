"""Heads on cached vectors against end-to-end training: `python -m benchmarks.claims.heads --seeds 0 1 2 --scale cpu`.

A CLIP model is trained on five classes of CIFAR-10. Then it is to become better at a task, with equal samples seen: at
new pictures of its own classes, at the other five, at photographs with captions that people wrote (Flickr8k). What was
measured goes to benchmarks/claims/results/heads.json (of other scales than "cpu" to the folder `--work`) and from there
to docs/claims.md and docs/images; a task that has its record is not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.claims.heads_tables import (
    drawn_heads,
    filled_heads,
    heads_file,
    heads_table,
    heads_verdicts,
    read_heads,
)
from benchmarks.claims.heads_tasks import TASKS, own_pairs, task_of
from benchmarks.claims.heads_ways import BATCH, WAYS, Encoder, figure, improved, new_encoder, trained
from benchmarks.claims.photos import photo_scale
from benchmarks.claims.scales import SCALES, Scale

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    """Do what has no record yet, write it down, make the tables and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--scale", choices=[*SCALES], default="cpu")
    parser.add_argument("--work", type=Path, default=Path("work/claims-heads"))
    given = parser.parse_args()
    scale = photo_scale(SCALES[given.scale])
    torch.set_num_threads(scale.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    file = heads_file() if scale.name == "cpu" else given.work / f"{scale.name}.json"
    records = json.loads(file.read_text()) if file.exists() else []
    for seed in given.seeds:
        missing = [name for name in TASKS if not any((name, seed) == (each["task"], each["seed"]) for each in records)]
        encoder = encoder_of_heads(scale, seed) if missing else None
        for name in missing:
            records += list(_measured(encoder, name, scale, seed, given.work))
            file.write_text("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n")
    results = read_heads(file)
    print(heads_table(results), heads_verdicts(results), sep="\n\n")
    if scale.name == "cpu":
        page = DOCS / "claims.md"
        page.write_text(filled_heads(page.read_text(), results))
        drawn_heads(results, DOCS / "images" / "claims-heads.png")


def encoder_of_heads(scale: Scale, seed: int) -> Encoder:
    """Return the encoder that is to be improved; it is trained thrice as long as other models of the page."""
    began = time.perf_counter()
    steps = 3 * scale.samples_seen // BATCH
    encoder = trained(new_encoder(scale, seed), own_pairs(scale, seed), scale.learning_rate, seed, steps=steps)
    print(f"seed {seed}: the encoder, {time.perf_counter() - began:.0f} s", flush=True)
    return encoder


def _measured(encoder: Encoder, name: str, scale: Scale, seed: int, work: Path) -> Iterator[dict[str, object]]:
    """Yield a record of each way to learn a task."""
    own, task = (task_of(each, scale, seed, work) for each in ("like", name))
    before = {"figure": figure(encoder, task, task.test), "own": figure(encoder, own, own.test)}
    yield {"task": name, "way": "as it is", "seed": seed, **before, "seconds": 0.0, "preparing": 0.0}
    for way in WAYS:
        told = {key: round(value, 4) for key, value in improved(encoder, way, task, own, seed).items()}
        print(f"seed {seed}, {name}, {way.name}: {told}", flush=True)
        yield {"task": name, "way": way.name, "seed": seed, **told}


if __name__ == "__main__":
    main()
