"""The scorer: a linear yes or no on the vectors of one encoder, such as safe, beautiful, or like ImageNet.

It is kept as `scorer.safetensors` (the weights, float64) and `scorer.json` (what they fit and where they are from).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast, get_args

from dfndr import storage
from dfndr.errors import FormatError, MissingExtra, StorageError, UsageError
from dfndr.format.fields import count, json_object, json_of, known_fields, one_of, typed
from dfndr.format.schema import NAME, Modality, Space
from dfndr.heads.logistic import sigmoid

try:
    import safetensors.numpy
    from safetensors import SafetensorError
except ModuleNotFoundError as error:
    raise MissingExtra.of(error.name or "safetensors", "train") from error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dfndr.dataset import Dataset

    Floats: TypeAlias = npt.NDArray[np.float64]

__all__ = ["FORMAT", "Fits", "Scorer", "ScorerOrigin", "row_vectors"]

FORMAT = "dfndr-scorer/1"
_MOST_BYTES = 1 << 24
_DO = "The scorer was altered or written by something else: fetch or train it again."


@dataclass(frozen=True)
class Fits:
    """Which vectors a scorer is for: those that these weights make of pictures, or of words."""

    modality: Modality
    encoder: str
    weights_sha256: str
    dim: int

    @classmethod
    def of(cls, dataset: Dataset, space: Space) -> Fits:
        """Return what fits a space."""
        weights = dataset.manifest.encoders[space.encoder].weights_sha256
        return cls(space.modality, space.encoder, weights, space.dim)

    def meets(self, other: Fits) -> bool:
        """Say whether vectors of the one are vectors of the other: the encoder's name does not matter."""
        same_side = (self.modality == "image") == (other.modality == "image")
        return same_side and (self.weights_sha256, self.dim) == (other.weights_sha256, other.dim)


@dataclass(frozen=True)
class ScorerOrigin:
    """Where a scorer was trained: the dataset's name and digest, the space, how, and how well it did."""

    dataset: str
    digest: str
    space: str
    training: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scorer:
    """sigmoid(weight . x + bias), where x is the mean of a row's vectors, each brought to length one.

    `weight` has the shape (dim,), float64. A row without a vector, such as one without captions, has no score.
    """

    weight: Floats
    bias: float
    fits: Fits
    origin: ScorerOrigin | None = None

    def scores(self, vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Return a score in [0, 1] for each row of vectors of shape (rows, per_row, dim), NaN where a row has none."""
        import numpy as np

        if vectors.ndim != 3 or vectors.shape[2] != self.fits.dim:
            expected, do = f"shape (rows, per_row, {self.fits.dim})", "Give vectors of the encoder it was trained on."
            raise UsageError("vectors", expected=expected, found=f"shape {vectors.shape}", do=do)
        means, there = row_vectors(vectors)
        scores: npt.NDArray[np.float32] = sigmoid(means @ self.weight + self.bias).astype(np.float32)
        scores[~there] = np.nan
        return scores

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `scorer.safetensors`, then `scorer.json`, which names its sha256; raises StorageError."""
        import numpy as np

        root = os.fspath(folder)
        tensors = {"weight": np.ascontiguousarray(self.weight, dtype="<f8"), "bias": np.array([self.bias], dtype="<f8")}
        stored = storage.put(root, "scorer.safetensors", safetensors.numpy.save(tensors))
        record = {
            "format": FORMAT,
            "fits": asdict(self.fits),
            "sha256": stored.sha256,
            "origin": None if self.origin is None else asdict(self.origin),
        }
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        storage.put(root, "scorer.json", text.encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Scorer:
        """Read what `save` wrote; raises FormatError where a file is missing, damaged or altered."""
        root = os.fspath(folder)
        where, weights = storage.join(root, "scorer.json"), storage.join(root, "scorer.safetensors")
        if not storage.exists(where):
            do = "Check the path; `dfndr train-scorer` writes one."
            raise FormatError(root, expected="a folder with scorer.json", found="none", do=do)
        try:
            record = json_object(json_of(_small(where)), where)
            if record.get("format") != FORMAT:
                do = "Use the dfndr version that wrote it."
                raise FormatError(where, expected=f"format {FORMAT!r}", found=repr(record.get("format"))[:80], do=do)
            if set(record) != {"format", "fits", "sha256", "origin"}:
                raise ValueError(f"the fields {sorted(record)}"[:200])
            json.dumps(record, ensure_ascii=False, allow_nan=False).encode()  # what could not be written is not read
            fits, origin = _fits_of(record["fits"], where), _origin_of(record["origin"], where)
            data = _small(weights)
            if storage.sha256_of(weights) != record["sha256"]:
                raise FormatError(weights, expected="the content that scorer.json names", found="another one", do=_DO)
            weight, bias = _weights_of(safetensors.numpy.load(data), fits.dim)
        except (ValueError, RecursionError, KeyError, TypeError, StorageError, SafetensorError) as error:
            found = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            raise FormatError(root, expected="a scorer as `Scorer.save` writes it", found=found, do=_DO) from error
        except FormatError as error:
            raise FormatError(error.where, expected=error.expected, found=error.found, do=_DO) from error
        return cls(weight, bias, fits, origin)


def row_vectors(vectors: npt.NDArray[np.floating[Any]]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the mean of each row's vectors, each of length one, and which rows have any; places of zeros are free.

    From shape (rows, per_row, dim) to (rows, dim), float64, zeros where a row has no vector.
    """
    import numpy as np

    given = np.asarray(vectors).astype(np.float64)
    lengths = np.linalg.norm(given, axis=2, keepdims=True)
    used = lengths != 0
    with np.errstate(invalid="ignore"):  # what is not finite gives a score that is none, and selection counts it
        given /= np.where(used, lengths, 1.0)
    counts = used.sum(axis=1)
    return given.sum(axis=1) / np.maximum(counts, 1), counts[:, 0] > 0


def _small(path: str) -> bytes:
    """Return a file that may not be large; raises ValueError where it is."""
    size = storage.size_of(path)
    if size > _MOST_BYTES:
        raise ValueError(f"{path} of {size:,} bytes")
    return storage.read_bytes(path)


def _fits_of(given: object, where: str) -> Fits:
    fields = known_fields(given, Fits, where)
    modality, encoder = one_of(fields, "modality", get_args(Modality), where), typed(fields, "encoder", str, where)
    weights, dim = typed(fields, "weights_sha256", str, where), count(fields, "dim", where)
    if not NAME.fullmatch(encoder) or not 0 < dim < 2**20:
        raise ValueError(f"the encoder {encoder[:80]!r} with {dim} dimensions")
    return Fits(cast("Modality", modality), encoder, weights, dim)


def _origin_of(given: object, where: str) -> ScorerOrigin | None:
    if given is None:
        return None
    fields = known_fields(given, ScorerOrigin, where)
    dataset, digest, space = (typed(fields, key, str, where) for key in ("dataset", "digest", "space"))
    training, metrics = (json_object(fields[key], where) for key in ("training", "metrics"))
    return ScorerOrigin(dataset, digest, space, training, metrics)


def _weights_of(tensors: Mapping[str, Any], dim: int) -> tuple[Floats, float]:
    import numpy as np

    wanted = {"weight": (dim,), "bias": (1,)}
    found = {name: (tensor.dtype.str, tensor.shape) for name, tensor in tensors.items()}
    if found != {name: ("<f8", shape) for name, shape in wanted.items()}:
        raise ValueError(f"the tensors {found}")
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError("weights that are not finite")
    return tensors["weight"], float(tensors["bias"][0])
