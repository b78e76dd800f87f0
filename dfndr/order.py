"""In which order rows are visited: a pure function of (seed, epoch, position), computed where it is asked for.

No permutation is ever held in memory: a row's place comes from a keyed bijection, so any slice of any epoch costs the
same, and a loader can start anywhere without replaying what came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dfndr.seeds import hash_int

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows: TypeAlias = npt.NDArray[np.int64]
    Words: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

__all__ = ["BLOCK", "RUN", "WINDOW", "Order", "Runs", "Shuffle", "draw", "permute", "share"]

Shuffle = Literal["exact", "block", "window"]

RUN = 64
"""Consecutive rows that block shuffle keeps together: copying 64 kB at a time is over twice as fast as 1 kB."""
BLOCK = 256
"""Consecutive rows that block shuffle reads near each other in time: what a disk gives in one go."""
WINDOW = 256
"""Blocks that are mixed with each other: a batch of 4,096 rows is 64 runs from about 57 of them."""


@dataclass(frozen=True)
class Runs:
    """Rows in runs of equal length: `heads` are the first rows, int64; a run may go on from the last row to row 0."""

    heads: Rows
    length: int
    ring: int

    def __len__(self) -> int:
        return len(self.heads) * self.length

    def part(self, start: int, stop: int) -> Runs:
        """Return the runs of the rows start..stop of these, as single rows where a run would be cut."""
        if start % self.length or stop % self.length:
            return self.single().part(start, stop)
        return Runs(self.heads[start // self.length : stop // self.length], self.length, self.ring)

    def single(self) -> Runs:
        """Return the same rows as runs of one."""
        return Runs(self.rows(), 1, self.ring)

    def rows(self) -> Rows:
        """Return the rows one by one, in an array of their own."""
        import numpy as np

        if self.length == 1:
            return self.heads.copy()
        rows = (self.heads[:, None] + np.arange(self.length)).reshape(-1)
        if len(rows) and self.heads.max() + self.length > self.ring:
            rows[rows >= self.ring] -= self.ring
        return rows


@dataclass(frozen=True)
class Order:
    """The order of `rows` rows in every epoch.

    "exact" is a permutation of all rows. "block" starts at another row each epoch, cuts the ring of rows into blocks
    of 256, shuffles the blocks, and shuffles the runs of 64 rows within each window of 256 blocks; the rows that fill
    no block come last, shuffled one by one. "window" is the same with the blocks left in their order, so that rows are
    mixed with the 65,536 around them alone: what a dataset that is fetched meanwhile can be read by. None keeps the
    order of the dataset.
    """

    rows: int
    shuffle: Shuffle | None
    seed: int

    def at(self, epoch: int, start: int, stop: int) -> Runs:
        """Return the rows at the positions start..stop of an epoch, as runs of RUN rows where the order has such."""
        import numpy as np

        if self.shuffle == "exact":
            heads = permute(np.arange(start, stop), self.rows, hash_int(self.seed, "order", epoch))
            return Runs(heads, 1, self.rows)
        if self.shuffle in ("block", "window"):
            return self._blocks(epoch, start, stop)
        length = RUN if (stop - start) % RUN == 0 else 1
        return Runs(np.arange(start, stop, length), length, self.rows)

    def _blocks(self, epoch: int, start: int, stop: int) -> Runs:
        import numpy as np

        rotation = hash_int(self.seed, "rotation", epoch) % max(self.rows, 1)
        whole = self.rows // BLOCK * BLOCK
        first, last = start // RUN, -(-min(stop, whole) // RUN)
        heads = self._heads(epoch, first, last) + rotation if first < last else np.empty(0, dtype=np.int64)
        heads[heads >= self.rows] -= self.rows
        runs = Runs(heads, RUN, self.rows)
        if start % RUN == 0 and stop % RUN == 0 and stop <= whole:
            return runs
        blocks = runs.rows()[start - first * RUN : max(min(stop, whole) - first * RUN, 0)]
        rest = np.arange(max(start, whole), max(stop, whole)) - whole
        rest = permute(rest, self.rows - whole, hash_int(self.seed, "rest", epoch)) + whole + rotation
        rest[rest >= self.rows] -= self.rows
        return Runs(np.concatenate([blocks, rest]), 1, self.rows)

    def _heads(self, epoch: int, first: int, last: int) -> Rows:
        """Return the first rows of the runs at the places first..last, on a ring that is not rotated."""
        import numpy as np

        blocks, per_block, per_window = self.rows // BLOCK, BLOCK // RUN, WINDOW * BLOCK // RUN
        pieces = []
        for window in range(first // per_window, -(-last // per_window)):
            begin = window * per_window
            size = min(per_window, blocks * per_block - begin)
            places = np.arange(max(first, begin), min(last, begin + size)) - begin
            pieces.append(begin + permute(places, size, hash_int(self.seed, "window", epoch, window)))
        place, within = np.divmod(np.concatenate(pieces), per_block)
        if self.shuffle == "block":
            place = permute(place, blocks, hash_int(self.seed, "blocks", epoch))
        heads: Rows = place * BLOCK + within * RUN
        return heads


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
    """Return where a keyed permutation of 0..size sends each position, int64; `size` is below 2**62.

    A Feistel network of six rounds over pairs of about sqrt(size) values each; the few results that fall outside go
    through it again until they fall inside, which keeps it a bijection ("cycle walking", Black and Rogaway 2002).
    """
    import numpy as np

    high = isqrt(max(size - 1, 0)) + 1
    low = -(-size // high)
    keys = [hash_int(key, number) for number in range(6)]
    result = _feistel(positions, high, low, keys)
    while len(outside := np.flatnonzero(result >= size)):
        result[outside] = _feistel(result[outside], high, low, keys)
    return result


def _feistel(positions: Rows, high: int, low: int, keys: Sequence[int]) -> Rows:
    import numpy as np

    word = np.uint32 if high < 2**16 else np.uint64
    quotient = positions // max(low, 1)
    left: Words = quotient.astype(word)
    right: Words = (positions - quotient * low).astype(word)
    for odd, even in zip(keys[::2], keys[1::2], strict=True):
        left += draw(right, odd, high)
        np.minimum(left, left - word(high), out=left)  # modulo high: a negative difference wraps to a large number
        right += draw(left, even, low)
        np.minimum(right, right - word(low), out=right)
    return left.astype(np.int64) * low + right.astype(np.int64)


def draw(values: Words, key: int, below: int | Rows) -> Words:
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
