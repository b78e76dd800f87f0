"""Arguments and options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "DatasetPath", "Device", "Out", "RecipePath"]

DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's folder or URL.")]
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML); see docs/recipes.md.")]
Out = Annotated[str, typer.Option(help="The folder that the result goes to.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
