"""Queries in words or pictures as vectors, by the encoder that made a space and no other."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.encoder import Encoder, open_encoder
from dfndr.errors import DataError, ModelError, UsageError
from dfndr.format.schema import Space
from dfndr.format.uid import UID
from dfndr.models import EncoderSpec
from dfndr.show import Shown, Strip, samples_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Searchable", "embedded", "encoder_of", "shown_nearest"]

_log = logging.getLogger(__name__)


def encoder_of(dataset: Dataset, space: Space, *, pretrained: str | None = None, device: str = "auto") -> Encoder:
    """Load the encoder that made a space, and refuse any other weights.

    A relative `local-dir:` is looked for in the dataset first. Raises ModelError where the weights' sha256 is not the
    recorded one. Of imported vectors none is recorded: a warning says that nothing was compared.
    """
    record = dataset.manifest.encoders[space.encoder]
    place = pretrained or record.pretrained
    inside = storage.join(dataset.root, place.removeprefix("local-dir:"))
    if pretrained is None and place.startswith("local-dir:") and Path(inside).is_dir():
        place = f"local-dir:{inside}"
    config = storage.join(dataset.root, record.model)
    model = config if record.model.endswith(".json") and Path(config).is_file() else record.model
    spec = EncoderSpec(record.name, model, place, record.precision, record.batch_size, record.threads)
    encoder = open_encoder(replace(spec, device=device, license=record.license))
    if not record.weights_sha256:
        _log.warning("Nobody recorded which weights made %s: those of %s are taken on trust.", space.name, place)
    elif encoder.record.weights_sha256 != record.weights_sha256:
        found = f"{encoder.record.weights_sha256[:16]}... at {place}"
        do = "These are other weights, so their vectors would not fit: name the right ones with --pretrained."
        raise ModelError(
            f"encoder {record.name!r}", expected=f"weights {record.weights_sha256[:16]}...", found=found, do=do
        )
    return encoder


def embedded(
    dataset: Dataset,
    space: Space,
    query: str | bytes,
    *,
    name: str | None = None,
    pretrained: str | None = None,
    device: str = "auto",
) -> npt.NDArray[np.float32]:
    """Return words, or a picture's file as bytes, as a vector of shape (1, dim); `name` is what errors call it.

    Raises UsageError for blank words, DataError where the encoder cannot use it, ModelError as `encoder_of` does.
    """
    if isinstance(query, str) and not query.strip():
        raise UsageError("query", expected="words to search by", found="a blank text", do="Say what to look for.")
    encoder = encoder_of(dataset, space, pretrained=pretrained, device=device)
    encoded = encoder.encode_texts([query]) if isinstance(query, str) else encoder.encode_images([query])
    if encoded.problems:
        reason, detail = encoded.problems[0]
        where = f"query {name if name is not None else 'picture'!r}"
        raise DataError(where, expected="something to embed", found=f"{reason}: {detail}", do="Try another one.")
    return encoded.vectors


class Searchable(Protocol):
    """What is asked of an index here."""

    space: Space

    def search(self, vectors: npt.NDArray[np.floating[Any]], k: int = 10) -> Any: ...  # noqa: ANN401, D102

    def vectors_of(self, uid: str) -> npt.NDArray[np.float32]: ...  # noqa: D102


def shown_nearest(
    index: Searchable, dataset: Dataset | None, query: str | bytes | npt.NDArray[np.floating[Any]], k: int
) -> Shown:
    """Return what `Index.show` does."""
    import numpy as np

    if dataset is None:
        do = "Load the index with dataset=..., or build it."
        raise UsageError(f"index of {index.space.name}", expected="its dataset", found="none", do=do)
    uid = query.lower() if isinstance(query, str) and UID.fullmatch(query.lower()) else None
    if uid is not None:
        vectors, title = index.vectors_of(uid)[:1], f"nearest to {uid} in {index.space.name}"
    elif isinstance(query, str | bytes):
        vectors = embedded(dataset, index.space, query)
        title = f"nearest to {query if isinstance(query, str) else 'a picture'} in {index.space.name}"
    else:
        vectors, title = np.asarray(query), f"nearest in {index.space.name}"
        vectors = vectors[None] if vectors.ndim == 1 else vectors
    found = index.search(vectors, k if uid is None else k + 1)
    strips = []
    for number, (uids, scores) in enumerate(zip(found.uids.tolist(), found.scores.tolist(), strict=True)):
        near = [(name, score) for name, score in zip(uids, scores, strict=True) if name != uid][:k]
        samples = samples_of(dataset, [name for name, _ in near], scores=[{"cosine": score} for _, score in near])
        strips.append(Strip(title if len(vectors) == 1 else f"{title}, query {number}", samples))
    return Shown(tuple(strips))
