"""Publishing against a stand-in for the Hub: what is sent and in which order, and what is refused."""

from pathlib import Path

import huggingface_hub.constants
import pytest
from dfndr_builders.publish import Publication, files, prepare, publish
from support import publications
from support.hub import Hub
from support.publications import SENDS_AN_OLD_WAY, as_here, send, write_publishable

from dfndr.errors import StorageError, UsageError
from dfndr.format.manifest import read_manifest

hub, given = publications.hub, publications.given
pytestmark = SENDS_AN_OLD_WAY


def test_what_is_published_is_the_dataset_its_card_and_nothing_that_a_build_keeps_for_itself(
    tmp_path: Path, hub: Hub
) -> None:
    root = write_publishable(tmp_path / "set")
    for path in ("phases/score/rows.parquet", "shards/build/00000.json", ".dfndr-lock", "notes.txt", "README.md"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("of the build alone")
    given = prepare(root, "me/tiny")
    done = publish(given, endpoint=hub.url)
    manifest = read_manifest(str(root))
    named = {stored.path for shard in manifest.shards for stored in shard.files.values()}
    extra = {".gitattributes", "README.md", "manifest.json", "croissant.json", "card/scores.png", "card/samples.png"}
    assert set(hub.repos["me/tiny"].files) == named | extra
    assert as_here(hub, given)
    assert (done.uploaded, done.present, done.is_private) == (len(named) + 5, 0, True)
    assert b"of the build alone" not in hub.repos["me/tiny"].files["README.md"]


def test_manifest_card_and_pictures_come_in_the_last_commit_alone(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BATCH_FILES", 2)
    send(given, hub)
    commits = hub.repos["me/tiny"].commits
    assert len(commits) == 1 + 3 + 1
    last = {"README.md", "manifest.json", "croissant.json", "card/scores.png", "card/samples.png"}
    assert all(not last & set(held) for _, _, held in commits[:-1])
    assert set(commits[-1][2]) - set(commits[-2][2]) == last


def test_the_repository_is_listed_as_often_for_many_commits_as_for_one(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BATCH_FILES", 1)
    send(given, hub)
    assert (hub.count("POST .*/commit/"), hub.count("GET .*/tree/")) == (len(given.data) + 1, 4)


def test_a_repository_is_private_and_with_public_it_is_opened_after_all_was_compared(
    given: Publication, hub: Hub
) -> None:
    send(given, hub)
    assert hub.repos["me/tiny"].private and hub.count("/settings") == 0
    send(given, hub, public=True)
    assert not hub.repos["me/tiny"].private
    assert hub.requests[-1].endswith("/settings") and "/tree/" in hub.requests[-2]


def test_a_public_repository_is_not_written_to_unless_public_is_said(given: Publication, hub: Hub) -> None:
    send(given, hub)
    hub.repos["me/tiny"].private = False
    with pytest.raises(UsageError, match="a public one"):
        send(given, hub)


def test_run_again_nothing_is_uploaded(given: Publication, hub: Hub) -> None:
    send(given, hub)
    before = hub.count("PUT|/commit/")
    done = send(given, hub)
    assert hub.count("PUT|/commit/") == before
    assert (done.uploaded, done.present) == (0, len(given.data) + len(given.last))


def test_a_new_version_takes_the_place_of_the_old_one_in_one_commit(tmp_path: Path, hub: Hub) -> None:
    old = prepare(write_publishable(tmp_path / "old"), "me/tiny")
    send(old, hub)
    hub.repos["me/tiny"].files["LICENSE"] = b"of the owner"
    new = prepare(write_publishable(tmp_path / "new", seed=1), "me/tiny")
    before = len(hub.repos["me/tiny"].commits)
    send(new, hub)
    commits = hub.repos["me/tiny"].commits[before:]
    assert all(one.path in commits[0][2] for one in old.data), "a reader of the old version lost files before the end"
    assert as_here(hub, new)
    gone = {one.path for one in old.data} - {one.path for one in new.data}
    assert gone and not gone & set(hub.repos["me/tiny"].files)
    assert hub.repos["me/tiny"].files["LICENSE"] == b"of the owner"


def test_a_repository_that_holds_something_else_is_refused_unless_replace_is_said(tmp_path: Path, hub: Hub) -> None:
    send(prepare(write_publishable(tmp_path / "other", name="other"), "me/tiny"), hub)
    given = prepare(write_publishable(tmp_path / "set", seed=1), "me/tiny")
    before = dict(hub.repos["me/tiny"].files)
    with pytest.raises(UsageError, match="the dataset 'other'"):
        send(given, hub)
    assert hub.repos["me/tiny"].files == before
    send(given, hub, replace=True)
    assert as_here(hub, given)
    del hub.repos["me/tiny"].files["manifest.json"]
    hub.repos["me/tiny"].files["train.csv"] = b"a,b"
    with pytest.raises(UsageError, match=r"train\.csv"):
        send(given, hub)


def test_without_a_token_nothing_is_asked_of_the_hub(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="hf auth login"):
        send(given, hub)
    assert hub.requests == []


def test_a_token_that_is_refused_is_told_and_never_shown(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "hf_" + "x" * 30
    monkeypatch.setenv("HF_TOKEN", wrong)
    with pytest.raises(StorageError, match="status 401") as caught:
        send(given, hub)
    assert wrong not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    "repo_id", ["tiny", "me/ti ny", "me/../x", "a/b/c", "me/", "https://x/y", "me/x.", "me/x.git", "me/" + "x" * 97]
)
def test_a_name_that_no_repository_can_have_is_refused(tmp_path: Path, repo_id: str) -> None:
    with pytest.raises(UsageError, match="me/my-dataset"):
        prepare(tmp_path, repo_id)
