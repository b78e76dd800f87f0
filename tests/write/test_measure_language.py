"""The language of short texts, as the lingua library tells it."""

import unicodedata

import pyarrow as pa
import pytest
from dfndr_builders.measure.language import MeasureLanguage
from support.pairs import mixed_table

from dfndr.errors import DataError, RecipeError

pytest.importorskip("lingua", reason="lingua-language-detector is not installed")

SENTENCES = {
    "en": "A child in a pink dress is climbing up a set of stairs",
    "de": "Ein Hund läuft über die Wiese und spielt mit dem Ball",
    "fr": "Une femme lit un livre dans le jardin derrière la maison",
    "es": "Un hombre está sentado en un banco y mira hacia el mar",
    "vi": "Một người đàn ông đang đứng trên đá của đỉnh núi tuyết",
    "ru": "Собака бежит по траве и несёт палку",
    "ar": "الكلب يركض على العشب الأخضر",
    "he": "הכלב רץ על הדשא הירוק",
    "hi": "बच्चे मैदान में क्रिकेट खेल रहे हैं और लोग देख रहे हैं",
    "zh": "几只狗在草地上奔跑",
    "ja": "犬が草の上を走っている",
}
SOME = MeasureLanguage(("ar", "de", "en", "es", "fr", "he", "hi", "ja", "ru", "vi", "zh"))


def table_of(texts: list[str | None]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string()), "problem": pa.nulls(len(texts), pa.string())})


@pytest.fixture(scope="module")
def step():
    return SOME.open()


def test_each_sentence_is_recognised_with_a_probability(step):
    done = step(table_of(list(SENTENCES.values())))
    assert done["language"].to_pylist() == list(SENTENCES)
    assert all(0.5 < probability <= 1 for probability in done["language_probability"].to_pylist())


def test_decomposed_vietnamese_is_the_same_vietnamese(step):
    forms = [unicodedata.normalize(form, SENTENCES["vi"]) for form in ("NFC", "NFD")]
    first, second = step(table_of(forms)).select(["language", "language_probability"]).to_pylist()
    assert first == second and first["language"] == "vi"


def test_a_text_without_letters_or_in_another_script_has_no_language(step):
    done = step(table_of(["\U0001f600\U0001f600", "123 -- 4", "", None, "สุนัขวิ่งบนหญ้า", "\U0001f436 " + SENTENCES["he"]]))
    assert done["language"].to_pylist() == [None] * 5 + ["he"]
    assert done["language_probability"].null_count == 5


def test_the_order_of_the_codes_does_not_matter():
    rows = table_of([*SENTENCES.values(), "banana", "Logo", "no"])
    turned = MeasureLanguage(SOME.languages[::-1])
    assert turned.open()(rows).equals(SOME.open()(rows))


def test_the_laws_of_stages_hold(step):
    table = mixed_table()
    whole = step(table)
    assert whole.schema == SOME.schema(table.schema)
    assert step(table.slice(0, 0)).schema == whole.schema
    assert pa.concat_tables([step(table.slice(start, 5)) for start in range(0, len(table), 5)]).equals(whole)
    assert whole.select(table.column_names).equals(table)
    for row in whole.to_pylist():
        assert row["problem"] is None or row["language"] is None


@pytest.mark.parametrize("codes", [("en", "english"), ("en",), ("en", "en"), ("EN", "de")])
def test_codes_that_lingua_does_not_know_and_a_single_one_are_errors(codes):
    with pytest.raises(RecipeError, match="two or more of: af, ar"):
        MeasureLanguage(codes).open()


def test_a_table_without_texts_is_an_error():
    with pytest.raises(DataError, match="'text'"):
        SOME.schema(pa.schema([pa.field("problem", pa.string())]))
