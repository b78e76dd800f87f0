"""Sets to evaluate a model on: the WebDataset layout of CLIP_benchmark, or plain tars and folders of pairs.

In that layout (https://github.com/LAION-AI/CLIP_benchmark, "webdataset") a set is a folder with `SPLIT/nshards.txt`,
`SPLIT/0.tar` and so on, `classnames.txt` and `zeroshot_classification_templates.txt`, one a line. A sample has a
picture and `.cls`, the place of its class; or `.txt`, one caption a line, where `dataset_type.txt` says "retrieval".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dfndr import storage
from dfndr.errors import PoolError, UsageError
from dfndr_builders.pools.base import Pool
from dfndr_builders.pools.files import base_name
from dfndr_builders.pools.plain import plain_pool
from dfndr_builders.pools.templated import OPENAI_IMAGENET
from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.stage import good_rows
from dfndr_builders.zero_shot.problems import Problems
from dfndr_builders.zero_shot.prompts import DEFAULT_TEMPLATES, check_templates, named_templates

__all__ = ["CaptionedSet", "LabelledSet", "Task", "labelled_set", "open_set", "read_classnames", "read_templates"]

Task = Literal["classification", "retrieval"]
_CLASSES, _TEMPLATES, _TYPE = "classnames.txt", "zeroshot_classification_templates.txt", "dataset_type.txt"


@dataclass(frozen=True)
class LabelledSet:
    """Pictures of which each has one class; a row's text is the class's name or, if `numbered`, its place from 0."""

    name: str
    pool: Pool
    classnames: tuple[str, ...]
    templates: tuple[str, ...] = DEFAULT_TEMPLATES
    numbered: bool = False


@dataclass(frozen=True)
class CaptionedSet:
    """Pictures with captions: a row's text holds one a line; rows of one picture that follow one another are one."""

    name: str
    pool: Pool


def open_set(
    path: str,
    *,
    task: Task | None = None,
    split: str = "test",
    classnames: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
) -> LabelledSet | CaptionedSet:
    """Return the set at a folder or a pattern of tars, local or remote.

    A folder with `SPLIT/nshards.txt` tells its task, classes and templates itself; what is given goes before. Of other
    folders and tars each sample's `.txt` is its class (or, with `task` "retrieval", its captions), and the classes are
    those that occur, sorted. Raises PoolError where files are missing or do not say what they should.
    """
    name = base_name(path)
    benchmark = storage.exists(storage.join(path, split, "nshards.txt"))
    if not benchmark:
        pool = plain_pool(path)
        return CaptionedSet(name, pool) if task == "retrieval" else labelled_set(name, pool, classnames, templates)
    if (task or _told_task(path)) == "retrieval":
        return CaptionedSet(name, _tars(path, split, "txt"))
    given = classnames if classnames is not None else read_classnames(storage.join(path, _CLASSES))
    if templates is None and storage.exists(storage.join(path, _TEMPLATES)):
        templates = read_lines(storage.join(path, _TEMPLATES))
    return labelled_set(name, _tars(path, split, "cls"), given, templates, numbered=True)


def labelled_set(
    name: str,
    pool: Pool,
    classnames: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
    *,
    numbered: bool = False,
) -> LabelledSet:
    """Return a pool as a set; classes that are not given are the distinct texts of its good rows, sorted.

    Two classes of a numbered set may go by one name, as ImageNet's cranes do. Raises UsageError for less than two
    classes, for a name that comes twice where labels are names, and for a template without a place for the class.
    """
    names = tuple(classnames if classnames is not None else _distinct_texts(pool, name))
    if len(names) < 2:
        do = "Check the labels, or say --retrieval where texts are captions."
        raise UsageError(f"set {name!r}", expected="two classes or more", found=str(len(names)), do=do)
    twice = [found for found, count in Counter(names).items() if count > 1]
    if twice and not numbered:
        do = "Leave one of them out: the labels are names here, and would not tell the two apart."
        raise UsageError(f"set {name!r}", expected="each class once", found=f"{twice[0]!r} again", do=do)
    prompts = check_templates(DEFAULT_TEMPLATES if templates is None else templates, f"set {name!r}")
    return LabelledSet(name, pool, names, prompts, numbered)


def read_templates(given: str) -> tuple[str, ...]:
    """Return the templates of a name, "openai-imagenet", or of a file that has one a line."""
    return named_templates(given) if given == OPENAI_IMAGENET else check_templates(read_lines(given), given)


def _told_task(path: str) -> Task:
    place = storage.join(path, _TYPE)
    said = " ".join(read_lines(place)).lower() if storage.exists(place) else "classification"
    if said == "classification":
        return "classification"
    if said == "retrieval":
        return "retrieval"
    raise PoolError(place, expected="classification or retrieval", found=repr(said), do="No other task is evaluated.")


def _tars(path: str, split: str, text: str) -> Pool:
    """Return the pool of all tars that `nshards.txt` counts; one that is missing is an error when it is listed."""
    place = storage.join(path, split, "nshards.txt")
    said = " ".join(read_lines(place))
    if not re.fullmatch("0*[1-9][0-9]{0,5}", said, re.ASCII):
        do = "Write how many there are, from 1 to 999999."
        raise PoolError(place, expected="the number of tars", found=repr(said[:80]), do=do)
    paths = tuple(storage.join(path, split, f"{number}.tar") for number in range(int(said)))
    return WebDatasetPool(paths, text=text, source=base_name(path), license="unknown")


def read_classnames(path: str) -> list[str]:
    """Return the lines of a file; raises PoolError for a blank one before the last, since labels are line numbers."""
    lines = _lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        where, do = f"{path}, line {lines.index('') + 1}", "Name it, or take the line out where no label counts it."
        raise PoolError(where, expected="the name of a class", found="a blank line", do=do)
    return lines


def read_lines(path: str) -> list[str]:
    """Return the lines of a file that are not blank, without the white space around them."""
    return [line for line in _lines(path) if line]


def _lines(path: str) -> list[str]:
    try:
        lines = storage.read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PoolError(path, expected="UTF-8", found=str(error), do="Save it as UTF-8.") from error
    return [line.strip() for line in lines]


def _distinct_texts(pool: Pool, name: str) -> list[str]:
    texts, problems = set[str](), Problems()
    for shard in pool.shards():
        for table in pool.read(shard):
            problems.add_rows(table)
            found = table["text"].to_pylist()
            texts.update(found[row] for row in good_rows(table))
    if not texts:
        expected, do = "pictures with the names of their classes", "Check the path, and --split."
        raise PoolError(f"set {name!r}", expected=expected, found=problems.counted(), do=do)
    return sorted(texts)
