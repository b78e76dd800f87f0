"""The verbs of the write side: quickstart, plan, build, train-dfn, card; registered on the one command `dfndr`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML); see docs/recipes.md.")]
Out = Annotated[str, typer.Option(help="The folder that the result goes to.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(quickstart)
    app.command()(plan)
    app.command()(build)
    app.command("train-dfn")(train_dfn)
    app.command()(card)


def quickstart(out: Out = "quickstart", device: Device = "auto") -> None:
    """Run the whole job on the built-in pool, offline: train a filter, build, verify, train a head, search, draw."""
    from dfndr.console import console_progress
    from dfndr_builders.quickstart import quickstart as run

    typer.echo(run(out, device=device, progress=console_progress()))


def plan(recipe: RecipePath, as_json: AsJson = False) -> None:
    """Show what a build would do: phases, pools, models, what is fetched; nothing is loaded or written."""
    from dfndr_builders.plan import plan as make

    made = make(recipe)
    typer.echo(json.dumps(made.to_json(), indent=1) if as_json else str(made))


def build(
    recipe: RecipePath,
    out: Out,
    device: Device = "auto",
    replace: Annotated[
        bool, typer.Option(help="Let --out hold a dataset of another recipe, and take its place.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the dataset that a recipe describes; run it again to go on where it stopped."""
    from dfndr.console import console_progress
    from dfndr.describe import describe, facts
    from dfndr_builders.build import build as run

    manifest = run(recipe, out, device=device, replace=replace, progress=console_progress())
    typer.echo(json.dumps(facts(manifest), indent=1) if as_json else describe(manifest))


def train_dfn(recipe: RecipePath, out: Out, device: Device = "auto", as_json: AsJson = False) -> None:
    """Train the filter of a recipe's [dfn] section into a folder that local-dir: loads."""
    from dfndr.console import console_progress
    from dfndr_builders.dfn import train_dfn as train
    from dfndr_builders.opened import open_filter
    from dfndr_builders.recipe_file import read_recipe

    spec, pool = open_filter(read_recipe(recipe)[0], recipe.resolve().parent, device)
    result = train(spec, pool, out, work=out.rstrip("/") + ".work", progress=console_progress())
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=1))
    else:
        typer.echo(
            f"{out}: trained on {result.samples:,} pairs, {result.samples_seen:,} seen; use it as local-dir:{out}"
        )


def card(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's folder or URL.")],
) -> None:
    """Print a dataset's card, from its manifest alone; as README.md in its folder it is what the Hub shows."""
    from dfndr.format.manifest import read_manifest
    from dfndr_builders.card import card as make

    typer.echo(make(read_manifest(dataset)))
