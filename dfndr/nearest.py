"""Search by words, by a picture or by a uid: from a query to rows, through the encoder that made the space."""

from __future__ import annotations

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import UsageError
from dfndr.format.schema import Space
from dfndr.progress import SILENT, Progress
from dfndr.querying import embedded, encoder_of
from dfndr.search import Index, Kind

__all__ = ["encoder_of", "nearest", "opened_index"]


def opened_index(
    dataset: Dataset,
    space: str | None,
    path: str | None,
    *,
    kind: Kind = "auto",
    max_memory: int | None = None,
    max_latency_ms: float | None = None,
    progress: Progress = SILENT,
) -> Index:
    """Return the index saved at `path`, or build one over `space` (the first image space if None) and save it there.

    `kind` and the budget are those of `Index.build`. One that was saved is what it is; raises UsageError where another
    kind is asked for, or one to be chosen by a budget.
    """
    if path is not None and storage.exists(path):
        if max_memory is not None or max_latency_ms is not None:
            do = "Leave the budget out, or choose another --index."
            raise UsageError(path, expected="no index yet, to choose one by a budget", found="one", do=do)
        index = Index.load(path, dataset=dataset, kind=kind)
        if space is not None and index.space.name != space:
            raise UsageError(
                path, expected=f"an index over {space}", found=index.space.name, do="Choose another --index."
            )
        return index
    index = Index.build(
        dataset,
        space or first_image_space(dataset).name,
        kind=kind,
        max_memory=max_memory,
        max_latency_ms=max_latency_ms,
        progress=progress,
    )
    if path is not None:
        index.save(path)
    return index


def first_image_space(dataset: Dataset) -> Space:
    """Return the first image space; raises UsageError where there is none."""
    for space in dataset.manifest.spaces:
        if space.modality == "image":
            return space
    there = ", ".join(dataset.spaces) or "no space at all"
    raise UsageError(dataset.root, expected="an image space", found=there, do="Name a space with --space.")


def nearest(
    dataset: Dataset,
    index: Index,
    *,
    text: str | None = None,
    image: str | None = None,
    uid: str | None = None,
    k: int = 10,
    pretrained: str | None = None,
    device: str = "auto",
) -> list[dict[str, object]]:
    """Return the k nearest rows to one query, best first: dicts with `uid`, `score` (cosine) and `text`.

    A search by uid leaves the sample itself out. Raises UsageError where the query cannot be used.
    """
    wanted = k
    if uid is not None:
        vectors = index.vectors_of(uid)[:1]
        wanted = k + 1
    else:
        given = text if text is not None else storage.read_bytes(image or "")
        vectors = embedded(dataset, index.space, given, name=text or image, pretrained=pretrained, device=device)
    found = index.search(vectors, k=wanted)
    pairs = [
        (str(name), float(score)) for name, score in zip(found.uids[0], found.scores[0], strict=True) if name != uid
    ][:k]
    texts = _texts(dataset, [name for name, _ in pairs])
    return [{"uid": name, "score": score, "text": texts.get(name)} for name, score in pairs]


def _texts(dataset: Dataset, uids: list[str]) -> dict[str, str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = dataset.rows(["uid", "text"], where=pc.field("uid").isin(pa.array(uids, pa.string())))
    return dict(zip(rows["uid"].to_pylist(), rows["text"].to_pylist(), strict=True))
