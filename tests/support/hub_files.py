"""The repositories of the stand-in for the Hub, and how the Hub tells of their files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LFS", "Repo", "entry", "tree"]

LFS = (".parquet", ".npy", ".safetensors", ".png")


@dataclass
class Repo:
    """One dataset repository; `commits` from the first to the head, each with the content of every file."""

    private: bool
    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][2]

    def at(self, revision: str) -> dict[str, bytes] | None:
        sha = self.sha(revision)
        return next((files for one, _, files in self.commits if one == sha), None)

    def sha(self, revision: str) -> str:
        return self.head if revision in ("", "main") else self.tags.get(revision, revision)

    def commit(self, message: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits.append((sha, message, files))
        return sha


def entry(path: str, data: bytes) -> dict[str, Any]:
    if path.endswith(LFS):
        oid = hashlib.sha256(data).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n".encode()
        lfs = {"oid": oid, "size": len(data), "pointerSize": len(pointer)}
        return {"type": "file", "path": path, "size": len(data), "oid": _blob(pointer), "lfs": lfs}
    return {"type": "file", "path": path, "size": len(data), "oid": _blob(data)}


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def tree(files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
    """Return the files and the folders below a folder, all levels."""
    prefix = f"{folder}/" if folder else ""
    inside = {path: data for path, data in files.items() if path.startswith(prefix)}
    folders = {path.rsplit("/", depth)[0] for path in inside for depth in range(1, path.count("/") + 1)}
    dirs = [{"type": "directory", "path": one, "oid": _blob(one.encode()), "size": 0} for one in sorted(folders)]
    return [
        *(one for one in dirs if one["path"].startswith(prefix)),
        *(entry(path, inside[path]) for path in sorted(inside)),
    ]
