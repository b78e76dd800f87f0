"""The classifier itself: a linear map of a frozen encoder's vectors, or a small convolutional network."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfndr.encoder import EncoderSpec, open_encoder, pick_device
from dfndr.errors import FormatError, UsageError
from dfndr_builders.fitting import with_threads
from dfndr_builders.image_classifier.network import Conv
from dfndr_builders.sampled import Problems, squares
from dfndr_builders.weights_folder import Tensors, load_weights, save_weights

__all__ = ["FORMAT", "NAME", "Frozen", "ImageClassifier", "LogOdds", "Training", "learned"]

FORMAT, NAME = "dfndr-image-classifier/1", "image_classifier"
LogOdds: TypeAlias = Callable[[Sequence[bytes]], tuple[npt.NDArray[np.float32], Problems]]
"""From picture files to the log-odds of each, float32 of shape (n,), and what is wrong with those that are bad."""


@dataclass(frozen=True)
class Frozen:
    """The encoder whose unit vectors of pictures a linear classifier looks at: its names, and what it really was."""

    model: str
    pretrained: str
    weights_sha256: str
    dim: int


@dataclass(frozen=True)
class Training:
    """What a classifier learned from: counts of distinct pictures, `auc` and `accuracy` on those held out.

    `accuracy` is the mean of both sides' shares of pictures on the right side of even odds.
    """

    seed: int
    good: int
    raw: int
    good_held_out: int
    raw_held_out: int
    auc: float
    accuracy: float
    problems: Mapping[str, int]
    how: Mapping[str, object]


@dataclass(frozen=True, eq=False)
class ImageClassifier:
    """Gives the log-odds that a picture is one of the good ones and not one of the pool, both as likely beforehand."""

    shape: Frozen | Conv
    tensors: Tensors
    training: Training

    def open(
        self, encoder: EncoderSpec | None = None, *, batch_size: int = 64, threads: int = 2, device: str = "auto"
    ) -> LogOdds:
        """Return the function from picture files to log-odds; a picture's do not depend on the others.

        A linear classifier needs its `encoder`; raises UsageError for none, or for one of other weights.
        """
        if isinstance(self.shape, Conv):
            return self._conv(self.shape, batch_size, threads, device)
        if encoder is None:
            found, do = "none", "Say which with `features`."
            raise UsageError("image classifier", expected=f"the encoder {self.shape.pretrained}", found=found, do=do)
        opened = open_encoder(encoder)
        if opened.record.weights_sha256 != self.shape.weights_sha256:
            found, do = opened.record.weights_sha256, "Give the encoder that it was trained on."
            raise UsageError("features", expected=f"weights {self.shape.weights_sha256}", found=found, do=do)
        weight, bias = self.tensors["weight"].astype(np.float64), float(self.tensors["bias"][0])

        def log_odds(images: Sequence[bytes]) -> tuple[npt.NDArray[np.float32], Problems]:
            done = opened.encode_images(images)
            return (done.vectors.astype(np.float64) @ weight + bias).astype(np.float32), done.problems

        return log_odds

    def _conv(self, shape: Conv, batch_size: int, threads: int, device: str) -> LogOdds:
        import torch

        place = pick_device(device)
        network = shape.make()
        network.load_state_dict(_state(self.tensors))
        network.to(place).eval()

        def log_odds(images: Sequence[bytes]) -> tuple[npt.NDArray[np.float32], Problems]:
            found = np.zeros(len(images), dtype=np.float32)
            problems: dict[int, tuple[str, str]] = {}
            with torch.inference_mode(), with_threads(threads):
                for start in range(0, len(images), batch_size):
                    pixels, bad = squares(images[start : start + batch_size], shape.side)
                    padded = np.zeros((batch_size, *pixels.shape[1:]), dtype=np.uint8)
                    padded[: len(pixels)] = pixels
                    given = network(shape.ready(padded).to(place)).cpu().numpy()
                    found[start : start + len(pixels)] = given[: len(pixels)]
                    problems |= {start + at: problem for at, problem in bad.items()}
            return found, problems

        return log_odds

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `image_classifier.safetensors`, then `image_classifier.json`."""
        kind = "conv" if isinstance(self.shape, Conv) else "linear"
        record = {"format": FORMAT, "kind": kind, "shape": asdict(self.shape), "training": asdict(self.training)}
        save_weights(os.fspath(folder), NAME, record, self.tensors)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ImageClassifier:
        """Read what `save` wrote; raises FormatError where a file is missing, damaged or altered."""
        root = os.fspath(folder)
        record, tensors = load_weights(root, NAME, format_name=FORMAT)
        try:
            shape = {"conv": Conv, "linear": Frozen}[record["kind"]](**record["shape"])
            training = Training(**record["training"])
            wanted = _shapes(shape)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            do, found = "Fetch or train it again.", f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise FormatError(root, expected="a classifier as `save` writes it", found=found, do=do) from error
        if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
            do, found = "Fetch or train it again.", "tensors of other names or shapes"
            raise FormatError(root, expected=f"the tensors of its {record['kind']} network", found=found, do=do)
        return cls(shape, tensors, training)


def _shapes(shape: Frozen | Conv) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor by name; what a network of that shape would take is bounded first."""
    if isinstance(shape, Frozen):
        return {"weight": (shape.dim,), "bias": (1,)}
    if not (8 <= shape.side <= 1024 and 1 <= shape.width <= 4096):
        raise ValueError(f"a network of {shape}")
    return {name: tuple(tensor.shape) for name, tensor in _learned(shape.make()).items()}


def _learned(network: Any) -> dict[str, Any]:  # noqa: ANN401  a torch module
    """Return the network's tensors, but for the counters of batches."""
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def learned(network: Any) -> Tensors:  # noqa: ANN401  a torch module
    """Return the network's tensors as arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in _learned(network).items()}


def _state(tensors: Tensors) -> dict[str, Any]:
    import torch

    state = {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}
    counters = {name.replace("running_mean", "num_batches_tracked") for name in tensors if "running_mean" in name}
    return state | {name: torch.tensor(0) for name in counters}
