"""The verbs of the write side, registered on the one command `dfndr`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dfndr_builders.building import build
from dfndr_builders.evaluation import eval_clip, eval_filter, train_clip
from dfndr_builders.interchange import export, import_
from dfndr_builders.options import AsJson, DatasetPath, Device, Out, RecipePath
from dfndr_builders.scorer_training import train_image_classifier, train_m3ae, train_text_quality
from dfndr_builders.student_training import train_student

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(quickstart)
    app.command()(plan)
    app.command()(build)
    app.command("import")(import_)
    app.command()(select)
    app.command()(report)
    app.command("train-dfn")(train_dfn)
    app.command("train-text-quality")(train_text_quality)
    app.command("train-image-classifier")(train_image_classifier)
    app.command("train-m3ae")(train_m3ae)
    app.command("train-clip")(train_clip)
    app.command("train-student")(train_student)
    app.command("eval-clip")(eval_clip)
    app.command("eval-filter")(eval_filter)
    app.command()(card)
    app.command()(publish)
    app.command()(export)
    app.command()(remove)
    app.command()(compact)


def quickstart(out: Out = "quickstart", device: Device = "auto") -> None:
    """Run the whole job on the built-in pool, offline: train a filter, build, verify, train a head, search, draw."""
    from dfndr.console import console_progress
    from dfndr_builders.quickstart import quickstart as run

    typer.echo(run(out, device=device, progress=console_progress()))


def plan(
    recipe: RecipePath,
    probe: Annotated[bool, typer.Option("--probe", help="Measure this machine at it, for about a minute.")] = False,
    rows: Annotated[int | None, typer.Option(min=1, help="Reckon with so many rows of the pool.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Reckon with so many machines or GPUs like this.")] = 1,
    device: Device = "auto",
    out: Annotated[
        str | None, typer.Option(help="Keep it in the folder that will be built into, for the report.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a build would do and take: phases, pools, models, rows, disk, GPU hours; no model is loaded."""
    from dfndr.console import console_progress
    from dfndr_builders.estimate.reckoning import Asked
    from dfndr_builders.plan import keep
    from dfndr_builders.plan import plan as make

    made = make(recipe, Asked(rows, workers, probe, device), progress=console_progress())
    if out is not None:
        keep(made, out)
    typer.echo(json.dumps(made.to_json(), indent=1) if as_json else str(made))


def _print_presets(asked: bool) -> None:
    if asked:
        from dfndr_builders.dfn.cost import preset_table

        typer.echo(preset_table())
        raise typer.Exit


def train_dfn(
    recipe: RecipePath,
    out: Out,
    device: Device = "auto",
    processes: Annotated[int, typer.Option(min=1, help="Processes that share each batch: one for each GPU.")] = 1,
    presets: Annotated[
        bool,
        typer.Option(
            "--presets", is_eager=True, callback=_print_presets, help="List the presets and what they would cost."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train the filter of a recipe's [dfn] section into a folder that local-dir: loads; run it again to go on."""
    from dfndr.console import console_progress
    from dfndr_builders.dfn.train import train_filter_model as train
    from dfndr_builders.opened import open_filter
    from dfndr_builders.recipe_file import read_recipe

    training = open_filter(read_recipe(recipe)[0], recipe.resolve().parent, device)
    work = out.rstrip("/") + ".work"
    trained = train(training, out, work=work, processes=processes, progress=console_progress())
    if as_json:
        typer.echo(json.dumps(trained.to_json(), indent=1))
        return
    kept = f"; alpha {trained.averaging['alpha']} of the averages" if trained.averaging else ""
    about = f"{out}: trained on {trained.result.samples:,} pairs, {trained.samples_seen:,} seen{kept}"
    typer.echo(f"{about}; use it as local-dir:{out}")


def select(
    dataset: DatasetPath,
    recipe: Annotated[
        Path | None, typer.Option(help="Select by this recipe; by the one the dataset was built by if not given.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Select by another score of the recipe.")] = None,
    top_fraction: Annotated[float | None, typer.Option(help="Keep this share, the best first.", min=0, max=1)] = None,
    threshold: Annotated[float | None, typer.Option(help="Keep what scores this or more.")] = None,
    count: Annotated[int | None, typer.Option(help="Keep so many, the best first.", min=1)] = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="One more rule, a default one or such as 'words below 3'; may come again.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave a rule of the recipe out, by its name; may come again.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    out: Annotated[
        str | None, typer.Option(help="Write the uids that are kept: .txt, .parquet, or .npy (a DataComp subset).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try another selection on the scores of a build: what would change, without a model; or a list of uids."""
    from dfndr.errors import UsageError
    from dfndr.format.uid import pack_uids
    from dfndr_builders.trial import Changes, try_selection
    from dfndr_builders.uid_lists import write_uids

    if dry_run == (out is not None):
        do = "Give one; to make a dataset of it, change the recipe and build it with --replace."
        raise UsageError("select", expected="--dry-run or --out", found="both" if dry_run else "neither", do=do)
    changes = Changes(by, top_fraction, threshold, count, tuple(rule or ()), tuple(without or ()))
    tried = try_selection(dataset, changes, recipe=recipe)
    if out is not None:
        write_uids(out, pack_uids(tried.uids.to_pylist(), out))
        typer.echo(f"{out}: the uids of {len(tried.uids):,} rows", err=True)
    typer.echo(json.dumps(tried.to_json(), indent=1, ensure_ascii=False) if as_json else str(tried))


def report(
    dataset: DatasetPath,
    out: Annotated[str | None, typer.Option(help="The page; <name>-report.html here if not given.")] = None,
) -> None:
    """Write one HTML page on what a build did: the funnel, scores, samples around the cut, duplicates, timings."""
    from dfndr_builders.report.write import report as write

    typer.echo(write(dataset, out=out))


Evaluations = Annotated[
    list[str] | None,
    typer.Option(
        "--evaluation", metavar="FILE", help="Figures for the card: what eval --json printed; may come again."
    ),
]


def card(
    dataset: DatasetPath,
    evaluation: Evaluations = None,
) -> None:
    """Print a dataset's card, from its manifest; as README.md in its folder it is what the Hub shows."""
    from dfndr.format.manifest import read_manifest
    from dfndr_builders.card import About, read_evaluations
    from dfndr_builders.card import card as make

    manifest = read_manifest(dataset)
    typer.echo(make(manifest, About(evaluations=read_evaluations(evaluation or [], manifest))))


def publish(
    dataset: DatasetPath,
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="Where to at the Hub: me/my-dataset.")],
    public: Annotated[bool, typer.Option("--public", help="Open it to all once every file was compared.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it all and list the files; send nothing.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of what else is there.")] = False,
    accept_license: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME: REASON", help="Publish in spite of a source's, model's or licence's problem."),
    ] = None,
    tombstones: Annotated[
        bool, typer.Option("--tombstones", help="Publish files that still hold rows that were removed.")
    ] = False,
    evaluation: Evaluations = None,
    as_json: AsJson = False,
) -> None:
    """Publish a dataset to the Hugging Face Hub, private unless told; run it again to go on where it stopped."""
    from dfndr.console import console_progress
    from dfndr_builders.licenses import parse_accepted
    from dfndr_builders.publish import prepare
    from dfndr_builders.publish import publish as run

    accepted = [parse_accepted(given) for given in accept_license or []]
    prepared = prepare(dataset, repo_id, accepted=accepted, tombstones=tombstones, evaluations=evaluation or [])
    if dry_run:
        typer.echo(json.dumps(prepared.to_json(), indent=1) if as_json else prepared)
        return
    done = run(prepared, public=public, replace=replace, progress=console_progress())
    told = (
        f"{done.url}: {done.uploaded:,} files uploaded, {done.present:,} were there; all compared; digest {done.digest}"
    )
    typer.echo(json.dumps(asdict(done), indent=1) if as_json else told)


def remove(
    dataset: DatasetPath,
    uids: Annotated[str, typer.Option(metavar="FILE", help="The uids, one on each line; or .parquet, or .npy.")],
    reason: Annotated[str, typer.Option(help="Why; it goes into the log, which is published. Name nobody.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take rows out of a dataset: no reader shows them any more; files hold them until it is compacted."""
    from dfndr.format.uid import unpack_uids
    from dfndr_builders.removing import remove as run
    from dfndr_builders.uid_lists import read_uids

    done = run(dataset, unpack_uids(read_uids(uids)).tolist(), reason=reason)
    typer.echo(json.dumps(done.to_json(), indent=1) if as_json else done)


def compact(
    dataset: DatasetPath,
    phases: Annotated[bool, typer.Option("--phases", help="Delete phases/ too: texts of the whole pool.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the shards that rows were removed from again without them, so that no file holds them any more."""
    from dfndr.console import console_progress
    from dfndr_builders.removing import compact as run

    done = run(dataset, phases=phases, progress=console_progress())
    typer.echo(json.dumps(done.to_json(), indent=1) if as_json else done)
