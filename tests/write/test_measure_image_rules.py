"""The default rules on pictures, by their own examples and on real pools."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dfndr_builders.measure.image_rules import IMAGE_RULES
from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.rules import Default, DropRule
from support.described import described, encoded
from support.measured_images import NAMES, STAGE, one

from dfndr.format.schema import DROPPED, REASON

POOLS = Path(os.environ.get("POOLS") or Path(__file__).parents[3] / "shared" / "pools")


def meets(rule: DropRule, row: dict) -> bool:
    """The plain meaning of a rule."""
    found = row[rule.column]
    if found is None:
        return False
    if rule.comparison == "below":
        return found < rule.value
    if rule.comparison == "above":
        return found > rule.value
    if rule.comparison == "is":
        return found == rule.value
    assert rule.comparison == "one_of"
    return found in rule.value


@pytest.mark.parametrize("default", IMAGE_RULES, ids=lambda default: default.rule.reason)
def test_a_default_rule_drops_its_one_example_and_keeps_the_other(default: Default):
    dropped, kept = (one(encoded(described(words))) for words in (default.drops, default.keeps))
    assert meets(default.rule, dropped)
    assert not meets(default.rule, kept)


def test_default_rules_have_names_of_their_own_and_look_at_columns_that_are_measured():
    names = [default.rule.reason for default in IMAGE_RULES]
    assert len(set(names)) == len(names) and not set(names) & set(DROPPED)
    assert all(REASON.fullmatch(name) for name in names)
    assert {default.rule.column for default in IMAGE_RULES} <= {*NAMES, "width", "height"}
    assert all(default.family == "image" and default.source for default in IMAGE_RULES)


def test_an_ordinary_picture_meets_no_default_rule():
    row = one(encoded(described("noise 300x200"), "jpeg"))
    assert [default.rule.reason for default in IMAGE_RULES if meets(default.rule, row)] == []


def _real(pattern: str, count: int) -> list[dict]:
    if not POOLS.is_dir():
        pytest.skip(f"no real pools in {POOLS}")
    pool = WebDatasetPool((str(POOLS / pattern),))
    tables, step = (table for shard in pool.shards() for table in pool.read(shard)), STAGE.open()
    rows: list[dict] = []
    while len(rows) < count:
        rows += step(next(tables)).drop_columns(["image"]).to_pylist()
    return rows


def test_ordinary_photographs_meet_no_default_rule():
    rows = _real("flickr8k/flickr8k-dev-*.tar", 200)
    assert [default.rule.reason for row in rows for default in IMAGE_RULES if meets(default.rule, row)] == []


def test_charts_and_screenshots_are_not_taken_for_blank_dark_or_blurred_ones():
    rows = _real("alttext_web/*.tar", 300)
    looks = {"dark_image", "light_image", "low_information", "blurry_image"}
    dropped = [
        row["key"]
        for row in rows
        if any(default.rule.reason in looks and meets(default.rule, row) for default in IMAGE_RULES)
    ]
    assert len(dropped) <= 1  # an empty terminal
