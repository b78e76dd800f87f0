"""How a file looks from outside: what may have changed where it looks otherwise than before."""

from __future__ import annotations

from pathlib import Path

from dfndr import storage
from dfndr.remote import explained, patiently

__all__ = ["look_of"]

_CHANGED = ("ETag", "etag", "md5", "blob_id", "LastModified", "last_modified", "mtime", "updated", "created")
"""What file systems call it, the surest first."""


def look_of(path: str) -> tuple[int, str]:
    """Return a file's size in bytes, and when it was changed, or what stands for that where it lies, such as an ETag.

    "" where nothing does. A remote one costs a request where its folder was not listed before. Raises StorageError for
    what is no plain file.
    """
    if not storage.is_remote(path):
        return storage.size_of(path), str(Path(path.removeprefix("file://")).stat().st_mtime_ns)
    fs, inner = storage.file_system(path)
    with explained(path, "measure"):
        told = patiently(lambda: fs.info(inner))
    return int(told.get("size") or 0), str(next((told[key] for key in _CHANGED if told.get(key)), ""))
