"""Manifests that somebody else wrote: each is refused when the dataset is opened, and `verify` says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny import IMAGE, write_dataset

from dfndr import open_dataset
from dfndr.errors import FormatError
from dfndr.verify import verify


def path_of(given, path: str) -> None:
    given["shards"][0]["files"]["rows"]["path"] = path


def name_twice(given) -> None:
    files = given["shards"][0]["files"]
    files["rows"]["path"] = files[IMAGE.name]["path"]


def failed_for(reason: str, kind: str):
    def change(given) -> None:
        given["shards"][0]["rows_in"] += 1
        given["shards"][0][kind][reason] = 1

    return change


UNSAFE = {
    "up": "../../etc/passwd",
    "up in the middle": "rows/../../x.parquet",
    "two dots in a name": "rows/a..b",
    "absolute": "/etc/passwd",
    "home": "~/.ssh/id_rsa",
    "backslash": "rows\\..\\x",
    "drive": "C:/x",
    "NUL": "rows/x\0.parquet",
    "newline": "rows/x\n",
    "URL": "https://example.org/x",
    "chained URL": "zip::https://example.org/x",
    "empty": "",
    "dot": ".",
    "hidden": "rows/.git",
    "two slashes": "rows//x",
    "slash at the end": "rows/",
    "option": "-rf",
    "placeholder": "rows/{hash8}.parquet",
    "variable": "rows/$HOME",
    "unicode dots": "rows/\u2024\u2024/x",
    "too long": "a" * 513,
}

LIES = {
    "rows that no shard holds": lambda given: given.update(rows=9),
    "a shard whose counts do not add up": lambda given: given["shards"][0].update(rows_in=6),
    "a funnel whose counts do not add up": lambda given: given["funnel"][0].update(rows_in=9),
    "a funnel that ends elsewhere": lambda given: given["funnel"][0].update(rows_in=7, rows_out=7),
    "sources that do not add up": lambda given: given["funnel"][0].update(
        sources={"web": {"rows_in": 8, "rows_out": 7, "dropped": {}, "failed": {}}}
    ),
    "sources of fewer rows": lambda given: given["funnel"][0].update(
        sources={"web": {"rows_in": 7, "rows_out": 7, "dropped": {}, "failed": {}}}
    ),
    "a source with a field of its own": lambda given: given["funnel"][0].update(
        sources={"web": {"rows_in": 8, "rows_out": 8, "dropped": {}, "failed": {}, "lost": 0}}
    ),
    "sources that are a list": lambda given: given["funnel"][0].update(sources=[]),
    "steps that do not join": lambda given: given["funnel"].insert(
        0, {**given["funnel"][0], "rows_in": 9, "rows_out": 9}
    ),
    "a negative count": lambda given: given["shards"][0].update(rows_in=-5, rows=-5),
    "negative counts that add up": lambda given: given["shards"][0].update(rows_in=4, dropped={"duplicate": -1}),
    "a negative size": lambda given: given["shards"][0]["files"]["rows"].update(size_bytes=-1),
    "a count that is a boolean": lambda given: given["shards"][1].update(rows_in=True, rows=True),
    "a count that is a float": lambda given: given.update(rows=8.0),
    "a count that is a text": lambda given: given.update(rows="8"),
    "a count beyond any": lambda given: given.update(rows=10**400),
    "shards that hold 2**60 rows": lambda given: given["shards"][0].update(rows_in=2**60, rows=2**60),
    "a seed that is a boolean": lambda given: given.update(seed=True),
    "a shard in another's place": lambda given: given["shards"].reverse(),
    "a shard without an index": lambda given: given["shards"][0].pop("index"),
    "one file for two roles": name_twice,
    "a shard without vectors": lambda given: given["shards"][0]["files"].pop(IMAGE.name),
    "a file of no space": lambda given: given["shards"][0]["files"].update(
        {"image/x": given["shards"][0]["files"]["rows"]}
    ),
    "a split of another name": lambda given: given["shards"][0].update(split="../x"),
    "a reason to drop that no rule can be called": failed_for("Not a Name", "dropped"),
    "an unknown reason to fail": failed_for("boredom", "failed"),
    "a sha256 that is none": lambda given: given["shards"][0]["files"]["rows"].update(sha256="0" * 63 + "G"),
    "a later format": lambda given: given.update(format="dfndr/2"),
    "no format": lambda given: given.pop("format"),
    "a field that the format does not have": lambda given: given.update(exec="rm"),
    "such a field in a shard": lambda given: given["shards"][0].update(exec="rm"),
    "such a field in a file": lambda given: given["shards"][0]["files"]["rows"].update(url="x"),
    "such a field in a step": lambda given: given["funnel"][0].update(x=1),
    "such a field in a space": lambda given: given["spaces"][0].update(x=1),
    "such a field in an encoder": lambda given: given["encoders"]["enc"].update(x=1),
    "a space with another name": lambda given: given["spaces"][0].update(name="image/../x"),
    "a space of an unsafe encoder": lambda given: given["spaces"][0].update(encoder="../x", name="image/../x"),
    "a space of an object type": lambda given: given["spaces"][0].update(dtype="|O"),
    "a space of no dimension": lambda given: given["spaces"][0].update(dim=0),
    "a space of a boolean dimension": lambda given: given["spaces"][0].update(dim=True),
    "a space of 2**40 dimensions": lambda given: given["spaces"][0].update(dim=2**40),
    "a space twice": lambda given: given["spaces"].append(given["spaces"][0]),
    "a space without its encoder": lambda given: given.update(encoders={}),
    "an encoder that is a list": lambda given: given.update(encoders=[]),
    "an encoder of wrong types": lambda given: given["encoders"]["enc"].update(dim="8"),
    "an encoder without preprocessing": lambda given: given["encoders"]["enc"].update(preprocess=None),
    "an encoder with other preprocessing": lambda given: given["encoders"]["enc"]["preprocess"].update(size=["x"]),
    "an encoder with an object for a list": lambda given: given["encoders"]["enc"]["preprocess"].update(mean={}),
    "a name that is a path": lambda given: given.update(name="../x"),
    "shards that are an object": lambda given: given.update(shards={}),
    "a shard that is null": lambda given: given["shards"].append(None),
    "notes that are a list": lambda given: given["shards"][0].update(notes=[]),
    "provenance that is a text": lambda given: given.update(provenance="x"),
}
LIES |= {f"a path: {name}": lambda given, path=path: path_of(given, path) for name, path in UNSAFE.items()}
LIES |= {
    f"a dataset's own file: {name}": lambda given, path=path: given.update(
        files={"x": {"path": path, "size_bytes": 1, "sha256": "0" * 64}}
    )
    for name, path in UNSAFE.items()
}

TEXTS = {
    "empty": b"",
    "no JSON": b"{",
    "another JSON": b"[]",
    "null": b"null",
    "not UTF-8": b"\xff\xfe\x00\xd8",
    "nested a million deep": b"[" * 1_000_000,
    "nested in objects": b'{"a":' * 100_000,
    "a number of a million digits": b'{"seed":' + b"9" * 1_000_000 + b"}",
    "a pickle": b"\x80\x04\x95\x00.",
}

CHANGED_TEXTS = {
    "a field twice": lambda text: text.replace('"rows": 8', '"rows": 9,\n "rows": 8'),
    "a seed that is NaN": lambda text: text.replace('"seed": 0', '"seed": NaN'),
    "NaN in the provenance": lambda text: text.replace('"provenance": {}', '"provenance": {"x": NaN}'),
    "infinity in an encoder": lambda text: text.replace('"logit_scale": 100.0', '"logit_scale": 1e999'),
    "half a character": lambda text: text.replace('"name": "tiny"', '"name": "\\ud800"'),
    "half a character in the provenance": lambda text: text.replace(
        '"provenance": {}', '"provenance": {"x": "\\ud800"}'
    ),
    "provenance too deep for a digest": lambda text: text.replace(
        '"provenance": {}', '"provenance": {"x":' + "[" * 5000 + "]" * 5000 + "}"
    ),
}


def assert_refused(root: Path) -> None:
    with pytest.raises(FormatError, match=r"expected .*, found "):
        open_dataset(root)
    report = verify(root)
    assert not report.ok
    assert [(finding.file, finding.what) for finding in report.findings] == [("manifest.json", "manifest")]


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies_is_refused(tmp_path, lie):
    write_dataset(tmp_path)
    path = tmp_path / "manifest.json"
    given = json.loads(path.read_text())
    before = json.dumps(given)
    LIES[lie](given)
    assert json.dumps(given) != before
    path.write_text(json.dumps(given))
    assert_refused(tmp_path)


@pytest.mark.parametrize("text", TEXTS)
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(TEXTS[text])
    assert_refused(tmp_path)


@pytest.mark.parametrize("change", CHANGED_TEXTS)
def test_a_manifest_that_says_what_json_cannot_is_refused(tmp_path, change):
    write_dataset(tmp_path)
    path = tmp_path / "manifest.json"
    before = path.read_text()
    path.write_text(CHANGED_TEXTS[change](before))
    assert path.read_text() != before
    assert_refused(tmp_path)


def test_a_manifest_that_claims_rows_without_end_costs_no_memory(tmp_path):
    dataset = write_dataset(tmp_path, (5,), spaces=(IMAGE,))
    path = tmp_path / "manifest.json"
    given = json.loads(path.read_text())
    most = 2**50
    given["rows"] = given["shards"][0]["rows"] = given["shards"][0]["rows_in"] = most
    given["funnel"][0].update(rows_in=most, rows_out=most)
    path.write_text(json.dumps(given))
    dataset = open_dataset(tmp_path)
    for rows in (None, slice(0, 10), slice(None, None, -1), [most - 1, 0], [-1]):
        with pytest.raises(FormatError, match=r"expected the \.npy header"):
            dataset.vectors(IMAGE.name, rows)
    with pytest.raises(FormatError, match=r"expected \d+ rows, found 5 rows"):
        dataset.rows()
    assert {finding.what for finding in verify(tmp_path).findings} == {"rows", "header"}
