"""What a trained head says of every row of a dataset, from cached vectors, shard by shard."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.errors import FormatError, UsageError
from dfndr.format.schema import Space
from dfndr.heads.evaluate import paired_spaces
from dfndr.heads.scorer import Fits, Scorer
from dfndr.heads.sides import Side, is_there
from dfndr.progress import SILENT, Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dfndr.heads.model import Head

    Scores: TypeAlias = npt.NDArray[np.float32]
    Vectors: TypeAlias = npt.NDArray[np.floating[Any]]

__all__ = ["head_scores", "open_head", "shard_scores"]

_CHUNK_ROWS = 4096


def open_head(folder: str | os.PathLike[str]) -> Scorer | Head:
    """Load the scorer or the head that a folder holds; raises FormatError where it holds neither."""
    root = os.fspath(folder)
    if storage.exists(storage.join(root, "scorer.json")):
        return Scorer.load(root)
    if storage.exists(storage.join(root, "head.json")):
        from dfndr.heads.model import Head

        return Head.load(root)
    do = "Check the path; `dfndr train-scorer` and `dfndr train-head` write one."
    raise FormatError(root, expected="a folder with scorer.json or head.json", found="neither", do=do)


def head_scores(dataset: Dataset, head: Scorer | Head | str | os.PathLike[str], *, space: str | None = None) -> Scores:
    """Return a head's score of every row, float32, shape (rows,); NaN where a row has no vector.

    A scorer gives its chance of yes, in a space of the encoder it was trained on: the one named, or the first that
    fits. A contrastive head gives the cosine of what it makes of image and text, the mean over all pairs of a row's
    views and captions; `space` is then the text or caption space, by default the one it was trained on.

    Raises UsageError for a space whose vectors the head was not made for.
    """
    import numpy as np

    parts = list(shard_scores(dataset, head, space=space))
    return np.concatenate([np.empty(0, dtype=np.float32), *parts])


def shard_scores(
    dataset: Dataset,
    head: Scorer | Head | str | os.PathLike[str],
    *,
    space: str | None = None,
    progress: Progress = SILENT,
) -> Iterator[Scores]:
    """Yield each shard's scores, in order, as `head_scores` gives them; only the rows at work are in memory."""
    import numpy as np

    opened = open_head(head) if isinstance(head, str | os.PathLike) else head
    if isinstance(opened, Scorer):
        names, score = [_fitting(dataset, opened, space)], opened.scores
    else:
        names, score = _pair(dataset, opened, space), _cosines(opened)
    with progress.task("head scores", len(dataset)) as task:
        for shards in zip(*(Side.of(dataset, name).mapped(dataset) for name in names), strict=True):
            scores = np.empty(len(shards[0]), dtype=np.float32)
            for start in range(0, len(scores), _CHUNK_ROWS):
                rows = slice(start, start + _CHUNK_ROWS)
                scores[rows] = score(*(shard[rows] for shard in shards))
                task.advance(len(scores[rows]))
            yield scores


def _fitting(dataset: Dataset, scorer: Scorer, space: str | None) -> str:
    """Return the space that a scorer is to look at: the one named, or the first that fits, its own modality first."""
    fits = scorer.fits

    def right(given: Space) -> bool:
        return Fits.of(dataset, given).meets(fits)

    if space is None:
        there = [given for given in dataset.spaces.values() if right(given)]
        there.sort(key=lambda given: given.modality != fits.modality)
    else:
        there = [given for given in (dataset.space(space),) if right(given)]
    if there:
        return there[0].name
    kind = "image" if fits.modality == "image" else "text or caption"
    expected = f"a space of {kind} vectors of {fits.dim} dims by {fits.encoder} ({fits.weights_sha256[:16]}...)"
    found = "none" if space is None else f"one by {dataset.space(space).encoder}: {_words(dataset, space)}"
    do = "Use the encoder that the scorer was trained on, or train one on this space."
    raise UsageError(f"space {space or 'of a scorer'}", expected=expected, found=found, do=do)


def _words(dataset: Dataset, space: str) -> str:
    given = Fits.of(dataset, dataset.space(space))
    return f"{given.modality}, {given.dim} dims ({given.weights_sha256[:16]}...)"


def _pair(dataset: Dataset, head: Head, space: str | None) -> list[str]:
    """Return the image space and the text space that a contrastive head is to look at."""
    image = None
    if head.origin is not None:
        image = head.origin.image if is_there(dataset, head.origin.image) else None
        own = [name for name in head.origin.text if is_there(dataset, name)]
        if space is None and (image is None or not own):
            expected = f"{head.origin.image} with one of: {', '.join(head.origin.text)}"
            do = "Name the text space with `space`, if it holds vectors of the same encoder."
            raise UsageError("spaces of the head", expected=expected, found=f"{list(dataset.spaces)}", do=do)
        space = space or own[0]
    if image is None and space is not None:
        image = Side.of(dataset, space).of_encoders("image")
    found, (text, *_) = paired_spaces(dataset, image, [space] if space else None)
    for name, dim in ((found, head.image_dim), (text, head.text_dim)):
        if Side.of(dataset, name).dim != dim:
            expected, do = f"vectors of {dim} dimensions", "Use the spaces that the head was made for."
            raise UsageError(f"space {name}", expected=expected, found=f"{Side.of(dataset, name).dim}", do=do)
    return [found, text]


def _cosines(head: Head) -> Callable[[Vectors, Vectors], Scores]:
    """Return a function from views and captions, of shape (rows, per_row, dim), to the mean cosine of their pairs."""
    import numpy as np

    def mean_of(encode: Callable[[Vectors], Vectors], vectors: Vectors) -> npt.NDArray[np.float64]:
        used = vectors.any(axis=2, keepdims=True)
        # The mean of the cosines of all pairs is the product of the means of unit vectors.
        total = np.where(used, encode(vectors).astype(np.float64), 0.0).sum(axis=1)
        with np.errstate(invalid="ignore"):
            mean: npt.NDArray[np.float64] = total / used.sum(axis=1)
        return mean

    def score(images: Vectors, texts: Vectors) -> Scores:
        means = mean_of(head.encode_image, images), mean_of(head.encode_text, texts)
        cosines: Scores = np.einsum("nd,nd->n", *means).astype(np.float32)
        return cosines

    return score
