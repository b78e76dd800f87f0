"""Files that are not what the manifest says: refused when they are first touched, and named by `verify`.

The first half alters files behind an honest manifest, so their sha256 gives them away. In the second half the manifest
was made to fit (its author is the attacker), so what a file says of itself has to.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tiny import IMAGE, TEXT, write_dataset

from dfndr import open_dataset
from dfndr.dataset import Dataset
from dfndr.errors import DataError, FormatError
from dfndr.verify import verify

VECTORS = np.tile(np.eye(8, dtype="<f2")[0], (5, 1, 1))


def file_of(dataset: Dataset, role: str, shard: int = 0) -> Path:
    return Path(dataset.root) / dataset.shards[shard].files[role].path


def adopted(root: Path, role: str, content: bytes) -> Path:
    """Put `content` in the place of a file of the first shard, and make the manifest fit: what an attacker would do."""
    path = root / "manifest.json"
    given = json.loads(path.read_text())
    digest = hashlib.sha256(content).hexdigest()
    stored = given["shards"][0]["files"][role]
    head, dot, tail = stored["path"].rpartition("-")[0], "-", stored["path"].rpartition(".")[2]
    new = f"{head}{dot}{digest[:8]}.{tail}"
    (root / stored["path"]).unlink()
    (root / new).write_bytes(content)
    given["shards"][0]["files"][role] = {"path": new, "size_bytes": len(content), "sha256": digest}
    path.write_text(json.dumps(given))
    return root / new


def npy(header: str | bytes, data: bytes, version: int = 1) -> bytes:
    header = header.encode() if isinstance(header, str) else header
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def header_of(shape: object = (5, 1, 8), descr: str = "<f2", fortran: bool = False) -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


# Behind an honest manifest


def test_two_shards_exchanged_are_refused_at_first_touch_and_named(tmp_path):
    dataset = write_dataset(tmp_path, (4, 4))
    one, two = file_of(dataset, IMAGE.name, 0), file_of(dataset, IMAGE.name, 1)
    first, second = one.read_bytes(), two.read_bytes()
    assert len(first) == len(second) and first != second
    one.write_bytes(second)
    two.write_bytes(first)
    dataset = open_dataset(tmp_path)
    for row in (0, 4):
        with pytest.raises(FormatError, match="expected content with sha256"):
            dataset.vectors(IMAGE.name, [row])
    assert dataset.vectors(TEXT.name).shape == (8, 1, 8), "what was not altered can be used"
    found = [(finding.file, finding.what) for finding in verify(tmp_path).findings]
    assert found == [
        (dataset.shards[0].files[IMAGE.name].path, "altered"),
        (dataset.shards[1].files[IMAGE.name].path, "altered"),
    ]


@pytest.mark.parametrize("role", ["rows", IMAGE.name])
@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b""], ids=["shorter", "longer", "empty"]
)
@pytest.mark.parametrize("check", ["hash", "size"])
def test_a_file_of_another_size_is_refused(tmp_path, role, change, check):
    path = file_of(write_dataset(tmp_path), role)
    path.write_bytes(change(path.read_bytes()))
    dataset = open_dataset(tmp_path, check=check)
    with pytest.raises(FormatError, match=r"expected \d+ bytes, found \d+ bytes"):
        dataset.rows() if role == "rows" else dataset.vectors(role)
    assert [finding.what for finding in verify(tmp_path).findings] == ["size"]


@pytest.mark.parametrize("role", ["rows", IMAGE.name])
def test_a_single_flipped_bit_is_refused(tmp_path, role):
    path = file_of(write_dataset(tmp_path), role)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    dataset = open_dataset(tmp_path)
    with pytest.raises(FormatError, match="sha256"):
        dataset.rows() if role == "rows" else dataset.vectors(role)
    assert verify(tmp_path).findings[0].what == "altered"


def test_a_link_is_followed_to_the_right_content_and_to_no_other(tmp_path):
    # The Hub's cache is made of links, so a link is fine; its target has to have the sha256 like any file.
    dataset = write_dataset(tmp_path / "set")
    path = file_of(dataset, IMAGE.name)
    path.rename(tmp_path / "blob")
    path.symlink_to(tmp_path / "blob")
    assert open_dataset(tmp_path / "set").vectors(IMAGE.name).shape == (8, 1, 8)
    assert verify(tmp_path / "set").ok
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * path.stat().st_size)
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(FormatError, match="sha256"):
        open_dataset(tmp_path / "set").vectors(IMAGE.name)
    assert not verify(tmp_path / "set").ok


@pytest.mark.parametrize("target", ["pipe", "folder", "/dev/zero", "nowhere", "itself"])
def test_a_file_that_is_none_is_refused_without_waiting_for_it(tmp_path, target):
    dataset = write_dataset(tmp_path / "set")
    path = file_of(dataset, IMAGE.name)
    path.unlink()
    if target == "pipe":
        os.mkfifo(path)
    elif target == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if target == "itself" else target)
    text = (tmp_path / "set" / "manifest.json").read_text()
    given = json.loads(text)
    given["shards"][0]["files"][IMAGE.name]["size_bytes"] = 0  # what a pipe says of its size
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(given))
    with pytest.raises(DataError):
        open_dataset(tmp_path / "set").vectors(IMAGE.name)
    (finding,) = verify(tmp_path / "set").findings
    assert finding.what == ("missing" if target in ("nowhere", "itself") else "unreadable")


def test_a_manifest_that_is_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(DataError):
        open_dataset(tmp_path)
    assert not verify(tmp_path).ok


# Behind a manifest that was made to fit


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def object_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Bomb()] * 5, dtype=object), allow_pickle=True)
    return file.getvalue()


DATA = VECTORS.tobytes()
HEADERS = {
    "needs pickle": object_array(),
    "is a pickle": pickle.dumps(Bomb()),
    "objects of the right shape": npy(header_of(descr="|O"), DATA),
    "more rows than it holds": npy(header_of((6, 1, 8)), DATA),
    "fewer rows than it holds": npy(header_of((4, 1, 8)), DATA),
    "no rows": npy(header_of((0, 1, 8)), DATA),
    "a negative shape": npy(header_of((-5, -1, 8)), DATA),
    "a huge shape": npy(header_of((2**62, 1, 8)), DATA),
    "a shape beyond any integer": npy(header_of((10**400, 1, 8)), DATA),
    "a flat shape": npy(header_of((40,)), DATA),
    "the same count in another shape": npy(header_of((5, 8, 1)), DATA),
    "a shape of floats": npy(header_of((5.0, 1.0, 8.0)), DATA),
    "a shape that is a list": npy(header_of([5, 1, 8]), DATA),
    "Fortran's order": npy(header_of(fortran=True), DATA),
    "another type of the same size": npy(header_of(descr="<i2"), DATA),
    "another type": npy(header_of(descr="<f4"), VECTORS.astype("<f4").tobytes()),
    "the other byte order": npy(header_of(descr=">f2"), VECTORS.astype(">f2").tobytes()),
    "fields": npy("{'descr': [('x', '<f2')], 'fortran_order': False, 'shape': (5, 1, 8), }\n", DATA),
    "a type too many": npy("{'descr': '<f2', 'fortran_order': False, 'shape': (5, 1, 8), 'x': 1, }\n", DATA),
    "a call": npy("{'descr': __import__('os').name, 'fortran_order': False, 'shape': (5, 1, 8), }\n", DATA),
    "a header a megabyte long": npy(header_of() + " " * 1_000_000, DATA, version=2),
    "a header four gigabytes long": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + header_of().encode() + DATA,
    "a header longer than the file": b"\x93NUMPY\x01\x00\xff\x0f" + header_of().encode() + DATA,
    "a header that takes some of the data": b"\x93NUMPY\x01\x00\x80\x00" + header_of().encode() + DATA,
    "a header shorter than its text": b"\x93NUMPY\x01\x00\x10\x00" + header_of().encode() + DATA,
    "a header without an end": npy("{" * 4000, DATA),
    "a header that is no text": npy(b"\xff\x00" * 100, DATA),
    "a later version": npy(header_of(), DATA, version=3),
    "another magic": b"\x93NUMPX" + npy(header_of(), DATA)[6:],
    "nothing": b"",
    "a magic alone": b"\x93NUMPY",
    "a vector too few": npy(header_of(), DATA[:-16]),
    "a vector too many": npy(header_of(), DATA + DATA[:16]),
}


@pytest.mark.parametrize("lie", HEADERS)
def test_an_npy_that_is_something_else_is_refused(tmp_path, lie):
    write_dataset(tmp_path)
    adopted(tmp_path, IMAGE.name, HEADERS[lie])
    dataset = open_dataset(tmp_path)
    for rows in (None, [0]):
        with pytest.raises(FormatError):
            dataset.vectors(IMAGE.name, rows)
    (finding,) = verify(tmp_path).findings
    assert finding.what == "header"


@pytest.mark.parametrize("version", [1, 2])
def test_an_npy_written_by_somebody_else_is_read(tmp_path, version):
    write_dataset(tmp_path)
    adopted(tmp_path, IMAGE.name, npy(header_of().replace(", }", "}"), DATA, version))
    assert (open_dataset(tmp_path).vectors(IMAGE.name, slice(0, 5)) == VECTORS).all()
    assert verify(tmp_path).ok


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def rows_table(**changed: object) -> pa.Table:
    columns = {"uid": [f"{row:032x}" for row in range(5)], "text": ["a"] * 5, "captions": [["a"]] * 5}
    return pa.table({**columns, **changed})


@pytest.mark.parametrize("rows", [0, 4, 6])
def test_a_parquet_file_with_another_number_of_rows_is_refused_and_named(tmp_path, rows):
    write_dataset(tmp_path)
    table = pa.concat_tables([rows_table(), rows_table(uid=[f"{row:032x}" for row in range(5, 10)])]).slice(0, rows)
    adopted(tmp_path, "rows", parquet(table))
    dataset = open_dataset(tmp_path)
    import pyarrow.compute as pc

    for where in (None, pc.field("text") == "a"):
        with pytest.raises(FormatError, match=f"expected 5 rows, found {rows} rows"):
            dataset.rows(where=where)
    finding = next(finding for finding in verify(tmp_path).findings if finding.what == "rows")
    assert (finding.expected, finding.found) == ("5 rows", f"{rows} rows")


PARQUETS = {
    "empty": b"",
    "a magic alone": b"PAR1",
    "a magic at both ends": b"PAR1" + b"\0" * 64 + b"PAR1",
    "a footer longer than the file": b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1",
    "a truncated one": parquet(rows_table())[:-200],
    "one without its middle": parquet(rows_table())[:40] + parquet(rows_table())[80:],
    "zeros for pages": b"PAR1" + b"\0" * 200 + parquet(rows_table())[204:],
    "a pickle": pickle.dumps(Bomb()),
    "a CSV file": b"uid,text\n0,a\n",
}


@pytest.mark.parametrize("content", PARQUETS)
def test_a_parquet_file_that_is_damaged_is_refused(tmp_path, content):
    write_dataset(tmp_path)
    adopted(tmp_path, "rows", PARQUETS[content])
    dataset = open_dataset(tmp_path)
    with pytest.raises(FormatError):
        dataset.rows()
    with pytest.raises(FormatError):
        list(dataset.tables())
    findings = verify(tmp_path).findings
    assert {finding.what for finding in findings} == {"unreadable"}, [str(finding) for finding in findings]


def test_text_that_is_not_utf8_is_named(tmp_path):
    write_dataset(tmp_path)
    spoiled = pa.array([b"fine", b"\xff\xfe", b"fine", b"fine", b"fine"]).view(pa.string())
    adopted(tmp_path, "rows", parquet(rows_table(text=spoiled)))
    (finding,) = verify(tmp_path).findings
    assert finding.what == "unreadable" and "UTF8" in finding.found.upper().replace("-", "")


def test_shards_whose_columns_differ_are_refused_together_and_named(tmp_path):
    write_dataset(tmp_path)
    adopted(tmp_path, "rows", parquet(rows_table(more=[1] * 5)))
    with pytest.raises(FormatError):
        open_dataset(tmp_path).rows()
    assert {finding.what for finding in verify(tmp_path).findings} == {"columns"}
