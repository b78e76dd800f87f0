"""A measurement of retrieval as a file that others can read: of which dataset, by which command, with which versions.

No machine's paths are in it: the dataset goes by its name and digest, a head by its folder's own name.
"""

from __future__ import annotations

import os
import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dfndr.format.manifest import Manifest
from dfndr.heads.retrieval import Comparison

__all__ = ["reported"]


def reported(
    found: Comparison, manifest: Manifest, *, split: str, head: str | os.PathLike[str] | None = None
) -> dict[str, object]:
    """Return the JSON object that `dfndr eval --json` prints, which a card takes; `head` is the folder of one."""
    words = ["dfndr", "eval", manifest.name]
    words += [] if head is None else ["--head", Path(head).resolve().name]
    words += ["--image", found.image, "--text", found.text, "--split", split, "--json"]
    about = {"dataset": manifest.digest, "command": shlex.join(words), "versions": _versions(), "split": split}
    return {**about, **found.to_json()}


def _versions() -> dict[str, str]:
    found = {}
    for package in ("dfndr", "numpy", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
