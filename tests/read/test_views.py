"""Views: drawn from (seed, uid, number) alone, written as `param_aug` has them, replayed to the bit or refused."""

from __future__ import annotations

import hashlib
import io
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.tiny import write_dataset

from dfndr.errors import DataError
from dfndr.format.schema import Space
from dfndr.seeds import rng_for
from dfndr.verify import verify
from dfndr.views import Operation, Sampler, View, apply, parse_views, replay
from dfndr.views.operations import NAMES, magnitude_of

APPLE = {
    "[[32,291,657,709],[[2,-0.09000000357627869],[4,-30.45317268371582]]]": "ShearY -0.09, TranslateY -30.45",
    "[[14,347,370,427],[[0,0.0],[6,0.26999998092651367]]]": "Brightness +0.27",
    "[[45,20,54,64],[[11,178.5],[12,0.0]]]": "Solarize 178.5, AutoContrast",
    "[[36,12,157,153],[[7,0.26999998092651367],[1,-0.09000000357627869]]]": "Color +0.27, ShearX -0.09",
}
"""Entries of Apple's `param_aug`, and what they say."""


class TorchDraws:
    """torch's global generator, asked as torchvision asks it."""

    def between(self, low, high):
        import torch

        return torch.empty(1).uniform_(low, high).item()

    def below(self, count):
        import torch

        return torch.randint(0, count, (1,)).item()


def noise(width=120, height=90, seed=0):
    """A picture in which every pixel differs from its neighbours."""
    pixels = rng_for(seed, "noise").integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("entry", "words"), APPLE.items())
def test_an_entry_of_apples_param_aug_is_read_and_written_back_to_the_byte(entry, words):
    (view,) = parse_views(f"[{entry}]")
    assert view.to_json() == entry
    assert str(view) == words
    assert [view.top, view.left, view.height, view.width] == json.loads(entry)[0]


def test_the_list_and_the_json_string_and_a_string_for_each_view_are_the_same():
    whole = "[" + ",".join(APPLE) + "]"
    assert parse_views(whole) == parse_views(json.loads(whole)) == parse_views(list(APPLE))
    assert "[" + ",".join(view.to_json() for view in parse_views(whole)) + "]" == whole


def test_a_view_without_operations_is_null_in_the_second_place():
    plain = View(1, 2, 30, 40)
    assert plain.to_json() == "[[1,2,30,40],null]"
    assert parse_views([[[1, 2, 30, 40], None], "[[1,2,30,40],[]]"]) == (plain, plain)


def test_every_magnitude_of_every_operation_is_torchvisions():
    transforms = pytest.importorskip("torchvision.transforms")
    space = transforms.RandAugment()._augmentation_space(31, (224, 224))
    assert tuple(space) == NAMES
    for code, (magnitudes, signed) in enumerate(space.values()):
        for level in range(31):
            known = float(magnitudes[level]) if magnitudes.ndim else 0.0
            assert magnitude_of(code, level) == known
            assert magnitude_of(code, level, negative=True) == (-known if signed else known)


def test_a_view_is_the_very_picture_that_torchvision_makes_of_the_same_random_numbers():
    torch, transforms = pytest.importorskip("torch"), pytest.importorskip("torchvision.transforms")
    bicubic = transforms.InterpolationMode.BICUBIC
    seen = set()
    for seed in range(150):
        picture = noise(40 + seed % 60, 100 - seed % 70, seed)
        torch.manual_seed(seed)
        view = Sampler(magnitude=seed % 31).drawn(TorchDraws(), picture.size)
        mine = apply(view, picture, size=224)
        torch.manual_seed(seed)
        crop = transforms.RandomResizedCrop(224, interpolation=bicubic)
        known = transforms.RandAugment(magnitude=seed % 31)(crop(picture))
        assert mine.tobytes() == known.tobytes(), view.to_json()
        seen |= {operation.code for operation in view.operations}
    assert seen == set(range(14))


def test_boxes_are_torchvisions_also_for_pictures_too_long_for_any():
    torch, transforms = pytest.importorskip("torch"), pytest.importorskip("torchvision.transforms")
    for seed, size in enumerate([(640, 480), (480, 640), (2, 2), (3, 700), (700, 3), (2, 900), (37, 41)] * 20):
        torch.manual_seed(seed)
        view = Sampler(operations=0).drawn(TorchDraws(), size)
        torch.manual_seed(seed)
        known = transforms.RandomResizedCrop.get_params(Image.new("L", size), [0.08, 1.0], [3 / 4, 4 / 3])
        assert (view.top, view.left, view.height, view.width) == tuple(known)
    torch.manual_seed(0)
    assert Sampler().drawn(TorchDraws(), (640, 480)).to_json().startswith("[[98,42,376,439],")  # as published


def test_a_view_depends_on_seed_uid_number_and_size_alone():
    few, many = Sampler(count=5), Sampler(count=30)
    assert many.views(3, "a", (640, 480))[:5] == few.views(3, "a", (640, 480))
    assert few.view(3, "a", 4, (640, 480)) == few.views(3, "a", (640, 480))[4]
    others = {few.views(3, "b", (640, 480)), few.views(4, "a", (640, 480)), few.views(3, "a", (480, 640))}
    assert len(others | {few.views(3, "a", (640, 480))}) == 4
    assert len(set(many.views(3, "a", (640, 480)))) == 30
    assert [view.to_json() for view in few.views(3, "a", (640, 480))[:2]] == [
        "[[51,173,428,400],[[7,-0.26999998092651367],[11,178.5]]]",
        "[[44,160,320,347],[[8,0.26999998092651367],[5,9.0]]]",
    ]  # pinned: a picture's views may never change


def test_views_are_spread_as_they_should_be():
    views = [view for uid in range(400) for view in Sampler().views(0, str(uid), (500, 500))]
    shares = np.array([view.height * view.width / 500**2 for view in views])
    ratios = np.array([view.width / view.height for view in views])
    rng = rng_for(0, "known")
    area, ratio = rng.uniform(0.08, 1, 100_000), np.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3), 100_000))
    fits = (area * ratio <= 1) & (area / ratio <= 1)  # those that do not are drawn again
    assert shares.min() > 0.075
    assert abs(shares.mean() - area[fits].mean()) < 0.02
    assert abs(np.log(ratios).mean()) < 0.02
    assert math.isclose(np.log(ratios).max(), math.log(4 / 3), abs_tol=0.01)
    codes = np.bincount([one.code for view in views for one in view.operations], minlength=14)
    assert codes.min() > 0.8 * codes.sum() / 14
    signs = [one.magnitude > 0 for view in views for one in view.operations if 1 <= one.code <= 9]
    assert 0.45 < np.mean(signs) < 0.55


def test_the_plain_view_comes_first_where_asked_and_changes_no_other():
    plain, drawn = Sampler(count=3, plain_first=True), Sampler(count=3)
    assert plain.views(0, "a", (640, 480))[0] == View(0, 80, 480, 480)
    assert plain.views(0, "a", (640, 480))[1:] == drawn.views(0, "a", (640, 480))[1:]
    picture = noise(64, 48)
    assert apply(plain.view(0, "a", 0, (64, 48)), picture, size=48).tobytes() == picture.crop((8, 0, 56, 48)).tobytes()


def test_views_are_replayed_to_the_bit_from_a_row():
    picture = noise()
    views = Sampler(count=30).views(0, "a", picture.size)
    first = [apply(view, picture, size=56).tobytes() for view in views]
    file = png(picture)
    told = [view.to_json() for view in views]
    row = {"views": told, "width": 120, "height": 90, "sha256": hashlib.sha256(file).hexdigest()}
    assert [seen.tobytes() for seen in replay(file, row, size=56)] == first
    assert [seen.tobytes() for seen in replay(file, {"views": "[" + ",".join(told) + "]"}, size=56)] == first


def test_a_picture_of_another_size_is_refused_and_rescaled_when_asked():
    large = noise(400, 300)
    small = large.resize((200, 150), Image.Resampling.BICUBIC)
    view = View(31, 100, 200, 251)
    with pytest.raises(DataError, match=r"made for, 400 x 300 pixels, found 200 x 150"):
        apply(view, small, size=50, made_for=(400, 300))
    seen = apply(view, small, size=50, made_for=(400, 300), rescale=True)
    assert seen.tobytes() == apply(View(16, 50, 100, 126), small, size=50).tobytes()
    difference = np.asarray(apply(view, large, size=50), dtype=int) - np.asarray(seen)
    assert np.abs(difference).mean() < 12


@given(st.integers(2, 999), st.integers(2, 999), st.floats(0.01, 8.0), st.integers(0, 99))
def test_a_rescaled_box_lies_inside_the_other_picture(width, height, scale, uid):
    found = (max(1, round(width * scale)), max(1, round(height * scale)))
    view = Sampler().view(0, str(uid), 0, (width, height))
    try:
        again = view.rescaled((width, height), found)
    except DataError:
        assert min(found) == 1  # a side cannot be less than a pixel, so the shape is another one
        return
    assert again.is_inside(found)


def test_a_picture_of_another_shape_or_another_file_or_no_picture_is_refused():
    picture = noise(120, 90)
    file, view = png(picture), View(0, 0, 90, 120).to_json()
    with pytest.raises(DataError, match="of another shape, 120 x 90"):
        replay(file, {"views": [view], "width": 240, "height": 90}, size=9, rescale=True)
    with pytest.raises(DataError, match=f"sha256 {'0' * 64}, found one of {hashlib.sha256(file).hexdigest()}"):
        replay(file, {"views": [view], "sha256": "0" * 64}, size=9)
    assert len(replay(file, {"views": [view], "sha256": "0" * 64}, size=9, rescale=True)) == 1
    with pytest.raises(DataError, match="image_unreadable"):
        replay(file[:200], {"views": [view]}, size=9)
    with pytest.raises(DataError, match="a box inside the picture, found one of 91 x 120 at 0, 0"):
        replay(file, {"views": "[[[0,0,91,120],null]]"}, size=9)


@pytest.mark.parametrize("code", [3, 4])
@pytest.mark.parametrize(("size", "pixels"), [(224, 30), (256, 34), (112, 15), ((56, 448), {3: 60, 4: 7})])
def test_translations_scale_with_the_resolution(code, size, pixels):
    shape = (size, size) if isinstance(size, int) else size
    picture = noise(shape[1], shape[0])
    view = View(0, 0, *shape, (Operation(code, magnitude_of(code, 9)),))
    moved = np.asarray(apply(view, picture, size=shape))
    by = pixels if isinstance(pixels, int) else pixels[code]
    known = np.zeros_like(moved)
    if code == 3:
        known[:, by:] = np.asarray(picture)[:, :-by]
    else:
        known[by:] = np.asarray(picture)[:-by]
    assert (moved == known).all()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("[[0,0,5],null]", r"numbers, \[top, left"),
        ("[[0,0,5,0],null]", "a box of"),
        ("[[0,-1,5,5],null]", "a box of"),
        ("[[0,0,5,4294967296],null]", "a box of"),
        ("[[0,0,5,5.0],null]", "whole numbers for a box"),
        ("[[true,0,5,5],null]", r"numbers, \[top, left"),
        ("[[0,0,5,5]]", r"\[\[top, left, height, width\]"),
        ("[[0,0,5,5],[[14,0.0]]]", "codes are 0 to 13"),
        ("[[0,0,5,5],[[6,NaN]]]", "of magnitude nan"),
        ("[[0,0,5,5],[[6,1e300]]]", "it goes to 1"),
        ("[[0,0,5,5],[[10,-1]]]", "Posterize of magnitude"),
        ("[[0,0,5,5],[[0,0],[0,0],[0,0]]]", "3 operations"),
        ("[[0,0,5,5],[[1.0,0.1]]]", "whole numbers for a box and for codes"),
        ("[[0,0,5,5],7]", "a list of operations"),
        ("[" * 100_000, "JSON of"),
        ("nothing", "JSON of"),
        ("7", r"\[\[top, left"),
    ],
)
def test_what_is_no_view_is_refused_by_its_place(entry, told):
    with pytest.raises(DataError, match=told) as caught:
        parse_views(["[[0,0,5,5],null]", entry])
    assert caught.value.where == "views[1]"
    with pytest.raises(DataError, match="views: "):
        parse_views('"' + "[]" + '"')


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"crop_scale": (0, 1)}, {"ratio": (2, 1)}, {"operations": 3}, {"magnitude": 31}]
)
def test_a_sampler_of_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="and not"):
        Sampler(**wrong)


def test_views_that_are_none_or_lie_outside_or_are_too_few_are_named(tmp_path):
    two = Space("image", "enc", dim=8, per_row=2)
    whole = ["[[0,0,30,40],null]", "[[10,10,20,30],[[6,0.27]]]"]
    views = [whole] * 8
    views[1], views[3] = [whole[0], "[[0,0,31,40],null]"], whole[:1]
    views[4], views[7] = [whole[0], "__import__('os')"], None
    columns = {
        "views": pa.array(views, pa.list_(pa.string())),
        "width": pa.array([40] * 8, pa.int32()),
        "height": pa.array([30] * 8, pa.int32()),
    }
    dataset = write_dataset(tmp_path, (5, 3), spaces=(two,), columns=columns)
    found = [(finding.file, finding.what, finding.row) for finding in verify(tmp_path).findings]
    first, last = (shard.files["rows"].path for shard in dataset.shards)
    assert found == [(first, "views", 1), (first, "views", 3), (first, "views", 4), (last, "views", 2)]
    told = [str(finding) for finding in verify(tmp_path).findings]
    assert "expected boxes inside 40 x 30 pixels, found another one (1): [[0,0,31,40],null]" in told[0]
    assert "expected 2 views, a vector each, found 1 views" in told[1]
    assert "views[1]" in told[2] and "found None" in told[3]
