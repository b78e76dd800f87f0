"""Training a classifier of pictures: those of good pools against those of the pool that is to be filtered."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dfndr.encoder import Encoder
from dfndr.errors import DataError
from dfndr.format.schema import EncoderRecord
from dfndr.heads.logistic import fit_logistic, roc_auc
from dfndr.progress import SILENT, Progress
from dfndr_builders.fitting import Fitting, fit, seeded
from dfndr_builders.image_classifier.model import Frozen, ImageClassifier, Training, learned
from dfndr_builders.image_classifier.network import Conv
from dfndr_builders.pools.base import Pool
from dfndr_builders.sampled import Ready, Sampled, held_out, sample, squares
from dfndr_builders.weights_folder import Tensors

if TYPE_CHECKING:
    import torch

__all__ = ["MINIMUM", "train_conv", "train_linear"]

MINIMUM = 50
"""The fewest distinct pictures that either side needs."""

_HELD_OUT = 0.1


def train_linear(
    good: Pool,
    raw: Pool,
    encoder: Encoder,
    *,
    record: EncoderRecord | None = None,
    l2: float = 1e-3,
    most: int = 20_000,
    seed: int = 0,
    progress: Progress = SILENT,
) -> ImageClassifier:
    """Train a logistic regression on a frozen encoder's unit vectors of pictures, both sides with the same weight.

    `record` is what is written down of the encoder, its own by default; `l2` is that of `dfndr.heads.logistic`, `most`
    the pictures a side, those of smallest hash. A picture on both sides is good. Raises DataError where a side has
    fewer than `MINIMUM` distinct pictures.
    """

    def ready(images: Any) -> Any:  # noqa: ANN401  see `Ready`
        done = encoder.encode_images(images)
        return done.vectors, done.problems

    vectors, is_good, measured, problems = _examples(good, raw, ready, most, seed, progress)
    wide = vectors.astype(np.float64)
    with progress.task("train the image classifier", total=None):
        found = fit_logistic(lambda: iter([(wide[~measured], is_good[~measured])]), wide.shape[1], l2=l2, balanced=True)
    record = record or encoder.record
    shape = Frozen(record.model, record.pretrained, record.weights_sha256, record.dim)
    tensors = {"weight": found.weight.astype(np.float32), "bias": np.array([found.bias], dtype=np.float32)}
    log_odds = wide @ tensors["weight"].astype(np.float64) + float(tensors["bias"][0])
    how = {"l2": l2, "most": most, "precision": record.precision, "license": record.license}
    return ImageClassifier(shape, tensors, _measured(log_odds, is_good, measured, problems, seed, how))


def train_conv(
    good: Pool,
    raw: Pool,
    shape: Conv = Conv(),  # noqa: B008  frozen
    how: Fitting = Fitting(),  # noqa: B008  frozen
    *,
    most: int = 20_000,
    progress: Progress = SILENT,
) -> ImageClassifier:
    """Train a small convolutional network on the pixels, both sides with the same weight; half of the views mirrored.

    Raises DataError where a side has fewer than `MINIMUM` distinct pictures, ModelError where the loss is not finite.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    pixels, is_good, measured, problems = _examples(
        good, raw, lambda images: squares(images, shape.side), most, how.seed, progress
    )
    network, places = seeded(how.seed, shape.make), np.flatnonzero(~measured)
    weight = torch.tensor(float((~is_good[places]).sum() / is_good[places].sum()))
    truth = torch.from_numpy(is_good.astype(np.float32))

    def loss_of(batch: npt.NDArray[np.int64], step: int) -> torch.Tensor:
        from dfndr.seeds import rng_for

        rows, device = places[batch], next(network.parameters()).device
        views = pixels[rows]
        mirrored = rng_for(how.seed, "mirror", step).random(len(rows)) < 0.5
        views[mirrored] = views[mirrored, :, ::-1]
        answers, wanted = network(shape.ready(views).to(device)), truth[rows].to(device)
        return binary_cross_entropy_with_logits(answers, wanted, pos_weight=weight.to(device))

    loss = fit(network, len(places), loss_of, how, what="the image classifier", progress=progress)
    told = {name: value for name, value in asdict(how).items() if name not in ("device", "seed")}
    tensors: Tensors = learned(network)
    with torch.inference_mode():
        network.cpu()
        log_odds = np.concatenate(
            [network(shape.ready(pixels[at : at + 256])).numpy() for at in range(0, len(pixels), 256)]
        )
    training = _measured(log_odds, is_good, measured, problems, how.seed, {**told, "most": most, "loss": loss})
    return ImageClassifier(shape, tensors, training)


def _examples(
    good: Pool, raw: Pool, ready: Ready, most: int, seed: int, progress: Progress
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, int]]:
    """Return the pictures of both sides, which are good, which are held out, and the problems counted by reason."""
    sides: dict[str, Sampled] = {}
    for side, pool in (("good", good), ("raw", raw)):
        what = f"{side} pictures"
        sides[side] = sample(pool, ready, most=most, seed=seed, distinct="image", what=what, progress=progress)
    known = set(sides["good"].names)
    new = [place for place, name in enumerate(sides["raw"].names) if name not in known]
    for side, count in (("good", len(known)), ("raw", len(new))):
        if count < MINIMUM:
            do = "Give more pictures; thousands a side are better."
            raise DataError(f"the {side} pictures", expected=f"{MINIMUM} distinct ones", found=str(count), do=do)
    names = [*sides["good"].names, *(sides["raw"].names[place] for place in new)]
    values = np.concatenate([sides["good"].values, sides["raw"].values[new]])
    problems = {f"{side}: {reason}": n for side, given in sides.items() for reason, n in given.problems.items()}
    return values, np.arange(len(names)) < len(known), held_out(names, seed, _HELD_OUT), problems


def _measured(
    log_odds: npt.NDArray[np.floating[Any]],
    is_good: npt.NDArray[np.bool_],
    measured: npt.NDArray[np.bool_],
    problems: dict[str, int],
    seed: int,
    how: dict[str, object],
) -> Training:
    """Return the record of a training; raises DataError where no picture of a side was held out."""
    found, truth = log_odds[measured].astype(np.float64), is_good[measured]
    auc = roc_auc(found, truth)
    if auc is None:
        do = "Give more pictures."
        raise DataError("the pictures held out", expected="some of both sides", found=f"{len(truth)}", do=do)
    sides = [float(((found >= 0) == truth)[truth == side].mean()) for side in (True, False)]
    return Training(
        seed=seed,
        good=int(is_good.sum()),
        raw=int((~is_good).sum()),
        good_held_out=int(truth.sum()),
        raw_held_out=int((~truth).sum()),
        auc=auc,
        accuracy=sum(sides) / 2,
        problems=problems,
        how=how,
    )
