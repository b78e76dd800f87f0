"""What `verify` checks of a shard's vectors: finite, not zero, of the promised length, and zeros where none belongs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dfndr.findings import What
from dfndr.format.schema import NORM_TOLERANCE, Space
from dfndr.format.storage_types import decode, scales

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bools = npt.NDArray[np.bool_]

__all__ = ["vector_findings"]

_BLOCK = 1 << 21


def vector_findings(
    stored: npt.NDArray[Any], space: Space, counts: npt.NDArray[np.int64] | None
) -> Iterator[tuple[int, What, str, str]]:
    """Yield (row, what, expected, found) for each row's defects, a block of vectors at a time.

    `stored` are the vectors as they lie in a shard's file; without `counts`, how many captions each row has, a caption
    place counts as free where it is zero.
    """
    import numpy as np

    step = max(1, _BLOCK // (space.per_row * space.dim))
    for start in range(0, len(stored), step):
        part = stored[start : start + step]
        vectors = decode(part, space.dtype).astype(np.float64)
        finite: Bools = np.asarray(np.isfinite(vectors).all(axis=2))
        norms = np.sqrt((np.where(finite[..., None], vectors, 0) ** 2).sum(axis=2))
        used = np.ones(norms.shape, dtype=bool)
        if space.modality == "caption":
            used = norms > 0 if counts is None else np.arange(space.per_row) < counts[start : start + step, None]
        for what, bad, expected in _defects(part, space, finite, norms, used):
            for row in np.flatnonzero(bad.any(axis=1)):
                place = int(np.argmax(bad[row]))
                found = f"length {norms[row, place]:.6g}" if finite[row, place] else "NaN or infinity"
                found += f" at place {place}" if space.per_row > 1 else ""
                yield start + int(row), what, expected, found


def _defects(
    stored: npt.NDArray[Any], space: Space, finite: Bools, norms: npt.NDArray[np.float64], used: Bools
) -> list[tuple[What, Bools, str]]:
    """Return each kind of defect, and which vectors have it, shape (rows, per_row)."""
    import numpy as np

    tolerance = NORM_TOLERANCE[space.dtype] if space.unit_norm else np.inf
    off = used & (norms > 0) & (np.abs(norms - 1) > tolerance)
    found: list[tuple[What, Bools, str]] = [
        ("not finite", ~finite, "finite numbers"),
        ("zero", finite & used & (norms == 0), "a vector that is not zero"),
        ("norm", finite & off, f"length 1, give or take {tolerance:.2g}"),
        ("not free", finite & ~used & stored.any(axis=2), "zeros in the places beyond the row's captions"),
    ]
    if space.dtype == "int8":
        found.append(("scale", scales(stored) < 0, "a scale that is not below zero"))
    return found
