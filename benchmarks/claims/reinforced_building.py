"""Teachers, and the reinforced dataset that students are trained on, by the product's own parts."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from dfndr_builders.build import build
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.train import train_clip
from dfndr_builders.pools.templated import openai_imagenet

from benchmarks.claims.captions import CLASSES
from benchmarks.claims.reinforced_scales import StudentScale
from benchmarks.claims.reinforced_sets import StudentSets
from benchmarks.claims.sets import pool_of
from dfndr import storage
from dfndr.dataset import Dataset, open_dataset
from dfndr.format.manifest import canonical

__all__ = ["TEACHERS", "reinforced_dataset", "train_teacher"]

TEACHERS = ("a", "b")
"""Two of one shape, from other first weights and in another order."""

CROP = 0.35
"""The least share of a picture that views, and the crops of teachers, show: of 32 pixels a side less is a smudge."""

_RECIPE = """
name = "reinforced-cifar10"
license = "research only"
seed = 1

[[pool]]
kind = "parquet"
path = "sets/rows.parquet"
uid = "uid"

[[score]]
name = "clip"
pretrained = "local-dir:teacher-a"

[select]
by = "clip"
top_fraction = 1.0

[views]
count = {views}
crop_scale = [{crop}, 1.0]

[[caption]]
kind = "retrieval"
per_image = {captions}
bank = "bank.txt"

[output]
rows_per_shard = {few:_}

[compute]
batch_size = 128
threads = {threads}
"""

_EMBED = """
[[embed]]
encoder = "{name}"
pretrained = "local-dir:teacher-{name}"
of = ["image", "text", "caption"]
"""


def train_teacher(name: str, scale: StudentScale, sets: StudentSets, root: Path) -> None:
    """Train a teacher on the pictures that students never see, where it is not there yet."""
    spec = TrainingSpec(
        scale.teacher,
        samples_seen=scale.teacher_samples,
        batch_size=128,
        learning_rate=2e-3,
        weight_decay=0.1,
        warmup_steps=50,
        crop_scale=(CROP, 1.0),
        seed=1 + TEACHERS.index(name),
        threads=scale.threads,
        workers=scale.workers,
        device=scale.device,
    )
    digest = hashlib.sha256(canonical({"teacher": name, "rows": scale.rows, "samples": scale.teacher_samples}))
    out = str(root / f"teacher-{name}")
    train_clip(spec, pool_of(sets.taught), out, work=f"{out}.work", digest=digest.hexdigest())


def reinforced_dataset(scale: StudentScale, root: Path) -> tuple[Dataset, float]:
    """Return the dataset, built where it is not there yet, and the seconds that building it took."""
    out, record = root / "dataset", root / "dataset.json"
    prompts = [template.format(name) for template in openai_imagenet() for name in CLASSES]
    storage.put(str(root), "bank.txt", "\n".join(prompts).encode())
    recipe = _RECIPE.format(views=scale.views, crop=CROP, captions=scale.captions, few=scale.few, threads=scale.threads)
    recipe += "".join(_EMBED.format(name=name) for name in TEACHERS)
    storage.put(str(root), "recipe.toml", recipe.encode())
    if not record.exists():
        began = time.perf_counter()
        build(root / "recipe.toml", out, device=scale.device, replace=True)
        seconds = round(time.perf_counter() - began, 1)
        storage.put(str(root), record.name, json.dumps({"seconds": seconds}).encode())
    return open_dataset(out), json.loads(record.read_text())["seconds"]
