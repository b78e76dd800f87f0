"""A dataset repository of the Hub: what it holds, commits to it, and its errors in words that hold no secret.

The token is whatever huggingface_hub itself resolves (`hf auth login`, `HF_TOKEN`); it is never read into a message. An
error's own text may name signed addresses, so only its status and what the server said of it are told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from dfndr import __version__
from dfndr.errors import DataError, DfndrError, StorageError, UsageError
from dfndr.format.manifest import MANIFEST
from dfndr_builders.publish.files import Upload

__all__ = ["Busy", "Remote", "Repository"]

_HttpError = cast("type[Exception]", HfHubHTTPError.__bases__[0])
"""The base of the HTTP library's errors: huggingface_hub changed that library between its versions."""

_TRANSIENT = {408, 409, 412, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT_S = 300.0


class Busy(StorageError):
    """The Hub did not do it this time; another try may. `wait_s` is how long it asked to wait, where it did."""

    wait_s: float | None = None


@dataclass(frozen=True)
class Remote:
    """What a repository holds at one commit; `files` by path."""

    commit: str
    is_private: bool
    files: Mapping[str, RepoFile]

    def holds(self, upload: Upload) -> bool:
        """Say whether a file is there with this very content, by its sha256 or, of a small file, git's id."""
        there = self.files.get(upload.path)
        if there is None or there.size != upload.size_bytes:
            return False
        return there.lfs.sha256 == upload.sha256 if there.lfs is not None else there.blob_id == upload.blob_id()


class Repository:
    """One dataset repository; every call raises Busy, or another DfndrError that waiting does not cure."""

    def __init__(self, repo_id: str, *, endpoint: str | None = None) -> None:
        self.repo_id = repo_id
        self._api = HfApi(endpoint=endpoint, library_name="dfndr", library_version=__version__)

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"{self._api.endpoint}/datasets/{self.repo_id}"

    def create(self) -> None:
        """Make the repository, private; one that is there stays as it is. Raises UsageError without a token."""
        if get_token() is None:
            do = "Log in with `hf auth login`, or set HF_TOKEN."
            raise UsageError(self.repo_id, expected="a token that may write there", found="none", do=do)
        with self._explained("make"):
            self._api.create_repo(self.repo_id, repo_type="dataset", private=True, exist_ok=True)

    def look(self) -> Remote:
        """Return what is there now."""
        with self._explained("look at"):
            info = self._api.dataset_info(self.repo_id)
            tree = self._api.list_repo_tree(self.repo_id, recursive=True, revision=info.sha, repo_type="dataset")
            files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        return Remote(str(info.sha), bool(info.private), files)

    def manifest(self, commit: str) -> bytes:
        """Return the manifest that lies there at a commit."""
        with self._explained("read from"), tempfile.TemporaryDirectory() as folder:
            path = self._api.hf_hub_download(
                self.repo_id, MANIFEST, repo_type="dataset", revision=commit, local_dir=folder
            )
            return Path(path).read_bytes()

    def commit(
        self, uploads: Sequence[Upload], message: str, *, deleted: Sequence[str] = (), parent: str | None = None
    ) -> None:
        """Add files and delete others, all or nothing; with `parent`, only on top of that commit."""
        checked = [(upload.path, upload.checked()) for upload in uploads]
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(
                CommitOperationAdd(path, source if isinstance(source, bytes) else str(source))
                for path, source in checked
            ),
            *(CommitOperationDelete(path) for path in deleted),
        ]
        with self._explained("write to"), _no_bars():
            self._api.create_commit(
                self.repo_id, operations, commit_message=message, repo_type="dataset", parent_commit=parent
            )

    def open_to_all(self) -> None:
        """Make the repository public."""
        with self._explained("make public"):
            self._api.update_repo_settings(self.repo_id, private=False, repo_type="dataset")

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except DfndrError:
            raise
        except (_HttpError, OSError, RuntimeError, ValueError) as error:
            raise self._error(error, doing) from error

    def _error(self, error: BaseException, doing: str) -> DfndrError:
        where, expected = f"{self._api.endpoint}/datasets/{self.repo_id}", f"to {doing} it"
        answer = _answer(error)
        if answer is None:
            local = _cause(error, (OSError,))
            if isinstance(local, OSError) and local.filename is not None:
                do = "Check the path, then run the same command again."
                return StorageError(str(local.filename), expected="to read it", found=str(local.strerror), do=do)
            if isinstance(error, ValueError) and not isinstance(error.__cause__, _HttpError):
                found = " ".join(str(error).split())[:300]
                return DataError(where, expected=expected, found=found, do="Check what it says.")
            cause = _cause(error, (_HttpError, OSError)) or _first(error)
            found = f"{type(cause).__name__}: {' '.join(str(cause).split())[:200].rstrip('.')}"
            return Busy(where, expected=expected, found=found, do=_AGAIN)
        status = answer.response.status_code
        said = " ".join((answer.server_message or "").split())[:300]
        found = f"status {status}" + (f" ({said})" if said else "")
        if status in _TRANSIENT:
            busy = Busy(where, expected=expected, found=found, do=_AGAIN)
            busy.wait_s = _seconds(answer.response.headers.get("Retry-After"))
            return busy
        do = {
            401: "Log in with `hf auth login`, or set HF_TOKEN to a token that may write there.",
            403: "Use a token that may write there, and check who the repository belongs to.",
            404: "Check the repository's name, and that the token may see it.",
        }.get(status, "Check what the server says, then run the same command again.")
        return StorageError(where, expected=expected, found=found, do=do)


_AGAIN = "Run the same command again: only what is missing is uploaded."


def _answer(error: BaseException) -> HfHubHTTPError | None:
    found = _cause(error, (HfHubHTTPError,))
    return found if isinstance(found, HfHubHTTPError) else None


def _cause(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> BaseException | None:
    """Return the error, or the first one behind it, of some kinds: uploads wrap what they met."""
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__
    return error


def _first(error: BaseException) -> BaseException:
    """Return what was the first to go wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _seconds(given: str | None) -> float | None:
    """Return how long a server asks to wait, at most five minutes; dates are not understood."""
    try:
        return None if given is None else min(max(float(given), 0.0), _LONGEST_WAIT_S)
    except ValueError:
        return None


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep huggingface_hub's own progress bars away: one bar is shown, by `Progress`."""
    were_off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            enable_progress_bars()
