"""The head: one small map for image vectors and one for text vectors, into a space that both share.

It is kept as `head.safetensors` (the weights) and `head.json` (what they are and where they were trained).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from dfndr import storage
from dfndr.errors import FormatError, MissingExtra, StorageError, UsageError
from dfndr.losses.contrastive import LOSSES, LossName
from dfndr.seeds import hash_int

try:
    import safetensors.torch
    import torch
    from torch import nn
except ModuleNotFoundError as error:
    raise MissingExtra.of(error.name or "torch", "train") from error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["FORMAT", "Head", "HeadKind", "Origin"]

FORMAT = "dfndr-head/1"
HeadKind = Literal["linear", "mlp"]
Vectors = TypeVar("Vectors", "torch.Tensor", "npt.NDArray[np.floating[Any]]")
_START = {"clip": (1 / 0.07, 0.0), "siglip": (10.0, -10.0)}
"""Where scale and bias start: Radford et al. 2021, section 2.5; Zhai et al. 2023, section 3."""
_WRONG = (KeyError, TypeError, ValueError, RuntimeError, RecursionError, UsageError, StorageError)
_DO = "The head was altered or written by something else: fetch or train it again."


@dataclass(frozen=True)
class Origin:
    """Where a head was trained: the dataset's name and digest, the spaces, the steps done, how, and how well it did.

    `training` holds the arguments; `metrics` the retrieval before and after, for each text space.
    """

    dataset: str
    digest: str
    image: str
    text: tuple[str, ...]
    steps: int
    training: Mapping[str, object] = field(default_factory=dict)
    metrics: tuple[object, ...] = ()


class Linear(nn.Module):  # type: ignore[misc]
    """A matrix without bias; it starts as the identity where both dims agree, else with orthonormal rows or columns."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dim_out, dim_in))
        if dim_in != dim_out:
            nn.init.orthogonal_(self.weight)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors @ self.weight.T


class ResidualMLP(nn.Module):  # type: ignore[misc]
    """x + W2 gelu(W1 norm(x)), with W2 zero at the start; x passes a `Linear` where the dims differ."""

    def __init__(self, dim_in: int, dim_out: int, hidden: int) -> None:
        super().__init__()
        self.skip = nn.Identity() if dim_in == dim_out else Linear(dim_in, dim_out)
        self.norm = nn.LayerNorm(dim_in)
        self.widen = nn.Linear(dim_in, hidden)
        self.narrow = nn.Linear(hidden, dim_out, bias=False)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.skip(vectors) + self.narrow(nn.functional.gelu(self.widen(self.norm(vectors))))


class Head(nn.Module):  # type: ignore[misc]
    """Two maps into one space of `dim` (the smaller input's by default), and the scale and bias of the logits.

    Where all dims agree an untrained head leaves vectors as they are (up to their length, which becomes one), so
    training starts from what the encoder knows. `hidden` is the width inside an `mlp`, twice `dim` by default, and
    `logit_scale` where the scale starts. The same seed gives the same weights; torch's own random state is left alone.
    """

    def __init__(
        self,
        kind: HeadKind = "linear",
        *,
        image_dim: int,
        text_dim: int,
        dim: int | None = None,
        hidden: int | None = None,
        loss: LossName = "clip",
        logit_scale: float | None = None,
        seed: int = 0,
        origin: Origin | None = None,
    ) -> None:
        super().__init__()
        for name, value, allowed in (("kind", kind, get_args(HeadKind)), ("loss", loss, tuple(LOSSES))):
            if value not in allowed:
                raise UsageError(name, expected=f"one of {list(allowed)}", found=repr(value), do="Name one of them.")
        self.kind, self.loss, self.origin = kind, loss, origin
        self.image_dim, self.text_dim, self.dim = image_dim, text_dim, dim or min(image_dim, text_dim)
        self.hidden = (hidden or 2 * self.dim) if kind == "mlp" else None
        scale, bias = _START[loss]
        scale = scale if logit_scale is None else logit_scale
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(hash_int(seed, "head"))
            self.image, self.text = self._side(image_dim), self._side(text_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(bias), requires_grad=loss == "siglip")

    def _side(self, dim_in: int) -> nn.Module:
        return Linear(dim_in, self.dim) if self.hidden is None else ResidualMLP(dim_in, self.dim, self.hidden)

    def forward(self, image_vectors: torch.Tensor, text_vectors: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (images, texts) for vectors as the encoder gave them."""
        return self.logits(self.encode_image(image_vectors), self.encode_text(text_vectors))

    def logits(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Return logits for vectors that went through the head: cosine times scale plus bias (0 for the CLIP loss)."""
        return self.log_scale.exp() * images @ texts.T + self.bias

    def encode_image(self, vectors: Vectors) -> Vectors:
        """Map image vectors of shape (..., image_dim) to unit vectors of shape (..., dim).

        Arithmetic is in the head's own type, float32, whatever comes in. A tensor gives a tensor on the head's
        device, through which gradients flow; an array gives an array. Raises UsageError for another last dimension.
        """
        return self._encode(self.image, vectors, self.image_dim, "image vectors")

    def encode_text(self, vectors: Vectors) -> Vectors:
        """Map text or caption vectors of shape (..., text_dim), just as `encode_image` does."""
        return self._encode(self.text, vectors, self.text_dim, "text vectors")

    def _encode(self, side: nn.Module, vectors: Vectors, dim: int, where: str) -> Vectors:
        if vectors.shape[-1] != dim:
            do = "Use the spaces that the head was made for, or vectors of the same encoder."
            raise UsageError(
                where, expected=f"vectors of {dim} dimensions", found=f"shape {tuple(vectors.shape)}", do=do
            )
        if isinstance(vectors, torch.Tensor):
            return cast("Vectors", nn.functional.normalize(side(vectors.to(self.log_scale)), dim=-1))
        with torch.inference_mode():
            given = torch.from_numpy(vectors.astype("float32"))
            return cast("Vectors", self._encode(side, given, dim, where).cpu().numpy())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `head.safetensors`, then `head.json`, which names its sha256; raises StorageError."""
        root = os.fspath(folder)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        weights = storage.put(root, "head.safetensors", safetensors.torch.save(tensors))
        record = {
            "format": FORMAT,
            "kind": self.kind,
            "loss": self.loss,
            "image_dim": self.image_dim,
            "text_dim": self.text_dim,
            "dim": self.dim,
            "hidden": self.hidden,
            "weights_sha256": weights.sha256,
            "origin": None if self.origin is None else asdict(self.origin),
        }
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        storage.put(root, "head.json", text.encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Head:
        """Read what `save` wrote, onto the CPU; raises FormatError where a file is missing, damaged or altered."""
        root = os.fspath(folder)
        where, weights = storage.join(root, "head.json"), storage.join(root, "head.safetensors")
        if not storage.exists(where):
            do = "Check the path; `dfndr train-head` writes one."
            raise FormatError(root, expected="a folder with head.json", found="none", do=do)
        try:
            record = json.loads(storage.read_bytes(where))
            if record["format"] != FORMAT:
                do = "Use the dfndr version that wrote it."
                raise FormatError(where, expected=f"format {FORMAT!r}", found=repr(record["format"]), do=do)
            if storage.sha256_of(weights) != record["weights_sha256"]:
                raise FormatError(weights, expected="the content that head.json names", found="another one", do=_DO)
            tensors = safetensors.torch.load(storage.read_bytes(weights))
            _check_shapes(record, tensors)
            head = cls._of_record(record)
            head.load_state_dict(tensors)
        except (*_WRONG, safetensors.SafetensorError) as error:
            found = f"{type(error).__name__}: {error}".splitlines()[0]
            raise FormatError(root, expected="a head as `Head.save` writes it", found=found, do=_DO) from error
        return head

    @classmethod
    def _of_record(cls, record: Mapping[str, Any]) -> Head:
        given = record["origin"]
        origin = (
            None
            if given is None
            else Origin(**{**given, "text": tuple(given["text"]), "metrics": tuple(given["metrics"])})
        )
        keys = ("kind", "loss", "image_dim", "text_dim", "dim", "hidden")
        return cls(**{key: record[key] for key in keys}, origin=origin)


def _check_shapes(record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Hold a record's dims against the weights before memory is taken for them; raises ValueError or KeyError."""
    dim, hidden = record["dim"], record["hidden"]
    for side in ("image", "text"):
        dim_in = record[f"{side}_dim"]
        if record["kind"] == "linear":
            wanted = {"weight": (dim, dim_in)}
        else:
            wanted = {"widen.weight": (hidden, dim_in), "narrow.weight": (dim, hidden)}
            wanted |= {} if dim == dim_in else {"skip.weight": (dim, dim_in)}
        for name, shape in wanted.items():
            if tuple(tensors[f"{side}.{name}"].shape) != shape:
                raise ValueError(f"{side}.{name} of shape {tuple(tensors[f'{side}.{name}'].shape)} instead of {shape}")
