"""The verbs that train heads and scorers on cached vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["AsJson", "DatasetPath", "export_head", "train_head", "train_scorer"]

DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's folder or URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


def train_head(
    dataset: DatasetPath,
    out: Annotated[str, typer.Option(help="Where the head goes.")],
    kind: Annotated[Literal["linear", "mlp"], typer.Option(help="The shape of the head.")] = "linear",
    loss: Annotated[
        Literal["clip", "siglip", "distillation", "sigmoid-distillation"],
        typer.Option(help="What it learns from: the pairs, or the similarities that teachers see."),
    ] = "clip",
    image: Annotated[
        str | None, typer.Option(help="The image space, the first one by default; image/a+image/b joins several.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="Text or caption spaces; those of the same encoder.")] = None,
    teachers: Annotated[
        list[str] | None, typer.Option(help="An encoder to distil from: NAME, NAME=SCALE or NAME=SCALE,BIAS.")
    ] = None,
    contrastive_weight: Annotated[float, typer.Option(min=0, help="With teachers: the share of the pairs' loss.")] = 0,
    distillation_weight: Annotated[float, typer.Option(min=0, help="With teachers: the share of theirs.")] = 1,
    teacher_per_row: Annotated[
        bool, typer.Option("--teacher-per-row", help="Draw a teacher for each row; else the mean of all.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    batch_size: Annotated[int, typer.Option(min=2)] = 1024,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-3,
    seed: int = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    resident: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(help="Hold all vectors on the device; auto: on a GPU that has the room."),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a small head on cached vectors; writes weights, metrics and a loss curve."""
    from dfndr.console import console_progress
    from dfndr.dataset import open_dataset
    from dfndr.heads.train import train_head as train

    result = train(
        open_dataset(dataset, progress=console_progress()),
        out,
        kind=kind,
        loss=loss,
        image=image,
        text=text,
        teachers=teachers or (),
        contrastive_weight=contrastive_weight,
        distillation_weight=distillation_weight,
        teacher_per_row=teacher_per_row,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        resident="auto" if resident == "auto" else resident == "yes",
        progress=console_progress(),
    )
    typer.echo(json.dumps(result.to_json(), indent=1) if as_json else str(result))


def train_scorer(
    dataset: DatasetPath,
    out: Annotated[str, typer.Option(help="Where the scorer goes.")],
    space: Annotated[
        str | None, typer.Option(help="The space to learn from; the first image space by default.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="A column of booleans: which rows are positive.")] = None,
    positives: Annotated[
        Path | None, typer.Option(help="A file with the uids of the positive rows, one on each line.")
    ] = None,
    l2: Annotated[float, typer.Option(min=0, help="How strongly large weights are held back.")] = 1e-3,
    balanced: Annotated[bool, typer.Option("--balanced", help="Let both classes weigh the same.")] = False,
    held_out: Annotated[
        float | None, typer.Option(help="Measure on this share of the rows, not on the validation split.")
    ] = None,
    seed: int = 0,
    as_json: AsJson = False,
) -> None:
    """Train a linear yes or no on cached vectors, to score rows by; writes weights and metrics."""
    from dfndr.console import console_progress
    from dfndr.dataset import open_dataset
    from dfndr.heads.scorer_train import read_positives
    from dfndr.heads.scorer_train import train_scorer as train

    result = train(
        open_dataset(dataset, progress=console_progress()),
        out,
        space=space,
        labels=label,
        positives=None if positives is None else read_positives(str(positives)),
        l2=l2,
        balanced=balanced,
        held_out=held_out,
        seed=seed,
        progress=console_progress(),
    )
    typer.echo(json.dumps(result.to_json(), indent=1) if as_json else str(result))


def export_head(
    head: Annotated[str, typer.Argument(metavar="HEAD", help="The folder of a trained linear head.")],
    dataset: Annotated[str, typer.Option(metavar="DATASET", help="A dataset with the spaces it was trained on.")],
    out: Annotated[str, typer.Option(help="Where the model goes.")],
    pretrained: Annotated[
        str | None, typer.Option(help="Where the encoder's weights are, if not where recorded.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fold a trained linear head into its encoder: an open_clip model that classifies and retrieves as both did."""
    from dfndr.console import console_progress
    from dfndr.dataset import open_dataset
    from dfndr.heads.export import export_head as export

    found = export(head, open_dataset(dataset, progress=console_progress()), out, pretrained=pretrained)
    difference = max(found.image_difference, found.text_difference)
    said = (
        f"local-dir:{out}: vectors of {found.dim} numbers, within {difference:.1g} of head and encoder; {found.license}"
    )
    typer.echo(json.dumps(found.to_json(), indent=1) if as_json else said)
