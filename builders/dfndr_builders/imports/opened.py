"""From the name of a layout to the layout, once what is said of its encoders fits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dfndr.errors import UsageError
from dfndr.format.schema import NAME
from dfndr_builders.imports.clip_retrieval import ClipRetrieval
from dfndr_builders.imports.dr import Reinforced
from dfndr_builders.imports.layout import Dtype, Layout, Teacher

__all__ = ["open_layout"]


def open_layout(
    kind: Literal["clip-retrieval", "dr"],
    path: str,
    teachers: Sequence[Teacher],
    *,
    dtype: Dtype = "float16",
    unit_norm: bool = True,
    source: str | None = None,
    license: str | None = None,
) -> Layout:
    """Return the layout; raises UsageError where the encoders do not fit its kind. No vector is read."""
    names = [teacher.name for teacher in teachers]
    odd = [name for name in names if not NAME.fullmatch(name)]
    if odd or len(set(names)) != len(names):
        found = f"{odd[0]!r}" if odd else f"one of {names} twice"
        do = "Use lower-case letters, digits, '.', '_' and '-'."
        raise UsageError("--encoder", expected="names of their own", found=found, do=do)
    about = {"dtype": dtype, "unit_norm": unit_norm, "source": source, "license": license}
    if kind == "clip-retrieval":
        if len(teachers) != 1:
            do = "Say which model it was run with: --encoder vit-b-32=ViT-B-32/laion2b_s34b_b79k"
            raise UsageError("--encoder", expected="one encoder", found=str(len(teachers)), do=do)
        return ClipRetrieval(path, teachers[0], **about)  # type: ignore[arg-type]
    if not teachers or not all(teacher.dim for teacher in teachers):
        do = "Name each in the order of its numbers (a=MODEL/WEIGHTS:768), or a published set: --teachers dfndr"
        found = f"dims {[teacher.dim for teacher in teachers]}" if teachers else "none"
        raise UsageError("--encoder", expected="encoders with their dims", found=found, do=do)
    return Reinforced(path, tuple(teachers), **about)  # type: ignore[arg-type]
