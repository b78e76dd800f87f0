"""What is done ahead: the same rows and errors in the same order, never more in hand than was allowed, and counted."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dfndr_builders.ahead import Looking, ahead
from dfndr_builders.build import build
from dfndr_builders.embed import Embed
from dfndr_builders.inspect import Inspect
from dfndr_builders.measure.image import MeasureImage
from dfndr_builders.report.inputs import open_inputs
from dfndr_builders.score.clip import ClipScore
from dfndr_builders.stage import Chain, looks_of, parted
from dfndr_builders.thumbnail import Thumbnail
from dfndr_builders.timings import Spent
from PIL import Image
from support.builds import RECIPE, write_recipe
from support.models import tiny_spec
from support.pairs import mixed_table

from dfndr import images
from dfndr.encoder import open_encoder
from dfndr.format.schema import Space


def test_items_come_in_order_and_an_error_after_those_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise KeyError("the sixth")

    seen: list[int] = []
    with pytest.raises(KeyError, match="the sixth"), ahead(items()) as found:
        seen += found
    assert seen == [0, 1, 2, 3, 4]
    with ahead(iter(range(1000)), room=3) as found:
        assert list(found) == list(range(1000))


def test_no_more_is_in_hand_than_the_room_and_one() -> None:
    begun, asked = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            begun.append(number)
            if len(begun) == 3:
                asked.set()
            yield number

    with ahead(items(), room=1) as found:
        assert next(found) == 0
        assert asked.wait(10), "one in the queue, and one more that waits for its place"
        assert len(begun) == 3
    assert len(begun) == 3


def test_what_runs_no_model_is_done_ahead_and_each_is_shown_pictures_once(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path)
    looks = open_encoder(spec).looks
    embed = Embed(Space("image", "tiny", 16), spec)
    chain = Chain((Inspect(), MeasureImage(), ClipScore("dfn", spec), MeasureImage(), embed))
    light, heavy = parted(chain)
    assert light == Chain((Inspect(), MeasureImage())) and len(heavy.stages) == 3  # type: ignore[attr-defined]
    assert looks_of(chain) == (*MeasureImage().looks, looks)
    assert looks_of(Embed(Space("image", "tiny", 16, 3), spec, views=True)) == ()
    assert parted(embed) == (Chain(()), Chain((embed,)))


def test_pictures_looked_at_ahead_give_the_same_vectors_and_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[tuple[int, int]] = []

    def counted(image: Image.Image, short_side: int | None) -> Image.Image:
        decoded.append(image.size)
        return loaded(image, short_side)

    clip, embed = ClipScore("dfn", tiny_spec(tmp_path)), Embed(Space("image", "other", 16), tiny_spec(tmp_path, seed=3))
    stage = Chain((MeasureImage(), Thumbnail(32), clip, embed))
    table, step = mixed_table(), stage.open()
    wanted = step(table)
    loaded = images._loaded
    monkeypatch.setattr(images, "_loaded", counted)
    looks = looks_of(stage)
    with Looking(looks) as looking:
        pictures = looking.look(table)
        found = step(table)
        assert any(one._expected for one in looks), "of a picture that is none, and was asked for once"
        looking.forget(pictures)
        assert not any(one._expected for one in looks)
    assert found == wanted
    rows = zip(table["image"].to_pylist(), table["problem"].to_pylist(), strict=True)
    distinct = {image for image, problem in rows if problem is None}
    assert len(looks) == 4 and len(decoded) == len(distinct) - 3, "each once for all four, but what has no header"


def test_where_the_time_went_is_written_down_and_adds_up(tmp_path: Path) -> None:
    text = RECIPE.replace("count = 2_500", "count = 300")
    build(write_recipe(tmp_path, text=text), tmp_path / "out", device="cpu")
    timings = {timing.phase: timing for timing in open_inputs(str(tmp_path / "out")).timings}
    for phase in ("score", "build"):
        spent = timings[phase].spent
        assert 0 < spent.models < spent.whole <= timings[phase].seconds + 0.01
        assert spent.in_words().endswith(f"of {spent.whole:.1f} s") and "encoders running" in spent.in_words()


def test_the_words_name_the_bottleneck_first() -> None:
    spent = Spent(rows=1.0, models=2.0) + Spent(pictures=7.0, rest=0.01)
    assert spent.in_words() == "waiting for pictures 70%, encoders running 20%, waiting for rows 10% of 10.0 s"
    assert Spent().in_words() == "" and np.isclose(spent.whole, 10.01)
