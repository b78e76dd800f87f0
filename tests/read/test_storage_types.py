"""Vectors stored as bfloat16 and int8: what the bytes say, how far from the truth, and what every reader sees."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from support.tiny import write_dataset

from dfndr import Index, Loader
from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import FormatError
from dfndr.format.schema import NORM_TOLERANCE, Space, StorageType
from dfndr.format.shard import map_vectors, write_vectors
from dfndr.format.storage_types import decode, encode, read_type, widened
from dfndr.verify import verify

CODED: list[StorageType] = ["bfloat16", "int8"]
TYPES: tuple[StorageType, ...] = get_args(StorageType)


def unit_vectors(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = np.random.default_rng(seed).standard_normal(shape)
    return (found / np.linalg.norm(found, axis=-1, keepdims=True)).astype(np.float32)


def spaces_of(dtype: StorageType) -> tuple[Space, ...]:
    return (
        Space("image", "one", dim=10, dtype=dtype),
        Space("image", "other", dim=6, per_row=3, dtype=dtype),
        Space("caption", "one", dim=10, per_row=3, dtype=dtype),
    )


@pytest.fixture(scope="module", params=TYPES)
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, dict[str, Any]]:
    """A dataset with three spaces of one storage type, and what every reader should see of it, by space."""
    spaces, rows = spaces_of(request.param), 40
    vectors = {space.name: unit_vectors(rows, space.per_row, space.dim, seed=n) for n, space in enumerate(spaces)}
    counts = [row % 4 for row in range(rows)]
    for row, count in enumerate(counts):
        vectors["caption/one"][row, count:] = 0
    columns = {"captions": [["words"] * count for count in counts]}
    dataset = write_dataset(
        tmp_path_factory.mktemp("typed"), (25, 0, 15), spaces, vectors=vectors, columns=columns, splits=["train"] * 3
    )
    return dataset, {name: decode(encode(array, request.param), request.param) for name, array in vectors.items()}


def test_bfloat16_is_what_torch_makes_of_a_float() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    ties = np.array([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF, 0x7F800000, 0xFF800000], np.uint32)
    floats = np.concatenate([bits, ties, ties | 0x80000000, np.zeros(1, np.uint32)]).view(np.float32)
    floats = np.where(np.isnan(floats), np.float32(1), floats)
    stored = encode(floats[None], "bfloat16")[0]
    theirs = torch.from_numpy(floats).to(torch.bfloat16)
    np.testing.assert_array_equal(stored, theirs.view(torch.uint16).numpy())
    np.testing.assert_array_equal(decode(stored, "bfloat16"), theirs.float().numpy())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_finite_when_it_is_read(dtype: StorageType, bad: float) -> None:
    vectors = unit_vectors(3, 8)
    vectors[1, 5] = bad
    fine = np.isfinite(decode(encode(vectors, dtype), dtype)).all(axis=1)
    assert fine.tolist() == [True, False, True]


def test_int8_is_a_scale_times_whole_numbers_and_keeps_length_and_direction() -> None:
    vectors = np.concatenate([unit_vectors(50, 64), 1e-30 * unit_vectors(5, 64), 3e4 * unit_vectors(5, 64)])
    vectors[0] *= np.where(np.arange(64) == 7, 30, 1)  # an outlier, as CLIP models have
    stored = encode(vectors, "int8")
    assert stored.shape == (60, 68) and stored.dtype == np.int8
    for vector, packed, found in zip(vectors, stored, decode(stored, "int8"), strict=True):
        whole, scale = packed[:-4].astype(int), float(np.frombuffer(packed[-4:].tobytes(), "<f4")[0])
        step = np.abs(vector).max() / 127
        assert whole.tolist() == [round(float(value / step)) for value in vector.astype(np.float64)]
        assert abs(whole).max() == 127 and scale == pytest.approx(step, rel=0.05)
        np.testing.assert_allclose(found, scale * whole, rtol=1e-6)
        assert np.abs(found - vector).max() <= step / 2 + abs(scale - step) * 127 * (1 + 1e-6)
        length = np.linalg.norm(vector.astype(np.float64))
        assert np.linalg.norm(found.astype(np.float64)) == pytest.approx(length, rel=2e-7)


def test_zeros_are_zero_bytes_in_every_type() -> None:
    for dtype in TYPES:
        stored = encode(np.zeros((2, 3, 8), np.float32), dtype)
        assert not stored.any() and not decode(stored, dtype).any()


@pytest.mark.parametrize(
    ("dtype", "error"), [("float16", 2e-7), ("bfloat16", 4e-6), ("float32", 1e-12), ("int8", 2e-4)]
)
def test_the_direction_of_a_random_vector_is_kept_as_the_page_says(dtype: StorageType, error: float) -> None:
    vectors = unit_vectors(500, 512).astype(np.float64)
    found = decode(encode(vectors, dtype), dtype).astype(np.float64)
    cosines = (vectors * found).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(vectors, axis=1)
    assert (1 - cosines).max() < error
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() <= NORM_TOLERANCE[dtype] / 2


def test_the_bytes_of_a_file_can_be_read_by_numpy_alone(tmp_path: Path) -> None:
    vectors = unit_vectors(7, 2, 5)
    for dtype in CODED:
        space = Space("image", "one", 5, per_row=2, dtype=dtype)
        path = tmp_path / write_vectors(str(tmp_path), f"{dtype}-{{hash8}}.npy", space, [vectors[:4], vectors[4:]]).path
        raw = np.load(path, allow_pickle=False)
        if dtype == "bfloat16":
            assert (raw.dtype.str, raw.shape) == ("<u2", (7, 2, 5))
            read = (raw.astype("<u4") << 16).view("<f4")
        else:
            assert (raw.dtype.str, raw.shape) == ("|i1", (7, 2, 9))
            read = raw[..., :-4] * np.ascontiguousarray(raw[..., -4:]).view("<f4")
        np.testing.assert_array_equal(read, decode(encode(vectors, dtype), dtype))
        assert path.stat().st_size == 128 + 7 * space.row_bytes
        np.testing.assert_array_equal(map_vectors(str(path), space, 7), raw)


def test_a_file_of_one_type_is_not_read_as_another(tmp_path: Path) -> None:
    space = Space("image", "one", 4, dtype="int8")
    path = write_vectors(str(tmp_path), "{hash8}.npy", space, [unit_vectors(3, 1, 4)]).path
    for other in (Space("image", "one", 8, dtype="int8"), Space("image", "one", 4), Space("image", "one", 8)):
        with pytest.raises(FormatError, match="header"):
            map_vectors(str(tmp_path / path), other, 3)


def test_a_type_that_is_not_there_is_refused() -> None:
    with pytest.raises(FormatError, match="float8"):
        Space.from_json({**Space("image", "one", 4).to_json(), "dtype": "float8"}, "here")


def test_rows_and_blocks_are_what_was_stored(given: tuple[Dataset, dict[str, Any]]) -> None:
    dataset, known = given
    for name, vectors in known.items():
        kind = read_type(dataset.space(name).dtype)
        some = [33, 0, 24, 25, -1, 0]
        for found, wanted in [
            (dataset.vectors(name), vectors),
            (dataset.vectors(name, some), vectors[some]),
            (dataset.vectors(name, slice(20, 30, 3)), vectors[20:30:3]),
            (np.concatenate([np.asarray(block) for block in dataset.mapped(name)]), vectors),
        ]:
            assert found.dtype == kind
            np.testing.assert_array_equal(found, wanted)
        block = dataset.mapped(name)[0]
        assert (len(block), block.shape) == (25, (25, *vectors.shape[1:]))
        for index in (3, slice(2, 9), (slice(None), 0), (slice(4), 0, slice(2)), (slice(4), slice(1), 1)):
            np.testing.assert_array_equal(block[index], vectors[:25][index])
        assert [row.tolist() for row in block] == vectors[:25].tolist()


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize("shuffle", ["exact", "block", "window", None])
def test_a_loader_gives_what_was_stored(given: tuple[Dataset, dict[str, Any]], framework: Any, shuffle: Any) -> None:
    dataset, known = given
    for pick in ("all", "random"):
        loader = Loader(dataset, list(known), batch_size=9, shuffle=shuffle, pick=pick, framework=framework)
        held = []
        for batch in loader:
            held.append(batch["image/one"])
            for name, vectors in known.items():
                found = np.asarray(batch[name])
                wanted = vectors[batch.rows]
                if name in batch.places:
                    wanted = wanted[np.arange(len(wanted)), batch.places[name]]
                assert found.dtype == wanted.dtype
                np.testing.assert_array_equal(found, wanted.reshape(found.shape))
        assert sum(map(len, held)) == len(dataset)


def test_torch_and_datasets_see_the_same(given: tuple[Dataset, dict[str, Any]]) -> None:
    dataset, known = given
    rows, frame = dataset.to_torch(), dataset.to_hf(["uid"], spaces=["image/one", "image/other"]).with_format("numpy")
    for row in (0, 24, 25, 39):
        for name, vectors in known.items():
            np.testing.assert_array_equal(np.atleast_2d(rows[row][name].numpy()), vectors[row].astype(np.float32))
        np.testing.assert_array_equal(frame[row]["image__one"], known["image/one"][row, 0])
        np.testing.assert_array_equal(frame[row]["image__other"], known["image/other"][row])


def test_an_index_finds_the_rows_that_arithmetic_finds(given: tuple[Dataset, dict[str, Any]], tmp_path: Path) -> None:
    dataset, known = given
    vectors = known["image/one"][:, 0].astype(np.float64)
    wanted = np.argsort(-(vectors[:5] @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T), axis=1)[:, :4]
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    for kind in ("numpy", "ivf"):
        if kind == "ivf":
            pytest.importorskip("faiss", reason="the lists are made by FAISS")
        built = Index.build(dataset, "image/one", kind=kind)
        built.save(str(tmp_path / kind))
        for index in (built, Index.load(str(tmp_path / kind), dataset=dataset, kind=kind)):
            found = index.search(vectors[:5], k=4)
            if kind == "numpy":
                assert [list(row) for row in found.uids] == [[uids[place] for place in row] for row in wanted]
            assert [row[0] for row in found.uids] == uids[:5]


def test_a_dataset_of_any_type_keeps_every_promise(given: tuple[Dataset, dict[str, Any]]) -> None:
    assert verify(given[0].root).findings == ()


def altered(tmp_path: Path, dtype: StorageType, change: Any) -> list[tuple[str, int | None]]:
    """Write a dataset of which the stored vectors were changed before they were hashed, and return the findings."""
    space = Space("caption", "one", dim=8, per_row=2, dtype=dtype)
    stored = encode(unit_vectors(6, 2, 8), dtype)
    stored[5, 1:] = 0
    change(stored)
    written = write_vectors(str(tmp_path / "it"), "caption/one/train-00000-{hash8}.npy", space, [stored])
    columns = {"captions": [["a", "b"]] * 5 + [["a"]]}
    dataset = write_dataset(tmp_path / "it", (6,), (space,), columns=columns)
    path = tmp_path / "it" / "manifest.json"
    was = dataset.manifest.shards[0].files[space.name]
    text = path.read_text().replace(was.path, written.path).replace(was.sha256, written.sha256)
    path.write_text(text)
    return [(finding.what, finding.row) for finding in verify(tmp_path / "it").findings if finding.level == "error"]


def put_scale(value: float) -> Any:
    def change(stored: Any) -> None:
        stored[2, 0, -4:] = np.array([value], "<f4").view(np.int8)

    return change


@pytest.mark.parametrize(
    ("value", "finding"),
    [(np.nan, "not finite"), (np.inf, "not finite"), (-0.01, "scale"), (0.0, "zero"), (0.5, "norm"), (1e-4, "norm")],
)
def test_a_scale_that_was_changed_is_found(tmp_path: Path, value: float, finding: str) -> None:
    assert (finding, 2) in altered(tmp_path, "int8", put_scale(value))


@pytest.mark.parametrize("dtype", CODED)
def test_what_lies_in_a_free_place_is_found(tmp_path: Path, dtype: StorageType) -> None:
    def change(stored: Any) -> None:
        stored[5, 1, 0] = 1

    assert ("not free", 5) in altered(tmp_path, dtype, change)


def test_a_bfloat16_that_is_no_number_is_found(tmp_path: Path) -> None:
    def change(stored: Any) -> None:
        stored[3, 1, 4] = 0x7FC0

    assert altered(tmp_path, "bfloat16", change) == [("not finite", 3)]


def test_a_dataset_is_opened_again_with_its_types(given: tuple[Dataset, dict[str, Any]]) -> None:
    assert open_dataset(given[0].root).spaces == given[0].spaces


def test_every_finite_float16_is_the_same_number_as_float32():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    found = widened(halves)
    assert found.dtype == np.float32
    assert np.array_equal(found.view(np.uint32), halves.astype(np.float32).view(np.uint32)), "zeros keep their signs"
