"""Every error that dfndr raises on purpose, in one tree; each says where, what was expected, found, and what to do.

DfndrError
├── UsageError        the command or its arguments are wrong                         exit 2
│   ├── RecipeError   a recipe does not say something that can be built
│   └── MissingExtra  an optional dependency is not installed (also an ImportError)
└── DataError         the data is wrong or cannot be reached                         exit 1
    ├── FormatError   files of a dataset are not what docs/format.md says
    ├── PoolError     a pool, or a part of it, is not what the recipe says
    ├── ModelError    weights cannot be loaded, or are not the ones that were recorded
    └── StorageError  reading or writing failed: disk full, no permission, gone
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "DfndrError",
    "FormatError",
    "MissingExtra",
    "ModelError",
    "PoolError",
    "RecipeError",
    "StorageError",
    "UsageError",
]


class DfndrError(Exception):
    """The root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, where: str, *, expected: str, found: str, do: str) -> None:
        self.where, self.expected, self.found, self.do = where, expected, found, do
        super().__init__(where, expected, found, do)

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}. {self.do}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default reduction, and errors cross process borders.
        return (_rebuild, (type(self), self.where, self.expected, self.found, self.do))


def _rebuild(kind: type[DfndrError], where: str, expected: str, found: str, do: str) -> DfndrError:
    return kind(where, expected=expected, found=found, do=do)


class UsageError(DfndrError):
    """The command or its arguments are wrong."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe does not say something that can be built."""


class MissingExtra(UsageError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtra:
        """Name the package that is missing and the extra that brings it."""
        return cls(
            package,
            expected="the package to be installed",
            found="no such module",
            do=f'Install it with: pip install "dfndr[{extra}]"',
        )


class DataError(DfndrError):
    """The data is wrong or cannot be reached."""


class FormatError(DataError):
    """Files of a dataset are not what docs/format.md says."""


class PoolError(DataError):
    """A pool, or a part of it, is not what the recipe says."""


class ModelError(DataError):
    """Weights cannot be loaded, or are not the ones that were recorded."""


class StorageError(DataError):
    """Reading or writing failed."""
