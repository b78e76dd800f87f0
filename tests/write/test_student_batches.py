"""Batches of a student: each sample's view, text and caption, and every teacher's vectors of exactly these."""

from __future__ import annotations

import io
from collections import Counter
from itertools import islice

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="students need torch")
open_clip = pytest.importorskip("open_clip", reason="students need open_clip")

from dfndr_builders.pictures import pictures_of  # noqa: E402
from dfndr_builders.student.batches import batches  # noqa: E402
from dfndr_builders.student.pack import packed  # noqa: E402
from dfndr_builders.student.processes import Processes  # noqa: E402
from dfndr_builders.student.targets import Targets, targets_of  # noqa: E402
from PIL import Image  # noqa: E402
from support.students import CAPTIONS, ROWS, SCALES, VIEWS, pictures, small_spec, write_reinforced  # noqa: E402
from torch.nn.functional import normalize  # noqa: E402

from dfndr.errors import DataError, UsageError  # noqa: E402
from dfndr.heads.objective import Taught  # noqa: E402
from dfndr.views import Sampler, apply, parse_views  # noqa: E402

SIZE = (16, 16)
TOKENIZER = open_clip.SimpleTokenizer(context_length=8)


@pytest.fixture(scope="module")
def reinforced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("students")
    dataset = write_reinforced(folder)
    return dataset, packed(dataset, pictures_of(dataset).tables, str(folder / "pack"))[0], folder


def drawn(reinforced, count, *, state=None, processes=None, workers=0, **spec):
    dataset, pack, folder = reinforced
    spec = small_spec(folder, **spec)
    how = {"size": SIZE, "tokenizer": TOKENIZER, "state": state, "workers": workers}
    how |= {} if processes is None else {"processes": processes}
    return list(islice(batches(dataset, pack, spec, targets_of(dataset, spec), **how), count))


def pixels_of(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def known(dataset):
    """Each row's views as pixels, tokens and teachers' vectors, looked up the slow way."""
    rows = dataset.rows(["text", "captions", "views"]).to_pylist()
    images = [Image.open(io.BytesIO(image)).convert("RGB") for image in pictures()]
    views = [
        [pixels_of(apply(view, image, size=SIZE)) for view in parse_views(row["views"])]
        for row, image in zip(rows, images, strict=True)
    ]
    vectors = {
        name: normalize(torch.from_numpy(dataset.vectors(name).astype(np.float32)), dim=2) for name in dataset.spaces
    }
    return rows, views, vectors


def matched(batch, rows, views, vectors):
    """Yield (row, view, caption or None) of each sample, from its tokens and pixels, and check what teachers say."""
    texts = {tuple(TOKENIZER([row["text"]])[0].tolist()): number for number, row in enumerate(rows)}
    for place in range(len(batch.pixels)):
        row = texts[tuple(batch.tokens[0, place].tolist())]
        view = next(number for number in range(VIEWS) if torch.equal(views[row][number], batch.pixels[place]))
        said = [TOKENIZER([caption])[0].tolist() for caption in rows[row]["captions"]]
        caption = said.index(batch.tokens[1, place].tolist()) if said else None
        for teacher, name in enumerate(SCALES):
            torch.testing.assert_close(batch.seen[teacher][place], vectors[f"image/{name}"][row, view])
            torch.testing.assert_close(batch.taught[0][teacher][place], vectors[f"text/{name}"][row, 0])
            expected = vectors[f"text/{name}"][row, 0] if caption is None else vectors[f"caption/{name}"][row, caption]
            torch.testing.assert_close(batch.taught[1][teacher][place], expected)
        if caption is None:
            assert torch.equal(batch.tokens[1, place], batch.tokens[0, place])
        yield row, view, caption


def test_teachers_vectors_are_of_the_very_view_text_and_caption_of_each_sample(reinforced):
    parts = known(reinforced[0])
    seen = [found for batch in drawn(reinforced, 10) for found in matched(batch, *parts)]
    assert {row for row, _, _ in seen} == set(range(ROWS))
    assert {view for _, view, _ in seen} == set(range(VIEWS))
    assert len({view for row, view, _ in seen if row == 0}) > 1, "another view in another epoch"
    assert {caption for row, _, caption in seen if row == 1} == {0, 1}
    assert {caption for row, _, caption in seen if row == 5} == {0}, "a place without a caption is never picked"
    assert {caption for row, _, caption in seen if row == 3} == {None}, "its own text in the place of a caption"


def test_an_epoch_has_each_row_once(reinforced):
    rows, views, vectors = known(reinforced[0])
    epoch = [row for batch in drawn(reinforced, 2) for row, _, _ in matched(batch, rows, views, vectors)]
    assert len(set(epoch)) == len(epoch) == 32, "two batches of 16 of the 40 rows; the rest is dropped"


def test_only_the_first_views_and_captions_are_used_where_that_is_asked_for(reinforced):
    parts = known(reinforced[0])
    seen = [found for batch in drawn(reinforced, 10, views=2, captions=1) for found in matched(batch, *parts)]
    assert {view for _, view, _ in seen} == {0, 1} and {caption for _, _, caption in seen} == {0, None}
    alone = drawn(reinforced, 1, captions=0)[0]
    assert alone.tokens.shape == (1, 16, 8) and len(alone.taught) == 1


def test_batches_go_on_from_a_state_and_workers_change_nothing(reinforced):
    whole = drawn(reinforced, 6)
    rest = drawn(reinforced, 3, state=whole[2].state, workers=1)
    for ours, theirs in zip(whole[3:], rest, strict=True):
        assert torch.equal(ours.pixels, theirs.pixels) and torch.equal(ours.tokens, theirs.tokens)
        assert all(torch.equal(one, other) for one, other in zip(ours.seen, theirs.seen, strict=True))
        assert ours.state == theirs.state


def test_the_shares_of_two_processes_are_the_batch_of_one(reinforced):
    whole = drawn(reinforced, 4)
    shares = [drawn(reinforced, 4, processes=Processes(rank, 2, "cpu")) for rank in range(2)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert torch.equal(batch.pixels, torch.cat([first.pixels, second.pixels]))
        assert torch.equal(batch.tokens, torch.cat([first.tokens, second.tokens], dim=1))
        assert torch.equal(batch.taught[1][1], torch.cat([first.taught[1][1], second.taught[1][1]]))


def test_plain_training_sees_fresh_crops_and_the_texts_alone(reinforced):
    plain = {"distillation_weight": 0.0, "contrastive_weight": 1.0, "crop_scale": (0.5, 0.6)}
    found = drawn(reinforced, 5, **plain)
    assert all(batch.tokens.shape == (1, 16, 8) and not batch.seen for batch in found)
    image = Image.open(io.BytesIO(pictures()[7])).convert("RGB")
    crops = [Sampler(crop_scale=(0.5, 0.6), operations=0).view(0, "student 7", epoch, image.size) for epoch in range(3)]
    expected = [pixels_of(apply(crop, image, size=SIZE)) for crop in crops]
    tokens = TOKENIZER(["text 7"])[0]
    seen = [
        batch.pixels[place] for batch in found for place in range(16) if torch.equal(batch.tokens[0, place], tokens)
    ]
    assert seen and all(any(torch.equal(one, other) for other in expected) for one in seen)


def test_a_student_of_another_size_sees_the_same_parts(reinforced):
    dataset, pack, folder = reinforced
    spec = small_spec(folder)
    made = {
        side: next(batches(dataset, pack, spec, targets_of(dataset, spec), size=(side, side), tokenizer=TOKENIZER))
        for side in (16, 48)
    }
    rows = dataset.rows(["text", "views"]).to_pylist()
    texts = {tuple(TOKENIZER([row["text"]])[0].tolist()): number for number, row in enumerate(rows)}
    for place in range(16):
        row = texts[tuple(made[16].tokens[0, place].tolist())]
        image, parsed = Image.open(io.BytesIO(pictures()[row])).convert("RGB"), parse_views(rows[row]["views"])
        small = [torch.equal(pixels_of(apply(view, image, size=16)), made[16].pixels[place]) for view in parsed]
        large = pixels_of(apply(parsed[small.index(True)], image, size=48))
        assert torch.equal(large, made[48].pixels[place])


def test_teachers_that_are_not_there_or_saw_other_views_are_refused(reinforced):
    dataset, _, folder = reinforced
    everyone = tuple(Taught(name, scale) for name, scale in SCALES.items())
    assert targets_of(dataset, small_spec(folder)) == Targets(everyone, VIEWS, True)
    assert targets_of(dataset, small_spec(folder, teachers=("two=7",))).teachers == (Taught("two", 7.0),)
    assert targets_of(dataset, small_spec(folder, teachers=("two",))).spaces == ["image/two", "text/two", "caption/two"]
    with pytest.raises(UsageError, match="one of: one, two"):
        targets_of(dataset, small_spec(folder, teachers=("one", "nobody")))
    with pytest.raises(UsageError, match="at most the 40 rows, found 64"):
        drawn(reinforced, 1, batch_size=64)


def test_rows_without_their_picture_are_counted_and_refused_or_left_out(reinforced, tmp_path):
    dataset, _, folder = reinforced
    tables = list(pictures_of(dataset).tables([]))  # every shard: nothing tells where rows lie
    images = pictures()

    def find(uids):
        for table in tables:
            rows = table.to_pylist()
            for row in rows:
                row["image"] = images[1] if row["image"] == images[0] else row["image"]
            yield type(table).from_pylist([row for row in rows if row["image"] != images[2]])

    with pytest.raises(DataError, match="none for 1 of 40, and another picture for 1"):
        packed(dataset, find, str(tmp_path / "pack"))
    pack, about = packed(dataset, None, str(tmp_path / "pack"), missing="leave-out")
    assert (about.rows, about.absent, about.changed) == (40, 1, 1)
    assert [pack.picture(row) for row in range(40)] == [b"", images[1], b"", *images[3:]]
    spec = small_spec(folder, batch_size=8)
    made = batches(dataset, pack, spec, targets_of(dataset, spec), size=SIZE, tokenizer=TOKENIZER)
    gone = [tuple(TOKENIZER([f"text {row}"])[0].tolist()) for row in (0, 2)]
    said = Counter(tuple(tokens) for batch in islice(made, 8) for tokens in batch.tokens[0].tolist())
    assert len(said) > 30 and not set(said) & set(gone)


def test_a_pack_of_another_dataset_is_made_anew(reinforced, tmp_path):
    dataset, pack, _ = reinforced
    assert [pack.picture(row) for row in range(ROWS)] == pictures() and CAPTIONS == 2
    part = dataset.only(dataset.shards[1:])
    packed(dataset, pictures_of(dataset).tables, str(tmp_path))
    fewer, about = packed(part, pictures_of(dataset).tables, str(tmp_path))
    assert about.rows == 15 and [fewer.picture(row) for row in range(15)] == pictures()[25:]
