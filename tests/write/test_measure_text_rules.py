"""The default rules on texts, by their own examples, in many scripts and on real pools."""

import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from dfndr_builders.measure.text import MeasureText
from dfndr_builders.measure.text_rules import TEXT_RULES
from dfndr_builders.pools.webdataset import WebDatasetPool
from dfndr_builders.rules import Default, DropRule
from support.pools import rows_of

POOLS = Path(os.environ.get("POOLS", Path(__file__).parents[3] / "shared" / "pools"))


def meets(rule: DropRule, text: str) -> bool:
    table = pa.table({"text": pa.array([text]), "problem": pa.nulls(1, pa.string())})
    value = MeasureText(ban=("casino",)).open()(table)[rule.column][0].as_py()
    if value is None:
        return False
    if rule.comparison == "is":
        return value is rule.value
    return value < rule.value if rule.comparison == "below" else value > rule.value


@pytest.mark.parametrize("default", TEXT_RULES, ids=lambda default: default.rule.reason)
def test_each_default_rule_is_the_first_to_drop_its_example_and_no_rule_drops_what_it_keeps(default: Default):
    assert next(other.rule.reason for other in TEXT_RULES if meets(other.rule, default.drops)) == default.rule.reason
    assert [other.rule.reason for other in TEXT_RULES if meets(other.rule, default.keeps)] == []
    assert default.family == "text" and default.source


@pytest.mark.parametrize(
    "text",
    [
        *("Một con chó đang chạy trên cỏ", unicodedata.normalize("NFD", "Một con chó đang chạy")),
        *("הכלב רץ על הדשא הירוק", "الكلب يركض على العشب الأخضر", "एक आदमी घर में है"),
        *("几只狗在草地上奔跑", "犬が草の上を走っている", "สุนัขวิ่งเล่นอยู่บนสนามหญ้า", "개가 풀밭 위를 달린다"),
        *("Собака бежит по траве", "Ο σκύλος τρέχει στο γρασίδι"),  # noqa: RUF001
        "Ein Feuerwehrmann vor dem Krankenwagengebäude",
        "I love my dog \U0001f436\U0001f436\U0001f468\u200d\U0001f469\u200d\U0001f467",
    ],
)  # fmt: skip
def test_no_default_rule_drops_a_plain_caption_of_any_script(text):
    assert [default.rule.reason for default in TEXT_RULES if meets(default.rule, text)] == []


@pytest.mark.skipif(not POOLS.is_dir(), reason=f"no real pools in {POOLS}")
@pytest.mark.parametrize(
    ("pattern", "low", "high"),
    [("flickr8k/*dev*.tar", 0, 0.005), ("vietnamese/*.tar", 0, 0.005), ("alttext_web/*.tar", 0.15, 0.25)],
)
def test_the_default_rules_leave_captions_and_drop_a_fifth_of_the_alt_texts(pattern, low, high):
    texts = [row["text"] for row in rows_of(WebDatasetPool((str(POOLS / pattern),)))]
    table = pa.table({"text": pa.array(texts), "problem": pa.nulls(len(texts), pa.string())})
    done = MeasureText().open()(table).to_pylist()

    def is_dropped(row):
        tests = {"is": lambda a, b: a is b, "below": lambda a, b: a < b, "above": lambda a, b: a > b}
        rules = [default.rule for default in TEXT_RULES if row[default.rule.column] is not None]
        return any(tests[rule.comparison](row[rule.column], rule.value) for rule in rules)

    assert low <= sum(map(is_dropped, done)) / len(done) <= high
