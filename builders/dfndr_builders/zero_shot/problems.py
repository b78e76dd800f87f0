"""The samples of a set that could not be used, by reason and by name."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

__all__ = ["Problems", "in_words"]

_SHOWN = 3


class Problems:
    """Collects reasons and keys."""

    def __init__(self) -> None:
        self._keys: dict[str, list[str]] = {}

    def add(self, reason: str, key: str) -> None:
        """Add a sample."""
        self._keys.setdefault(reason, []).append(key)

    def add_rows(self, table: pa.Table) -> None:
        """Add the rows of a pool's table that have a problem."""
        for key, reason in zip(table["key"].to_pylist(), table["problem"].to_pylist(), strict=True):
            if reason is not None:
                self.add(reason, key)

    def named(self) -> dict[str, tuple[str, ...]]:
        """Return the keys by reason, reasons sorted."""
        return {reason: tuple(keys) for reason, keys in sorted(self._keys.items())}

    def counted(self) -> str:
        """Return the reasons with their counts in words."""
        return ", ".join(f"{reason} {len(keys):,}" for reason, keys in self.named().items()) or "no sample at all"


def in_words(problems: Mapping[str, tuple[str, ...]]) -> str:
    """Return a line for each reason, with the first keys; "" where there is none."""
    lines = []
    for reason, keys in problems.items():
        more = ", ..." if len(keys) > _SHOWN else ""
        lines.append(f"\n  left out: {len(keys):,} {reason} ({', '.join(keys[:_SHOWN])}{more})")
    return "".join(lines)
