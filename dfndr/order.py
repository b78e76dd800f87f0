"""In which order rows are visited: a pure function of (seed, epoch, position), computed where it is asked for.

No permutation is ever held in memory: a row's place comes from a keyed bijection, so any slice of any epoch costs the
same, and a loader can start anywhere without replaying what came before.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dfndr.seeds import hash_int

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows: TypeAlias = npt.NDArray[np.int64]
    Words: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

__all__ = ["BLOCK", "RUN", "WINDOW", "Order", "Shuffle", "draw", "permute", "share"]

Shuffle = Literal["exact", "block"]

RUN = 8
"""Consecutive rows that block shuffle keeps together: copying 8 KB at a time is 1.4 times as fast as 1 KB."""
BLOCK = 256
"""Consecutive rows that block shuffle reads close together in time."""
WINDOW = 64
"""Blocks that are mixed with each other: a batch of 4,096 rows draws on 64 places of the dataset."""

_ROUNDS = 6


@dataclass(frozen=True)
class Order:
    """The order of `rows` rows in every epoch.

    "exact" is a permutation of all rows. "block" starts at another row each epoch, cuts the ring of rows into blocks
    of 256, shuffles the blocks, and shuffles the runs of 8 rows within each window of 64 blocks; the rows that fill no
    block come last, shuffled one by one. None keeps the order of the dataset.
    """

    rows: int
    shuffle: Shuffle | None
    seed: int

    def at(self, epoch: int, start: int, stop: int) -> Rows:
        """Return the rows at the positions start..stop of an epoch, int64."""
        import numpy as np

        if self.shuffle == "block":
            return self._blocks(epoch, start, stop)
        positions = np.arange(start, stop)
        return positions if self.shuffle is None else permute(positions, self.rows, hash_int(self.seed, "order", epoch))

    def _blocks(self, epoch: int, start: int, stop: int) -> Rows:
        import numpy as np

        whole = self.rows // BLOCK * BLOCK
        middle = min(max(start, whole), stop)
        rest = (
            permute(np.arange(middle - whole, stop - whole), self.rows - whole, hash_int(self.seed, "rest", epoch))
            + whole
        )
        first, last = start // RUN, -(-min(stop, whole) // RUN)
        runs = self._runs(epoch, first, max(first, last))
        rows = (runs[:, None] * RUN + np.arange(RUN)).reshape(-1)[start - first * RUN : min(stop, whole) - first * RUN]
        ring = np.concatenate([rows, rest])
        ring += hash_int(self.seed, "rotation", epoch) % max(self.rows, 1)
        ring[ring >= self.rows] -= self.rows
        return ring

    def _runs(self, epoch: int, first: int, last: int) -> Rows:
        """Return the runs at the places first..last, as multiples of RUN rows on the ring."""
        import numpy as np

        blocks, per_block, per_window = self.rows // BLOCK, BLOCK // RUN, WINDOW * BLOCK // RUN
        pieces = [np.empty(0, dtype=np.int64)]
        for window in range(first // per_window, -(-last // per_window)):
            begin = window * per_window
            size = min(per_window, blocks * per_block - begin)
            places = np.arange(max(first, begin), min(last, begin + size)) - begin
            pieces.append(begin + permute(places, size, hash_int(self.seed, "window", epoch, window)))
        place, within = np.divmod(np.concatenate(pieces), per_block)
        return permute(place, blocks, hash_int(self.seed, "blocks", epoch)) * per_block + within


def share(left: int, *, batch_size: int, rank: int, world_size: int, drop_last: bool) -> tuple[int, int, int] | None:
    """Return a rank's part of the next step when `left` rows of the epoch are left: (first, last, rows of all ranks).

    `first` and `last` count from the step's own first row. A whole step gives each rank `batch_size` rows; what is left
    at the end is dropped, or split so that no rank has two rows more than another. None says that the epoch is over.
    """
    if left >= batch_size * world_size:
        return rank * batch_size, (rank + 1) * batch_size, batch_size * world_size
    if left == 0 or drop_last:
        return None
    each, more = divmod(left, world_size)
    first = rank * each + min(rank, more)
    return first, first + each + (rank < more), left


def permute(positions: Rows, size: int, key: int) -> Rows:
    """Return where a keyed permutation of 0..size sends each position, int64; position and size below 2**60.

    A Feistel network over pairs (left, right) of about sqrt(size) values each; the few results that fall outside are
    sent through it again until they fall inside, which keeps it a bijection ("cycle walking", Black and Rogaway 2002).
    """
    import numpy as np

    if not len(positions):
        return positions.astype(np.int64)
    high = isqrt(size - 1) + 1
    low = -(-size // high)
    word = np.uint32 if high < 2**16 else np.uint64
    quotient = positions // low
    left: Words = quotient.astype(word)
    right: Words = (positions - quotient * low).astype(word)
    for number in range(0, _ROUNDS, 2):
        left += draw(right, hash_int(key, number), high)
        np.minimum(left, left - word(high), out=left)  # modulo high: a negative difference wraps to a large number
        right += draw(left, hash_int(key, number + 1), low)
        np.minimum(right, right - word(low), out=right)
    result: Rows = left.astype(np.int64) * low + right.astype(np.int64)
    outside = np.flatnonzero(result >= size)
    if len(outside):
        result[outside] = permute(result[outside], size, key)
    return result


def draw(values: Words, key: int, below: int | Words) -> Words:
    """Return a number in 0..below for each value, a keyed hash of it, in the values' own type, uint32 or uint64.

    The mixing is the finaliser of MurmurHash3 (Appleby 2011); its upper half is scaled to the range, so `below` is at
    most 2**16 for uint32 and 2**32 for uint64.
    """
    import numpy as np

    small = values.dtype == np.uint32
    word = np.uint32 if small else np.uint64
    half, shift = (16, 13) if small else (32, 33)
    first, second = (0x85EBCA6B, 0xC2B2AE35) if small else (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
    mixed = values + word(key % 2 ** (2 * half))
    mixed *= word(first)
    mixed ^= mixed >> word(shift)
    mixed *= word(second)
    mixed >>= word(half)
    mixed *= np.asarray(below, dtype=word)
    mixed >>= word(half)
    return mixed
