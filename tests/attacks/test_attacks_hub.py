"""Hostile datasets from the Hub: opened, verified, loaded, searched and explored through a stand-in on loopback.

Whatever was published, each ends in an error of ours or in the truth; nothing is written outside the cache, nothing is
run, and memory stays small. What the manifests and files say is what the other attacks of this folder say locally.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from support.hub import Hub
from support.published import hub_for_reading, put_folder
from support.tiny import IMAGE, write_dataset
from test_attacks_files import HEADERS, PARQUETS, adopted, parquet, rows_table
from test_attacks_manifest import CHANGED_TEXTS, LIES, TEXTS

from dfndr import Index, Loader, open_dataset
from dfndr.errors import DfndrError
from dfndr.explore.queries import Explorer
from dfndr.explore.values import Filter
from dfndr.verify import verify

ROOT = "hf://datasets/me/set"
MOST_BYTES = 400_000_000
"""What Python may hold at once: a text that is a million numbers deep costs some, a claim of 2**60 rows must not."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_for_reading(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "set"
    write_dataset(root, (5, 3))
    return root


def _explore() -> None:
    explorer = Explorer(open_dataset(ROOT), device="cpu")
    explorer.about()
    explorer.browse(Filter())
    explorer.sample(explorer.dataset.rows(["uid"])["uid"][0].as_py())


USES: dict[str, Callable[[], object]] = {
    "open": lambda: open_dataset(ROOT).digest,
    "rows": lambda: open_dataset(ROOT).rows(),
    "vectors": lambda: open_dataset(ROOT).vectors(IMAGE.name),
    "load": lambda: [batch[IMAGE.name] for batch in Loader(open_dataset(ROOT), [IMAGE.name], batch_size=4)],
    "search": lambda: Index.build(open_dataset(ROOT), IMAGE.name, kind="exact"),
    "explore": _explore,
    "export to torch": lambda: open_dataset(ROOT).to_torch()[0],
    "verify": lambda: verify(ROOT).ok,
}


MANIFEST_USES = {"open", "verify"}
"""Every other use begins with opening."""


def assert_harmless(outside: Path, *, refused_by: set[str], only: set[str]) -> None:
    """Use what is published, in every way or only in some; the uses that are named have to be refused."""
    before = _listing(outside)
    refused = set()
    tracemalloc.start()
    try:
        for name in only or USES:
            try:
                fine = USES[name]()
                refused |= {name} if name == "verify" and not fine else set()
            except DfndrError:
                refused.add(name)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused >= refused_by, f"{refused_by - refused} went through"
    assert peak < MOST_BYTES
    assert _listing(outside) == before, "a file outside the cache"


def _listing(folder: Path) -> set[str]:
    cache = folder / "cache"
    return {str(path) for path in folder.rglob("*") if cache not in (path, *path.parents)}


@pytest.fixture
def published(hub: Hub, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what publishes a copy of a good dataset after a change, and sees what comes of it."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def publish(change: Callable[[Path], object], *, refused_by: set[str], only: set[str] = frozenset()) -> None:
        folder = tmp_path / "hostile"
        shutil.copytree(whole, folder)
        change(folder)
        put_folder(hub, "me/set", folder)
        assert_harmless(tmp_path, refused_by=refused_by, only=only)

    return publish


def _manifest(change: Callable[[str], bytes]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_bytes(change(path.read_text()))

    return write


def _lie(name: str) -> Callable[[str], bytes]:
    def change(text: str) -> bytes:
        given = json.loads(text)
        LIES[name](given)
        return json.dumps(given).encode()

    return change


@pytest.mark.parametrize("lie", LIES)
def test_a_published_manifest_that_lies_opens_nothing(published: Callable[..., None], lie: str) -> None:
    published(_manifest(_lie(lie)), refused_by=MANIFEST_USES, only=MANIFEST_USES)


@pytest.mark.parametrize("text", [*TEXTS, *CHANGED_TEXTS])
def test_a_published_manifest_that_is_none_opens_nothing(published: Callable[..., None], text: str) -> None:
    change = (lambda _: TEXTS[text]) if text in TEXTS else lambda given: CHANGED_TEXTS[text](given).encode()
    published(_manifest(change), refused_by=MANIFEST_USES, only=MANIFEST_USES)


@pytest.mark.parametrize("content", HEADERS)
def test_published_vectors_that_are_something_else_are_never_used(published: Callable[..., None], content: str) -> None:
    uses = {"vectors", "load", "search", "verify"}
    published(lambda folder: adopted(folder, IMAGE.name, HEADERS[content]), refused_by=uses, only=uses)


@pytest.mark.parametrize("content", PARQUETS)
def test_published_rows_that_are_damaged_are_never_used(published: Callable[..., None], content: str) -> None:
    published(lambda folder: adopted(folder, "rows", PARQUETS[content]), refused_by={"rows", "verify", "explore"})


def test_markup_and_formulas_in_published_rows_are_only_text(published: Callable[..., None]) -> None:
    texts = ["<script>alert(1)</script>", "=cmd|' /C calc'!A0", "../../x", "\x1b]0;x\x07", "{{ 7*7 }}"]
    table = pa.concat_tables([rows_table(text=texts)])
    published(lambda folder: adopted(folder, "rows", parquet(table)), refused_by=set())


def test_a_manifest_that_never_ends_is_read_to_its_limit_alone(hub: Hub, whole: Path) -> None:
    from dfndr.format import manifest

    put_folder(hub, "me/set", whole)
    hub.repos["me/set"].files["manifest.json"] = b" " * (manifest._MAX_BYTES + (8 << 20))
    with pytest.raises(DfndrError, match="at most 134,217,728 bytes"):
        open_dataset(ROOT)


@pytest.mark.parametrize("seed", range(40))
def test_a_published_manifest_with_bytes_exchanged_is_refused_or_usable(
    published: Callable[..., None], seed: int
) -> None:
    drawn = random.Random(seed)

    def change(text: str) -> bytes:
        data = bytearray(text.encode())
        for _ in range(drawn.randint(1, 4)):
            data[drawn.randrange(len(data))] = drawn.choice(b'0123456789[]{}",:ax./\\')
        return bytes(data)

    published(_manifest(change), refused_by=set())


def test_the_name_of_a_file_is_never_a_place_in_the_cache(hub: Hub, whole: Path, tmp_path: Path) -> None:
    put_folder(hub, "me/set", whole)
    open_dataset(ROOT).fetch()
    cache = tmp_path / "cache"
    names = {path.relative_to(cache).parts[0] for path in cache.rglob("*") if path.is_file()}
    assert all(len(name) == 2 or name in ("leases", "locks", ".lock") for name in names)
    assert not any(os.access(path, os.X_OK) for path in cache.rglob("*") if path.is_file())
