"""The verbs that measure how good a model is, or what a selection teaches."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from dfndr_builders.options import AsJson, Device, Out, RecipePath

__all__ = ["eval_clip", "eval_filter", "train_clip"]

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A tag, hf-hub:ORG/NAME, local-dir:FOLDER, a folder or a checkpoint."),
]
BatchSize = Annotated[int, typer.Option(help="Rows that the model is given at once.", min=1)]
ModelName = Annotated[str, typer.Option("--model", help="A built-in name or a JSON config, for tags and checkpoints.")]


def eval_clip(
    pretrained: Model,
    sets: Annotated[list[str], typer.Argument(metavar="SET...", help="Folders of CLIP_benchmark, or tars of pairs.")],
    model: ModelName = "",
    retrieval: Annotated[bool, typer.Option("--retrieval", help="Texts of plain sets are captions.")] = False,
    split: Annotated[str, typer.Option(help="The split of a set in CLIP_benchmark's layout.")] = "test",
    classnames: Annotated[str | None, typer.Option(help="A file of one class a line, for sets without one.")] = None,
    templates: Annotated[
        str | None, typer.Option(help="A file of one prompt a line with {} for the class, or openai-imagenet.")
    ] = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a CLIP model zero-shot: accuracy on labelled sets, recall on captioned ones."""
    from dfndr.console import console_progress
    from dfndr.encoder import open_encoder
    from dfndr.models import named_spec
    from dfndr_builders.zero_shot.evaluate import evaluate
    from dfndr_builders.zero_shot.sets import Task, open_set, read_classnames, read_templates

    names = read_classnames(classnames) if classnames is not None else None
    prompts = read_templates(templates) if templates is not None else None
    task: Task | None = "retrieval" if retrieval else None
    opened = [open_set(path, task=task, split=split, classnames=names, templates=prompts) for path in sets]
    encoder = open_encoder(named_spec(pretrained, model=model, batch_size=batch_size, device=device))
    results = [evaluate(encoder, given, progress=console_progress()) for given in opened]
    if as_json:
        made = {"model": encoder.record.to_json(), "results": [result.to_json() for result in results]}
        typer.echo(json.dumps(made, indent=1, ensure_ascii=False))
    else:
        typer.echo("\n".join(str(result) for result in results))


def eval_filter(
    name: Annotated[
        str, typer.Argument(metavar="DFN", help="A CLIP model as eval-clip takes it, or a scorer's folder.")
    ],
    pool: Annotated[
        list[str], typer.Option(help="Tars, .parquet files or a folder with the pictures; may come again.")
    ],
    pairs: Annotated[
        str, typer.Option(help="A TSV: image (a key of the pool), caption, label or rating1, rating2 ...")
    ],
    model: ModelName = "",
    fraction: Annotated[float, typer.Option(help="The share that is kept, for the precision of labels.")] = 0.15,
    resamples: Annotated[int, typer.Option(help="Of the images, for the intervals.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="What resampling is drawn by.", min=0)] = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure how well a filter agrees with labels of pairs, or with what people said of them."""
    from dfndr.console import console_progress
    from dfndr_builders.agreement.evaluate import agreement_of
    from dfndr_builders.agreement.pairs import read_pairs
    from dfndr_builders.agreement.scorers import named_scorer
    from dfndr_builders.pools.joined import Joined
    from dfndr_builders.pools.plain import plain_pool

    given, source = read_pairs(pairs), Joined(tuple(plain_pool(path) for path in pool))
    source.shards()  # a path that leads nowhere is said before a model is loaded
    scorer = named_scorer(name, model=model, batch_size=batch_size, device=device)
    how = {"resamples": resamples, "seed": seed}
    found = agreement_of(scorer, source, given, fraction=fraction, progress=console_progress(), **how)
    typer.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False) if as_json else str(found))


def train_clip(
    recipe: RecipePath,
    out: Out,
    kept: Annotated[
        str | None,
        typer.Option(metavar="DATASET|LIST", help="A dataset, a phase of selection, or uids (.txt, .parquet, .npy)."),
    ] = None,
    device: Device = "auto",
    processes: Annotated[int, typer.Option(min=1, help="Processes that share each batch: one for each GPU.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train the model of a recipe's [clip] on the recipe's pools, or on what of them was kept; again to go on."""
    from dfndr.console import console_progress
    from dfndr_builders.clip.train import train_clip as train
    from dfndr_builders.induced import open_induced
    from dfndr_builders.recipe_file import read_recipe

    spec, pool = open_induced(read_recipe(recipe)[0], recipe.resolve().parent, device, kept=kept)
    work = out.rstrip("/") + ".work"
    result = train(spec, pool, out, work=work, processes=processes, progress=console_progress())
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=1))
        return
    problems = "".join(f"; left out: {count:,} {reason}" for reason, count in result.problems.items())
    about = f"{out}: trained on {result.samples:,} pairs, {result.samples_seen:,} seen{problems}"
    typer.echo(f"{about}; measure it with dfndr eval-clip {out}")
