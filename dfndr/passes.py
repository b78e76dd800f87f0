"""Forward passes: rows in batches of one shape, several at a time where there are cores, halved where memory runs out.

A pass has a fixed number of threads, so how many run at a time changes no bit. Two passes of one thread each are
faster than one pass of two, whose threads wait for each other in every layer.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from dfndr.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

__all__ = ["Passes", "cores"]

_ON_A_GPU = 2
"""One pass computes, and the next one's rows are on their way."""


def cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Passes:
    """Runs rows through a model on a device; `batch_size` rows, the last of them idle where there are fewer.

    `threads` are those of one pass on the CPU. `seconds` is how long passes were waited for in all, and `notes` says
    what happened: where memory runs out, batches are halved for good.
    """

    def __init__(self, name: str, device: str, batch_size: int, threads: int) -> None:
        self.batch_size, self.seconds = batch_size, 0.0
        self.notes: dict[str, str] = {}
        self.at_a_time = max(1, cores() // max(1, threads)) if device == "cpu" else _ON_A_GPU
        self._name, self._device, self._threads = name, device, max(1, threads)
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(self.at_a_time, thread_name_prefix="dfndr-passes")

    def over(
        self,
        blocks: Iterable[torch.Tensor],
        forward: Callable[[torch.Tensor], torch.Tensor],
        *,
        share: int = 1,
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield what `forward` gives of each block of rows, in order; one block is asked for ahead of the passes.

        `share` divides the batch's number of rows. Raises ModelError where there is no memory for a single row.
        """
        waiting: deque[Future[npt.NDArray[np.float32]]] = deque()
        try:
            for block in blocks:
                waiting.append(self._pool.submit(self._through, block, forward, share))
                if len(waiting) > self.at_a_time:
                    yield self._waited_for(waiting.popleft())
            while waiting:
                yield self._waited_for(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()

    def _waited_for(self, future: Future[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        began = time.perf_counter()
        found = future.result()
        self.seconds += time.perf_counter() - began
        return found

    def _through(
        self, block: torch.Tensor, forward: Callable[[torch.Tensor], torch.Tensor], share: int
    ) -> npt.NDArray[np.float32]:
        import numpy as np
        import torch

        torch.set_num_threads(self._threads)
        found: list[npt.NDArray[np.float32]] = []
        start = 0
        while start < len(block):
            whole = self.batch_size
            rows = block[start : start + max(1, whole // share)]
            try:
                with torch.inference_mode():
                    found.append(forward(self._moved(rows, max(1, whole // share)))[: len(rows)].float().cpu().numpy())
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._halve(whole, error)
                continue
            start += len(rows)
        return np.concatenate(found)

    def _moved(self, rows: torch.Tensor, size: int) -> torch.Tensor:
        """Return rows on the device, filled up to a batch; from memory that a GPU copies from while it computes."""
        import torch

        is_cuda = self._device.startswith("cuda")
        if len(rows) < size or is_cuda:
            padded = torch.zeros((size, *rows.shape[1:]), dtype=rows.dtype, pin_memory=is_cuda)
            padded[: len(rows)] = rows
            rows = padded
        return rows.to(self._device, non_blocking=is_cuda)

    def _halve(self, whole: int, error: Exception) -> None:
        """Make the batch half as large where that may help; raise what went wrong where it cannot."""
        if not _is_out_of_memory(error):
            raise error
        if whole == 1:
            where, said = f"encoder {self._name!r}", str(error).splitlines()[0][:200]
            do = "Take a smaller model, or another device."
            raise ModelError(where, expected="memory for one row", found=said, do=do) from error
        with self._guard:
            if self.batch_size == whole:  # not where another pass has done it meanwhile
                self.batch_size = whole // 2
                self.notes["batch_size"] = f"halved to {self.batch_size}: the device ran out of memory"


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "not enough memory", "can't allocate memory")
    )
