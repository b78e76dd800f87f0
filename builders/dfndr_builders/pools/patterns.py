"""Brace and glob patterns: from what a recipe says of paths, local or remote, to the paths there are."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import islice

from dfndr.errors import UsageError
from dfndr.storage import exists, file_system, is_remote

__all__ = ["expand"]

_MAX_PATHS = 1_000_000
_LOG = logging.getLogger(__name__)


def expand(pattern: str) -> list[str]:
    """Return the sorted paths that a brace and glob pattern stands for; a pattern that matches nothing gives none.

    Braces follow the shell: `{000..009}` counts with leading zeros, `{a,b}` lists. Where some of what they stand for is
    not there, the log says how many.
    """
    paths: list[str] = []
    singles = list(islice(_braces(pattern), _MAX_PATHS + 1))
    if len(singles) > _MAX_PATHS:
        expected, do = f"a pattern of at most {_MAX_PATHS:,} paths", "Check the numbers in its braces."
        raise UsageError(pattern, expected=expected, found="one that stands for more", do=do)
    absent: list[str] = []
    for single in singles:
        is_glob = any(mark in single for mark in "*?[")
        if is_remote(single):
            fs, inner = file_system(single)
            found = fs.glob(inner) if is_glob else [inner] if exists(single) else []
            paths += sorted(str(fs.unstrip_protocol(path)) for path in found)
            absent += [] if found or is_glob else [single]
        elif not is_glob:
            there = exists(single)
            paths += [single] if there else []
            absent += [] if there else [single]
        else:
            paths += sorted(glob.glob(single.removeprefix("file://"), recursive=True))  # noqa: PTH207  absolute patterns too
    if paths and absent:
        _LOG.warning("%s: %d of %d files are not there, such as %s", pattern, len(absent), len(singles), absent[0])
    return list(dict.fromkeys(paths))


def _braces(pattern: str) -> Iterator[str]:
    start = pattern.find("{")
    end = pattern.find("}", start)
    if start < 0 or end < 0:
        yield pattern
        return
    head, body, tail = pattern[:start], pattern[start + 1 : end], pattern[end + 1 :]
    choices: Iterable[str] = body.split(",")
    if counted := re.fullmatch(r"([0-9]{1,18})\.\.([0-9]{1,18})", body):
        first, last = counted.groups()
        choices = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    for choice in choices:
        yield from _braces(head + choice + tail)
