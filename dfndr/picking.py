"""Which of a row's several vectors a batch has: drawn once for all spaces of a modality, so that teachers agree.

View j of a row stands at place j of every image space, caption j at place j of every caption space. A draw is a pure
function of (seed, epoch, row, what is drawn), whoever asks for it and in whatever batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from dfndr.format.schema import Modality, Space
from dfndr.order import draw
from dfndr.seeds import hash_int

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows: TypeAlias = npt.NDArray[np.int64]
    Used: TypeAlias = npt.NDArray[np.bool_]

__all__ = ["Draws", "Pick"]

Pick = Literal["random", "first", "all"]


@dataclass(frozen=True, eq=False)
class Draws:
    """What chance decides for the rows of a batch; a row's key is its number, and another one where it comes again."""

    seed: int
    epoch: int
    keys: Rows

    def drawn(self, what: str, below: int | Rows) -> Rows:
        """Return a whole number from 0 to below `below` for each row, int64; another `what` gives other numbers."""
        import numpy as np

        key = hash_int(self.seed, "pick", self.epoch, what)
        found: Rows = draw(self.keys.astype(np.uint64), key, below).astype(np.int64)
        return found

    def places(
        self,
        spaces: Sequence[Space],
        used: Callable[[Space], Used],
        *,
        pick: Pick,
        most: Mapping[Modality, int] | None = None,
    ) -> dict[str, Rows]:
        """Return which place each row gives, of each space that has several per row; of none where all are given.

        `used` says which places of a caption space hold a vector, shape (rows, per_row). What is picked is used in all
        caption spaces; a row without such a place gives the first. `most` has it pick among so many first places.
        """
        import numpy as np

        found: dict[str, Rows] = {}
        for modality in dict.fromkeys(space.modality for space in spaces):
            several = [space for space in spaces if space.modality == modality and space.per_row > 1]
            if pick == "all" or not several:
                continue
            width = min([space.per_row for space in several] + [(most or {}).get(modality, several[0].per_row)])
            there = np.ones((len(self.keys), width), dtype=bool)
            for space in several if modality == "caption" else ():
                there &= used(space)[:, :width]
            drawn = np.zeros(len(self.keys), dtype=np.int64)
            if pick == "random":
                drawn = self.drawn(modality, np.maximum(there.sum(axis=1), 1))
            places: Rows = np.argmax(there.cumsum(axis=1) > drawn[:, None], axis=1)
            found |= {space.name: places for space in several}
        return found
