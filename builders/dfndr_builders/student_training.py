"""The verb that trains a student on a reinforced dataset."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dfndr_builders.options import AsJson, DatasetPath, Device, Out
from dfndr_builders.student.pack import Missing
from dfndr_builders.student.spec import Precision, StudentLoss

__all__ = ["train_student"]


def train_student(
    dataset: DatasetPath,
    out: Out,
    model: Annotated[str, typer.Option(help="A built-in name of open_clip or a JSON config; see --pretrained.")],
    pretrained: Annotated[
        str, typer.Option(help="Weights to start from: a tag, a file, hf-hub:ORG/NAME, local-dir:FOLDER; none: random.")
    ] = "",
    samples_seen: Annotated[int, typer.Option(help="How long: in samples, rounded up to whole batches.", min=1)] = 10
    ** 6,
    batch_size: Annotated[int, typer.Option(help="Of all processes together.", min=2)] = 256,
    learning_rate: Annotated[float, typer.Option(help="The highest; a rise, then a cosine to 0.")] = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="Not of gains, biases and the scale.")] = 0.2,
    warmup_steps: Annotated[int, typer.Option(help="Steps that the learning rate rises for.", min=0)] = 1000,
    contrastive_weight: Annotated[float, typer.Option(help="Of CLIP's loss.", min=0)] = 0.0,
    distillation_weight: Annotated[float, typer.Option(help="Of the teachers'; 0: plain training.", min=0)] = 1.0,
    loss: Annotated[StudentLoss, typer.Option(help="How similarities become targets.")] = "distillation",
    teachers: Annotated[
        list[str] | None,
        typer.Option(metavar="ENCODER[=SCALE[,BIAS]]", help="A teacher; may come again. All, by default."),
    ] = None,
    views: Annotated[int | None, typer.Option(help="The first so many views of each row; all.", min=1)] = None,
    captions: Annotated[int | None, typer.Option(help="The first so many captions of each row; all.", min=0)] = None,
    precision: Annotated[Precision, typer.Option(help="bf16 and fp16 by autocast.")] = "fp32",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe whose pools hold the pictures; by default the dataset's own.")
    ] = None,
    missing: Annotated[Missing, typer.Option(help="What becomes of rows without their picture.")] = "refuse",
    cache: Annotated[str | None, typer.Option(help="A folder to keep the packed pictures in.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that decode, for each that trains.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="Of the model, on a CPU.", min=1)] = 2,
    checkpoint_steps: Annotated[int, typer.Option(help="Steps from one checkpoint to the next.", min=1)] = 500,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a small CLIP model on a dataset's views with its teachers' cached vectors; again to go on."""
    from dfndr import open_dataset
    from dfndr.console import console_progress
    from dfndr_builders.student.spec import StudentSpec
    from dfndr_builders.student.train import train_student as train

    spec = StudentSpec(
        model, pretrained, samples_seen=samples_seen, batch_size=batch_size, learning_rate=learning_rate,
        weight_decay=weight_decay, warmup_steps=warmup_steps, contrastive_weight=contrastive_weight,
        distillation_weight=distillation_weight, loss=loss, teachers=tuple(teachers or ()), views=views,
        captions=captions, precision=precision, seed=seed, threads=threads,
    )  # fmt: skip
    result = train(
        open_dataset(dataset).split("train"), out, spec, recipe=str(recipe) if recipe else None, missing=missing,
        cache=cache, workers=workers, device=device, every=checkpoint_steps, progress=console_progress(),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=1))
        return
    left = result.absent + result.changed
    without = f"; left out: {left:,} without their picture" if left else ""
    about = f"{out}: trained on {result.rows:,} rows, {result.samples_seen:,} samples seen{without}"
    typer.echo(f"{about}; measure it with dfndr eval-clip {out}")
