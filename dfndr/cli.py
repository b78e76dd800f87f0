"""The command `dfndr`: the verbs of the read side, and those that installed packages add through an entry point.

Exit status: 0 fine, 1 the data is wrong, 2 the command is wrong. `--json` output goes to stdout alone.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import entry_points
from typing import Annotated, Literal

import typer

from dfndr import __version__
from dfndr.errors import DfndrError, UsageError
from dfndr.head_verbs import AsJson, DatasetPath, export_head, train_head, train_scorer

__all__ = ["app", "main"]

app = typer.Typer(
    name="dfndr",
    help="From a pool of image-text pairs to a small, clean, reinforced dataset with its embeddings already computed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_INTERRUPTED = 130


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dfndr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def info(dataset: DatasetPath, as_json: AsJson = False) -> None:
    """Show a dataset's funnel, spaces, sizes and provenance."""
    from dfndr.describe import describe, facts
    from dfndr.format.manifest import read_manifest

    manifest = read_manifest(dataset)
    typer.echo(json.dumps(facts(manifest), indent=1) if as_json else describe(manifest))


@app.command()
def verify(dataset: DatasetPath, as_json: AsJson = False) -> None:
    """Check every file and every row of a dataset; exit 1 and name what is wrong."""
    from dfndr.console import console_progress
    from dfndr.verify import verify as check

    report = check(dataset, progress=console_progress())
    typer.echo(json.dumps(report.to_json(), indent=1) if as_json else str(report))
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def search(
    dataset: DatasetPath,
    text: Annotated[str | None, typer.Argument(help="Words to search by.")] = None,
    image: Annotated[str | None, typer.Option(help="Search by an image file.")] = None,
    uid: Annotated[str | None, typer.Option(help="Search by a sample of the dataset.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours.")] = 10,
    space: Annotated[str | None, typer.Option(help="The space to search in; the first image space by default.")] = None,
    index: Annotated[
        str | None, typer.Option(help="Load the index saved here, or save it here where there is none.")
    ] = None,
    kind: Annotated[
        Literal["auto", "exact", "ivf", "ivfpq", "hnsw"], typer.Option(help="What kind of index to build.")
    ] = "auto",
    max_memory_mb: Annotated[
        float | None, typer.Option(help="What the index may hold beside mapped files; chooses the kind.")
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="How long one query may take (median, measured); chooses the kind.")
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Where the encoder's weights are, if not where recorded.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Find the nearest samples to words, to an image, or to a sample."""
    from dfndr.console import console_progress
    from dfndr.dataset import open_dataset
    from dfndr.describe import printable
    from dfndr.nearest import nearest, opened_index
    from dfndr.progress import SILENT

    if sum(query is not None for query in (text, image, uid)) != 1:
        given = "none" if text is None and image is None and uid is None else "more than one"
        raise UsageError("search", expected="one of TEXT, --image and --uid", found=given, do="Give just one.")
    opened = open_dataset(dataset, progress=console_progress())
    # One search alone is done sooner by looking at every vector than by making an index of them.
    alone = index is None and kind == "auto" and max_memory_mb is None and max_latency_ms is None
    ready = opened_index(
        opened,
        space,
        index,
        kind="exact" if alone else kind,
        max_memory=None if max_memory_mb is None else round(max_memory_mb * 1e6),
        max_latency_ms=max_latency_ms,
        progress=SILENT if alone else console_progress(),
    )
    if ready.measured is not None:
        typer.echo(f"{ready!r}: of a sample's ten nearest it finds {ready.recall_at_10:.1%}", err=True)
    found = nearest(
        opened,
        ready,
        text=text,
        image=image,
        uid=uid,
        k=k,
        pretrained=pretrained,
        device=device,
    )
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for place, row in enumerate(found, 1):
        typer.echo(f"{place:>3}  {row['score']:.4f}  {row['uid']}  {printable(str(row['text']))}")


app.command("train-head")(train_head)
app.command("train-scorer")(train_scorer)
app.command("export-head")(export_head)


@app.command("eval")
def evaluate(
    dataset: DatasetPath,
    head: Annotated[str | None, typer.Option(help="A trained head, to compare with the cached vectors.")] = None,
    image: Annotated[str | None, typer.Option(help="The image space; the first one by default.")] = None,
    text: Annotated[str | None, typer.Option(help="The text space; that of the same encoder by default.")] = None,
    split: Annotated[str, typer.Option(help="train or validation.")] = "validation",
    as_json: AsJson = False,
) -> None:
    """Measure retrieval R@1, R@5 and R@10 in both directions on cached vectors, before and after a head."""
    from dfndr.console import console_progress
    from dfndr.dataset import open_dataset
    from dfndr.heads.evaluate import compare
    from dfndr.heads.reported import reported

    opened = open_dataset(dataset, progress=console_progress())
    result = compare(opened, head, image=image, text=text, split=split)
    said = reported(result, opened.manifest, split=split, head=head)
    typer.echo(json.dumps(said, indent=1) if as_json else str(result))


@app.command()
def explore(
    dataset: DatasetPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")] = 8600,
    index: Annotated[
        str | None, typer.Option(help="A folder that indexes are kept in, one for each space, and loaded from.")
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Where the encoder's weights are, if not where recorded.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Look at a dataset in the browser: search, neighbours, scores, filters, flags; on this machine alone."""
    from dfndr.console import console_progress
    from dfndr.dataset import open_dataset
    from dfndr.explore.pooled import find_of
    from dfndr.explore.queries import Explorer
    from dfndr.explore.server import create_app, listen, serve

    opened = listen(port)
    looked_at = open_dataset(dataset, progress=console_progress())
    explorer = Explorer(looked_at, index=index, pretrained=pretrained, device=device, find=find_of(looked_at))
    page = create_app(explorer)
    url = f"http://127.0.0.1:{opened.getsockname()[1]}/"
    typer.echo(f"{explorer.dataset.manifest.name} is at {url} (Ctrl-C ends)")
    serve(page, opened, then=explorer.prepare, show=url if open_page else None)


def _add_verbs() -> None:
    for entry in entry_points(group="dfndr.verbs"):
        entry.load()(app)
    for verb in app.registered_commands:  # told whole in the list of verbs: typer would cut it off at one line
        verb.short_help = (verb.callback.__doc__ or "").partition("\n\n")[0]


def main() -> None:
    """Run the command line; every error of ours is one line on stderr, never a traceback."""
    # On a busy machine, threads that spin while they wait for each other take the core from those that work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _add_verbs()
        app()
    except DfndrError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != _INTERRUPTED:  # what typer makes of Ctrl-C
            raise
        typer.echo("stopped; run the same command again to go on where it stopped", err=True)
        sys.exit(_INTERRUPTED)
    except Exception as error:
        # A fault of ours: still one line for whoever only wants to know, and the whole story for whoever asks.
        if os.environ.get("DFNDR_DEBUG"):
            raise
        typer.echo(
            f"error: unexpected {type(error).__name__}: {error}. Please report it, with DFNDR_DEBUG=1.", err=True
        )
        sys.exit(1)
