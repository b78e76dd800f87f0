"""The closed lists of the format: spaces, encoders, splits, and the reasons for which a row is dropped or fails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from dfndr.errors import FormatError

__all__ = [
    "DROPPED",
    "FAILED",
    "FORMAT",
    "NAME",
    "NORM_TOLERANCE",
    "REASON",
    "SPLITS",
    "EncoderRecord",
    "Modality",
    "Preprocess",
    "Space",
    "StorageType",
]

FORMAT = "dfndr/1"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What encoders, scores and datasets may be called; their names become file and column names."""

SPLITS = ("train", "validation")

REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""What a rule of a recipe may be called; the rows it drops are counted under its name."""

DROPPED: Mapping[str, str] = {
    "contaminated": "it matches a sample of an evaluation set",
    "duplicate": "another row before it has the same uid",
    "excluded": "its uid is on a list of the recipe's",
    "near_duplicate": "its picture hardly differs from that of a row that is kept",
    "not_selected": "its score lies below the cut",
    "over_quota": "its group had its share",
    "removed": "it was taken out of the finished dataset",
    "same_image": "a row that is kept has the same image file",
    "same_text": "a row that is kept has the same text",
    "semantic_duplicate": "its vector is very close to that of a row that is kept",
}
"""The reasons that every build may give; any other one is the name of a rule in the recipe."""

FAILED: Mapping[str, str] = {
    "caption_failed": "the captioner gave no caption",
    "duplicate_key": "its pool shard holds this key already",
    "image_empty": "the image has no bytes",
    "image_missing": "there is no image under this key",
    "image_too_large": (
        "the image holds more pixels than the limit, and was not decoded; or it is too long and thin to be resized"
    ),
    "image_too_small": "a side of the image is a single pixel",
    "image_unreadable": "the image cannot be decoded: truncated, damaged, or no image",
    "json_unreadable": "the json beside the image cannot be parsed",
    "row_failed": "it killed, or held up, each process that looked at it alone",
    "score_not_finite": "the score is not a finite number",
    "shard_empty": "the pool shard holds no samples (counted as one row)",
    "shard_truncated": "the pool shard ends in the middle of a sample (counted as one row)",
    "shard_unreadable": "the pool shard cannot be opened (counted as one row)",
    "text_empty": "the text is empty or blank",
    "text_missing": "there is no text under this key",
    "text_not_utf8": "the text is not valid UTF-8",
    "text_too_long": "the text is longer than the limit",
    "unit_failed": "its unit of work killed each worker that tried it, and the build was told to count it",
    "vector_missing": "an imported sample has no vectors, or not as many as the others",
    "vector_not_finite": "the encoder gave a vector that is not finite, or of zero length",
}

Modality = Literal["image", "text", "caption"]
StorageType = Literal["float16", "bfloat16", "float32", "int8"]

NORM_TOLERANCE: Mapping[StorageType, float] = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-8,
    "float32": 2.0**-16,
    "int8": 2.0**-10,
}
"""How far from one the length of a stored unit vector may be; rounding to the storage type costs at most half of it."""
_NUMBER_BYTES: Mapping[StorageType, int] = {"float16": 2, "bfloat16": 2, "float32": 4, "int8": 1}
_SCALE_BYTES = 4


@dataclass(frozen=True)
class Space:
    """One column of vectors: what was embedded, by which encoder, and how it is stored.

    On disk it is a `.npy` per shard, of shape (rows, per_row, dim). `unit_norm` says that every vector has length one
    within the storage type's rounding; the places a row with fewer captions leaves free hold zeros.
    """

    modality: Modality
    encoder: str
    dim: int
    per_row: int = 1
    dtype: StorageType = "float16"
    unit_norm: bool = True

    @property
    def name(self) -> str:
        """The space's name, and its folder: `image/vit-b-32`."""
        return f"{self.modality}/{self.encoder}"

    @property
    def stored_dim(self) -> int:
        """How many numbers of the files' type a vector takes: `dim`, and in int8 four more, the bytes of its scale."""
        return self.dim + _SCALE_BYTES if self.dtype == "int8" else self.dim

    @property
    def row_bytes(self) -> int:
        """How many bytes of a file a row takes."""
        return self.per_row * self.stored_dim * _NUMBER_BYTES[self.dtype]

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in the manifest."""
        return {"name": self.name, **asdict(self)}

    @classmethod
    def from_json(cls, given: Mapping[str, Any], where: str) -> Space:
        """Read the manifest's JSON object; raises FormatError."""
        fields = {key: given[key] for key in given if key != "name"}
        wrong = set(fields) ^ {"modality", "encoder", "dim", "per_row", "dtype", "unit_norm"}
        if wrong:
            raise FormatError(where, expected="the six fields of a space", found=f"other ones: {sorted(wrong)}", do=_DO)
        ok = (
            fields["modality"] in get_args(Modality)
            and isinstance(fields["encoder"], str)
            and NAME.fullmatch(fields["encoder"])
            and fields["dtype"] in get_args(StorageType)
            and all(type(fields[key]) is int and 0 < fields[key] < 2**20 for key in ("dim", "per_row"))
            and type(fields["unit_norm"]) is bool
        )
        if not ok:
            raise FormatError(where, expected="a space as docs/format.md describes it", found=repr(dict(given)), do=_DO)
        space = cls(**fields)
        if given.get("name") != space.name:
            raise FormatError(where, expected=f"the name {space.name}", found=repr(given.get("name")), do=_DO)
        return space


_DO = "The manifest was altered or written by something else: fetch or build the dataset again."


@dataclass(frozen=True)
class Preprocess:
    """What was done to a picture before the encoder saw it."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str


@dataclass(frozen=True)
class EncoderRecord:
    """What an encoder really was; enough to compute its vectors again and to notice that they would differ.

    `weights_sha256` is over the tensors (names, dtypes, shapes, bytes), not over a file, so it survives a change of
    container. `logit_scale` is the trained one, already exponentiated; `distillation_scale` the one that a student is
    taught with where that is another, `logit_bias` that of a model trained with a sigmoid loss, `activation` that of
    both towers as they were built (`image / text` where they differ); these three are left out where nobody knows them.
    `decode` is "fast" where pictures were not brought to the model's size in its own way, and left out elsewhere.
    """

    name: str
    model: str
    pretrained: str
    weights_sha256: str
    dim: int
    context_length: int
    preprocess: Preprocess
    precision: str
    logit_scale: float
    license: str
    batch_size: int
    threads: int
    distillation_scale: float | None = None
    logit_bias: float | None = None
    activation: str = ""
    decode: str = ""

    @property
    def teaching_scale(self) -> float:
        """What similarities are multiplied by when a student learns from them."""
        return self.logit_scale if self.distillation_scale is None else self.distillation_scale

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that stands in the manifest."""
        return {key: value for key, value in asdict(self).items() if key not in _MAY_LACK or value not in (None, "")}

    @classmethod
    def from_json(cls, given: Mapping[str, Any], where: str) -> EncoderRecord:
        """Read the manifest's JSON object; raises FormatError."""
        try:
            shape = dict(cast("Mapping[str, Any]", given["preprocess"]))
            for key in ("size", "mean", "std"):
                if not isinstance(shape[key], list):
                    raise TypeError(f"{key!r} is no list")
                shape[key] = tuple(shape[key])
            record = cls(**{**given, "preprocess": Preprocess(**shape)})
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(where, expected="an encoder record", found=str(error), do=_DO) from error
        wrong = _of_wrong_kind({**asdict(record), **asdict(record.preprocess)})
        wrong += [key for key in _MAY_LACK if key in given and given[key] in (None, "")]
        if wrong:
            raise FormatError(where, expected="an encoder record", found=f"a wrong type in {wrong}", do=_DO)
        return record


_MAY_LACK = ("distillation_scale", "logit_bias", "activation", "decode")


def _of_wrong_kind(fields: Mapping[str, Any]) -> list[str]:
    texts = ("name", "model", "pretrained", "weights_sha256", "precision", "license", "interpolation", "resize_mode")
    numbers = [key for key in ("logit_scale", "distillation_scale", "logit_bias") if fields[key] is not None]
    right = {
        **{key: type(fields[key]) is str for key in (*texts, "activation", "decode")},
        **{key: type(fields[key]) is int for key in ("dim", "context_length", "batch_size", "threads")},
        **{key: all(type(number) in (int, float) for number in fields[key]) for key in ("size", "mean", "std")},
        **{key: type(fields[key]) in (int, float) for key in numbers},
    }
    return [key for key, fine in right.items() if not fine]
