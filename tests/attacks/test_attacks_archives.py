"""Archives of vectors that promise more than they hold, or hold more than anyone should unpack."""

import gzip
import io
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from dfndr_builders.imports import Imported, arrays, import_dataset, open_layout
from dfndr_builders.imports.arrays import npy_array, npz_arrays, tensor_arrays
from dfndr_builders.imports.layout import Teacher
from dfndr_builders.pools.webdataset import WebDatasetPool
from support.layouts import npz, pth, unit
from support.pools import seen, tar_of

from dfndr.errors import DfndrError, FormatError


def every(name: str) -> bool:
    return True


def member(header: bytes, data: bytes) -> bytes:
    """Return a `.npy` of a header of one's own."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def header(shape: str, kind: str = "<f4", fortran: bool = False) -> bytes:
    return f"{{'descr': {kind!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()


def npy(size_bytes: int) -> bytes:
    """Return a `.npy` of zeros that is so many bytes long."""
    file = io.BytesIO()
    np.save(file, np.zeros((size_bytes - 128) // 4, np.float32))
    return file.getvalue() + bytes(size_bytes - file.tell())


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        member(header("(1099511627776, 768)"), bytes(24)),
        member(header("(3, 3)"), bytes(24)),
        member(header("(2, 2)"), bytes(24)),
        member(header("(-1, -6)"), bytes(24)),
        member(header("(6,)", "|O"), bytes(48)),
        member(header("(6,)", "<i4"), bytes(24)),
        member(header("(6,)", fortran=True), bytes(24)),
        member(b"__import__('os')", bytes(24)),
        member(b"{" * 5000, b""),
        member(header("(6,)"), bytes(24))[:20],
        b"\x93NUMPY\x03\x00" + bytes(40),
        b"",
    ],
)
def test_a_header_that_promises_what_is_not_there_is_refused_before_anything_is_made(raw: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"\w"):
            npy_array(raw)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_an_archive_is_unpacked_no_further_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arrays.MOST_BYTES == 256_000_000
    monkeypatch.setattr(arrays, "MOST_BYTES", 1_000_000)
    half = npy(500_000)
    for members in ([("image_emb.npy", npy(1_000_001))], [("image_emb.npy", half), ("text_emb.npy", half + b"0")]):
        with pytest.raises(ValueError, match="more than 1,000,000 bytes"):
            npz_arrays(zipped(*members), every)
    found = npz_arrays(zipped(("image_emb.npy", half), ("text_emb.npy", half)), every)
    assert sum(map(len, found.values())) == (1_000_000 - 2 * 128) // 4


def test_what_nobody_asked_for_is_not_unpacked() -> None:
    bomb = zipped(("other.npy", bytes(20_000_000)))
    began = time.process_time()
    assert npz_arrays(bomb, {"image_emb"}.__contains__) == {}
    assert time.process_time() - began < 0.01


def test_what_a_directory_says_of_sizes_is_not_believed() -> None:
    vectors = unit(3, 6, 0, "float32")
    whole = bytearray(npz(image_emb=vectors))
    place = whole.rindex(b"PK\x01\x02") + 24
    for claimed in (1 << 30, 0xFFFFFFFE):
        whole[place : place + 4] = struct.pack("<I", claimed)
        assert np.array_equal(npz_arrays(bytes(whole), every)["image_emb"], vectors)
    whole[place : place + 4] = struct.pack("<I", 60)
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        npz_arrays(bytes(whole), every)


@pytest.mark.parametrize(
    "payload",
    [
        [torch.zeros(1, 6)],
        torch.zeros(1, 6),
        {"image_emb": [0.0, 1.0]},
        {"image_emb": {"nested": torch.zeros(1, 6)}},
        {3: torch.zeros(1, 6)},
        {"image_emb": torch.zeros(2, 6).to_sparse()},
        {"image_emb": torch.zeros(2, 6, dtype=torch.complex64)},
        {"image_emb": torch.zeros(1).expand(1 << 20, 1 << 20)},
    ],
    ids=["list", "tensor", "numbers", "nested", "no name", "sparse", "complex", "a number repeated"],
)
def test_what_is_no_plain_dict_of_dense_tensors_is_refused(payload: Any) -> None:
    with pytest.raises(ValueError, match="tensors"):
        tensor_arrays(pth(payload), every)


def test_a_file_of_torch_within_which_something_is_packed_is_refused() -> None:
    plain = gzip.decompress(pth({"image_emb": torch.zeros(2, 6)}))
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain)) as given, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in given.namelist():
            packed.writestr(name, given.read(name))
    with pytest.raises(ValueError, match="compressed members"):
        tensor_arrays(gzip.compress(file.getvalue()), every)


# ---------------------------------------------------------------- archives beside Parquet

ONE = (Teacher("clip", "ViT-B-32", "openai"),)
UIDS = [f"{number:032x}" for number in range(1, 7)]


def pool(folder: Path, data: bytes) -> Path:
    folder.mkdir()
    pq.write_table(pa.table({"uid": UIDS, "text": ["a"] * 6}), folder / "0.parquet")
    (folder / "0.npz").write_bytes(data)
    return folder


def stored(change: Callable[[bytes], bytes]) -> bytes:
    """Return an archive of `b32_img`, stored as it is, after a change of the `.npy` in it."""
    file = io.BytesIO()
    np.save(file, unit(6, 8, 0))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("b32_img.npy", change(file.getvalue()))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (stored(lambda raw: raw.replace(b"(6, 8)", b"(7, 8)")), "promises"),
        (stored(lambda raw: raw.replace(b"(6, 8)", b"(3, 8)")), "promises"),
        (stored(lambda raw: raw.replace(b"<f2", b"|O ")), "b32_img"),
        (stored(lambda raw: raw[:-1]), "promises"),
        (stored(lambda raw: raw[:20]), "b32_img"),
        (npz(b32_img=unit(5, 8, 0)), r"\(5, 8\)"),
        (npz(l14_img=unit(6, 8, 0)), "l14_img"),
        (b"PK\x03\x04 nothing", "zip"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_does_not_fit_its_rows_is_an_error_that_names_it(
    tmp_path: Path, data: bytes, found: str
) -> None:
    layout = open_layout("datacomp", str(pool(tmp_path / "given", data)), ONE)
    with pytest.raises(FormatError, match=rf"(?s)0\.npz.*{found}"):
        import_dataset(layout, Imported("it", "CC0-1.0", ONE), tmp_path / "out")


def test_vectors_of_a_pool_that_are_none_are_counted_under_their_reason(tmp_path: Path) -> None:
    vectors = unit(6, 8, 0)
    vectors[2], vectors[4] = np.nan, 0
    layout = open_layout("datacomp", str(pool(tmp_path / "given", npz(b32_img=vectors))), ONE)
    manifest = import_dataset(layout, Imported("it", "CC0-1.0", ONE), tmp_path / "out")
    assert (len(manifest), dict(manifest.funnel[0].failed)) == (4, {"vector_not_finite": 2})


def test_lists_of_other_lengths_in_parquet_are_rows_that_failed(tmp_path: Path) -> None:
    lists = [list(map(float, vector)) for vector in unit(6, 4, 0, "float32")]
    lists[1], lists[3], lists[5] = lists[1][:3], None, [None, 1.0, 0.0, 0.0]  # type: ignore[call-overload]
    table = pa.table({"uid": UIDS, "image__clip": pa.array(lists, pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "rows.parquet")
    layout = open_layout("parquet", str(tmp_path / "rows.parquet"), ONE, dtype="float32")
    manifest = import_dataset(layout, Imported("it", "CC0-1.0", ONE), tmp_path / "out")
    assert dict(manifest.funnel[0].failed) == {"vector_missing": 2, "vector_not_finite": 1}


def test_parquet_of_no_vectors_or_of_another_type_is_an_error(tmp_path: Path) -> None:
    for number, column in enumerate([["a"] * 6, [[1, 2]] * 6, [[]] * 6]):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"uid": UIDS, "image__clip": column}), path)
        with pytest.raises(DfndrError, match="image__clip"):
            open_layout("parquet", str(path), ONE).spaces()
    pq.write_table(pa.table({"uid": UIDS}), tmp_path / "none.parquet")
    with pytest.raises(FormatError, match="image__clip"):
        open_layout("parquet", str(tmp_path / "none.parquet"), ONE).spaces()


@pytest.mark.parametrize("packing", ["", ":gz"])
def test_a_tar_whose_header_promises_terabytes_ends_where_it_ends(tmp_path: Path, packing: str) -> None:
    data = bytearray(tar_of([("a.txt", "text"), ("b.bin", "nobody reads it"), ("c.txt", "text")]))
    head = slice(1024, 1536)
    data[1024 + 124 : 1024 + 136] = b"\x80" + b"\0" * 4 + b"\x7f" + b"\xff" * 6  # base 256: some thousand terabytes
    data[1024 + 148 : 1024 + 156] = b"        "
    data[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(data[head])
    (tmp_path / "0.tar").write_bytes(gzip.compress(data) if packing else data)
    pool = WebDatasetPool((str(tmp_path / "0.tar"),))
    began = time.process_time()
    assert seen(pool) == [("a", "image_missing"), ("b", "shard_truncated")]
    assert time.process_time() - began < 5
