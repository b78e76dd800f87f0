"""Drawing views: the parameters alone, from what is known of a picture; no picture is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from dfndr.views.sampling import Sampler
from dfndr_builders.stage import Step, good_rows, require

__all__ = ["VIEWS", "DrawViews"]

VIEWS = pa.field("views", pa.list_(pa.string()))


@dataclass(frozen=True)
class DrawViews:
    """Add `views`: for each view of the picture its parameters, as `param_aug` has them; null in a row with a problem.

    They depend on the seed, the uid, the view's number, and the picture's width and height.
    """

    is_light: ClassVar[bool] = True

    sampler: Sampler
    seed: int

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the column of views."""
        require("views", given, {"uid": pa.string(), "width": pa.int32(), "height": pa.int32()})
        return given.append(VIEWS)

    def open(self) -> Step:
        """Nothing to load."""
        return self._step

    def _step(self, table: pa.Table) -> pa.Table:
        drawn: list[list[str] | None] = [None] * len(table)
        uids, widths, heights = (table[name].to_pylist() for name in ("uid", "width", "height"))
        for row in good_rows(table):
            views = self.sampler.views(self.seed, uids[row], (widths[row], heights[row]))
            drawn[row] = [view.to_json() for view in views]
        return table.append_column(VIEWS, pa.array(drawn, VIEWS.type))
