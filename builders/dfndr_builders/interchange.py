"""The verbs of other tools' layouts: a dataset of what they computed, and a dataset as they read it."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from dfndr.format.schema import StorageType
from dfndr_builders.options import AsJson, DatasetPath, Out, Workers

__all__ = ["export", "import_"]


def import_(
    kind: Annotated[
        Literal["clip-retrieval", "dr", "datacomp", "parquet"],
        typer.Argument(metavar="KIND", help="What wrote the files."),
    ],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Their folder; of dr the tars, with braces or globs.")],
    out: Out,
    name: Annotated[str | None, typer.Option(help="What the dataset is called.")] = None,
    license: Annotated[str | None, typer.Option(help="The licence of the dataset; yours to know.")] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MODEL/WEIGHTS[:DIM[:SCALE]]", help="Which model gave the vectors; in order where several."
        ),
    ] = None,
    teachers: Annotated[
        Literal["datacompdr", "dfndr"] | None, typer.Option(help="The encoders of a published set, instead.")
    ] = None,
    dtype: Annotated[
        StorageType | None,
        typer.Option(help="How vectors are stored; float16, or as an export says they were."),
    ] = None,
    any_length: Annotated[bool, typer.Option("--any-length", help="Vectors need not be of length one.")] = False,
    source: Annotated[str | None, typer.Option(help="What the rows' source is called.")] = None,
    join: Annotated[
        str | None,
        typer.Option(metavar="RECIPE-OR-TARS", help="Where the rows' pictures and captions are; joined by uid."),
    ] = None,
    missing: Annotated[
        Literal["keep", "drop"], typer.Option(help="What becomes of rows without a picture, where there are pictures.")
    ] = "keep",
    thumbnail: Annotated[int, typer.Option(min=0, max=1024, help="Longest side of the small pictures; 0: none.")] = 96,
    engine: Annotated[
        Literal["inline", "processes", "ray"], typer.Option(help="What does the units of work, as of `dfndr build`.")
    ] = "inline",
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Make a dataset of vectors that another tool computed; run it again to go on where it stopped."""
    from dfndr.console import console_progress
    from dfndr.describe import describe, facts
    from dfndr_builders.engines.choose import engine_of
    from dfndr_builders.imports import Join, import_dataset, open_import
    from dfndr_builders.imports.published import TEACHERS, parse_teacher
    from dfndr_builders.opened import open_pool_at

    given = TEACHERS[teachers] if teachers else tuple(parse_teacher(words) for words in encoder or [])
    about = {"name": name, "license": license, "dtype": dtype, "unit_norm": not any_length, "source": source}
    layout, imported = open_import(kind, path, given, **about)  # type: ignore[arg-type]
    how = Join(open_pool_at(join) if join else None, join or "", missing, thumbnail)
    chosen = engine_of(engine, workers=workers)
    manifest = import_dataset(layout, imported, out, join=how, engine=chosen, progress=console_progress())
    typer.echo(json.dumps(facts(manifest), indent=1) if as_json else describe(manifest))


def export(
    dataset: DatasetPath,
    kind: Annotated[
        Literal["gallery", "atlas", "parquet", "dr", "clip-retrieval", "datacomp"],
        typer.Argument(metavar="KIND", help="What to write."),
    ],
    out: Out,
    rows: Annotated[int | None, typer.Option(help="How many rows of a gallery (200) or an atlas (50,000).")] = None,
    space: Annotated[str | None, typer.Option(help="Whose neighbours, or whose vectors alone.")] = None,
    bfloat16: Annotated[bool, typer.Option("--bfloat16", help="dr: vectors as .pth.gz of bfloat16, not .npz.")] = False,
    legacy: Annotated[bool, typer.Option("--legacy", help="dr: captions' vectors below the text's, as older sets.")] = (
        False
    ),
    pictures: Annotated[
        str | None, typer.Option(metavar="POOL", help="dr: with pictures from `pool`, its recipe's; a recipe; or tars.")
    ] = None,
) -> None:
    """Write a dataset for other tools: gallery, atlas; parquet, dr, clip-retrieval, datacomp."""
    from dfndr.console import console_progress
    from dfndr_builders.exports import Form
    from dfndr_builders.exports import export as run

    form = Form(bfloat16, legacy)
    about = {"rows": rows, "space": space, "form": form, "pictures": pictures}
    typer.echo(run(dataset, kind, out, **about, progress=console_progress()))  # type: ignore[arg-type]
