"""A trained masked autoencoder: its folder, and what it makes of a pair."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfndr.encoder import pick_device
from dfndr.errors import DfndrError, FormatError
from dfndr.seeds import rng_for
from dfndr_builders.fitting import with_threads
from dfndr_builders.m3ae.shape import Shape, words_of
from dfndr_builders.sampled import Problems, squares
from dfndr_builders.weights_folder import Tensors, load_weights, save_weights

__all__ = ["FORMAT", "NAME", "M3ae", "Restoring", "Training", "orders"]

FORMAT, NAME = "dfndr-m3ae/1", "m3ae"
Restoring: TypeAlias = Callable[
    [Sequence[bytes], Sequence[str], Sequence[str]], tuple[npt.NDArray[np.float32], Problems]
]
"""From picture files, texts and uids to the score of each pair, float32 of shape (n,), and what is wrong with some."""


@dataclass(frozen=True)
class Training:
    """What an autoencoder learned from: pairs, those held out, and the mean losses of picture and text on the latter.

    `loss` is that of training, at its end.
    """

    seed: int
    pairs: int
    held_out: int
    image_loss: float
    text_loss: float
    loss: float
    problems: Mapping[str, int]
    how: Mapping[str, object]


@dataclass(frozen=True, eq=False)
class M3ae:
    """Scores a pair by how well what is hidden of it can be restored: minus the loss.

    The loss is that of the picture plus `text_weight` times that of the text, as `Network` has them.
    """

    shape: Shape
    text_weight: float
    tensors: Tensors
    training: Training

    def open(
        self, *, masks: int = 4, seed: int = 0, batch_size: int = 64, threads: int = 2, device: str = "auto"
    ) -> Restoring:
        """Return the function from pairs to scores: the mean over so many maskings, drawn by (seed, uid, number)."""
        import torch

        from dfndr_builders.m3ae.network import Network

        place, shape = pick_device(device), self.shape
        network = Network(shape)
        network.load_state_dict({name: torch.from_numpy(np.array(given)) for name, given in self.tensors.items()})
        network.to(place).eval()
        weights = np.array([1.0, self.text_weight])

        def scores(
            images: Sequence[bytes], texts: Sequence[str], uids: Sequence[str]
        ) -> tuple[npt.NDArray[np.float32], Problems]:
            found, problems = np.zeros(len(images), dtype=np.float32), dict[int, tuple[str, str]]()
            with torch.inference_mode(), with_threads(threads):
                for start in range(0, len(images), batch_size):
                    part = slice(start, start + batch_size)
                    pixels, bad = squares(images[part], shape.side)
                    words, rows = words_of(texts[part], shape), len(pixels)
                    problems |= {start + at: problem for at, problem in bad.items()}
                    total = np.zeros(rows)
                    for mask in range(masks):
                        drawn = orders(words, shape, [(seed, uid, mask) for uid in uids[part]])
                        given = [_padded(array, batch_size).to(place) for array in (pixels, words, *drawn)]
                        total += network(*given).cpu().numpy()[:rows].astype(np.float64) @ weights
                    found[part] = -total / masks
            return found, problems

        return scores

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `m3ae.safetensors`, then `m3ae.json`."""
        told = {"shape": asdict(self.shape), "text_weight": self.text_weight, "training": asdict(self.training)}
        save_weights(os.fspath(folder), NAME, {"format": FORMAT, **told}, self.tensors)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> M3ae:
        """Read what `save` wrote; raises FormatError where a file is missing, damaged or altered."""
        import torch

        from dfndr_builders.m3ae.network import Network

        root = os.fspath(folder)
        record, tensors = load_weights(root, NAME, format_name=FORMAT)
        do = "It was altered or written by something else: fetch or train it again."
        try:
            shape, training = Shape(**record["shape"]), Training(**record["training"])
            text_weight = float(record["text_weight"])
            with torch.device("meta"):
                wanted = {name: tuple(given.shape) for name, given in Network(shape).state_dict().items()}
            if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
                raise ValueError("tensors of other names or shapes than its network's")
        except (KeyError, TypeError, ValueError, RuntimeError, DfndrError) as error:
            found = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise FormatError(root, expected="an autoencoder as `save` writes it", found=found, do=do) from error
        return cls(shape, text_weight, tensors, training)


def orders(
    words: npt.NDArray[np.int64], shape: Shape, keys: Sequence[tuple[int, str, int]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the orders in which `Network` hides patches and words of each row, drawn by the row's key alone."""
    noise = np.stack([rng_for(seed, "mask", uid, at).random(shape.patches + shape.words) for seed, uid, at in keys])
    in_text = np.where(words > 0, noise[:, shape.patches :], np.inf)
    order = noise[:, : shape.patches].argsort(axis=1), in_text.argsort(axis=1, kind="stable")
    return order[0].astype(np.int64), order[1].astype(np.int64)


def _padded(given: npt.NDArray[Any], rows: int) -> Any:  # noqa: ANN401  a torch tensor
    """Return so many rows as a tensor, the last one again where there are fewer."""
    import torch

    return torch.from_numpy(given[np.minimum(np.arange(rows), len(given) - 1)])
