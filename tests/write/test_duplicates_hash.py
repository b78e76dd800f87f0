"""Exact and near duplicates, and contamination by hash, against brute force over small datasets of scores."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from dfndr_builders.duplicates import hamming
from dfndr_builders.duplicates.contaminated import NearContaminated
from dfndr_builders.duplicates.exact import SameImage, SameText, normalised
from dfndr_builders.duplicates.groups import Groups
from dfndr_builders.duplicates.hamming import bits_apart, pairs_within
from dfndr_builders.duplicates.near import NearDuplicates
from dfndr_builders.measure.image import MeasureImage
from dfndr_builders.pools.webdataset import WebDatasetPool
from hypothesis import given, settings
from hypothesis import strategies as st
from support.duplicates import column_of, partition, scores_of

from dfndr.errors import DataError, UsageError


def _linked(count: int, pairs: list[tuple[int, int]]) -> list[set[int]]:
    """Brute force: the connected components with more than one member."""
    groups = [{row} for row in range(count)]
    for one, other in pairs:
        if groups[one] is not groups[other]:
            groups[one] |= groups[other]
            for row in groups[other]:
                groups[row] = groups[one]
    return sorted((group for row, group in enumerate(groups) if row == min(group) and len(group) > 1), key=min)


@given(st.integers(1, 30), st.data())
def test_streamed_pairs_give_the_connected_components_named_by_their_smallest_row(count, data):
    row = st.integers(0, count - 1)
    batches = data.draw(st.lists(st.lists(st.tuples(row, row), max_size=12), max_size=4))
    groups = Groups(count)
    for batch in batches:
        ones, others = np.array(batch, dtype=np.int64).reshape(-1, 2).T
        groups.join(ones, others)
    found = groups.roots(np.arange(count))
    wanted = list(range(count))
    for group in _linked(count, [pair for batch in batches for pair in batch]):
        for member in group:
            wanted[member] = min(group)
    assert found.tolist() == wanted


def test_a_chain_of_a_hundred_thousand_rows_is_one_group():
    rows = np.random.default_rng(0).permutation(100_000)
    groups = Groups(len(rows))
    groups.join(rows[:-1], rows[1:])
    assert not groups.roots(np.arange(len(rows))).any()


def _near_hashes(seed: int, count: int) -> np.ndarray:
    """Hashes of which half are others with up to twenty bits flipped."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for place in range(count // 2, count):
        hashes[place] = hashes[rng.integers(0, place)]
        for bit in rng.integers(0, 64, rng.integers(0, 20)):
            hashes[place] ^= np.uint64(1) << np.uint64(bit)
    return hashes


def _all_pairs(left: list[int], right: list[int], radius: int) -> set[tuple[int, int, int]]:
    every = (
        (one, other, (left[one] ^ right[other]).bit_count()) for one in range(len(left)) for other in range(len(right))
    )
    return {pair for pair in every if pair[2] <= radius}


def _found(blocks) -> list[tuple[int, int, int]]:
    return [pair for block in blocks for pair in zip(*(part.tolist() for part in block), strict=True)]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 16), st.sampled_from([0, 1_000_000]), st.sampled_from([1 << 20, 7]))
def test_every_pair_within_the_radius_is_found_and_no_other(seed, radius, pretended, block):
    hashes = _near_hashes(seed, 60)
    left, right = hashes[:25], hashes[25:]
    plan = hamming._plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "_BLOCK", block)
        patch.setattr(hamming, "_QUERIES", 11)
        if pretended:  # the bands of a million hashes; without, each is compared with each
            radius = min(radius, 8)
            patch.setattr(hamming, "_plan", lambda ones, others, wide: plan(pretended, pretended, wide))
        between = _found(pairs_within(left, right, radius))
        within = _found(pairs_within(hashes, None, radius))
    assert set(between) == _all_pairs(left.tolist(), right.tolist(), radius)
    assert {(*sorted(pair[:2]), pair[2]) for pair in within} == {
        pair for pair in _all_pairs(hashes.tolist(), hashes.tolist(), radius) if pair[0] < pair[1]
    }


@pytest.mark.parametrize("radius", range(17))
def test_the_bands_of_every_plan_cover_the_radius(radius):
    for count in (10, 10_000, 1_000_000, 100_000_000):
        bands = hamming._plan(count, count, radius)
        assert not bands or sum(band.flips + 1 for band in bands) == radius + 1
        assert len({bit for band in bands for bit in band.bits}) == sum(len(band.bits) for band in bands)


def test_without_the_popcount_of_numpy_2_bits_are_counted_by_table(monkeypatch):
    hashes = _near_hashes(1, 30)
    wanted = [[(one ^ other).bit_count() for other in hashes.tolist()] for one in hashes.tolist()]
    assert bits_apart(hashes[:, None], hashes).tolist() == wanted
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert bits_apart(hashes[:, None], hashes).tolist() == wanted


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.integers(0, 12))
def test_near_groups_are_those_of_brute_force_and_a_row_without_a_hash_is_alone(tmp_path_factory, seed, radius):
    hashes: list[int | None] = _near_hashes(seed, 40).tolist()
    hashes[7] = hashes[23] = None
    scores = scores_of(tmp_path_factory.mktemp("near"), {"phash": pa.array(hashes, pa.uint64())}, shards=3)
    known = [row for row, value in enumerate(hashes) if value is not None]
    pairs = [(a, b) for a in known for b in known if a < b and (hashes[a] ^ hashes[b]).bit_count() <= radius]
    found = column_of(NearDuplicates(radius), scores)
    assert partition(found) == _linked(40, pairs)
    assert all(
        group is None or group == min(row for row, other in enumerate(found) if other == group) for group in found
    )
    ones, others = (np.array([row for row, _ in pairs[:5]]), np.array([row for _, row in pairs[:5]]))
    if pairs:
        wanted = [(hashes[a] ^ hashes[b]).bit_count() for a, b in pairs[:5]]
        assert NearDuplicates(radius).distance(scores, ones, others).tolist() == wanted
    assert np.isnan(NearDuplicates(radius).distance(scores, np.array([7]), np.array([0]))).all()


def test_a_hundred_thousand_rows_with_one_hash_are_one_group(tmp_path):
    hashes = np.concatenate([np.full(100_000, 77, dtype=np.uint64), [np.uint64(76)], [np.uint64(2**63 + 2**40 - 1)]])
    scores = scores_of(tmp_path, {"phash": pa.array(hashes)}, shards=2)
    found = column_of(NearDuplicates(2), scores)
    assert found[:100_001] == [0] * 100_001
    assert found[100_001] is None


def test_scores_without_perceptual_hashes_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a column 'phash' of uint64, found no such column"):
        column_of(NearDuplicates(2), scores_of(tmp_path, {"dfn": pa.array([1.0, 2.0], pa.float32())}))


@pytest.mark.parametrize("radius", [-1, 17])
def test_a_radius_that_makes_no_sense_is_refused(tmp_path, radius):
    with pytest.raises(UsageError, match="0 to 16 bits"):
        column_of(NearDuplicates(radius), scores_of(tmp_path, {"phash": pa.array([1, 2], pa.uint64())}))


def test_rows_of_one_image_file_are_a_group_across_shards_and_a_row_without_a_hash_is_alone(tmp_path):
    hashes = [hashlib.sha256(name.encode()).hexdigest() for name in "abcabdaeff"]
    scores = scores_of(tmp_path, {"sha256": pa.array([*hashes, None, None], pa.string())}, shards=4)
    assert column_of(SameImage(), scores) == [0, 1, None, 0, 1, None, 0, None, 8, 8, None, None]
    assert SameImage().distance(scores, np.array([3, 4]), np.array([0, 1])).tolist() == [0, 0]


@settings(deadline=None, max_examples=10)
@given(st.lists(st.one_of(st.none(), st.text("aAß é\u0301\u00e9\u3000\n", max_size=4)), min_size=1, max_size=40))
def test_text_groups_are_those_of_equal_normalised_texts(tmp_path_factory, texts):
    scores = scores_of(tmp_path_factory.mktemp("text"), {"text": pa.array(texts, pa.string())}, shards=3)
    plain = [None if text is None else normalised(text) or None for text in texts]
    wanted = [plain.index(text) if text is not None and plain.count(text) > 1 else None for text in plain]
    assert column_of(SameText(), scores) == wanted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A  cat\n", "a cat"),
        ("STRASSE", "straße"),
        ("cafe\u0301", "CAF\u00c9"),
        ("a\u3000b", "A B"),
        ("\u1fb3", "\u0391\u0399"),
    ],
)
def test_texts_that_differ_in_case_composition_or_white_space_are_the_same(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("a cat", "a cat."), ("cafe", "caf\u00e9"), ("ab", "a b")])
def test_texts_that_differ_in_a_letter_a_mark_or_an_accent_are_not_the_same(one, other):
    assert normalised(one) != normalised(other)


def test_a_dataset_of_scores_without_shards_has_no_tables(tmp_path):
    scores = scores_of(tmp_path, {"phash": pa.array([1], pa.uint64())}).split("validation")
    for derived in (SameImage(), SameText(), NearDuplicates(2), NearContaminated((), np.zeros(0, np.uint64))):
        assert list(derived.tables(scores)) == []


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32), st.integers(0, 12))
def test_contaminated_rows_name_the_nearest_evaluation_image_and_the_smallest_key_among_equals(
    tmp_path_factory, seed, radius
):
    hashes = _near_hashes(seed, 40)
    pool, tested = [*hashes[:30].tolist(), None], hashes[30:]
    tested[3] = tested[5]
    keys = tuple(f"image-{place:02}" for place in np.random.default_rng(seed).permutation(len(tested)))
    scores = scores_of(tmp_path_factory.mktemp("test-set"), {"phash": pa.array(pool, pa.uint64())}, shards=2)
    derived = NearContaminated(keys, tested, radius)
    found = pa.concat_tables(derived.tables(scores))
    assert found.schema == pa.schema(derived.fields())
    wanted = []
    for value in pool:
        near = (
            min(((value ^ other).bit_count(), key) for key, other in zip(keys, tested.tolist(), strict=True))
            if value is not None
            else (99, "")
        )
        wanted.append((True, near[1], near[0]) if near[0] <= radius else (False, None, None))
    assert [tuple(row.values()) for row in found.to_pylist()] == wanted


def test_one_key_for_each_evaluation_image_is_required(tmp_path):
    scores = scores_of(tmp_path, {"phash": pa.array([1, 2], pa.uint64())})
    with pytest.raises(UsageError, match=r"shape \(1,\) for 1 keys, found shape \(2,\)"):
        list(NearContaminated(("only",), np.zeros(2, np.uint64)).tables(scores))


POOLS = Path(os.environ.get("POOLS") or Path(__file__).parents[3] / "shared" / "pools")


@pytest.mark.skipif(not POOLS.is_dir(), reason=f"no real pools in {POOLS}")
def test_photos_are_near_their_squashed_copies_and_no_other(tmp_path):
    def first(pattern, column):
        pool = WebDatasetPool((str(POOLS / pattern),), keep=() if column == "key" else (column,))
        rows = MeasureImage().open()(next(pool.read(pool.shards()[0])))
        return [name.removeprefix("flickr8k:") for name in rows[column].to_pylist()], rows["phash"].to_pylist()

    native, native_hashes = first("flickr8k_native1k/*.tar", "same_photo_as")
    squashed, squashed_hashes = first("flickr8k/flickr8k-train-000000.tar", "key")
    names = native + squashed
    twins = [{place, len(native) + squashed.index(name)} for place, name in enumerate(native) if name in squashed]
    assert len(set(names)) == len(names) - len(twins)
    assert len(twins) > 150
    scores = scores_of(tmp_path, {"phash": pa.array(native_hashes + squashed_hashes, pa.uint64())}, shards=2)
    assert partition(column_of(NearDuplicates(), scores)) == twins
