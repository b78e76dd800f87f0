"""Arguments and options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "Address",
    "ArrayTask",
    "AsJson",
    "DatasetPath",
    "Device",
    "EngineName",
    "FailedUnits",
    "Out",
    "RecipePath",
    "UnitTimeout",
    "Workers",
]

DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's folder or URL.")]
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML); see docs/recipes.md.")]
Out = Annotated[str, typer.Option(help="The folder that the result goes to.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
EngineName = Annotated[
    Literal["inline", "processes", "ray", "slurm-array"],
    typer.Option("--engine", help="What does the units of work; the dataset is the same. See docs/scale.md."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="How many workers; if not given one for each GPU, or for each `threads` cores."),
]
ArrayTask = Annotated[
    str | None, typer.Option("--task", metavar="I/N", help="slurm-array: which task this is, from 0.")
]
Address = Annotated[str | None, typer.Option(help="ray: a cluster's address; this machine if not given.")]
UnitTimeout = Annotated[
    float | None,
    typer.Option("--unit-timeout-s", min=0.01, help="Kill a worker that takes longer than this over one unit."),
]
FailedUnits = Annotated[
    Literal["stop", "count", "retry"],
    typer.Option("--failed-units", help="A unit that killed two workers: an error, rows counted as failed, or again."),
]
