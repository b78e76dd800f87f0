"""Retrieval between images and texts by their cached vectors, with or without a head: recall at k, both ways.

A text is one distinct string: rows that share it are all correct answers to it, and it stands among the candidates
once. Ties go against the retriever: a wrong candidate that scores just as high is ranked first. So vectors that are
all the same score 0 %, not 100 %.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dfndr.errors import DataError, MissingExtra, UsageError
from dfndr.heads.retrieval import Comparison, Retrieval
from dfndr.heads.sides import Side, is_there

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from dfndr.dataset import Dataset
    from dfndr.heads.model import Head

__all__ = ["compare", "evaluate_retrieval", "paired_spaces"]

_SCORES_PER_BLOCK = 1 << 24


def paired_spaces(
    dataset: Dataset, image: str | None = None, text: Sequence[str] | None = None
) -> tuple[str, tuple[str, ...]]:
    """Fill in what was not said: the first image space, and the text and caption spaces of the same encoder.

    Either may join the spaces of several encoders, `image/a+image/b`; see `dfndr.heads.sides`.

    Raises UsageError where there are none, or where a space is of the wrong modality.
    """
    spaces = dataset.spaces
    image = image or next((name for name, space in spaces.items() if space.modality == "image"), "image/...")
    side = Side.of(dataset, image)
    own = (side.of_encoders("text"), side.of_encoders("caption"))
    texts = tuple(text or ()) or tuple(name for name in own if is_there(dataset, name)) or own[:1]
    wrong = [name for name in texts if Side.of(dataset, name).modality == "image"]
    if wrong or side.modality != "image":
        found = f"{image} with {', '.join(texts)}"
        raise UsageError(
            "spaces", expected="an image space with text or caption spaces", found=found, do="Name others."
        )
    return image, texts


def compare(
    dataset: Dataset,
    head: Head | str | os.PathLike[str] | None = None,
    *,
    image: str | None = None,
    text: str | None = None,
    split: str | None = "validation",
    ks: Sequence[int] = (1, 5, 10),
) -> Comparison:
    """Measure cached vectors and, with a head or the folder of one, what it makes of them; see `evaluate_retrieval`.

    Spaces default to those the head was trained on, where this dataset has them; it may be another dataset. `before`
    is None where the dimensions differ, so that only the head brings them together.
    """
    if isinstance(head, str | os.PathLike):
        from dfndr.heads.model import Head

        head = Head.load(head)
    if head is not None and head.origin is not None:
        image = image or next((name for name in (head.origin.image,) if is_there(dataset, name)), None)
        text = text or next((name for name in head.origin.text if is_there(dataset, name)), None)
    image, (text, *_) = paired_spaces(dataset, image, [text] if text else None)
    comparable = head is None or Side.of(dataset, image).dim == Side.of(dataset, text).dim
    before = evaluate_retrieval(dataset, image=image, text=text, split=split, ks=ks) if comparable else None
    after = head and evaluate_retrieval(dataset, image=image, text=text, head=head, split=split, ks=ks)
    return Comparison(image, text, before, after)


def evaluate_retrieval(
    dataset: Dataset,
    *,
    image: str | None = None,
    text: str | None = None,
    head: Head | None = None,
    split: str | None = "validation",
    ks: Sequence[int] = (1, 5, 10),
    block_rows: int | None = None,
) -> Retrieval:
    """Measure retrieval by cosine within one split (None: all rows), on the first view of each image.

    Spaces default to the first image space and the text (else caption) space of its encoder. Scores are held for
    `block_rows` queries at a time, never for all. With a head, the work is done where the head is, else on the GPU
    where there is one. Raises UsageError for an empty split or for spaces that do not fit each other or the head, and
    DataError for vectors that are not finite.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtra.of("torch", "train") from error
    image, texts = paired_spaces(dataset, image, [text] if text else None)
    rows = dataset if split is None else dataset.split(split)
    if not len(rows):
        do = "Name another split, or build the dataset with a larger share in `output.validation`."
        raise UsageError(f"split {split!r} of {dataset.root}", expected="rows to evaluate", found="none", do=do)
    strings = _texts(rows, texts[0])
    if not len(strings.pairs):
        raise UsageError(
            f"space {texts[0]}", expected="texts to evaluate", found="none in use", do="Name another space."
        )
    with torch.inference_mode():
        encode_image, encode_text, device = _encoders(head)
        first_views = (shard[:, 0] for shard in Side.of(rows, image).mapped(rows))
        image_vectors = torch.cat([encode_image(_tensor(view, device)) for view in first_views])
        text_vectors = encode_text(_tensor(strings.vectors, device))
        _check(image_vectors, text_vectors, image, texts[0])
        there = _ranks(image_vectors, text_vectors, strings.pairs, block_rows)
        back = _ranks(text_vectors, image_vectors, strings.pairs[:, ::-1], block_rows)
    per_image, per_text = _counts(strings.pairs[:, 0]), _counts(strings.pairs[:, 1])
    return Retrieval(
        images=len(per_image),
        texts=len(per_text),
        image_to_text={k: _percent(there <= k) for k in ks},
        text_to_image={k: _percent(back <= k) for k in ks},
        image_to_text_chance={k: _chance(len(text_vectors), per_image, k) for k in ks},
        text_to_image_chance={k: _chance(len(image_vectors), per_text, k) for k in ks},
    )


@dataclass(frozen=True)
class _Texts:
    """The distinct strings of a space: a vector for each, shape (n, dim), and which rows they belong to."""

    vectors: npt.NDArray[np.floating[Any]]
    pairs: npt.NDArray[np.int64]
    """All (row, string) that belong together, shape (pairs, 2)."""


def _texts(dataset: Dataset, space: str) -> _Texts:
    import numpy as np
    import pyarrow.compute as pc

    side = Side.of(dataset, space)
    vectors = side.vectors(dataset)
    if side.modality == "text":
        strings = dataset.rows(["text"])["text"].combine_chunks()
        row, place = np.arange(len(strings)), np.zeros(len(strings), dtype=np.int64)
    else:
        lists = dataset.rows(["captions"])["captions"].combine_chunks()
        strings, row = pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy()
        place = np.arange(len(row)) - np.searchsorted(row, row)
    used = np.flatnonzero(place < vectors.shape[1])
    used = used[vectors[row[used], place[used]].any(axis=1)]
    codes = strings.take(used).dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    pairs = np.unique(np.stack([row[used], codes], axis=1), axis=0)
    return _Texts(vectors[row[used][first], place[used][first]], pairs.astype(np.int64))


def _encoders(head: Head | None) -> tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor], torch.device]:
    import torch

    if head is not None:
        return head.encode_image, head.encode_text, head.log_scale.device
    from dfndr.encoder import pick_device

    def unit(vectors: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(vectors, dim=-1)

    return unit, unit, torch.device(pick_device("auto"))


def _tensor(vectors: npt.NDArray[np.floating[Any]], device: torch.device) -> torch.Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.array(vectors, dtype=np.float32)).to(device)


def _check(images: torch.Tensor, texts: torch.Tensor, image: str, text: str) -> None:
    if images.shape[1] != texts.shape[1]:
        found = f"{images.shape[1]} and {texts.shape[1]} dimensions"
        do = "Name spaces of one encoder, or give a head that brings them together."
        raise UsageError(f"spaces {image} and {text}", expected="one dimension", found=found, do=do)
    for name, vectors in ((image, images), (text, texts)):
        bad = int((~vectors.isfinite().all(dim=1)).sum())
        if bad:
            do = "Run `dfndr verify` on the dataset; if it is fine, train the head again with a lower learning rate."
            raise DataError(f"space {name}", expected="finite vectors", found=f"{bad} that are not", do=do)


def _ranks(
    queries: torch.Tensor, candidates: torch.Tensor, pairs: npt.NDArray[np.int64], block_rows: int | None
) -> npt.NDArray[np.int64]:
    """Return, for each query that has a correct candidate, 1 + how many wrong ones score at least as high as its best.

    `pairs` holds (query, candidate) for all that are correct. A block holds the scores of some queries with all
    candidates, so the right and the wrong are compared within one matrix product and equal scores stay equal.
    """
    import numpy as np
    import torch

    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    step = block_rows or max(1, _SCORES_PER_BLOCK // len(candidates))
    ranks = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ candidates.T
        low, high = np.searchsorted(pairs[:, 0], (start, start + step))
        query, candidate = torch.tensor(pairs[low:high].T, device=scores.device)
        query -= start
        best = scores.new_full((len(scores),), -torch.inf)
        best = best.scatter_reduce(0, query, scores[query, candidate], "amax")
        scores[query, candidate] = -torch.inf
        ranks[start : start + step] = 1 + (scores >= best[:, None]).sum(dim=1).cpu().numpy()
    return ranks[np.unique(pairs[:, 0])]


def _counts(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    import numpy as np

    return np.unique(keys, return_counts=True)[1]


def _percent(hits: npt.NDArray[np.bool_]) -> float:
    return 100 * int(hits.sum()) / len(hits)


def _chance(candidates: int, correct: npt.NDArray[np.int64], k: int) -> float:
    """Return the percentage that k different candidates drawn blindly would reach, `correct` of them being right."""
    import numpy as np

    drawn = np.arange(min(k, candidates))
    miss = np.clip(candidates - correct[:, None] - drawn, 0, None) / (candidates - drawn)
    return round(100 * float((1 - miss.prod(axis=1)).mean()), 9)
