"""Training a filter and letting it score the pool, by the product's own parts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.clip.train import train_clip
from dfndr_builders.dfn.averaging import averaged_model
from dfndr_builders.fitting import Fitting
from dfndr_builders.image_classifier.train import train_conv, train_linear
from dfndr_builders.m3ae.train import train_m3ae
from dfndr_builders.pools.base import Pool
from dfndr_builders.score.clip import ClipScore
from dfndr_builders.score.image_classifier import ImageClassifierScore
from dfndr_builders.score.m3ae import M3aeScore
from dfndr_builders.select.rule import floor_of
from dfndr_builders.stage import Stage
from dfndr_builders.zero_shot.classification import classification_of

from benchmarks.claims.noise import KINDS
from benchmarks.claims.runs import CLIP, Filter
from benchmarks.claims.scales import Scale
from benchmarks.claims.sets import Sets, evaluation_set, pool_of, read_pairs, write_table
from dfndr.encoder import open_encoder
from dfndr.heads.logistic import roc_auc
from dfndr.models import EncoderSpec
from dfndr.seeds import hash_fraction

__all__ = ["accuracy_of", "encoder_of", "kept_rows", "qualities", "scores_of", "spec_of", "train_filter"]

ALPHAS = (0.25, 0.5, 0.75)
"""The shares of the fine-tuned weights in an average, one of which is chosen."""

Scores = npt.NDArray[np.float32]


def spec_of(scale: Scale, seed: int, **more: object) -> TrainingSpec:
    """Return the one recipe for CLIP models at a scale, with what is different."""
    same = {
        "model": scale.model,
        "samples_seen": scale.samples_seen,
        "batch_size": scale.batch_size,
        "learning_rate": scale.learning_rate,
        "weight_decay": scale.weight_decay,
        "warmup_steps": scale.warmup_steps,
        "threads": scale.threads,
        "workers": scale.workers,
        "device": scale.device,
        "seed": seed,
    }
    return TrainingSpec(**{**same, **more})  # type: ignore[arg-type]


def encoder_of(folder: Path, scale: Scale) -> EncoderSpec:
    """Return a trained model as an encoder."""
    where = f"local-dir:{folder}"
    return EncoderSpec("claims", where, where, batch_size=256, threads=scale.threads, device=scale.device)


def accuracy_of(folder: Path, scale: Scale) -> float:
    """Return a model's zero-shot accuracy on the test set."""
    return classification_of(open_encoder(encoder_of(folder, scale)), evaluation_set(scale)).acc1


def train_filter(given: Filter, scale: Scale, seed: int, sets: Sets, filters: Path) -> dict[str, object]:
    """Train a filter into `filters/NAME/model`, and return what there is to tell; those that it needs lie beside it."""
    folder = filters / given.name / "model"
    good, raw = pool_of(sets.good), pool_of(sets.raw)
    fitting = Fitting(scale.samples_seen, scale.batch_size, seed=seed, threads=scale.threads, device=scale.device)
    if given.kind == "linear":
        encoder = open_encoder(encoder_of(filters / CLIP.name / "model", scale))
        train_linear(good, raw, encoder, seed=seed).save(folder)
    elif given.kind == "conv":
        train_conv(good, raw, how=fitting).save(folder)
    elif given.kind == "m3ae":
        train_m3ae(good, how=fitting).save(folder)
    elif given.tuned == "average":
        return _average(scale, seed, sets, filters, folder.parent)
    elif given.kind == "clip":
        _train_clip(given, scale, seed, sets, folder, filters)
    return {}


def _average(scale: Scale, seed: int, sets: Sets, filters: Path, out: Path) -> dict[str, object]:
    folders = str(filters / CLIP.name / "model"), str(filters / Filter(tuned="last").name / "model")
    averaged = averaged_model(folders, ALPHAS, pool_of(sets.check), spec_of(scale, seed), str(out))
    for alpha in ALPHAS:
        shutil.rmtree(out / f"alpha-{alpha}")
    return {"averaging": averaged.to_json()}


def _train_clip(given: Filter, scale: Scale, seed: int, sets: Sets, folder: Path, filters: Path) -> None:
    more: dict[str, object] = {"samples_seen": round(scale.samples_seen * given.seen), "crop_scale": (given.crop, 1.0)}
    pool: Pool = pool_of(_mixed(given, seed, sets, folder.parent))
    if given.start == "raw":
        more["pretrained"] = _weights(filters / Filter(raw_share=1.0).name)
    if given.tuned == "last":
        # As the paper's fine-tuning is: shorter, from the filter's weights, at a tenth of the rate.
        pool = pool_of(sets.tune)
        more |= {"samples_seen": round(scale.samples_seen / 4), "learning_rate": scale.learning_rate / 10}
        more["pretrained"] = _weights(filters / CLIP.name)
    train_clip(spec_of(scale, seed, **more), pool, str(folder), work=str(folder.parent / "work"))


def _weights(folder: Path) -> str:
    return str(folder / "model" / "open_clip_model.safetensors")


def _mixed(given: Filter, seed: int, sets: Sets, folder: Path) -> Path:
    """Return the file of pairs that a filter learns from: good ones, `raw_share` of them changed for raw ones."""
    if not given.raw_share:
        return sets.good
    good, raw = read_pairs(sets.good), read_pairs(sets.raw)
    drawn = np.argsort([hash_fraction(seed, "poison", row) for row in range(len(good))])
    count = round(given.raw_share * len(good))
    table = pa.concat_tables([raw.take(np.sort(drawn[:count])), good.take(np.sort(drawn[count:]))])
    folder.mkdir(parents=True, exist_ok=True)
    write_table(table, folder / "pairs.parquet")
    return folder / "pairs.parquet"


def scores_of(given: Filter, scale: Scale, seed: int, sets: Sets, filters: Path) -> Scores:
    """Return the filter's score of each pair of the pool, in order."""
    pool = pool_of(sets.pool)
    if given.kind == "random":
        uids = read_pairs(sets.pool)["uid"].to_pylist()
        return np.array([hash_fraction(seed, "random", uid) for uid in uids], dtype=np.float32)
    step = _stage(given, scale, filters).open()
    tables = [step(table) for shard in pool.shards() for table in pool.read(shard)]
    found: Scores = pa.concat_tables(tables)["score"].to_numpy().astype(np.float32)
    return found


def _stage(given: Filter, scale: Scale, filters: Path) -> Stage:
    folder = str(filters / given.name / "model")
    if given.kind == "clip":
        return ClipScore("score", encoder_of(Path(folder), scale))
    how = {"batch_size": 256, "threads": scale.threads, "device": scale.device}
    if given.kind == "m3ae":
        return M3aeScore("score", folder, **how)  # type: ignore[arg-type]
    encoder = encoder_of(filters / CLIP.name / "model", scale) if given.kind == "linear" else None
    return ImageClassifierScore("score", folder, encoder, **how)  # type: ignore[arg-type]


def kept_rows(scores: Scores, uids: list[str], fraction: float) -> npt.NDArray[np.int64]:
    """Return the places of the best floor(fraction x rows), in the pool's order; of equal scores the smaller uid.

    These are the rows that `select` keeps with `top_fraction`.
    """
    best = np.lexsort((np.array(uids), -scores.astype(np.float64)))[: floor_of(fraction, len(scores))]
    return np.sort(best)


def qualities(scores: Scores, kinds: list[str], kept: npt.NDArray[np.int64]) -> Mapping[str, float | None]:
    """Return how well scores tell good pairs from noise, all of it and each kind, and the share of good among kept."""
    every = np.array(kinds)
    is_good = every == "good"
    found: dict[str, float | None] = {"auc": roc_auc(scores.astype(np.float64), is_good)}
    for kind in KINDS[1:]:
        rows = is_good | (every == kind)
        found[f"auc_{kind}"] = roc_auc(scores[rows].astype(np.float64), is_good[rows])
    return {
        **found,
        "good_of_kept": float(is_good[kept].mean()),
        "kept_of_good": float(is_good[kept].sum() / is_good.sum()),
    }
