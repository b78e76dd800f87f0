"""Experiment b: what an epoch costs, with teachers and captioner online or cached, and what making the cache costs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from dfndr_builders.pictures import PoolPictures
from dfndr_builders.recipe_file import read_recipe
from dfndr_builders.student.batches import StudentBatch, batches
from dfndr_builders.student.network import Student, opened_student, optimizer_of
from dfndr_builders.student.pack import Pack, packed
from dfndr_builders.student.processes import Processes
from dfndr_builders.student.spec import StudentSpec
from dfndr_builders.student.targets import targets_of

from benchmarks.claims.reinforced_building import TEACHERS
from benchmarks.claims.reinforced_runs import first_rows
from benchmarks.claims.reinforced_scales import StudentScale
from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.heads.objective import Taught
from dfndr.models import EncoderSpec, load_model

__all__ = ["MODES", "costs"]

MODES = ("plain", "teachers and captioner online", "captions cached, teachers online", "all cached")
_COCA = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": 32, "layers": 3, "width": 128, "patch_size": 4, "head_width": 32,
        "attentional_pool": True, "attn_pooler_queries": 16, "attn_pooler_heads": 4, "output_tokens": True,
    },
    "text_cfg": {
        "context_length": 24, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2,
        "embed_cls": True, "output_tokens": True,
    },
    "multimodal_cfg": {"context_length": 24, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
    "custom_text": True,
}  # fmt: skip
STEPS = 12
"""Batches that each mode is timed over in a round, after one that is not counted."""


def costs(scale: StudentScale, dataset: Dataset, root: Path, *, rounds: int = 5) -> dict[str, list[float]]:
    """Return milliseconds per sample of each mode, a number per round; the modes take turns within each round.

    Online, teachers encode the very views, texts and captions of the batch, and the captioner samples one caption for
    each picture; everything else is as it is with cached vectors.
    """
    processes = Processes(0, 1, scale.device)
    reinforced = StudentSpec(str(root / "student.json"), batch_size=scale.batch_size, threads=scale.threads)
    plain = replace(reinforced, contrastive_weight=1.0, distillation_weight=0.0)
    dataset = first_rows(dataset, scale.few)
    pools = PoolPictures(dataset, read_recipe(root / "recipe.toml")[0], root)
    pack, _ = packed(dataset, pools.tables, str(root / f"pictures-{scale.few}"))
    teachers = [_loaded(root / f"teacher-{name}", scale) for name in TEACHERS]
    caption = _captioner(scale, pack, root)
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        for mode in MODES:
            spec = plain if mode == "plain" else reinforced
            targets, student = targets_of(dataset, spec), opened_student(spec, processes)
            given = batches(
                dataset, pack, spec, targets, size=student.size, tokenizer=student.tokenizer, workers=scale.workers
            )
            online = [] if mode in ("plain", "all cached") else [lambda batch: _taught(teachers, batch)]
            online += [caption] if mode == MODES[1] else []
            found[mode].append(_timed(student, spec, given, targets.teachers, online))
    return found


def _timed(
    student: Student,
    spec: StudentSpec,
    given: Iterator[StudentBatch],
    teachers: Sequence[Taught],
    online: Sequence[Callable[[StudentBatch], object]],
) -> float:
    optimizer, began = optimizer_of(student.model, spec), 0.0
    for step in range(STEPS + 1):
        if step == 1:
            _finish(student)
            began = time.perf_counter()
        batch = next(given)
        for work in online:
            work(batch)
        loss = student.loss(batch, spec, teachers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _finish(student)
    return 1000 * (time.perf_counter() - began) / STEPS / spec.batch_size


def _finish(student: Student) -> None:
    if student.device.startswith("cuda"):
        torch.cuda.synchronize()


def _loaded(folder: Path, scale: StudentScale) -> Any:  # noqa: ANN401
    where = f"local-dir:{folder}"
    model, _, _ = load_model(EncoderSpec("teacher", where, where))
    return model.eval().to(scale.device)


@torch.inference_mode()
def _taught(teachers: Sequence[Any], batch: StudentBatch) -> None:
    """Let teachers say what the cache would have said."""
    for model in teachers:
        device = model.logit_scale.device
        mean, std = (
            torch.tensor(value).reshape(3, 1, 1) for value in (model.visual.image_mean, model.visual.image_std)
        )
        model.encode_image(((batch.pixels.float() / 255 - mean) / std).to(device), normalize=True)
        tokens = batch.tokens.flatten(0, 1)[:, : model.context_length]
        model.encode_text(tokens.to(device), normalize=True)


def _captioner(scale: StudentScale, pack: Pack, root: Path) -> Callable[[StudentBatch], object]:
    """Return what samples a caption for each of as many pictures as a batch has, with a CoCa of random weights.

    What it writes is of no use, and takes as long as what a trained one would.
    """
    from dfndr_builders.captions.captioner import Asked
    from dfndr_builders.captions.coca import Coca
    from dfndr_builders.captions.sampling import Sampling

    storage.put(str(root), "coca.json", json.dumps(_COCA).encode())
    how = {"batch_size": scale.batch_size, "threads": scale.threads, "device": scale.device}
    spec = EncoderSpec("coca", str(root / "coca.json"), "random:0", **how)  # type: ignore[arg-type]
    write = Coca("coca", spec, "coca", 0, 1, Sampling(max_tokens=16), unfinished="keep").open()
    rows = range(scale.batch_size)
    asked = [Asked(f"{row:032x}", pack.picture(row), (0,)) for row in rows]
    return lambda _batch: write(asked)
