"""Batches on their way to a device: on CUDA copied from pinned memory, by itself, while the processor goes on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dfndr.batch import Batch

if TYPE_CHECKING:
    import torch

__all__ = ["Sender", "Sent"]


@dataclass(frozen=True, eq=False)
class Sent:
    """A batch whose vectors are on a device, or will be there when `copied` has happened."""

    batch: Batch
    copied: torch.cuda.Event | None = None

    def arrived(self) -> Batch:
        """Return the batch; what is computed with it from now on waits, on the device, until it is there."""
        if self.copied is not None:
            import torch

            vectors = list(self.batch.vectors.values())
            for stream in {torch.cuda.current_stream(tensor.device) for tensor in vectors}:
                stream.wait_event(self.copied)
                for tensor in vectors:
                    tensor.record_stream(stream)
        return self.batch


class Sender:
    """Sends batches to a device; on CUDA the copies have a stream of their own and nobody waits for them here.

    `early` says how many batches are worth having under way beside the one that is worked on.
    """

    def __init__(self, device: str) -> None:
        import torch

        self.device = torch.device(device)
        self.is_cuda = self.device.type == "cuda"
        self.early = 2 if self.is_cuda else 0
        self._stream: Any = torch.cuda.Stream(self.device) if self.is_cuda else None
        self._leaving: deque[tuple[Any, Batch]] = deque()

    def send(self, batch: Batch) -> Sent:
        """Begin to copy a batch's vectors; its memory here is not used again before they are copied."""
        if not self.is_cuda:
            vectors = {name: tensor.to(self.device) for name, tensor in batch.vectors.items()}
            return Sent(replace(batch, vectors=vectors))
        import torch

        with torch.cuda.stream(self._stream):
            vectors = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.vectors.items()}
            copied = self._stream.record_event()
        self._leaving.append((copied, batch))
        while self._leaving[0][0].query() and len(self._leaving) > 1:
            self._leaving.popleft()
        return Sent(replace(batch, vectors=vectors), copied)
