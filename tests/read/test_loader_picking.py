"""What a batch picks for a row: one view and one caption for all teachers, and a teacher, by (seed, epoch, row)."""

from __future__ import annotations

import numpy as np
import pytest
from support.tiny import write_dataset

from dfndr import Loader
from dfndr.errors import UsageError
from dfndr.format.schema import Space
from dfndr.order import draw
from dfndr.seeds import hash_int

TEACHERS = ("one", "two")
SPACES = tuple(
    Space(modality, teacher, dim=dim, per_row=per_row)
    for teacher, dim in zip(TEACHERS, (8, 6), strict=True)
    for modality, per_row in (("image", 5), ("text", 1), ("caption", 3))
)
NAMES = [space.name for space in SPACES]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"), (30, 0, 50), SPACES)


@pytest.fixture(scope="module")
def vectors(dataset):
    return {name: np.asarray(dataset.vectors(name)) for name in NAMES}


def epoch_of(dataset, number=0, **given):
    loader = Loader(dataset, NAMES, seed=3, framework="numpy", **given)
    loader.set_epoch(number)
    return list(loader)


@pytest.mark.parametrize("shuffle", ["exact", "block", None])
def test_all_teachers_vectors_of_a_row_are_of_one_view_and_one_caption(dataset, vectors, shuffle):
    for batch in epoch_of(dataset, batch_size=17, shuffle=shuffle):
        assert set(batch.picked) == {"image", "caption"}
        for teacher in TEACHERS:
            image, caption = f"image/{teacher}", f"caption/{teacher}"
            assert np.array_equal(batch[image], vectors[image][batch.rows, batch.picked["image"]])
            assert np.array_equal(batch[caption], vectors[caption][batch.rows, batch.picked["caption"]])
            assert np.array_equal(batch[f"text/{teacher}"], vectors[f"text/{teacher}"][batch.rows, 0])


def test_a_pick_is_the_hash_of_seed_epoch_and_row_that_it_always_was(dataset):
    for batch in epoch_of(dataset, 2, batch_size=80):
        for modality, count in (("image", 5), ("caption", 3)):
            expected = draw(batch.rows.astype(np.uint64), hash_int(3, "pick", 2, modality), count)
            assert np.array_equal(batch.picked[modality], expected)


def test_every_view_and_caption_comes_about_as_often(dataset):
    batches = [batch for number in range(60) for batch in epoch_of(dataset, number, batch_size=80)]
    for modality, count in (("image", 5), ("caption", 3)):
        found = np.bincount(np.concatenate([batch.picked[modality] for batch in batches]), minlength=count)
        assert np.abs(found * count / found.sum() - 1).max() < 0.1


def test_a_caption_that_one_teacher_lacks_is_picked_for_none(tmp_path):
    one, two = (Space("caption", teacher, dim=4, per_row=3) for teacher in TEACHERS)
    there = {one.name: [1, 1, 0], two.name: [0, 1, 1]}
    vectors = {name: np.tile(np.eye(4)[:3] * np.array(used)[:, None], (6, 1, 1)) for name, used in there.items()}
    dataset = write_dataset(tmp_path, (6,), (one, two), vectors=vectors)
    loader = Loader(dataset, [one.name, two.name], framework="numpy")
    for batch in (batch for _ in range(5) for batch in loader):
        assert batch.picked["caption"].tolist() == [1] * 6
        assert batch[one.name].tolist() == batch[two.name].tolist() == [[0, 1, 0, 0]] * 6


def test_what_else_is_drawn_for_a_row_does_not_depend_on_its_batch(dataset):
    def teachers(number=0, **given):
        batches = epoch_of(dataset, number, **given)
        return {
            row: found for batch in batches for row, found in zip(batch.rows, batch.drawn("teacher", 3), strict=True)
        }

    alone = teachers(batch_size=80, shuffle=None)
    assert alone == teachers(batch_size=7, shuffle="exact")
    assert alone == {**teachers(rank=0, world_size=2), **teachers(rank=1, world_size=2)}
    assert alone != teachers(1, batch_size=80, shuffle=None)
    assert set(alone.values()) == {0, 1, 2}
    batch = epoch_of(dataset, batch_size=80)[0]
    assert batch.drawn("teacher", 3).tolist() != batch.drawn("image", 3).tolist() != batch.picked["caption"].tolist()


def test_the_copies_of_a_row_that_comes_often_draw_for_themselves(dataset):
    batch = epoch_of(dataset, batch_size=80, weights=np.array([60.0, *[0.25] * 79]))[0]
    assert (batch.rows == 0).sum() > 40
    assert set(batch.drawn("teacher", 3)[batch.rows == 0]) == {0, 1, 2}


def test_nothing_is_picked_where_all_is_given(dataset):
    assert all(dict(batch.picked) == {} for batch in epoch_of(dataset, pick="all"))


def test_most_picks_among_so_many_first_places_in_all_spaces_of_a_modality(dataset, vectors):
    loader = Loader(dataset, NAMES, batch_size=16, most={"image": 2, "caption": 1}, framework="numpy")
    seen = set()
    for _ in range(3):
        for batch in loader:
            views = batch.picked["image"]
            seen |= set(views.tolist())
            for teacher in TEACHERS:
                assert np.array_equal(batch[f"image/{teacher}"], vectors[f"image/{teacher}"][batch.rows, views])
                assert np.array_equal(batch[f"caption/{teacher}"], vectors[f"caption/{teacher}"][batch.rows, 0])
    assert seen == {0, 1}
    with pytest.raises(UsageError, match="most"):
        Loader(dataset, NAMES, most={"image": 0})
