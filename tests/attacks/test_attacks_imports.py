"""What a stranger's files of vectors may try: a reason that is counted or a clear error, and no code that runs."""

import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dfndr_builders.imports import Imported, import_dataset, open_layout
from dfndr_builders.imports.layout import Teacher
from support.layouts import Member, npz, pth, reinforced, unit, vectors_of_sample, write_clip_retrieval, write_tar

from dfndr import open_dataset
from dfndr.errors import DfndrError, FormatError
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

TEACHERS = (Teacher("a", "ViT-B-32", "openai", 6),)
UIDS = [f"{number:032x}" for number in range(1, 4)]


class _Runs:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def _good(number: int) -> list[Member]:
    return reinforced(UIDS[number], vectors_of_sample(number, dims=(6,), views=3, captions=2))


def _import(tmp_path: Path, second: list[Member]) -> Manifest:
    """Import a tar of three samples, of which the second is given."""
    write_tar(tmp_path / "0.tar", [*_good(0), *second, *_good(2)])
    layout = open_layout("dr", str(tmp_path / "0.tar"), TEACHERS)
    return import_dataset(layout, Imported("it", "CC0-1.0", TEACHERS), tmp_path / "out")


def _with(name: str, data: bytes | None) -> list[Member]:
    """Return the second sample with other bytes in one of its members, or without it."""
    members = [(f"{UIDS[1]}.{name}" if member.endswith(name) else member, found) for member, found in _good(1)]
    return [(member, data if member.endswith(name) and data is not None else found) for member, found in members
            if data is not None or not member.endswith(name)]  # fmt: skip


def _arrays(**changes: Any) -> bytes:
    given = vectors_of_sample(1, dims=(6,), views=3, captions=2)
    arrays = {"image_emb": given["image_emb"], "text_emb": given["text_emb"]}
    arrays["syn_text_dfn_mscoco38k_emb"] = given["caption_emb"]
    return npz(**{name: array for name, array in {**arrays, **changes}.items() if array is not None})


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("npz", None, "vector_missing"),
        ("npz", b"", "vector_missing"),
        ("npz", b"PK\x03\x04 no archive", "vector_missing"),
        ("npz", _arrays(image_emb=None), "vector_missing"),
        ("npz", _arrays(image_emb=np.ones((2, 6), np.float32)), "vector_missing"),
        ("npz", _arrays(image_emb=np.ones((3, 5), np.float32)), "vector_missing"),
        ("npz", _arrays(image_emb=np.ones(18, np.float32)), "vector_missing"),
        ("npz", _arrays(text_emb=np.ones((0, 6), np.float32)), "vector_missing"),
        ("npz", _arrays(image_emb=np.full((3, 6), np.nan, np.float32)), "vector_not_finite"),
        ("npz", _arrays(image_emb=np.zeros((3, 6), np.float32)), "vector_not_finite"),
        ("npz", npz(image_emb=np.array([{"an": "object"}], dtype=object)), "vector_missing"),
        ("syn.json", None, "caption_failed"),
        ("syn.json", b"{", "caption_failed"),
        ("syn.json", b'{"syn_text": ["one"]}', "caption_failed"),
        ("syn.json", b'{"syn_text": [1, 2]}', "caption_failed"),
        ("syn.json", b"[" * 100_000, "caption_failed"),
        ("paug.json", b'{"param_aug": [[[1, 2, 3, 4], null]]}', "json_unreadable"),
        ("paug.json", b'{"param_aug": "[[[1,2,-3,4],null]]"}', "json_unreadable"),
        ("paug.json", b'{"param_aug": 7}', "json_unreadable"),
        ("paug.json", None, "json_unreadable"),
    ],
)
def test_a_sample_that_is_not_whole_is_counted_and_the_others_stay(
    tmp_path: Path, name: str, data: bytes | None, reason: str
) -> None:
    manifest = _import(tmp_path, _with(name, data))
    (step,) = manifest.funnel
    assert (step.rows_in, step.rows_out, dict(step.failed)) == (3, 2, {reason: 1})
    assert not verify(str(tmp_path / "out")).findings


def test_a_payload_that_would_run_code_is_refused_and_does_not(tmp_path: Path) -> None:
    members = [(name.replace(".npz", ".pth.gz"), data) for name, data in _good(1)]
    payload = pth({"image_emb": _Runs(tmp_path / "ran"), "text_emb": torch.zeros(1, 6)})
    manifest = _import(tmp_path, [(name, payload if name.endswith("gz") else data) for name, data in members])
    assert dict(manifest.funnel[0].failed) == {"vector_missing": 1}
    assert not (tmp_path / "ran").exists()


def test_a_caption_in_another_encoding_is_a_counted_reason_and_not_altered(tmp_path: Path) -> None:
    manifest = _import(tmp_path, [*_good(1), (f"{UIDS[1]}.txt", b"caf\xe9")])
    assert dict(manifest.funnel[0].failed) == {"text_not_utf8": 1}


def test_an_archive_of_objects_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.array([_Runs(tmp_path / "ran")], dtype=object), allow_pickle=True)
    given = write_clip_retrieval(tmp_path / "given", (1,))
    (given / "img_emb" / "img_emb_0.npy").write_bytes(file.getvalue())
    layout = open_layout("clip-retrieval", str(given), TEACHERS)
    with pytest.raises(FormatError, match="img_emb_0"):
        import_dataset(layout, Imported("it", "CC0-1.0", TEACHERS), tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_a_tar_that_ends_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", [*_good(0), *_good(1)])
    path.write_bytes(path.read_bytes()[:3000])
    layout = open_layout("dr", str(path), TEACHERS)
    with pytest.raises(DfndrError, match=r"0\.tar"):
        import_dataset(layout, Imported("it", "CC0-1.0", TEACHERS), tmp_path / "out")


def test_a_member_that_claims_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        member = tarfile.TarInfo(f"{UIDS[0]}.npz")
        member.size = 0
        tar.addfile(member)
    raw = bytearray((tmp_path / "0.tar").read_bytes())
    claimed = tarfile.TarInfo(f"{UIDS[0]}.npz")
    claimed.size = 1 << 40
    raw[:512] = claimed.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "0.tar").write_bytes(bytes(raw))
    layout = open_layout("dr", str(tmp_path / "0.tar"), TEACHERS)
    with pytest.raises(DfndrError, match=r"0\.tar"):
        import_dataset(layout, Imported("it", "CC0-1.0", TEACHERS), tmp_path / "out")


def test_a_gzip_bomb_is_a_counted_reason(tmp_path: Path) -> None:
    members = [(name.replace(".npz", ".pth.gz"), data) for name, data in _good(1)]
    bomb = 300 * gzip.compress(bytes(1_000_000))
    manifest = _import(tmp_path, [(name, bomb if name.endswith("gz") else data) for name, data in members])
    assert dict(manifest.funnel[0].failed) == {"vector_missing": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b"\x93NUMPY\x01\x00\x3c\x00" + b"{'descr': ',<f2', 'fortran_order': False, 'shape': (1, 8)}  \n" + bytes(16),
        b"\x93NUMPY\x02\x00" + (600 << 20).to_bytes(4, "little") + b"{'descr': '<f2', " + bytes(300),
        b"\x93NUMPY",
        b"",
    ],
    ids=["a type that is none", "hundreds of megabytes of header", "cut", "empty"],
)
def test_a_partition_whose_header_lies_is_an_error_before_memory_is_taken_for_it(tmp_path: Path, raw: bytes) -> None:
    given = write_clip_retrieval(tmp_path / "given", (1,))
    (given / "img_emb" / "img_emb_0.npy").write_bytes(raw)
    layout = open_layout("clip-retrieval", str(given), TEACHERS)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"img_emb_0\.npy: expected a \.npy of float16 or float32"):
            layout.spaces()
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_name_in_another_encoding_is_escaped(tmp_path: Path) -> None:
    members = [(name.replace(UIDS[1], "caf\udce9"), data) for name, data in _good(1)]
    assert len(_import(tmp_path, members)) == 3
    assert "caf\\udce9" in open_dataset(tmp_path / "out").rows(["key"])["key"].to_pylist()


def test_vectors_of_another_dim_in_a_later_partition_are_an_error(tmp_path: Path) -> None:
    given = write_clip_retrieval(tmp_path / "given", (3, 3))
    np.save(given / "img_emb" / "img_emb_1.npy", unit(3, 9, 0))
    layout = open_layout("clip-retrieval", str(given), TEACHERS)
    with pytest.raises(FormatError, match="8 dimensions"):
        import_dataset(layout, Imported("it", "CC0-1.0", TEACHERS), tmp_path / "out")


def test_a_key_of_no_captions_beside_others_takes_nothing_from_a_sample(tmp_path: Path) -> None:
    syn = b'{"syn_text_dfn_mscoco38k": ["one", "two"], "other": []}'
    assert len(_import(tmp_path, _with("syn.json", syn))) == 3


def test_a_member_that_ends_beyond_its_tar_is_an_error_before_memory_is_taken_for_it(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", [*_good(0), *_good(1)])
    data = bytearray(path.read_bytes())
    data[124:136] = b"%011o\0" % 200_000_000
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"0\.tar: .* ends beyond the file"):
            open_layout("dr", str(path), TEACHERS).spaces()
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
