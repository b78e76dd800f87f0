"""The verb that builds, and all that it can be told of who does the work."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from dfndr_builders.options import (
    Address,
    ArrayTask,
    AsJson,
    Device,
    EngineName,
    FailedUnits,
    Out,
    RecipePath,
    UnitTimeout,
    Workers,
)

__all__ = ["build"]


def build(
    recipe: RecipePath,
    out: Out,
    device: Device = "auto",
    replace: Annotated[
        bool, typer.Option(help="Let --out hold a dataset of another recipe, and take its place.")
    ] = False,
    engine: EngineName = "inline",
    workers: Workers = None,
    task: ArrayTask = None,
    address: Address = None,
    unit_timeout_s: UnitTimeout = None,
    failed_units: FailedUnits = "stop",
    as_json: AsJson = False,
) -> None:
    """Build the dataset that a recipe describes; run it again to go on where it stopped."""
    from dfndr.console import console_progress
    from dfndr.describe import describe, facts
    from dfndr_builders.build import build as run
    from dfndr_builders.engines.choose import engine_of

    chosen = engine_of(
        engine,
        workers=workers,
        task=task,
        address=address,
        unit_timeout_s=unit_timeout_s,
        failed_units=failed_units,
    )
    manifest = run(
        recipe,
        out,
        device=device,
        replace=replace,
        engine=chosen,
        retry_failed=failed_units == "retry",
        progress=console_progress(),
    )
    typer.echo(json.dumps(facts(manifest), indent=1) if as_json else describe(manifest))
