"""What docs/loading.md says is true: its code runs against a stand-in for the Hub, and gives what it says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dfndr_builders.card import card
from dfndr_builders.exports.parquet import export_parquet
from support.hub import TOKEN, Hub
from support.published import put_folder
from support.tiny import IMAGE, TEXT, write_dataset

from dfndr import open_dataset

PAGE = Path(__file__).parents[2] / "docs" / "loading.md"
LAST = """
import json
exported = datasets.load_dataset("me/my-export", split="train", streaming=True)
print(json.dumps({"images": images.tolist(), "uids": table["uid"].to_pylist(), "pandas": list(frame["uid"]),
    "hugging": list(hugging["uid"]), "torch": torch_rows[0]["uid"], "longest": longest, "rows": list(rows["uid"]),
    "first": first["uid"], "exported": [row["image__enc"] for row in exported]}))
"""


@pytest.mark.slow
def test_the_code_of_the_page_runs_against_a_stand_in_for_the_hub_and_gives_the_rows(tmp_path: Path) -> None:
    texts = [f"a text of {'many ' * row}words" for row in range(25)]
    made = write_dataset(tmp_path / "set", (15, 10), (IMAGE, TEXT), columns={"text": texts})
    (tmp_path / "set" / "README.md").write_text(card(made.manifest))
    export_parquet(made, str(tmp_path / "export"))
    code = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    environment = {**os.environ, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    with Hub() as hub:
        commit = put_folder(hub, "me/my-dataset", tmp_path / "set")
        hub.repos["me/my-dataset"].tags["v1"] = commit
        put_folder(hub, "me/my-export", tmp_path / "export")
        environment |= {"HF_ENDPOINT": hub.url, "DFNDR_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-c", code + LAST]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    here = open_dataset(tmp_path / "set")
    uids = here.rows(["uid"])["uid"].to_pylist()
    assert found["images"] == here.vectors(IMAGE.name, slice(0, 10)).tolist()
    assert found["uids"] == found["pandas"] == found["hugging"] == found["rows"] == uids
    assert (found["torch"], found["first"]) == (uids[0], uids[0])
    assert [uid for uid, _ in found["longest"]] == uids[:-4:-1]
    assert found["exported"] == here.vectors(IMAGE.name)[:, 0].tolist()
