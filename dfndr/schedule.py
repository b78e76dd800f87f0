"""What rows an epoch is to hold, as it was asked for: conditions and weights, each from some epoch on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from dfndr.dataset import Dataset
from dfndr.errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.compute as pc

    Weights: TypeAlias = npt.NDArray[Any]
    Where: TypeAlias = pc.Expression | None
    Weighting: TypeAlias = str | npt.NDArray[Any] | None

__all__ = ["Stage", "stages_of"]

_Part = TypeVar("_Part")


@dataclass(frozen=True, eq=False)
class Stage:
    """What holds from the epoch `first` on; `weights` is a column's name, or a number for each row of the dataset."""

    first: int
    where: Where
    weights: str | Weights | None

    def named(self, what: str) -> str:
        """Return words for a part of it, such as its condition."""
        return f"{what}, from epoch {self.first} on"


def stages_of(dataset: Dataset, where: object, weights: object) -> list[Stage]:
    """Return the stages in order, the first from epoch 0 on; each part is a value or a mapping from first epochs.

    Raises UsageError for what is no such thing, for a column that is not there, and for weights of another length.
    """
    wheres = {first: _condition(dataset, given) for first, given in _schedule("where", where)}
    weightings = {first: _weighting(dataset, given) for first, given in _schedule("weights", weights)}
    firsts = sorted({*wheres, *weightings})
    return [Stage(first, _latest(wheres, first), _latest(weightings, first)) for first in firsts]


def _schedule(where: str, given: object) -> list[tuple[int, object]]:
    """Return what holds from which epoch on, in order; what is no mapping holds from epoch 0 on."""
    if not isinstance(given, Mapping):
        return [(0, given)]
    wrong = [key for key in given if not isinstance(key, int) or isinstance(key, bool) or key < 0]
    if wrong or 0 not in given:
        found = f"{wrong[0]!r}" if wrong else f"{sorted(given)} without 0"
        do = "Say what holds from epoch 0 on, be it None."
        raise UsageError(f"{where} by epoch", expected="first epochs, 0 among them", found=found, do=do)
    return sorted(given.items(), key=lambda part: part[0])


def _latest(parts: Mapping[int, _Part], epoch: int) -> _Part:
    return parts[max(first for first in parts if first <= epoch)]


def _condition(dataset: Dataset, given: object) -> pc.Expression | None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as pads

    if given is None or not dataset.manifest.shards:
        return None
    schema, do = dataset.schema(), "Check its names and types."
    found = type(given).__name__
    if isinstance(given, pc.Expression):
        try:
            found = str(pads.dataset(schema.empty_table()).to_table(columns={"met": given}).schema.field("met").type)
        except pa.ArrowException as error:
            found = str(error).partition("\n")[0]
        if found == "bool":
            return given
    raise UsageError("where", expected=f"a condition over {schema.names}", found=found, do=do)


def _weighting(dataset: Dataset, given: object) -> str | Weights | None:
    import numpy as np
    import pyarrow as pa

    if given is None or not dataset.manifest.shards:
        return None
    if isinstance(given, str):
        schema = dataset.schema()
        numeric = [field.name for field in schema if _is_number(field.type, pa)]
        if given not in numeric:
            found = f"one of {schema.field(given).type}" if given in schema.names else "no such column"
            do = "Name one of them."
            raise UsageError(f"weights {given!r}", expected=f"a column of numbers: {numeric}", found=found, do=do)
        return given
    numbers = np.asarray(given)
    if numbers.shape != (len(dataset),) or numbers.dtype.kind not in "fiub":
        found, do = f"{numbers.dtype} of shape {numbers.shape}", "Give each row of this dataset or split its weight."
        raise UsageError("weights", expected=f"a column, or {len(dataset)} numbers", found=found, do=do)
    return numbers


def _is_number(kind: pa.DataType, pa: Any) -> bool:  # noqa: ANN401  the module pyarrow
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))
