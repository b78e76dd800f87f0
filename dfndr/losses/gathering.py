"""Batches that several processes share: each sees the vectors of all, and gradients find their way back."""

from __future__ import annotations

from typing import Any, cast

from dfndr.errors import MissingExtra

try:
    import torch
    import torch.distributed as processes
except ModuleNotFoundError as error:
    raise MissingExtra.of(error.name or "torch", "train") from error

__all__ = ["gathered"]


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes, in the order of their ranks: shape (ranks * n, ...), for n rows on each.

    A loss of what was gathered is the loss of the whole batch on every rank, and where gradients of parameters are then
    averaged over ranks, as DistributedDataParallel does, they are those of one process with that batch. Gradients of
    all ranks' losses are summed, as in open_clip's `ClipLoss(gather_with_grad=True)`. Every rank has to give a tensor
    of the same shape and type. In a lone process it is the tensor itself.
    """
    if not processes.is_available() or not processes.is_initialized() or processes.get_world_size() == 1:
        return tensor
    return cast("torch.Tensor", _Gather.apply(tensor))


class _Gather(torch.autograd.Function):  # type: ignore[misc]
    """Written out, because what torch.distributed offers for it changes its name from release to release."""

    @staticmethod
    def forward(_context: Any, tensor: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        own = tensor.contiguous()
        found = [torch.empty_like(own) for _ in range(processes.get_world_size())]
        processes.all_gather(found, own)
        return torch.cat(found)

    @staticmethod
    def backward(_context: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        summed = gradient.clone(memory_format=torch.contiguous_format)
        processes.all_reduce(summed)
        return summed.chunk(processes.get_world_size())[processes.get_rank()]
