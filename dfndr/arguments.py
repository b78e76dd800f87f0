"""Arguments of a loader, checked."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from dfndr.errors import MissingExtra, UsageError

__all__ = ["check_choice", "check_count", "different_names", "takes_torch"]


def different_names(where: str, given: Sequence[str]) -> list[str]:
    """Check that a list of names is one: not a lone string, and nothing named twice."""
    if isinstance(given, str) or len(set(given)) != len(given):
        raise UsageError(where, expected="a list of different names", found=repr(given), do="Pass a list.")
    return list(given)


def check_choice(where: str, given: object, choices: Sequence[object]) -> None:
    """Raise UsageError for what is none of the choices."""
    if given not in choices:
        raise UsageError(where, expected=f"one of {list(choices)}", found=repr(given), do="Pass one of them.")


def check_count(where: str, given: object, least: int, below: int | None = None) -> None:
    """Raise UsageError for what is no whole number, or one outside of `least` to below `below`."""
    if not isinstance(given, int) or isinstance(given, bool) or given < least or (below is not None and given >= below):
        expected = f"a whole number from {least} " + ("up" if below is None else f"to {below - 1}")
        raise UsageError(where, expected=expected, found=repr(given), do="Check it.")


def takes_torch(framework: str, *, needed: bool) -> bool:
    """Say whether vectors are to be tensors; raises MissingExtra where they have to be, and cannot."""
    if needed and framework == "numpy":
        found, do = 'framework="numpy"', "Leave framework out."
        raise UsageError("loader", expected="tensors, which alone are put on a device", found=found, do=do)
    there = find_spec("torch") is not None
    if (needed or framework == "torch") and not there:
        raise MissingExtra.of("torch", "train")
    return there and framework != "numpy"
