"""A text-quality classifier: how much a text reads like curated captions and how little like raw alt text.

The idea is DCLM's (arXiv 2406.11794, section 4.4): a linear model over words and word pairs, and a rule that drops a
share of the lowest scores. It is kept as `weights.npy` and `text_quality.json`, which names its sha256.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from heapq import nsmallest
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.errors import DataError, FormatError, MissingExtra, StorageError
from dfndr.seeds import hash_fraction, hash_int
from dfndr_builders.measure.ngrams import tokens
from dfndr_builders.pools.base import Pool
from dfndr_builders.stage import good_rows

__all__ = ["FORMAT", "MINIMUM", "TextQuality", "Training", "features", "pool_texts", "train"]

FORMAT = "dfndr-text-quality/1"
MINIMUM = 100
"""The fewest distinct texts that either side needs."""

_NUMBER = re.compile(r"\d")
_JSON, _WEIGHTS = "text_quality.json", "weights.npy"
_STRENGTH = 1000.0
"""scikit-learn's C. The features of a text sum to one and most are far below it, so weights must be free to grow."""
_DO = "The classifier was altered or written by something else: fetch or train it again."


@dataclass(frozen=True)
class Training:
    """How a classifier was trained, and how well it does on the texts that were held out.

    The four counts are of distinct texts. `auc` is the chance that a curated text scores above a raw one; `accuracy`
    the mean of both sides' shares of texts on the right side of one half.
    """

    seed: int
    curated: int
    raw: int
    curated_held_out: int
    raw_held_out: int
    auc: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class TextQuality:
    """A linear model: `weights` (float32, one per bucket, a power of two) and `bias`, of log-odds."""

    weights: npt.NDArray[np.float32]
    bias: float
    training: Training

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the probability that each text is curated, float32 of shape (texts,), whatever the others are.

        A text without a word has that of the bias alone.
        """
        log_odds = [self._log_odds(text) for text in texts]
        return np.array([_sigmoid(value) for value in log_odds], dtype=np.float32)

    def _log_odds(self, text: str) -> float:
        places = features(text, len(self.weights))
        if not len(places):
            return self.bias
        return self.bias + float(self.weights[places].astype(np.float64).sum()) / len(places)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `weights.npy`, then `text_quality.json`; raises StorageError."""
        root, file = os.fspath(folder), io.BytesIO()
        np.save(file, self.weights.astype("<f4"), allow_pickle=False)
        weights = storage.put(root, _WEIGHTS, file.getvalue())
        record = {
            "format": FORMAT,
            "buckets": len(self.weights),
            "bias": self.bias,
            "weights_sha256": weights.sha256,
            "training": asdict(self.training),
        }
        storage.put(root, _JSON, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TextQuality:
        """Read what `save` wrote; raises FormatError where a file is missing, damaged or altered."""
        root = os.fspath(folder)
        where = storage.join(root, _JSON)
        if not storage.exists(where):
            do = "Check the path; `dfndr train-text-quality` writes one."
            raise FormatError(root, expected=f"a folder with {_JSON}", found="none", do=do)
        try:
            record = json.loads(storage.read_bytes(where))
            if record["format"] != FORMAT:
                do = "Use the dfndr version that wrote it."
                raise FormatError(where, expected=f"format {FORMAT!r}", found=repr(record["format"]), do=do)
            data = storage.read_bytes(storage.join(root, _WEIGHTS))
            if hashlib.sha256(data).hexdigest() != record["weights_sha256"]:
                raise ValueError(f"{_WEIGHTS} is not the file that {_JSON} names")
            bias = record["bias"]
            if type(bias) is not float or not math.isfinite(bias):
                raise ValueError(f"a bias of {bias!r}")
            return cls(_weights_of(data, record["buckets"]), bias, Training(**record["training"]))
        except (KeyError, TypeError, ValueError, RecursionError, StorageError) as error:
            found = f"{type(error).__name__}: {error}".splitlines()[0]
            raise FormatError(
                root, expected="a classifier as `TextQuality.save` writes it", found=found, do=_DO
            ) from error


def _weights_of(data: bytes, buckets: int) -> npt.NDArray[np.float32]:
    """Read the array by its header, so that no more memory is taken than the file has bytes; raises ValueError."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an .npy file of version {version}")
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    rest = data[file.tell() :]
    if shape != (buckets,) or kind != np.dtype("<f4") or len(rest) != 4 * buckets or buckets & (buckets - 1):
        raise ValueError(f"weights of shape {shape} and type {kind} in {len(rest)} bytes, for {buckets!r} buckets")
    weights = np.frombuffer(rest, "<f4").astype(np.float32)
    if not np.isfinite(weights).all():
        raise ValueError("weights that are not finite")
    return weights


def features(text: str, buckets: int) -> npt.NDArray[np.int64]:
    """Return the bucket of each word and of each pair of neighbours: crc32 of it in UTF-8, modulo `buckets`.

    Words are those of `tokens`, with every digit read as 0; punctuation, case and spacing count for nothing.
    """
    words = _normal(text)
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    return np.array([zlib.crc32(gram.encode()) % buckets for gram in (*words, *pairs)], dtype=np.int64)


def _normal(text: str) -> list[str]:
    return [_NUMBER.sub("0", word) for word in tokens(text)]


def pool_texts(pool: Pool) -> Iterator[str]:
    """Yield the texts of a pool's good rows."""
    for shard in pool.shards():
        for table in pool.read(shard):
            yield from (table["text"][row].as_py() for row in good_rows(table))


def train(
    curated: Iterable[str],
    raw: Iterable[str],
    *,
    seed: int,
    buckets: int = 1 << 18,
    most: int = 200_000,
    held_out: float = 0.1,
) -> TextQuality:
    """Train on distinct texts of both sides, each side with the same total weight, and measure on those held out.

    Texts are equal when their words are; one on both sides is curated. Of more than `most` texts a side the ones with
    the smallest hashes are used, and a share `held_out` of them, by another hash, is never trained on. Raises
    DataError where a side has fewer than `MINIMUM` distinct texts.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import roc_auc_score
    except ModuleNotFoundError as error:
        raise MissingExtra.of("scikit-learn", "curate") from error
    good = _distinct(curated, seed, most)
    known = set(good)
    bad = [text for text in _distinct(raw, seed, most) if text not in known]
    for side, texts in (("curated", good), ("raw", bad)):
        if len(texts) < MINIMUM:
            do = "Give more texts; thousands a side are better."
            raise DataError(f"the {side} texts", expected=f"{MINIMUM} distinct ones", found=str(len(texts)), do=do)
    matrix, is_curated = _matrix([*good, *bad], buckets), np.arange(len(good) + len(bad)) < len(good)
    is_held_out = np.array([hash_fraction(seed, "held-out", text) < held_out for text in (*good, *bad)])
    model = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=1000)
    model.fit(matrix[~is_held_out], is_curated[~is_held_out])
    weights, bias = model.coef_[0].astype(np.float32), float(model.intercept_[0])
    chances = model.predict_proba(matrix[is_held_out])[:, 1]
    truth = is_curated[is_held_out]
    sides = [float(((chances >= 0.5) == truth)[truth == side].mean()) for side in (True, False)]
    training = Training(
        seed=seed,
        curated=len(good),
        raw=len(bad),
        curated_held_out=int(truth.sum()),
        raw_held_out=int((~truth).sum()),
        auc=float(roc_auc_score(truth, chances)),
        accuracy=sum(sides) / 2,
    )
    return TextQuality(weights, bias, training)


def _distinct(texts: Iterable[str], seed: int, most: int) -> list[str]:
    """Return at most `most` texts, as words joined by spaces, none twice, by the order of their hashes."""
    chosen: dict[int, str] = {}
    for text in texts:
        words = " ".join(_normal(text))
        if words:
            chosen[hash_int(seed, "chosen", words)] = words
        if len(chosen) > 2 * most:
            chosen = {key: chosen[key] for key in nsmallest(most, chosen)}
    return [chosen[key] for key in sorted(chosen)[:most]]


def _matrix(texts: Sequence[str], buckets: int) -> Any:  # noqa: ANN401  scipy has no types
    """Return the texts' features as a sparse matrix whose rows sum to one: what fastText averages over."""
    from scipy.sparse import csr_matrix

    rows = [features(text, buckets) for text in texts]
    ends = np.cumsum([0, *map(len, rows)])
    values = np.concatenate([np.full(len(row), 1 / len(row)) for row in rows])
    return csr_matrix((values, np.concatenate(rows), ends), shape=(len(rows), buckets))


def _sigmoid(value: float) -> float:
    """Return 1 / (1 + exp(-value)), exact in the lower tail too, where a share of the lowest is cut off."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
