"""Which kind of index: the one that was named, or the first that keeps a budget of memory and of time, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.schema import Space
from dfndr.progress import Progress
from dfndr.search.building import Building
from dfndr.search.candidates import Kind
from dfndr.search.index import Index
from dfndr.search.links import LINKS
from dfndr.search.product_codes import bytes_of
from dfndr.search.unit_vectors import unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["built", "memory_of"]

_EXACT_MOST = 500_000
_Tried: TypeAlias = Literal["exact", "ivf", "ivfpq", "hnsw"]
_ORDER: tuple[_Tried, ...] = ("exact", "ivf", "ivfpq", "hnsw")
_HELD = 32  # bytes of each vector: its uid, whose row it is, and where that row begins
_SHORT = 0.02  # by how much a measured recall may fall short of the wanted one, by chance
_WARMING, _TIMED, _BLOCK = 5, 32, 1 << 16


@dataclass(frozen=True)
class _Budget:
    memory: int | None
    latency_ms: float | None

    def __post_init__(self) -> None:
        for name, value in (("max_memory", self.memory), ("max_latency_ms", self.latency_ms)):
            if value is not None and not value > 0:
                raise UsageError(name, expected="a number above 0", found=str(value), do="Give it more, or none.")


def built(
    dataset: Dataset,
    space: str,
    kind: Kind,
    *,
    recall: float,
    max_memory: int | None,
    max_latency_ms: float | None,
    progress: Progress,
) -> Index:
    """Return the index of a space that `Index.build` promises."""
    if kind not in get_args(Kind):
        raise UsageError(
            "kind", expected=f"one of {', '.join(get_args(Kind))}", found=repr(kind), do="Name one of them."
        )
    budget, wanted = _Budget(max_memory, max_latency_ms), dataset.space(space)
    if kind != "auto" and budget != _Budget(None, None):
        do = "Name a kind, or give a budget to choose it by."
        raise UsageError("kind", expected="auto with a budget", found=repr(kind), do=do)
    dataset.mapped(space)  # checks every file before memory is taken for its vectors
    making = Building(dataset, wanted, recall=recall, progress=progress)
    many = len(dataset) * wanted.per_row > _EXACT_MOST
    kinds = _ORDER if find_spec("faiss") is not None else _ORDER[:1]  # FAISS makes all but the first
    if kind == "auto" and budget != _Budget(None, None):
        return _chosen(making, kinds, budget, recall=recall, progress=progress)
    return making.of(kind if kind != "auto" else "ivf" if many and "ivf" in kinds else "exact")


def memory_of(kind: str, vectors: int, dim: int) -> int:
    """Return about how many bytes an index of so many vectors holds beside files that are mapped."""
    lists = 20 + 4 * dim / max(vectors, 1) ** 0.5
    each = {
        "exact": 4 * dim,
        "ivf": lists,
        "ivfpq": lists + 8 + 2 * bytes_of(dim),
        "hnsw": 2 * dim + 8 * LINKS + 32,
    }
    return int(vectors * (_HELD + each[kind]))


def _chosen(making: Building, kinds: Sequence[_Tried], budget: _Budget, *, recall: float, progress: Progress) -> Index:
    """Try the kinds in order, and return the first that keeps the budget; raises UsageError where none does."""
    vectors, dim = len(making.dataset) * making.space.per_row, making.space.dim
    needed = {kind: memory_of(kind, vectors, dim) for kind in kinds}
    fitting = [kind for kind in kinds if budget.memory is None or needed[kind] <= budget.memory]
    if not fitting:
        least = min(needed, key=lambda kind: needed[kind])
        expected = f"at least {needed[least]:,} bytes, for {least}"
        raise UsageError("max_memory", expected=expected, found=f"{budget.memory:,}", do="Give it more.")
    if budget.latency_ms is None:
        fitting = [kind for kind in fitting if kind != "exact" or vectors <= _EXACT_MOST] or fitting
    tried = []
    for kind in fitting:
        if kind == "exact" and (guess := _guessed_ms(making.dataset, making.space)) > 2 * (budget.latency_ms or guess):
            tried.append(f"exact about {guess:.2f} ms")
            continue
        index = making.of(kind)
        latency_ms = _latency_ms(index, making)
        told = f"recall@10={index.recall_at_10:.3f}, about {needed[kind] / 1e6:,.0f} MB, {latency_ms:.2f} ms a query"
        progress.say(f"index {making.space.name}: {kind}: {told}")
        if index.recall_at_10 < recall - _SHORT:
            tried.append(f"{kind} recall@10={index.recall_at_10:.3f}")
        elif budget.latency_ms is None or latency_ms <= budget.latency_ms:
            return index
        else:
            tried.append(f"{kind} {latency_ms:.2f} ms")
    do = "Allow more time or memory, or a lower recall; or name a kind."
    limit = "" if budget.latency_ms is None else f", in at most {budget.latency_ms} ms"
    raise UsageError("budget", expected=f"recall@10={recall}{limit}", found=", ".join(tried), do=do)


def _queries(dataset: Dataset, space: Space) -> npt.NDArray[np.float32]:
    found, fine = unit(dataset.vectors(space.name, slice(0, _TIMED))[:, 0])
    return found[fine]


def _guessed_ms(dataset: Dataset, space: Space) -> float:
    """Return how long one query would take to look at every vector, from looking at some."""
    vectors = unit(dataset.vectors(space.name, slice(0, _BLOCK)).reshape(-1, space.dim))[0]
    if not len(vectors):
        return 0.0
    times = []
    for query in vectors[:_WARMING]:
        start = perf_counter()
        vectors @ query
        times.append(perf_counter() - start)
    return 1000 * min(times) * len(dataset) * space.per_row / len(vectors)


def _latency_ms(index: Index, making: Building) -> float:
    """Return the median time of one query alone, in milliseconds, after a few to warm up."""
    import numpy as np

    queries = making.truth.queries[:_TIMED] if making.truth is not None else _queries(making.dataset, making.space)
    times = []
    for query in [*queries[:_WARMING], *queries]:
        start = perf_counter()
        index.search(query[None], k=10)
        times.append(perf_counter() - start)
    return 1000 * float(np.median(times[_WARMING:] or times or [0.0]))
