"""Reading from elsewhere: which file system a path names, patience with it, and its errors in words without secrets.

A dataset of the Hub is read at one commit, over plain requests of its own: `pinned` finds the commit that a path means
now. Everything else that fsspec knows is read through fsspec. An error's own text may name signed addresses, so of an
address nothing after its question mark is told.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from dfndr.errors import DfndrError, StorageError, UsageError

__all__ = ["explained", "file_system", "is_remote", "is_there", "patiently", "pieces", "pinned"]

WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How long to wait after each failure in a row before the next try; a server may ask for more, up to a minute."""

_LONGEST_WAIT_S = 60.0
_PIECE, _PROGRESS = 1 << 20, 8 << 20
_AT_COMMIT = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)@([0-9a-f]{40})/(.+)")
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError, TypeError, LookupError)
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def is_remote(path: str) -> bool:
    """Say whether a path names a file system other than the local one."""
    return "://" in path and not path.startswith("file://")


def file_system(path: str) -> tuple[Any, str]:
    """Return the fsspec file system of a remote path, and the path within it; raises UsageError for an unknown one."""
    import fsspec

    try:
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(path))
    except (ImportError, ValueError) as error:
        raise UsageError(
            path, expected="a path that fsspec can open", found=str(error), do="Install the file system it names."
        ) from error


def is_there(path: str) -> bool:
    """Say whether a remote file or folder is there; of a dataset of the Hub at a commit, only files."""
    hub = _AT_COMMIT.fullmatch(path)
    fs, inner = file_system(path)

    def look() -> bool:
        if hub is None:
            return bool(fs.exists(inner))
        from huggingface_hub import HfApi

        return HfApi().file_exists(hub[1], hub[3], repo_type="dataset", revision=hub[2])

    with explained(path, "look for"):
        return patiently(look)


def pinned(path: str) -> str:
    """Return the path at the commit that it means now, for a dataset of the Hub; any other path as it is.

    Raises StorageError where there is no such repository or revision.
    """
    if not path.startswith("hf://datasets/"):
        return path
    from huggingface_hub import HfApi, HfFileSystem

    def commit() -> str:
        where: Any = HfFileSystem(skip_instance_cache=True).resolve_path(path)
        info = HfApi().dataset_info(where.repo_id, revision=where.revision)
        inside = f"/{where.path_in_repo}" if where.path_in_repo else ""
        return f"hf://datasets/{where.repo_id}@{info.sha}{inside}"

    with explained(path, "find"):
        return patiently(commit)


def pieces(path: str) -> Iterator[bytes]:
    """Yield a remote file's bytes, front to back; where the connection is cut, the next one goes on from there."""
    done = failed = 0
    since = 0
    with explained(path, "read"):
        while True:
            try:
                for piece in _from(path, done):
                    yield piece
                    done, since = done + len(piece), since + len(piece)
                return
            except Exception as error:
                failed = 1 if since >= _PROGRESS else failed + 1
                since = 0
                _wait(error, failed)


def _from(path: str, start: int) -> Iterator[bytes]:
    """Yield what follows the first `start` bytes of a file, over one connection."""
    hub = _AT_COMMIT.fullmatch(path)
    if hub is None:
        fs, inner = file_system(path)
        with fs.open(inner, "rb") as file:
            file.seek(start)
            while piece := file.read(4 * _PIECE):
                yield piece
        return
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(hub[1], hub[3], repo_type="dataset", revision=hub[2])
    headers = {**build_hf_headers(library_name="dfndr"), "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as answer:
        if start and answer.status_code == 416:  # the cut came after the last byte
            return
        hf_raise_for_status(answer)
        skip = start if answer.status_code != 206 else 0
        for piece in answer.iter_bytes(_PIECE):
            yield piece[skip:]
            skip = max(0, skip - len(piece))


def patiently(work: Callable[[], _Result]) -> _Result:
    """Return what the work gives, tried again after each wait while the other side fails in a way that may pass."""
    for failed in range(1, len(WAITS_S) + 1):
        try:
            return work()
        except Exception as error:
            _wait(error, failed)
    return work()


def _wait(error: Exception, failed: int) -> None:
    """Wait before the next try; raises the error again where none makes sense, or none is left."""
    status = _status(error)
    final = isinstance(error, (DfndrError, *_FINAL)) if status is None else status not in _AGAIN
    if final or failed > len(WAITS_S):
        raise error
    asked = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
    wait_s = max(WAITS_S[failed - 1], min(float(asked) if asked.isdigit() else 0.0, _LONGEST_WAIT_S))
    _log.info("%s; another try in %s s", _said(error), wait_s)
    time.sleep(wait_s)


@contextmanager
def explained(path: str, doing: str) -> Iterator[None]:
    """Turn whatever a remote file system raises into a StorageError that says what to do."""
    try:
        yield
    except DfndrError:
        raise
    except Exception as error:  # each file system brings errors of its own, and of its HTTP library
        status = _status(error)
        do = "Check the path and the connection, then run the same command again."
        if status in (401, 403, 404) or isinstance(error, PermissionError):
            do = "Check the name and the revision; where it is private, log in with `hf auth login` or set HF_TOKEN."
        raise StorageError(path, expected=f"to {doing} it", found=_said(error), do=do) from error


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error, None where there was no answer."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None


def _said(error: BaseException) -> str:
    """Return what went wrong in one line."""
    status = _status(error)
    told = getattr(error, "server_message", None) or ("" if status is not None else str(error))
    text = re.sub(r"\?\S*", "", " ".join(str(told).split()))[:200].rstrip(".")
    if status is not None:
        return f"status {status}" + (f" ({text})" if text else "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
