"""The verb `publish`: a dry run, and one that is killed and run again, whose dataset is then read from the Hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dfndr_builders.publish import prepare
from support import publications
from support.hub import TOKEN, Hub
from support.publications import write_publishable
from support.verbs import run

from dfndr.dataset import open_dataset

hub = publications.hub


def test_a_dry_run_lists_every_file_with_its_size_and_sends_nothing(tmp_path: Path, hub: Hub) -> None:
    root = write_publishable(tmp_path / "set")
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
    root = write_publishable(tmp_path / "set")
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
