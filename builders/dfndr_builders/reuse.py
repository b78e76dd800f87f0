"""What a build takes over from the dataset that lies in its folder: whatever depends on nothing that changed.

A row's vector depends on its uid, on what was embedded (the picture's sha256 and its views, its text, its captions), on
the encoder's weights and how it is run, and on how a vector is stored. A captioner's captions depend on the picture,
its record, the model that scores them and the recipe's seed. What is taken over is what would be computed: the result
has the same digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow.parquet as pq

from dfndr import storage
from dfndr.dataset import open_dataset
from dfndr.errors import DataError
from dfndr.format.captioner import CaptionerRecord
from dfndr.format.manifest import MANIFEST, Manifest, Shard, read_manifest
from dfndr.format.schema import EncoderRecord
from dfndr_builders.captions.stage import Captions, CaptionStage
from dfndr_builders.context import Context
from dfndr_builders.embed import Embed
from dfndr_builders.phase import STAGES
from dfndr_builders.stage import Stage
from dfndr_builders.take_over import Earlier, TakeOver
from dfndr_builders.take_over_captions import TakeOverCaptions

__all__ = ["Made", "taken_over", "tell"]

_INPUTS = {"image": "sha256", "text": "text", "caption": "captions"}


@dataclass(frozen=True)
class Made:
    """By what the new dataset is made: encoders, models that score, and captioners, by their names."""

    encoders: Mapping[str, EncoderRecord]
    scorers: Mapping[str, EncoderRecord]
    captioners: Mapping[str, CaptionerRecord]


def taken_over(context: Context, stages: Sequence[Stage], made: Made) -> list[Stage]:
    """Return the stages, those that an earlier dataset in the folder has results of as `TakeOver`; says what is not."""
    if storage.is_remote(context.root) or not storage.exists(storage.join(context.root, MANIFEST)):
        return list(stages)
    before = read_manifest(context.root)
    if before.provenance.get("stages") != STAGES or not len(before):
        return list(stages)
    return [_of_stage(context, stage, before, made) for stage in stages]


def _of_stage(context: Context, stage: Stage, before: Manifest, made: Made) -> Stage:
    if isinstance(stage, Embed):
        name, why, roles = stage.space.name, _other_space(stage, before, made), ["rows", stage.space.name]
    elif isinstance(stage, CaptionStage):
        return _of_captions(context, stage, before, made)
    else:
        return stage
    why = why or _altered(context.root, before, roles) or _other_views(context.root, stage)
    if why:
        context.progress.say(f"{name}: computed anew: {why}")
        return stage
    inputs = (_INPUTS[stage.space.modality], *(["views"] if stage.views else []))
    most = stage.space.per_row if stage.space.modality == "caption" else None
    return TakeOver(stage, Earlier(context.root, before.digest, inputs, most), stage.space)


def _other_space(stage: Embed, before: Manifest, made: Made) -> str:
    """Return why a space's vectors are others than those there, "" where they are not."""
    space = stage.space
    there = {one.name: one for one in before.spaces}.get(space.name)
    if there is None:
        return "the dataset here has no such space"
    given, known = made.encoders[space.encoder], before.encoders[space.encoder]
    if given.weights_sha256 != known.weights_sha256:
        told = f"{known.weights_sha256[:12] or 'not recorded'} before, {given.weights_sha256[:12]} now"
        return f"the encoder of that name had other weights (sha256 {told})"
    if _depends(given) != _depends(known):
        return "its encoder was run in another way"
    if there != space:
        return f"it was stored as {there.per_row} x {there.dim} {there.dtype}"
    return ""


def _depends(record: EncoderRecord) -> EncoderRecord:
    """Return a record without what no vector depends on: where the weights were found, and what they teach with."""
    return replace(record, pretrained="", license="", distillation_scale=None)


def _of_captions(context: Context, stage: CaptionStage, before: Manifest, made: Made) -> Stage:
    """Return the stage with the captions of those captioners taken over that would write the same again."""
    altered = _altered(context.root, before, ["rows"])
    others = {one.captioner.name: altered or _other_captions(context, one, before, made) for one in stage.captions}
    kept = tuple(name for name, why in others.items() if not why)
    if not kept:
        context.progress.say(f"captions: computed anew: {', '.join(dict.fromkeys(others.values()))}")
        return stage
    for name, why in others.items():
        if why:
            context.progress.say(f"captions by {name}: computed anew: {why}")
    return TakeOverCaptions(stage, Earlier(context.root, before.digest, ("sha256",)), kept)


def _other_captions(context: Context, captions: Captions, before: Manifest, made: Made) -> str:
    """Return why a captioner's captions are others than those there, "" where they are not."""
    name, scorer = captions.captioner.name, captions.scorer.name
    there = before.captioners.get(name)
    if there is None:
        return f"the dataset here has no captioner {name}"
    if there != made.captioners[name]:
        return f"captioner {name} changed"
    if before.seed != context.recipe.seed:
        return "the recipe has another seed"
    known = before.scorers.get(scorer)
    if known is None or _depends(known) != _depends(made.scorers[scorer]):
        return f"the model {scorer} that scores them changed"
    return ""


def _altered(root: str, before: Manifest, roles: Sequence[str]) -> str:
    """Hash the files that would be read: what was damaged is computed anew."""
    dataset = open_dataset(root)
    try:
        for shard in before.shards:
            for role in roles:
                dataset.local_file(shard.files[role])
    except DataError as error:
        return f"{error.where} was altered"
    return ""


def _other_views(root: str, stage: Stage) -> str:
    if not isinstance(stage, Embed) or stage.space.modality != "image":
        return ""
    had_views = "views" in open_dataset(root, check="size").schema().names
    return "" if had_views == stage.views else f"it was {'' if had_views else 'not '}made of views"


def tell(context: Context, stages: Sequence[Stage], shards: Sequence[Shard]) -> None:
    """Say of how many rows what was taken over, counted in the files that were written."""
    for stage in stages:
        if isinstance(stage, TakeOver):
            what, known = f"{stage.space.name}: vectors", _count(context.root, stage, shards)
        elif isinstance(stage, TakeOverCaptions):
            some = f" by {', '.join(stage.kept)}" if len(stage.kept) < len(stage.stage.captions) else ""
            what, known = f"captions{some}", _count(context.root, stage, shards)
        else:
            continue
        rows = sum(shard.rows for shard in shards)
        context.progress.say(f"{what} of {known:,} of {rows:,} rows taken over")


def _count(root: str, stage: TakeOver | TakeOverCaptions, shards: Sequence[Shard]) -> int:
    more = ["caption_models"] if isinstance(stage, TakeOverCaptions) else []
    count = 0
    for shard in shards:
        with storage.open_read(storage.join(root, shard.files["rows"].path)) as file:
            count += stage.taken(pq.read_table(file, columns=["uid", *stage.earlier.inputs, *more]))
    return count
