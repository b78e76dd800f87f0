"""Ways to make an encoder better at a task: heads on vectors computed once, or training all of it."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import pyarrow as pa
import torch

from benchmarks.claims.heads_tasks import Pairs, Task
from benchmarks.claims.scales import Scale
from dfndr.dataset import Dataset, open_dataset
from dfndr.format.manifest import Manifest, Shard, Step, write_manifest
from dfndr.format.schema import EncoderRecord, Preprocess, Space, StorageType
from dfndr.format.shard import rows_path, vectors_path, write_rows, write_vectors
from dfndr.heads.plan import Plan
from dfndr.heads.train import train_head
from dfndr.losses.contrastive import clip_loss
from dfndr.seeds import hash_int, rng_for

__all__ = ["BATCH", "STEPS", "WAYS", "Encoder", "Way", "cached", "figure", "improved", "new_encoder", "trained"]

BATCH, STEPS = 64, 200
_MEAN, _STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """How a task is learned: a head of a kind on so many views, or all of the encoder (`head` None); and how long."""

    name: str
    head: str | None
    views: int = 5
    longer: int = 1
    rates: tuple[float, ...] = (1e-3, 1e-2, 3e-2)


WAYS = (
    Way("linear head, 1 view", "linear", views=1),
    Way("linear head, 5 views", "linear"),
    Way("mlp head, 5 views", "mlp"),
    Way("mlp head, 5 views, 10 times the samples", "mlp", longer=10, rates=(1e-3, 1e-2)),
    Way("end to end", None, rates=(5e-4, 2e-3)),
)


class Encoder:
    """A CLIP model with its tokenizer; gives unit vectors."""

    def __init__(self, model: Any, tokenizer: Any) -> None:  # noqa: ANN401
        self.model, self.tokenizer = model, tokenizer

    def images(self, views: npt.NDArray[np.uint8]) -> Vectors:
        """Return the vectors of pictures, shape (..., dim)."""
        flat = views.reshape(-1, *views.shape[-3:])
        with torch.inference_mode():
            parts = [
                self.model.eval().encode_image(_pixels(flat[start : start + 256]), normalize=True).numpy()
                for start in range(0, len(flat), 256)
            ]
        return np.concatenate(parts).reshape(*views.shape[:-3], -1)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, shape (texts, dim)."""
        with torch.inference_mode():
            parts = [
                self.model.eval().encode_text(self.tokenizer(list(texts[start : start + 256])), normalize=True).numpy()
                for start in range(0, len(texts), 256)
            ]
        return np.concatenate(parts)


def _pixels(views: npt.NDArray[np.uint8]) -> torch.Tensor:
    given = torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255
    return (given - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]


def new_encoder(scale: Scale, seed: int) -> Encoder:
    """Return a model that has learned nothing yet."""
    torch.manual_seed(hash_int(seed, "heads", "encoder"))
    config = dict(scale.model)
    text: Any = config["text_cfg"]
    model = open_clip.CLIP(**config)
    return Encoder(model, open_clip.SimpleTokenizer(context_length=text["context_length"]))


def trained(given: Encoder, pairs: Pairs, rate: float, seed: int, *, steps: int) -> Encoder:
    """Return a copy that went on with the contrastive loss: one view a picture and step, AdamW, a cosine."""
    model = copy.deepcopy(given.model).train()
    plan = Plan(steps, 1, BATCH, rate, 0.1, 0.05, seed)
    matrices = [each for each in model.parameters() if each.ndim > 1]
    others = [each for each in model.parameters() if each.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6)
    tokens, rng = given.tokenizer(list(pairs.texts)), rng_for(seed, "heads", "order")
    order = np.concatenate([rng.permutation(len(tokens)) for _ in range(1 + steps * BATCH // len(tokens))])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        rows = order[step * BATCH : (step + 1) * BATCH]
        views = pairs.views[rows, rng.integers(pairs.views.shape[1], size=len(rows))]
        images, texts, scale = model(_pixels(views), tokens[rows])
        loss = clip_loss(scale * images @ texts.T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
    return Encoder(model, given.tokenizer)


def cached(given: Encoder, pairs: Pairs, root: Path, *, views: int, dtype: StorageType = "float16") -> Dataset:
    """Write the vectors of pairs as a dataset with one split, and open it."""
    vectors = {"image": given.images(pairs.views[:, :views]), "text": given.texts(pairs.texts)[:, None]}
    spaces = tuple(
        Space(kind, "own", dim=block.shape[2], per_row=block.shape[1], dtype=dtype)  # type: ignore[arg-type]
        for kind, block in vectors.items()
    )
    table = pa.table({"uid": [f"{row:032x}" for row in range(len(pairs.texts))], "text": pairs.texts})
    files = {"rows": write_rows(str(root), rows_path("train", 0), table)}
    for space in spaces:
        path = vectors_path(space, "train", 0)
        files[space.name] = write_vectors(str(root), path, space, [vectors[space.modality]])
    rows = len(table)
    cut = Preprocess((32, 32), _MEAN, _STD, "bicubic", "shortest")
    scale = float(given.model.logit_scale.detach().exp())
    record = EncoderRecord("own", "own", "own", "0" * 64, spaces[0].dim, 24, cut, "fp32", scale, "none", 256, 1)
    shard = Shard(0, "train", rows_in=rows, rows=rows, files=files)
    steps, digest = (Step("pool", rows, rows),), "0" * 64
    write_manifest(
        str(root), Manifest("own", "none", "", digest, 0, spaces, {"own": record}, {}, (shard,), steps, provenance={})
    )
    return open_dataset(str(root))


Encode = tuple[Callable[[Vectors], Vectors], Callable[[Vectors], Vectors]]


def figure(given: Encoder, task: Task, pairs: Pairs, head: Encode | None = None) -> float:
    """Return zero-shot accuracy, or of photographs the share whose caption is among the ten best of all."""
    of_image, of_text = head or (_same, _same)
    images = of_image(given.images(pairs.views[:, 0]))
    if not task.prompts:
        scores = images @ of_text(given.texts(pairs.texts)).T
        return float(((scores >= np.diag(scores)[:, None]).sum(axis=1) <= 10).mean())
    classes = [of_text(given.texts(prompts)).mean(axis=0) for prompts in task.prompts]
    unit = np.array([vector / np.linalg.norm(vector) for vector in classes])
    return float(((images @ unit.T).argmax(axis=1) == pairs.labels).mean())


def _same(vectors: Vectors) -> Vectors:
    return vectors


def improved(given: Encoder, way: Way, task: Task, own: Task, seed: int) -> dict[str, float]:
    """Learn a task at each learning rate, and return the figures of the one that is best on the pairs to choose by."""
    tried = []
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        dataset = None if way.head is None else cached(given, task.train, Path(folder), views=way.views)
        preparing = time.perf_counter() - began
        for rate in way.rates:
            began = time.perf_counter()
            if dataset is None:
                encoder, head = trained(given, task.train, rate, seed, steps=STEPS * way.longer), None
            else:
                kind: Any = way.head
                options = {"batch_size": BATCH, "learning_rate": rate, "seed": seed, "device": "cpu"}
                made = train_head(dataset, kind=kind, steps=STEPS * way.longer, **options).head.cpu()
                encoder, head = given, (made.encode_image, made.encode_text)
            seconds = time.perf_counter() - began
            checked = figure(encoder, task, task.check, head)
            found = {"figure": figure(encoder, task, task.test, head), "own": figure(encoder, own, own.test, head)}
            tried.append((checked, {**found, "rate": rate, "seconds": seconds, "preparing": preparing}))
    return max(tried, key=lambda each: each[0])[1]
