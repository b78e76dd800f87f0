"""A dict of tensors as Apple's sets in bfloat16 hold it, gzipped; readers take it by torch's safe loader alone.

This is the one place that writes a file of torch's: nothing but plain tensors under names goes into it.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["tensor_file"]


def tensor_file(arrays: Mapping[str, npt.NDArray[np.floating[Any]]]) -> bytes:
    """Return a `.pth.gz` of the arrays, rounded to bfloat16; equal arrays give equal bytes."""
    import torch

    file = io.BytesIO()
    tensors = {name: torch.from_numpy(np.array(array, np.float32)).bfloat16() for name, array in arrays.items()}
    torch.save(tensors, file)
    return gzip.compress(file.getvalue(), mtime=0)
