"""Publishing against a stand-in for the Hub: what is sent, in which order; no fault loses or doubles a file."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
from dfndr_builders.publish import Publication, files, prepare, publish
from PIL import Image
from support.hub import TOKEN, Hub
from support.tiny import IMAGE, TEXT, write_dataset
from support.verbs import run

from dfndr.dataset import open_dataset
from dfndr.errors import DataError, DfndrError, FormatError, StorageError, UsageError
from dfndr.format.manifest import read_manifest, write_manifest

# huggingface_hub hands its HTTP library files in a way that this library has begun to call old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

POOLS = [{"kind": "folder", "path": "pictures", "source": "album", "license": "CC-BY-4.0"}]
ROWS = 8


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server, and this process set to talk to it: with a token, without Xet, which the stand-in does not speak."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with Hub() as server:
        yield server


def _thumbnail(shade: int) -> dict[str, object]:
    target = io.BytesIO()
    Image.new("RGB", (12, 9), (shade, 80, 120)).save(target, "JPEG")
    return {"bytes": target.getvalue(), "path": None}


def _dataset(root: Path, *, seed: int = 0, name: str = "tiny") -> Path:
    columns = {
        "source": ["album"] * ROWS,
        "license": ["CC-BY-4.0"] * ROWS,
        "dfn": [row / ROWS for row in range(ROWS)],
        "thumbnail": [_thumbnail(20 * row) for row in range(ROWS)],
    }
    made = write_dataset(root, (5, 3), (IMAGE, TEXT), columns=columns, seed=seed, name=name)
    scorers = {"dfn": made.manifest.encoders["enc"]}
    manifest = replace(made.manifest, provenance={"pools": POOLS}, scorers=scorers, license="CC-BY-4.0")
    write_manifest(str(root), manifest)
    return root


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Publication:
    """A publication that no test alters."""
    return prepare(_dataset(tmp_path_factory.mktemp("given") / "set"), "me/tiny")


def _send(given: Publication, hub: Hub, **options: object) -> object:
    return publish(given, endpoint=hub.url, waits_s=(0, 0, 0), **options)  # type: ignore[arg-type]


def _as_here(hub: Hub, given: Publication, repo_id: str = "me/tiny") -> bool:
    """Say whether the repository holds every file of the publication, byte by byte."""
    there = hub.repos[repo_id].files
    here = {
        one.path: one.source.read_bytes() if isinstance(one.source, Path) else one.source
        for one in (*given.data, *given.last)
    }
    return {path: data for path, data in there.items() if path in here} == here


def test_what_is_published_is_the_dataset_its_card_and_nothing_that_a_build_keeps_for_itself(
    tmp_path: Path, hub: Hub
) -> None:
    root = _dataset(tmp_path / "set")
    for path in ("phases/score/rows.parquet", "shards/build/00000.json", ".dfndr-lock", "notes.txt", "README.md"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("of the build alone")
    given = prepare(root, "me/tiny")
    done = publish(given, endpoint=hub.url)
    manifest = read_manifest(str(root))
    named = {stored.path for shard in manifest.shards for stored in shard.files.values()}
    extra = {".gitattributes", "README.md", "manifest.json", "croissant.json", "card/scores.png", "card/samples.png"}
    assert set(hub.repos["me/tiny"].files) == named | extra
    assert _as_here(hub, given)
    assert (done.uploaded, done.present, done.is_private) == (len(named) + 5, 0, True)
    assert b"of the build alone" not in hub.repos["me/tiny"].files["README.md"]


def test_manifest_card_and_pictures_come_in_the_last_commit_alone(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BATCH_FILES", 2)
    _send(given, hub)
    commits = hub.repos["me/tiny"].commits
    assert len(commits) == 1 + 3 + 1
    last = {"README.md", "manifest.json", "croissant.json", "card/scores.png", "card/samples.png"}
    assert all(not last & set(held) for _, _, held in commits[:-1])
    assert set(commits[-1][2]) - set(commits[-2][2]) == last


def test_the_repository_is_listed_as_often_for_many_commits_as_for_one(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BATCH_FILES", 1)
    _send(given, hub)
    assert (hub.count("POST .*/commit/"), hub.count("GET .*/tree/")) == (len(given.data) + 1, 4)


def test_a_repository_is_private_and_with_public_it_is_opened_after_all_was_compared(
    given: Publication, hub: Hub
) -> None:
    _send(given, hub)
    assert hub.repos["me/tiny"].private and hub.count("/settings") == 0
    _send(given, hub, public=True)
    assert not hub.repos["me/tiny"].private
    assert hub.requests[-1].endswith("/settings") and "/tree/" in hub.requests[-2]


def test_a_public_repository_is_not_written_to_unless_public_is_said(given: Publication, hub: Hub) -> None:
    _send(given, hub)
    hub.repos["me/tiny"].private = False
    with pytest.raises(UsageError, match="a public one"):
        _send(given, hub)


def test_run_again_nothing_is_uploaded(given: Publication, hub: Hub) -> None:
    _send(given, hub)
    before = hub.count("PUT|/commit/")
    done = _send(given, hub)
    assert hub.count("PUT|/commit/") == before
    assert (done.uploaded, done.present) == (0, len(given.data) + len(given.last))


def test_interrupted_in_between_there_is_no_dataset_yet_and_the_next_run_uploads_only_what_is_missing(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BATCH_FILES", 2)
    hub.fault("POST .*/commit/", kind="reject", status=400, times=0)
    hub.faults[0].times = 1
    with pytest.raises(StorageError, match="status 400"):
        _send(given, hub)
    hub.fault("POST .*/preupload/", kind="reject", status=403)
    with pytest.raises(StorageError, match="status 403"):
        _send(given, hub)
    monkeypatch.setattr(files, "_BATCH_FILES", 4)
    hub.faults.clear()
    hub.fault("PUT /lfs/" + given.data[5].sha256, kind="reject", status=400)
    with pytest.raises(StorageError, match="status 400"):
        _send(given, hub)
    assert "manifest.json" not in hub.repos["me/tiny"].files
    assert {one.path for one in given.data[:4]} <= set(hub.repos["me/tiny"].files)
    _send(given, hub)
    assert _as_here(hub, given)
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
    _send(given, hub)
    assert hub.faults[0].times == 0
    assert _as_here(hub, given)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429, "headers": {"Retry-After": "0"}}, {"kind": "cut"}])
def test_a_part_of_a_large_file_that_fails_is_sent_again(
    given: Publication, hub: Hub, fault: dict[str, object]
) -> None:
    hub.part_bytes = 1000
    hub.fault(r"PUT /lfs/", **fault)
    _send(given, hub)
    assert _as_here(hub, given)


def test_a_part_that_the_server_rejects_ends_the_run_and_the_next_one_brings_it(given: Publication, hub: Hub) -> None:
    hub.part_bytes = 1000
    large = next(one for one in given.data if one.size_bytes > 3000)
    hub.fault(f"PUT /lfs/{large.sha256}", status=400)
    with pytest.raises(StorageError, match="status 400"):
        _send(given, hub)
    assert "manifest.json" not in hub.repos["me/tiny"].files
    _send(given, hub)
    assert _as_here(hub, given)


def test_a_commit_whose_answer_was_lost_is_not_made_twice(given: Publication, hub: Hub) -> None:
    hub.fault("POST .*/commit/", kind="lost", times=2)
    _send(given, hub)
    assert [message[:7] for _, message, _ in hub.repos["me/tiny"].commits] == ["initial", "Add 6 f", "Publish"]
    assert _as_here(hub, given)


def test_what_somebody_else_commits_meanwhile_is_seen_and_kept(given: Publication, hub: Hub) -> None:
    hub.fault("POST .*/commit/", kind="meanwhile", times=2)
    _send(given, hub)
    assert hub.repos["me/tiny"].files["NOTES.txt"] == b"a note"


def test_a_server_that_stays_down_is_given_up_on_and_says_to_run_again(given: Publication, hub: Hub) -> None:
    hub.fault("POST .*/commit/", status=503, times=99)
    with pytest.raises(StorageError, match="only what is missing is uploaded"):
        _send(given, hub)
    assert hub.count("POST .*/commit/") == 4


@pytest.mark.parametrize("path", ["manifest.json", "rows"])
def test_a_file_that_comes_out_altered_is_found_and_named(given: Publication, hub: Hub, path: str) -> None:
    spoiled = next(one.path for one in (*given.data, *given.last) if one.path.startswith(path))
    hub.spoiled.add(spoiled)
    with pytest.raises(DataError, match=spoiled):
        _send(given, hub)


def test_a_file_that_was_altered_here_is_not_sent(tmp_path: Path, hub: Hub) -> None:
    given = prepare(_dataset(tmp_path / "set"), "me/tiny")
    changed = given.data[-1].source
    assert isinstance(changed, Path)
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    with pytest.raises(FormatError, match=r"content with sha256"):
        _send(given, hub)
    assert "manifest.json" not in hub.repos["me/tiny"].files and hub.count("PUT") == 0


def test_a_new_version_takes_the_place_of_the_old_one_in_one_commit(tmp_path: Path, hub: Hub) -> None:
    old = prepare(_dataset(tmp_path / "old"), "me/tiny")
    _send(old, hub)
    hub.repos["me/tiny"].files["LICENSE"] = b"of the owner"
    new = prepare(_dataset(tmp_path / "new", seed=1), "me/tiny")
    before = len(hub.repos["me/tiny"].commits)
    _send(new, hub)
    commits = hub.repos["me/tiny"].commits[before:]
    assert all(one.path in commits[0][2] for one in old.data), "a reader of the old version lost files before the end"
    assert _as_here(hub, new)
    gone = {one.path for one in old.data} - {one.path for one in new.data}
    assert gone and not gone & set(hub.repos["me/tiny"].files)
    assert hub.repos["me/tiny"].files["LICENSE"] == b"of the owner"


def test_a_repository_that_holds_something_else_is_refused_unless_replace_is_said(tmp_path: Path, hub: Hub) -> None:
    _send(prepare(_dataset(tmp_path / "other", name="other"), "me/tiny"), hub)
    given = prepare(_dataset(tmp_path / "set", seed=1), "me/tiny")
    before = dict(hub.repos["me/tiny"].files)
    with pytest.raises(UsageError, match="the dataset 'other'"):
        _send(given, hub)
    assert hub.repos["me/tiny"].files == before
    _send(given, hub, replace=True)
    assert _as_here(hub, given)
    del hub.repos["me/tiny"].files["manifest.json"]
    hub.repos["me/tiny"].files["train.csv"] = b"a,b"
    with pytest.raises(UsageError, match=r"train\.csv"):
        _send(given, hub)


def test_without_a_token_nothing_is_asked_of_the_hub(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="hf auth login"):
        _send(given, hub)
    assert hub.requests == []


def test_a_token_that_is_refused_is_told_and_never_shown(
    given: Publication, hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "hf_" + "x" * 30
    monkeypatch.setenv("HF_TOKEN", wrong)
    with pytest.raises(StorageError, match="status 401") as caught:
        _send(given, hub)
    assert wrong not in str(caught.value) + caplog.text


def test_a_dry_run_lists_every_file_with_its_size_and_sends_nothing(tmp_path: Path, hub: Hub) -> None:
    root = _dataset(tmp_path / "set")
    given = prepare(root, "me/tiny")
    shown = run(["publish", str(root), "me/tiny", "--dry-run"])
    assert shown.exit_code == 0
    for one in (*given.data, *given.last):
        assert f"{one.size_bytes:,}  {one.path}\n" in shown.stdout
    told = json.loads(run(["publish", str(root), "me/tiny", "--dry-run", "--json"]).stdout)
    assert told["size_bytes"] == sum(one.size_bytes for one in (*given.data, *given.last))
    assert hub.requests == []


READ = """
import json, sys
import datasets, dfndr
dataset = dfndr.open_dataset("hf://datasets/me/tiny")
rows = datasets.load_dataset("me/tiny", split="train")
print(json.dumps({"digest": dataset.digest, "uids": dataset.rows(["uid"])["uid"].to_pylist(),
                  "vectors": dataset.vectors("image/enc").tolist(), "loaded": list(rows["uid"])}))
"""


@pytest.mark.slow
def test_the_verb_killed_and_run_again_publishes_what_open_dataset_and_load_dataset_read_from_the_hub(
    tmp_path: Path, hub: Hub
) -> None:
    root = _dataset(tmp_path / "set")
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "DFNDR_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", "from dfndr.cli import main; main()", "publish", str(root), "me/tiny"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as killed:
        hub.fault("POST .*/commit/", kind="call", does=killed.kill)
    assert killed.returncode == -9 and len(hub.repos["me/tiny"].commits) == 1
    sent = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert sent.returncode == 0, sent.stderr
    assert "files uploaded" in sent.stdout and TOKEN not in sent.stdout + sent.stderr
    here = open_dataset(root)
    stored = [one for shard in here.shards for one in shard.files.values()]
    assert [hub.count(f"PUT /lfs/{one.sha256}") for one in stored] == [1] * len(stored)
    read = subprocess.run([sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    told = json.loads(read.stdout)
    assert told["digest"] == here.digest
    assert told["uids"] == told["loaded"] == here.rows(["uid"])["uid"].to_pylist()
    assert told["vectors"] == here.vectors("image/enc").tolist()


@pytest.mark.parametrize(
    "repo_id", ["tiny", "me/ti ny", "me/../x", "a/b/c", "me/", "https://x/y", "me/x.", "me/x.git", "me/" + "x" * 97]
)
def test_a_name_that_no_repository_can_have_is_refused(tmp_path: Path, repo_id: str) -> None:
    with pytest.raises(UsageError, match="me/my-dataset"):
        prepare(tmp_path, repo_id)


def test_every_error_of_publishing_is_one_of_dfndrs_own(given: Publication) -> None:
    with pytest.raises(DfndrError, match=r"the same command again|hf auth login"):
        publish(given, endpoint="http://127.0.0.1:9", waits_s=())
