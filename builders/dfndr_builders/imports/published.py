"""The encoders of published sets, as their cards name them; the scales are those that a student is taught with."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dfndr.errors import UsageError
from dfndr_builders.imports.layout import Teacher

__all__ = ["TEACHERS", "parse_teacher"]

_WORDS = re.compile(r"(.*?)(?::(\d+)(?::(\d+(?:\.\d+)?))?)?")

TEACHERS: Mapping[str, tuple[Teacher, ...]] = {
    "datacompdr": (
        Teacher("openai-vit-l-14", "ViT-L-14", "openai", 768, 100.0, "MIT"),
        Teacher("datacomp-xl-vit-l-14", "ViT-L-14", "datacomp_xl_s13b_b90k", 768, 100.0, "MIT"),
    ),
    "dfndr": (
        Teacher("dfn2b-vit-l-14", "", "hf-hub:apple/DFN2B-CLIP-ViT-L-14", 768, 70.0, "apple-amlr"),
        Teacher("dfn2b-vit-l-14-39b", "", "hf-hub:apple/DFN2B-CLIP-ViT-L-14-39B", 768, 60.0, "apple-amlr"),
    ),
}
"""By the name of the family: in the order in which a row holds their vectors."""


def parse_teacher(given: str) -> Teacher:
    """Return an encoder from words such as `vit-b-32=ViT-B-32/laion2b_s34b_b79k`.

    What stands behind the name is the model, a slash and its weights, or weights that bring their model
    (`hf-hub:org/name`); then its dim (`...:512`), and what a student multiplies its similarities by (`...:512:70`).
    Raises UsageError for other words.
    """
    name, equals, rest = given.partition("=")
    words = _WORDS.fullmatch(rest)
    place, dim, scale = words.groups() if words else ("", None, None)
    model, slash, weights = ("", "/", place) if place.startswith("hf-hub:") else place.partition("/")
    if not (name and equals and slash and weights):
        expected = "NAME=MODEL/WEIGHTS or NAME=hf-hub:ORG/NAME, then :DIM where several lie in one row, then :SCALE"
        raise UsageError("--encoder", expected=expected, found=repr(given), do="Say which model gave the vectors.")
    return Teacher(name, model, weights, int(dim or 0), None if scale is None else float(scale))
