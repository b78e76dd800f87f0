"""The command `dfndr` with the verbs of both sides, to be looked at and run within a test."""

from __future__ import annotations

import functools
from typing import Any

import typer
from dfndr_builders.cli import register
from typer.testing import CliRunner, Result

from dfndr.cli import app


@functools.cache
def application() -> typer.Typer:
    """Return an app with all verbs; that of `dfndr.cli` stays as it is."""
    whole = typer.Typer()
    whole.registered_commands = list(app.registered_commands)
    register(whole)
    return whole


@functools.cache
def verbs() -> dict[str, Any]:
    """Return every verb's click command by name."""
    commands: dict[str, Any] = typer.main.get_command(application()).commands  # type: ignore[attr-defined]
    return commands


def parsed(words: list[str]) -> dict[str, Any]:
    """Return what a verb's parameters would be; raises click's UsageError for what does not parse. Nothing is run."""
    verb, *arguments = words
    found: dict[str, Any] = verbs()[verb].make_context(verb, arguments).params
    return found


def run(words: list[str]) -> Result:
    """Run a verb in this process."""
    return CliRunner().invoke(application(), words)
