"""Where a training of a student stands, as one file without a pickle: weights, optimizer, curve, the loader's state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from dfndr import storage
from dfndr.errors import DataError
from dfndr.heads.curve import CurvePoint

if TYPE_CHECKING:
    import torch

__all__ = ["CHECKPOINT", "Standing", "read_checkpoint", "write_checkpoint"]

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Standing:
    """How far a training is: its curve, a point for each step done, the loader's state, and the loss scaler's.

    At the beginning there is no state of the loader.
    """

    curve: tuple[CurvePoint, ...]
    loader: Mapping[str, int] | None
    scaler: Mapping[str, Any]


def write_checkpoint(
    folder: str, digest: str, standing: Standing, *, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write the checkpoint of the training that `digest` names, in the place of the one before."""
    import torch
    from safetensors.torch import save

    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value) for key, value in state.items()}
    tensors["curve"] = torch.tensor([astuple(point) for point in standing.curve], dtype=torch.float64)
    about = {"digest": digest, "loader": standing.loader, "scaler": dict(standing.scaler)}
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    storage.put(folder, CHECKPOINT, save(kept, metadata={"about": json.dumps(about)}))


def read_checkpoint(
    folder: str, digest: str, *, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> Standing | None:
    """Bring model and optimizer to where the training that `digest` names stands; None where it has not begun.

    Raises DataError for a file that is not whole.
    """
    from safetensors import SafetensorError, safe_open

    path = storage.join(folder, CHECKPOINT)
    if not storage.exists(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            if about.get("digest") != digest:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except (SafetensorError, ValueError) as error:
        do = "Remove it; the training then begins anew."
        raise DataError(path, expected="a checkpoint", found=str(error)[:200], do=do) from error
    curve = tuple(CurvePoint(int(step), loss, rate, scale) for step, loss, rate, scale in tensors.pop("curve").tolist())
    parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        parts[kind][rest] = tensor
    model.load_state_dict(parts["model"])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return Standing(curve, about["loader"], about["scaler"])
