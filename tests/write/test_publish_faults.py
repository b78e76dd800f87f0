"""Faults while something is published: none loses or doubles a file, and the next run goes on where one stopped."""

from pathlib import Path

import pytest
from dfndr_builders.publish import Publication, files, prepare, publish
from support import publications
from support.hub import Hub
from support.publications import SENDS_AN_OLD_WAY, as_here, send, write_publishable

from dfndr.errors import DataError, DfndrError, FormatError, StorageError

hub, given = publications.hub, publications.given
pytestmark = SENDS_AN_OLD_WAY


def test_interrupted_in_between_there_is_no_dataset_yet_and_the_next_run_uploads_only_what_is_missing(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BATCH_FILES", 2)
    hub.fault("POST .*/commit/", kind="reject", status=400, times=0)
    hub.faults[0].times = 1
    with pytest.raises(StorageError, match="status 400"):
        send(given, hub)
    hub.fault("POST .*/preupload/", kind="reject", status=403)
    with pytest.raises(StorageError, match="status 403"):
        send(given, hub)
    monkeypatch.setattr(files, "_BATCH_FILES", 4)
    hub.faults.clear()
    hub.fault("PUT /lfs/" + given.data[5].sha256, kind="reject", status=400)
    with pytest.raises(StorageError, match="status 400"):
        send(given, hub)
    assert "manifest.json" not in hub.repos["me/tiny"].files
    assert {one.path for one in given.data[:4]} <= set(hub.repos["me/tiny"].files)
    send(given, hub)
    assert as_here(hub, given)
    assert [hub.count(f"PUT /lfs/{one.sha256}") for one in given.data] == [1, 1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("on", "about"),
    [
        ("GET /api/datasets/me/tiny$", {"status": 503}),
        ("GET .*/tree/", {"kind": "cut"}),
        ("POST /api/repos/create", {"kind": "cut"}),
        ("POST /api/repos/create", {"kind": "lost"}),
        ("POST .*/commit/", {"status": 429, "headers": {"Retry-After": "0"}}),
        ("POST .*/commit/", {"status": 500, "times": 2}),
        ("POST .*/commit/", {"kind": "cut"}),
        ("POST .*/commit/", {"status": 412}),
        ("POST .*/commit/", {"status": 409}),
        ("POST .*/validate-yaml", {"kind": "cut"}),
        ("POST .*/commit/", {"kind": "meanwhile", "times": 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_after_a_fault_the_upload_goes_on_by_itself(
    given: Publication, hub: Hub, on: str, about: dict[str, object]
) -> None:
    hub.fault(on, **about)
    send(given, hub)
    assert hub.faults[0].times == 0
    assert as_here(hub, given)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429, "headers": {"Retry-After": "0"}}, {"kind": "cut"}])
def test_a_part_of_a_large_file_that_fails_is_sent_again(
    given: Publication, hub: Hub, fault: dict[str, object]
) -> None:
    hub.part_bytes = 1000
    hub.fault(r"PUT /lfs/", **fault)
    send(given, hub)
    assert as_here(hub, given)


def test_a_part_that_the_server_rejects_ends_the_run_and_the_next_one_brings_it(given: Publication, hub: Hub) -> None:
    hub.part_bytes = 1000
    large = next(one for one in given.data if one.size_bytes > 3000)
    hub.fault(f"PUT /lfs/{large.sha256}", status=400)
    with pytest.raises(StorageError, match="status 400"):
        send(given, hub)
    assert "manifest.json" not in hub.repos["me/tiny"].files
    send(given, hub)
    assert as_here(hub, given)


def test_a_commit_whose_answer_was_lost_is_not_made_twice(given: Publication, hub: Hub) -> None:
    hub.fault("POST .*/commit/", kind="lost", times=2)
    send(given, hub)
    assert [message[:7] for _, message, _ in hub.repos["me/tiny"].commits] == ["initial", "Add 6 f", "Publish"]
    assert as_here(hub, given)


def test_what_somebody_else_commits_meanwhile_is_seen_and_kept(given: Publication, hub: Hub) -> None:
    hub.fault("POST .*/commit/", kind="meanwhile", times=2)
    send(given, hub)
    assert hub.repos["me/tiny"].files["NOTES.txt"] == b"a note"


def test_a_server_that_stays_down_is_given_up_on_and_says_to_run_again(given: Publication, hub: Hub) -> None:
    hub.fault("POST .*/commit/", status=503, times=99)
    with pytest.raises(StorageError, match="only what is missing is uploaded"):
        send(given, hub)
    assert hub.count("POST .*/commit/") == 4


@pytest.mark.parametrize("path", ["manifest.json", "rows"])
def test_a_file_that_comes_out_altered_is_found_and_named(given: Publication, hub: Hub, path: str) -> None:
    spoiled = next(one.path for one in (*given.data, *given.last) if one.path.startswith(path))
    hub.spoiled.add(spoiled)
    with pytest.raises(DataError, match=spoiled):
        send(given, hub)


def test_a_file_that_was_altered_here_is_not_sent(tmp_path: Path, hub: Hub) -> None:
    given = prepare(write_publishable(tmp_path / "set"), "me/tiny")
    changed = given.data[-1].source
    assert isinstance(changed, Path)
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    with pytest.raises(FormatError, match=r"content with sha256"):
        send(given, hub)
    assert "manifest.json" not in hub.repos["me/tiny"].files and hub.count("PUT") == 0


def test_every_error_of_publishing_is_one_of_dfndrs_own(given: Publication) -> None:
    with pytest.raises(DfndrError, match=r"the same command again|hf auth login"):
        publish(given, endpoint="http://127.0.0.1:9", waits_s=())
