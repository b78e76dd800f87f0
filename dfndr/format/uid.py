"""A uid in its two forms: 32 lowercase hex digits in rows and answers, 16 bytes where millions of them are held."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dfndr.errors import FormatError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["UID", "pack_uids", "unpack_uids"]

UID = re.compile(r"[0-9a-f]{32}")


def pack_uids(uids: Iterable[str | None], where: str) -> npt.NDArray[np.uint8]:
    """Return uids as bytes, shape (n, 16); raises FormatError, which names the row, for what is no uid."""
    import numpy as np

    listed = list(uids)
    for row, uid in enumerate(listed):
        if uid is None or not UID.fullmatch(uid):
            do = "Run `dfndr verify` on the dataset."
            raise FormatError(f"{where}, row {row}", expected="a uid of 32 hex digits", found=repr(uid)[:80], do=do)
    packed = bytes.fromhex("".join(uid for uid in listed if uid is not None))
    return np.frombuffer(packed, dtype=np.uint8).reshape(-1, 16)


def unpack_uids(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.str_]:
    """Return uids of shape (..., 16) as text, shape (...)."""
    import numpy as np

    text = np.frombuffer(packed.tobytes().hex().encode(), dtype="S32")
    return text.astype("U32").reshape(packed.shape[:-1])
