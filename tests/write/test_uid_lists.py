"""Lists of uids: three kinds of file, DataComp's to the byte."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.uid_lists import SUBSET, read_uids, write_uids
from hypothesis import given
from hypothesis import strategies as st

from dfndr.errors import DataError, FormatError, UsageError
from dfndr.format.uid import pack_uids, unpack_uids

TWO = ["139e4a9b22a614771f06c700a8ebe150", "6e356964a967af455c8016b75d691203"]
FOUR = [
    "9e3930e6bb2783e8dfb66ff465e56ec4",
    "318659708861038b9e9f339232990c1c",
    "d611a2aa18f33ba0166b2937f8fa665f",
    "e891de247f84b3add00ad2e4f665b9b7",
]


def test_a_subset_file_has_the_bytes_that_datacomp_writes(tmp_path: Path) -> None:
    path = tmp_path / "two.npy"
    stored = write_uids(str(path), pack_uids(TWO, "test"))
    content = path.read_bytes()
    payload = "7714a6229b4a9e1350e1eba800c7061f45af67a96469356e0312695db716805c"
    assert (len(content), content[128:].hex()) == (160, payload)
    assert hashlib.sha256(content).hexdigest() == stored.sha256
    assert stored.sha256 == "6081951ff3c02116751ce8a7b98f908ba7cbbb8beb6fc928d20bbf0114f6cee9"
    fields = [(1413649363202610295, 2235693070683988304), (7941369398997528389, 6665352425310327299)]
    assert np.load(path).tolist() == fields


def test_a_subset_file_is_sorted_by_both_halves_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "four.npy"
    write_uids(str(path), pack_uids(FOUR, "test"))
    assert unpack_uids(read_uids(str(path))).tolist() == sorted(FOUR)
    digest = hashlib.sha256(path.read_bytes()[128:]).hexdigest()
    assert digest == "80bd7398872741b7a980733a5bb2366707beb0f61483061c4e82732e23bf1634"


def test_a_subset_file_without_a_header_is_read_too(tmp_path: Path) -> None:
    with_header, bare = tmp_path / "a.npy", tmp_path / "b.npy"
    write_uids(str(with_header), pack_uids(FOUR, "test"))
    bare.write_bytes(with_header.read_bytes()[128:])
    assert read_uids(str(bare)).tobytes() == read_uids(str(with_header)).tobytes()


@given(
    uids=st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex), max_size=20),
    ending=st.sampled_from(["txt", "parquet", "npy"]),
)
def test_what_was_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, uids: list[str], ending: str) -> None:
    path = str(tmp_path_factory.mktemp("lists") / f"uids.{ending}")
    write_uids(path, pack_uids(uids, "test"))
    assert unpack_uids(read_uids(path)).tolist() == (sorted(uids) if ending == "npy" else uids)


def test_blank_lines_comments_and_upper_case_are_read_in_text(tmp_path: Path) -> None:
    path = tmp_path / "uids.txt"
    path.write_text(f"# a list\n\n  {TWO[0].upper()}  # the first\r\n{TWO[1]}")
    assert unpack_uids(read_uids(str(path))).tolist() == TWO


def test_what_is_no_uid_is_named_by_its_line_or_row(tmp_path: Path) -> None:
    text, parquet = tmp_path / "a.txt", tmp_path / "a.parquet"
    text.write_text(f"{TWO[0]}\n# fine\nnonsense\n")
    with pytest.raises(DataError, match=r"line 3: expected a uid of 32 hex digits, found 'nonsense'"):
        read_uids(str(text))
    pq.write_table(pa.table({"uid": [TWO[0], None]}), parquet)
    with pytest.raises(DataError, match=r"row 1: .* found None"):
        read_uids(str(parquet))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.txt, \.parquet or \.npy"):
        read_uids("list.csv")
    cases = {"odd.npy": b"\0" * 17, "cut.npy": b"\x93NUMPY\1\0", "a.parquet": b"no parquet"}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises((DataError, FormatError)):
            read_uids(str(tmp_path / name))
    for name, array in {
        "floats.npy": np.zeros((3, 2)),
        "signed.npy": np.zeros(3, [("a", "<i8"), ("b", "<u8")]),
    }.items():
        np.save(tmp_path / name, array)
        with pytest.raises(DataError, match="two uint64"):
            read_uids(str(tmp_path / name))
    np.save(tmp_path / "pickled.npy", np.array([{}, "x"], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="whole"):
        read_uids(str(tmp_path / "pickled.npy"))
    pq.write_table(pa.table({"id": TWO}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="a column 'uid'"):
        read_uids(str(tmp_path / "other.parquet"))


def test_a_repeated_uid_is_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.npy"
    write_uids(str(path), pack_uids([TWO[1], TWO[0], TWO[1]], "test"))
    assert unpack_uids(read_uids(str(path))).tolist() == [TWO[0], TWO[1], TWO[1]]
    assert np.load(path).dtype == SUBSET


def test_a_list_that_was_saved_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "uids.txt"
    path.write_text("\n".join(TWO), encoding="utf-8-sig")
    assert unpack_uids(read_uids(str(path))).tolist() == TWO


@pytest.mark.parametrize("rows", ["99999999999999,", "99999999999999999999999,", "-2,", "3,", "2, 0"])
def test_a_subset_file_that_claims_another_size_than_it_has_is_refused_and_nothing_is_allocated(
    tmp_path: Path, rows: str
) -> None:
    head = f"{{'descr': [('f0', '<u8'), ('f1', '<u8')], 'fortran_order': False, 'shape': ({rows}), }}"
    (tmp_path / "huge.npy").write_bytes(b"\x93NUMPY\1\0v\0" + head.ljust(117).encode() + b"\n" + b"\0" * 32)
    with pytest.raises(DataError, match=r"expected a whole .npy file, found .*shape"):
        read_uids(str(tmp_path / "huge.npy"))
