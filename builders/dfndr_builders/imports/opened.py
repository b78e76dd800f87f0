"""From the name of a layout to the layout, once what is said of its encoders fits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dfndr import storage
from dfndr.errors import PoolError, UsageError
from dfndr.format.schema import NAME, StorageType
from dfndr_builders.imports.clip_retrieval import ClipRetrieval
from dfndr_builders.imports.datacomp import DataComp
from dfndr_builders.imports.dr import Reinforced
from dfndr_builders.imports.layout import Layout, Promised, Teacher
from dfndr_builders.imports.parquet import ParquetRows
from dfndr_builders.imports.records import Imported
from dfndr_builders.layout_file import LayoutFile, read_layout
from dfndr_builders.pools.patterns import expand

__all__ = ["Kind", "open_import", "open_layout"]

Kind = Literal["clip-retrieval", "dr", "datacomp", "parquet"]


def _layout_beside(kind: Kind, path: str) -> LayoutFile | None:
    """Return what an export of dfndr's says beside its files; None where another tool wrote them."""
    is_pattern = kind == "dr" or path.endswith(".parquet") or not storage.exists(path)
    return read_layout(path.rpartition("/")[0] if is_pattern else path, kind)


def _teachers_of(layout: LayoutFile) -> tuple[Teacher, ...]:
    """Return the encoders of an export, in the order in which their vectors lie."""
    dims = {space.encoder: space.dim for space in layout.spaces}
    return tuple(
        Teacher(name, record.model, record.pretrained, dims[name], license=record.license, record=record)
        for name, record in layout.encoders.items()
        if name in dims
    )


def open_import(
    kind: Kind,
    path: str,
    teachers: Sequence[Teacher] = (),
    *,
    name: str | None = None,
    license: str | None = None,
    dtype: StorageType | None = None,
    unit_norm: bool = True,
    source: str | None = None,
) -> tuple[Layout, Imported]:
    """Return the layout of files, and what they do not say: given here, or by the export of dfndr's that wrote them.

    Encoders that are given are believed, and the export is passed over. Raises UsageError where nothing says it, and
    PoolError where there are no files.
    """
    if not expand(path):
        do = "Check the path, the braces and the globs in it."
        raise PoolError(path, expected=f"files of {kind}", found="none", do=do)
    found = None if teachers else _layout_beside(kind, path)
    if found is not None:
        given, own = Imported(name or found.name, license or found.license, _teachers_of(found)), None
    elif name and license:
        given, own = Imported(name, license, tuple(teachers)), license
    else:
        option = "--license" if name else "--name"
        do = "Give it: only what dfndr exported says it by itself."
        raise UsageError(option, expected="a name and a licence of the dataset", found="none", do=do)
    layout = open_layout(
        kind, path, given.teachers, dtype=dtype, unit_norm=unit_norm, source=source, license=own, layout=found
    )
    return layout, given


def open_layout(
    kind: Kind,
    path: str,
    teachers: Sequence[Teacher],
    *,
    dtype: StorageType | None = None,
    unit_norm: bool = True,
    source: str | None = None,
    license: str | None = None,
    layout: LayoutFile | None = None,
) -> Layout:
    """Return the layout; raises UsageError where the encoders do not fit its kind. No vector is read.

    `layout` is what an export of dfndr's said, where it is one: then `teachers` are those of it.
    """
    names = [teacher.name for teacher in teachers]
    odd = [name for name in names if not NAME.fullmatch(name)]
    if odd or len(set(names)) != len(names):
        found = f"{odd[0]!r}" if odd else f"one of {names} twice"
        do = "Use lower-case letters, digits, '.', '_' and '-'."
        raise UsageError("--encoder", expected="names of their own", found=found, do=do)
    spaces = {} if layout is None else {space.name: space for space in layout.spaces}
    promised = Promised(dtype, unit_norm, spaces)
    about = (promised, source, license, layout)
    if kind == "parquet":
        return ParquetRows(path, tuple(teachers), *about)
    if kind == "datacomp":
        return DataComp(path, tuple(teachers), *about)
    if kind == "clip-retrieval":
        if len(teachers) != 1:
            do = "Say which model it was run with: --encoder vit-b-32=ViT-B-32/laion2b_s34b_b79k"
            raise UsageError("--encoder", expected="one encoder", found=str(len(teachers)), do=do)
        return ClipRetrieval(path, teachers[0], *about)
    if not teachers or not all(teacher.dim for teacher in teachers):
        do = "Name each in the order of its numbers (a=MODEL/WEIGHTS:768), or a published set: --teachers dfndr"
        found = f"dims {[teacher.dim for teacher in teachers]}" if teachers else "none"
        raise UsageError("--encoder", expected="encoders with their dims", found=found, do=do)
    return Reinforced(path, tuple(teachers), *about)
