"""Weights between a filter's base and its fine-tuned ones, and which of them to keep.

WiSE-FT (Wortsman et al. 2022, arXiv:2109.01903): (1 - alpha) x base + alpha x fine-tuned, tensor by tensor. The alpha
with the highest ROC-AUC at telling the validation pairs from the same pairs with swapped texts is kept; of equal ones
the smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from dfndr import storage
from dfndr.encoder import Encoder, open_encoder
from dfndr.errors import PoolError
from dfndr.heads.logistic import roc_auc
from dfndr.models import EncoderSpec, weights_sha256
from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.pools.base import Pool
from dfndr_builders.pools.swapped import SWAPPED, Swapped

if TYPE_CHECKING:
    import torch

__all__ = ["RULE", "Averaged", "average", "averaged_model", "chosen", "separation"]

RULE = "highest ROC-AUC of validation pairs against the same pairs with swapped texts; of equal ones the smaller alpha"
_WEIGHTS = "open_clip_model.safetensors"


@dataclass(frozen=True)
class Averaged:
    """Which alpha was chosen, each one's ROC-AUC in the order given, and over how many pairs of the validation pool."""

    alpha: float
    aucs: tuple[tuple[float, float], ...]
    pairs: int
    weights_sha256: str

    def to_json(self) -> dict[str, object]:
        """Return what the record of the training tells."""
        figures = [{"alpha": alpha, "roc_auc": auc} for alpha, auc in self.aucs]
        return {"alpha": self.alpha, "figures": figures, "pairs": self.pairs, "rule": RULE}


def average(
    base: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor], alpha: float
) -> dict[str, torch.Tensor]:
    """Return (1 - alpha) x base + alpha x tuned, in float32; tensors that are no floats are the tuned ones."""
    return {
        name: (base[name].float() * (1 - alpha) + tensor.float() * alpha).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in tuned.items()
    }


def chosen(aucs: Sequence[tuple[float, float]]) -> float:
    """Return the alpha of the highest AUC, and of equal ones the smallest."""
    return min(aucs, key=lambda at: (-at[1], at[0]))[0]


def averaged_model(
    folders: tuple[str, str], alphas: Sequence[float], pool: Pool, spec: TrainingSpec, out: str
) -> Averaged:
    """Write the best average of the models in two local folders, base and fine-tuned, to `out`/model.

    Raises PoolError where the validation pool has no two pairs of different texts to swap.
    """
    from safetensors.torch import load, save

    base, tuned = (load(storage.read_bytes(storage.join(folder, _WEIGHTS))) for folder in folders)
    others = [name for name in storage.list_files(folders[1]) if name not in (_WEIGHTS, "training.json")]

    def written(alpha: float, folder: str) -> dict[str, torch.Tensor]:
        weights = average(base, tuned, alpha)
        storage.put(folder, _WEIGHTS, save(weights))
        for name in others:
            storage.put(folder, name, storage.read_bytes(storage.join(folders[1], name)))
        return weights

    aucs: list[tuple[float, float]] = []
    pairs = 0
    for alpha in alphas:
        place = storage.join(out, f"alpha-{alpha}")
        written(alpha, place)
        where = f"local-dir:{place}"
        encoder = open_encoder(EncoderSpec(where, where, where, threads=spec.threads, device=spec.device))
        right, wrong = separation(encoder, pool, spec.seed)
        aucs.append((alpha, _auc(right, wrong)))
        pairs = len(right)
    best = chosen(aucs)
    return Averaged(best, tuple(aucs), pairs, weights_sha256(written(best, storage.join(out, "model"))))


def separation(encoder: Encoder, pool: Pool, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the cosines of a pool's pairs as they are and with swapped texts, in one order.

    Pairs that have a problem, or whose text is that of the row it would be swapped with, are left out.
    """
    swapped = Swapped(pool, 1.0, seed)
    cosines: list[npt.NDArray[np.float64]] = []
    for shard in pool.shards():
        for table, other in zip(pool.read(shard), swapped.read(shard), strict=True):
            rows = [row for row, is_swapped in enumerate(other[SWAPPED].to_pylist()) if is_swapped]
            images = encoder.encode_images([table["image"][row].as_py() for row in rows])
            texts, wrong = (encoder.encode_texts([one["text"][row].as_py() for row in rows]) for one in (table, other))
            bad = images.problems.keys() | texts.problems.keys() | wrong.problems.keys()
            good = [place for place in range(len(rows)) if place not in bad]
            pair = [
                np.einsum("nd,nd->n", images.vectors[good], words.vectors[good], dtype=np.float64)
                for words in (texts, wrong)
            ]
            cosines.append(np.stack(pair))
    both = np.concatenate(cosines, axis=1) if cosines else np.zeros((2, 0))
    if not both.shape[1]:
        found, do = "none whose text could be swapped", "Give it pairs with different texts."
        raise PoolError("dfn.averaging: pool", expected="validation pairs", found=found, do=do)
    return both[0], both[1]


def _auc(right: npt.NDArray[np.float64], wrong: npt.NDArray[np.float64]) -> float:
    is_right = np.repeat([True, False], [len(right), len(wrong)])
    return cast("float", roc_auc(np.concatenate([right, wrong]), is_right))  # there are both
