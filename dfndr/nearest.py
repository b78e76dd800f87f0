"""Search by words, by a picture or by a uid: from a query to rows, through the encoder that made the space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dfndr import storage
from dfndr.dataset import Dataset
from dfndr.encoder import Encoded, Encoder, open_encoder
from dfndr.errors import DataError, ModelError, UsageError
from dfndr.format.schema import Space
from dfndr.models import EncoderSpec
from dfndr.search import Index

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["encoder_of", "nearest", "opened_index"]


def opened_index(dataset: Dataset, space: str | None, path: str | None) -> Index:
    """Return the index saved at `path`, or build one over `space` (the first image space if None) and save it there."""
    if path is not None and storage.exists(path):
        index = Index.load(path, dataset=dataset)
        if space is not None and index.space.name != space:
            raise UsageError(
                path, expected=f"an index over {space}", found=index.space.name, do="Choose another --index."
            )
        return index
    index = Index.build(dataset, space or first_image_space(dataset).name)
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


def encoder_of(dataset: Dataset, space: Space, *, pretrained: str | None = None, device: str = "auto") -> Encoder:
    """Load the encoder that made a space, and refuse any other weights.

    A relative `local-dir:` is looked for in the dataset first. Raises ModelError where the weights' sha256 is not the
    recorded one.
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
    if encoder.record.weights_sha256 != record.weights_sha256:
        found = f"{encoder.record.weights_sha256[:16]}... at {place}"
        do = "These are other weights, so their vectors would not fit: name the right ones with --pretrained."
        raise ModelError(
            f"encoder {record.name!r}", expected=f"weights {record.weights_sha256[:16]}...", found=found, do=do
        )
    return encoder


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
    if text is not None and not text.strip():
        raise UsageError("query", expected="words to search by", found="a blank text", do="Say what to look for.")
    if uid is not None:
        vectors = index.vectors_of(uid)[:1]
        wanted = k + 1
    else:
        encoder = encoder_of(dataset, index.space, pretrained=pretrained, device=device)
        encoded = (
            encoder.encode_texts([text])
            if text is not None
            else encoder.encode_images([storage.read_bytes(image or "")])
        )
        vectors = _usable(encoded, text if text is not None else image)
    found = index.search(vectors, k=wanted)
    pairs = [
        (str(name), float(score)) for name, score in zip(found.uids[0], found.scores[0], strict=True) if name != uid
    ][:k]
    texts = _texts(dataset, [name for name, _ in pairs])
    return [{"uid": name, "score": score, "text": texts.get(name)} for name, score in pairs]


def _usable(encoded: Encoded, query: object) -> npt.NDArray[np.float32]:
    if encoded.problems:
        reason, detail = encoded.problems[0]
        raise DataError(
            f"query {query!r}", expected="something to embed", found=f"{reason}: {detail}", do="Try another one."
        )
    return encoded.vectors


def _texts(dataset: Dataset, uids: list[str]) -> dict[str, str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = dataset.rows(["uid", "text"], where=pc.field("uid").isin(pa.array(uids, pa.string())))
    return dict(zip(rows["uid"].to_pylist(), rows["text"].to_pylist(), strict=True))
