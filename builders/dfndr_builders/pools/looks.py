"""How a file looks from outside: what may have changed where it looks otherwise than before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfndr import storage
from dfndr.patience import patiently
from dfndr.remote import explained

__all__ = ["look_of", "looks_of"]

_CHANGED = ("ETag", "etag", "md5", "blob_id", "LastModified", "last_modified", "mtime", "updated", "created")
"""What file systems call it, the surest first."""


def look_of(path: str) -> tuple[int, str]:
    """Return a file's size in bytes, and when it was changed, or what stands for that where it lies, such as an ETag.

    "" where nothing does. A remote one costs a request. Raises StorageError for what is no plain file.
    """
    if not storage.is_remote(path):
        return storage.size_of(path), str(Path(path.removeprefix("file://")).stat().st_mtime_ns)
    fs, inner = storage.file_system(path)
    with explained(path, "measure"):
        return _told(patiently(lambda: fs.info(inner)))


def looks_of(paths: Sequence[str]) -> list[tuple[int, str]]:
    """Return what `look_of` gives for each; a remote folder that several lie in is listed, a request for many files."""
    folders = Counter(path.rpartition("/")[0] for path in paths if storage.is_remote(path))
    listed: dict[str, tuple[int, str]] = {}
    for folder, count in folders.items():
        if count > 1:
            fs, inner = storage.file_system(folder)
            with explained(folder, "list"):
                found = patiently(lambda fs=fs, inner=inner: fs.ls(inner, detail=True))  # type: ignore[misc]
            listed |= {storage.join(folder, str(told["name"]).rpartition("/")[2]): _told(told) for told in found}
    return [listed[path] if path in listed else look_of(path) for path in paths]


def _told(info: Mapping[str, Any]) -> tuple[int, str]:
    return int(info.get("size") or 0), str(next((info[key] for key in _CHANGED if info.get(key)), ""))
