"""Publishing: look what is there, upload what is missing, commit the manifest last, compare; private until then.

A run starts with a look at the repository, and so does each try after a failure: a lost answer, a conflict and a
killed process are all the same case, and what is there is not uploaded again. The manifest and the card come in one
last commit, which also takes away what an earlier version of the dataset left; up to that commit a reader of an
earlier version sees that version.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from dfndr import storage
from dfndr.dataset import open_dataset
from dfndr.errors import DataError, FormatError, UsageError
from dfndr.format.manifest import MANIFEST, Manifest
from dfndr.format.schema import Modality
from dfndr.progress import SILENT, Progress, Task
from dfndr_builders.card import About, read_evaluations
from dfndr_builders.licenses import Accepted
from dfndr_builders.publish.files import README, Upload, batches, data_files, last_files, preflight
from dfndr_builders.publish.gate import check, uses
from dfndr_builders.publish.hub import Busy, Remote, Repository

__all__ = ["Publication", "Published", "prepare", "publish"]

_FOLDERS = ("rows", "problems", "models", "audit", "card", "removed", *get_args(Modality))
_LEFT_ALONE = {".gitattributes", ".gitignore", "LICENSE", "LICENSE.md", README}
_WAITS_S = (1.0, 4.0, 15.0, 60.0)
_SENT_AT_MOST = 2
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Publication:
    """A dataset that may be published, and every file that it would have at the Hub; `last` is the last commit."""

    repo_id: str
    manifest: Manifest
    about: About
    data: tuple[Upload, ...]
    last: tuple[Upload, ...]

    @property
    def size_bytes(self) -> int:
        """The size of it all."""
        return sum(upload.size_bytes for upload in (*self.data, *self.last))

    def to_json(self) -> dict[str, Any]:
        """Return what `--dry-run --json` prints."""
        return {
            "repo_id": self.repo_id,
            "digest": self.manifest.digest,
            "size_bytes": self.size_bytes,
            "files": [{"path": one.path, "size_bytes": one.size_bytes, "sha256": one.sha256} for one in self.data],
            "last": [{"path": one.path, "size_bytes": one.size_bytes, "sha256": one.sha256} for one in self.last],
            "accepted": {one.name: one.reason for one in self.about.accepted},
        }

    def __str__(self) -> str:
        files = [f"{one.size_bytes:>16,}  {one.path}" for one in self.data]
        last = [f"{one.size_bytes:>16,}  {one.path}" for one in self.last]
        total = f"{len(files) + len(last):,} files, {self.size_bytes:,} bytes, to datasets/{self.repo_id}"
        accepted = [f"accepted: {one.name} ({one.reason})" for one in self.about.accepted]
        return "\n".join([*files, "in the last commit:", *last, *accepted, total])


@dataclass(frozen=True)
class Published:
    """What was done: where it is, at which commit, how many files went there and how many were there already."""

    url: str
    commit: str
    digest: str
    uploaded: int
    present: int
    is_private: bool


def prepare(
    dataset: str | os.PathLike[str],
    repo_id: str,
    *,
    accepted: Sequence[Accepted] = (),
    tombstones: bool = False,
    evaluations: Sequence[str | os.PathLike[str]] = (),
) -> Publication:
    """Check all that can be checked here, and return what would be uploaded; nothing is sent.

    `tombstones` allows files that still hold rows that were removed, which readers other than dfndr would show;
    `evaluations` are files that `dfndr eval --json` wrote, whose figures stand in the card.
    Raises UsageError for a name that no repository can have and a dataset that is not a local folder, DataError for
    what the card lacks, licences, and the Hub's limits, FormatError where a file is absent or of another size.
    """
    root = os.fspath(dataset)
    _check_name(repo_id)
    if storage.is_remote(root):
        raise UsageError(root, expected="a local folder", found="a remote one", do="Fetch it to a local folder first.")
    opened = open_dataset(root)
    if opened.manifest.removed and not tombstones:
        found = f"{opened.manifest.removed:,} rows that were removed in them still, for the Hub's viewer to show"
        do = "Run `dfndr compact` first; or say --tombstones, and only readers of dfndr pass them over."
        raise UsageError(root, expected="files without removed rows", found=found, do=do)
    given = uses(opened)
    check(opened.manifest, given, accepted)
    about = About(repo_id, given, tuple(accepted), evaluations=read_evaluations(evaluations, opened.manifest))
    data = data_files(opened)
    last = last_files(opened, about)
    preflight([*data, *last], root)
    return Publication(repo_id, opened.manifest, about, tuple(data), tuple(last))


def _check_name(repo_id: str) -> None:
    """Raise UsageError for what the Hub takes for no name of a repository, or for one without its owner."""
    try:
        validate_repo_id(repo_id)
        is_whole = repo_id.count("/") == 1
    except HFValidationError:
        is_whole = False
    if not is_whole:
        do = "Name the user or organization, and the dataset."
        raise UsageError("REPO_ID", expected="a name like me/my-dataset", found=repr(repo_id), do=do)


def publish(
    given: Publication,
    *,
    public: bool = False,
    replace: bool = False,
    endpoint: str | None = None,
    progress: Progress = SILENT,
    waits_s: Sequence[float] = _WAITS_S,
) -> Published:
    """Bring a dataset to the Hub, or finish what an earlier run began; returns when every file there was compared.

    A new repository is private, and with `public` it is opened after that. `replace` lets it hold another dataset.
    `waits_s` is how long to wait after each failure in a row before the next try. Raises StorageError where the
    Hub refuses or cannot be reached, UsageError for a repository that holds something else or is public already,
    DataError where what is there in the end is not what was sent.
    """
    hub = Repository(given.repo_id, endpoint=endpoint)

    def patiently(work: Callable[[], _Result]) -> _Result:
        return _patiently(work, tuple(waits_s), progress)

    patiently(hub.create)
    remote = patiently(hub.look)
    if not remote.is_private and not public:
        do = "Say --public, or make the repository private first."
        raise UsageError(given.repo_id, expected="a private repository", found="a public one", do=do)
    total, present = len(given.data) + len(given.last), sum(map(remote.holds, (*given.data, *given.last)))
    with progress.task(f"publish {given.repo_id}", total, "files") as task:
        task.advance(present)
        run = _Run(hub, given, replace, task)
        while (done := patiently(run.step)) is None:
            pass
    if public and done.is_private:
        patiently(hub.open_to_all)
    return Published(hub.url, done.commit, given.manifest.digest, total - present, present, not public)


def _patiently(work: Callable[[], _Result], waits_s: Sequence[float], progress: Progress) -> _Result:
    """Return what the work gives, tried again after each wait (or what the Hub asks for) while it is busy."""
    for wait_s in waits_s:
        try:
            return work()
        except Busy as busy:
            wait_s = wait_s if busy.wait_s is None else busy.wait_s
            progress.say(f"the Hub: {busy.found}; another try in {wait_s:.0f} s")
            time.sleep(wait_s)
    return work()


class _Run:
    """One publication on its way: what was sent how often, which earlier manifests may be replaced."""

    def __init__(self, hub: Repository, given: Publication, replace: bool, task: Task) -> None:
        self._hub, self._given, self._replace, self._task = hub, given, replace, task
        self._sent: Counter[str] = Counter()
        self._known: set[str] = set()
        self._waiting: list[list[Upload]] = []

    def step(self) -> Remote | None:
        """Make one commit of what is missing; return the repository once it holds everything as it is here.

        It is looked at anew when nothing is left to be sent, and after each failure.
        """
        given = self._given
        if not self._waiting:
            now = self._hub.look()
            self._refuse_others(now)
            self._waiting = list(batches([upload for upload in given.data if not now.holds(upload)]))
            if not self._waiting:
                return self._end(now)
        waiting, self._waiting = self._waiting, []
        self._send(waiting[0], f"Add {len(waiting[0])} files of {given.manifest.name}")
        self._waiting = waiting[1:]
        return None

    def _end(self, now: Remote) -> Remote | None:
        """Make the last commit, or return the repository where it was made."""
        ending, stale = [upload for upload in self._given.last if not now.holds(upload)], _stale(now, self._given)
        if not ending and not stale:
            return now
        message = f"Publish {self._given.manifest.name}, digest {self._given.manifest.digest[:16]}"
        self._send(ending, message, deleted=stale, parent=now.commit)
        return None

    def _send(
        self, uploads: Sequence[Upload], message: str, *, deleted: Sequence[str] = (), parent: str | None = None
    ) -> None:
        """Commit files; raises DataError for those that were stored twice and came out as something else."""
        paths = [*(upload.path for upload in uploads), *deleted]
        wrong = [path for path in paths if self._sent[path] >= _SENT_AT_MOST]
        if wrong:
            do = "Check what keeps these files from being stored, such as a .gitignore there, and run it again."
            found = f"other content, or none, after {_SENT_AT_MOST} uploads: {', '.join(wrong[:20])}"
            raise DataError(self._hub.url, expected="every file as it is here", found=found, do=do)
        self._hub.commit(uploads, message, deleted=deleted, parent=parent)
        self._sent.update(paths)
        self._task.advance(sum(self._sent[upload.path] == 1 for upload in uploads))

    def _refuse_others(self, now: Remote) -> None:
        """Raise UsageError where the repository holds something else than an earlier version of the dataset."""
        there = now.files.get(MANIFEST)
        if self._replace or (there is not None and there.blob_id in self._known):
            return
        found = ""
        if there is None and not self._sent:
            planned = {upload.path for upload in (*self._given.data, *self._given.last)}
            others = sorted(path for path in now.files if path not in planned and path not in _LEFT_ALONE)
            found = f"{len(others):,} files of something else, such as {others[0]!r}" if others else ""
        elif there is not None and not any(one.path == MANIFEST and now.holds(one) for one in self._given.last):
            name = _name(self._hub.manifest(now.commit))
            is_ours = name == self._given.manifest.name or (name is None and self._sent[MANIFEST] > 0)
            found = "" if is_ours else f"the dataset {name!r}" if name else f"a {MANIFEST} that is none of dfndr's"
        if found:
            do = "Choose another REPO_ID, or say --replace; what is there stays in the repository's history."
            expected = f"an empty repository, or an earlier {self._given.manifest.name}"
            raise UsageError(self._hub.url, expected=expected, found=found, do=do)
        if there is not None:
            self._known.add(there.blob_id)


def _name(data: bytes) -> str | None:
    """Return the name of the dataset whose manifest this is, None where it is none."""
    try:
        return Manifest.from_json(json.loads(data), MANIFEST).name
    except (FormatError, ValueError, RecursionError):
        return None


def _stale(now: Remote, given: Publication) -> list[str]:
    """Return the files in a dataset's folders that this one does not have: an earlier version left them."""
    planned = {upload.path for upload in (*given.data, *given.last)}
    return sorted(path for path in now.files if path.partition("/")[0] in _FOLDERS and path not in planned)
