"""Training a masked autoencoder on good pairs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dfndr.errors import DataError
from dfndr.progress import SILENT, Progress
from dfndr_builders.fitting import Fitting, fit, seeded
from dfndr_builders.m3ae.model import M3ae, Training, orders
from dfndr_builders.m3ae.shape import Shape, words_of
from dfndr_builders.pools.base import Pool
from dfndr_builders.sampled import Sampled, held_out, sample, squares

if TYPE_CHECKING:
    import torch

__all__ = ["MINIMUM", "train_m3ae"]

MINIMUM = 50
"""The fewest distinct pairs."""

_HELD_OUT = 0.1


def train_m3ae(
    pool: Pool,
    shape: Shape = Shape(),  # noqa: B008  frozen
    how: Fitting = Fitting(),  # noqa: B008  frozen
    *,
    text_weight: float = 0.5,
    most: int = 50_000,
    progress: Progress = SILENT,
) -> M3ae:
    """Train on at most `most` pairs of a pool, those of smallest hash, a tenth of them kept for measuring.

    The loss is that of the picture plus `text_weight` times that of the text, with new masks in every step. Raises
    DataError where there are fewer than `MINIMUM` distinct pairs, ModelError where the loss is no longer finite.
    """
    import torch

    from dfndr_builders.m3ae.network import Network

    pairs = sample(
        pool,
        lambda images: squares(images, shape.side),
        most=most,
        seed=how.seed,
        distinct="uid",
        progress=progress,
    )
    measured = held_out(pairs.names, how.seed, _HELD_OUT)
    if len(measured) < MINIMUM or not measured.any():
        do = "Give more pairs; thousands are better."
        raise DataError("m3ae", expected=f"{MINIMUM} distinct pairs", found=str(len(measured)), do=do)
    network, words = seeded(how.seed, lambda: Network(shape)), words_of(pairs.texts, shape)
    places, weights = np.flatnonzero(~measured), torch.tensor([1.0, text_weight])

    def losses(rows: npt.NDArray[np.int64], step: int) -> Any:  # noqa: ANN401  a torch tensor
        drawn = orders(words[rows], shape, [(how.seed, pairs.names[row], step) for row in rows])
        device = next(network.parameters()).device
        return network(*(torch.from_numpy(given).to(device) for given in (pairs.values[rows], words[rows], *drawn)))

    def loss_of(batch: npt.NDArray[np.int64], step: int) -> torch.Tensor:
        found = losses(places[batch], step)
        return (found.mean(0) * weights.to(found.device)).sum()

    loss = fit(network, len(places), loss_of, how, what="m3ae", progress=progress)
    with torch.inference_mode():
        rest = np.flatnonzero(measured)
        found = np.concatenate([losses(part, 0).cpu().numpy() for part in np.array_split(rest, len(rest) // 256 + 1)])
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}
    return M3ae(shape, text_weight, tensors, _record(pairs, found, loss, how, most))


def _record(pairs: Sampled, losses: npt.NDArray[Any], loss: float, how: Fitting, most: int) -> Training:
    image_loss, text_loss = (float(mean) for mean in losses.mean(axis=0))
    told = {name: value for name, value in asdict(how).items() if name not in ("device", "seed")} | {"most": most}
    return Training(
        seed=how.seed,
        pairs=len(pairs.names),
        held_out=len(losses),
        image_loss=image_loss,
        text_loss=text_loss,
        loss=loss,
        problems=pairs.problems,
        how=told,
    )
