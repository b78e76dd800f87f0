"""The verbs that train what a score needs, each from its section of a recipe."""

from __future__ import annotations

import json

import typer

from dfndr_builders.options import AsJson, Device, Out, RecipePath

__all__ = ["train_image_classifier", "train_m3ae", "train_text_quality"]


def train_text_quality(recipe: RecipePath, out: Out, as_json: AsJson = False) -> None:
    """Train the text-quality classifier of a recipe's [text_quality] section into a folder that a score can name."""
    _train(recipe, "text_quality", out, "cpu", as_json)


def train_image_classifier(recipe: RecipePath, out: Out, device: Device = "auto", as_json: AsJson = False) -> None:
    """Train the image classifier of a recipe's [image_classifier] section into a folder that a score can name."""
    _train(recipe, "image_classifier", out, device, as_json)


def train_m3ae(recipe: RecipePath, out: Out, device: Device = "auto", as_json: AsJson = False) -> None:
    """Train the masked autoencoder of a recipe's [m3ae] section into a folder that a score can name."""
    _train(recipe, "m3ae", out, device, as_json)


def _train(recipe: RecipePath, key: str, out: str, device: str, as_json: bool) -> None:
    from dfndr.console import console_progress
    from dfndr_builders.recipe_file import read_recipe
    from dfndr_builders.site import train_section

    folder = recipe.resolve().parent
    done = train_section(read_recipe(recipe)[0], key, folder, out, device=device, progress=console_progress())
    typer.echo(json.dumps(done.record, indent=1) if as_json else f'{done.said}; use it as weights = "{out}"')
