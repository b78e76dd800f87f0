"""Publishing after rows were taken out: refused while files hold them, and what the Hub then gives has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dfndr_builders.publish import prepare, publish
from dfndr_builders.removing import compact, remove
from support import publications
from support.publications import POOLS, SENDS_AN_OLD_WAY
from support.tiny import IMAGE, TEXT, write_dataset

from dfndr.dataset import open_dataset
from dfndr.errors import UsageError
from dfndr.format.manifest import read_manifest, write_manifest
from dfndr.format.removed import LOG, ROWS
from dfndr.verify import verify

hub = publications.hub
pytestmark = SENDS_AN_OLD_WAY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    columns = {"source": ["album"] * 8, "license": ["CC-BY-4.0"] * 8}
    made = write_dataset(tmp_path / "set", (5, 3), (IMAGE, TEXT), columns=columns)
    write_manifest(made.root, replace(made.manifest, provenance={"pools": POOLS}, license="CC-BY-4.0"))
    return tmp_path / "set"


def test_the_hub_gets_no_removed_row_unless_that_is_asked_for_and_then_loses_it(root, hub):
    publish(prepare(root, "me/tiny"), endpoint=hub.url)
    uids = open_dataset(root).rows(["uid"])["uid"].to_pylist()
    remove(root, [uids[1], uids[6]], reason="asked for", date="2026-01-31")
    with pytest.raises(UsageError, match="2 rows that were removed"):
        prepare(root, "me/tiny")
    publish(prepare(root, "me/tiny", tombstones=True), endpoint=hub.url)
    manifest, there = read_manifest(str(root)), hub.repos["me/tiny"].files
    assert {manifest.files[ROWS].path, manifest.files[LOG].path} < set(there)
    assert "removed/log" in there["README.md"].decode() and "asked for" in there["README.md"].decode()
    compact(root, date="2026-01-31")
    publish(prepare(root, "me/tiny"), endpoint=hub.url)
    there, left = hub.repos["me/tiny"].files, read_manifest(str(root))
    assert manifest.files[ROWS].path not in there and left.files[LOG].path in there
    named = {stored.path for shard in left.shards for stored in shard.files.values()}
    assert {path for path in there if path.startswith(("rows/", "image/", "text/"))} == named
    copy = root.parent / "copy"
    for path, data in there.items():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes(data)
    assert verify(copy).ok and open_dataset(copy).digest == left.digest
    assert not {uids[1], uids[6]} & set(open_dataset(copy).rows(["uid"])["uid"].to_pylist())
    assert not [uid for uid in (uids[1], uids[6]) for data in there.values() if uid.encode() in data]
