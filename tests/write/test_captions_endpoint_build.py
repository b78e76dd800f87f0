"""A build whose captions a chat server writes: what is written down, what a dead server leaves, what recipes say."""

from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.captions.tally import SPENDING, read_tallies
from dfndr_builders.recipe_file import parse_recipe, read_recipe
from dfndr_builders.report.write import report
from support.builds import write_recipe
from support.chat import KEY, MODEL, Chat, Question, say

from dfndr import open_dataset
from dfndr.errors import DataError, RecipeError, UsageError

RECIPE = """
name = "asked"
license = "mit"
seed = 7

[[pool]]
kind = "glyphs"
count = 240

[[score]]
name = "dfn"
model = "{model}"
pretrained = "random:0"

[select]
by = "dfn"
count = 30

[[caption]]
kind = "endpoint"
url = "$CHAT_URL"
model = "tiny-vlm"
license = "Apache-2.0"
api_key_env = "CHAT_KEY"
per_image = 2
timeout_s = 60
requests = 2
concurrency = 4
price_in = 1.0
price_out = 4.0

[[embed]]
encoder = "tiny"
model = "{model}"
pretrained = "random:1"
of = ["caption"]

[output]
rows_per_shard = 10
thumbnail = 16
validation = 0

[compute]
threads = 1
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHAT_KEY", KEY)
    return write_recipe(tmp_path, text=RECIPE)


def seeds(chat: Chat) -> list[int]:
    return [question.body["seed"] for question in chat.questions]


def test_captions_are_the_servers_words_and_no_file_holds_the_key(recipe, tmp_path, monkeypatch):
    with Chat(key=KEY) as chat:
        monkeypatch.setenv("CHAT_URL", chat.url)
        manifest = build(recipe, tmp_path / "out", device="cpu")
    shades = {question.body["seed"]: question.shade for question in chat.questions}
    rows = open_dataset(tmp_path / "out").rows(["captions", "caption_seeds"]).to_pylist()
    assert len(rows) == 30
    for row in rows:
        sent = [seed % 2**31 for seed in row["caption_seeds"]]
        assert row["captions"] == [say(shades[seed], seed) for seed in sent]
    record = manifest.captioners["endpoint"]
    assert (record.kind, record.model, record.license, record.asked["tries"]) == ("endpoint", MODEL, "Apache-2.0", 3)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path.name for path in files if KEY.encode() in path.read_bytes()]
    told = read_tallies(str(tmp_path / "out" / SPENDING))["endpoint"]
    assert (told.pictures, told.requests, told.tokens_in, told.tokens_out) == (30, 60, 6000, 420)
    page = Path(report(str(tmp_path / "out"), out=str(tmp_path / "page.html"))).read_text()
    assert "over all runs" in page
    assert "6,000" in page
    assert told.cost == pytest.approx((6000 * 1 + 420 * 4) / 1e6)


def test_a_server_that_dies_stops_the_build_and_the_next_one_goes_on_and_asks_nothing_twice(
    recipe, tmp_path, monkeypatch
):
    with Chat(key=KEY) as chat:
        monkeypatch.setenv("CHAT_URL", chat.url)
        whole = build(recipe, tmp_path / "whole", device="cpu")
        everything = sorted(seeds(chat))
    with Chat(key=KEY) as chat:
        monkeypatch.setenv("CHAT_URL", chat.url)
        chat.trouble("cut", times=float("inf"), on=lambda _: len(chat.questions) > 50)
        with pytest.raises(DataError, match=r"chat server .*goes on where it stopped, and no picture was marked"):
            build(recipe, tmp_path / "out", device="cpu")
    records = sorted(path.name for path in (tmp_path / "out" / "shards").rglob("*.json"))
    assert records == ["00000.json", "00001.json"]
    with Chat(key=KEY) as again:  # elsewhere, and asked in another way
        monkeypatch.setenv("CHAT_URL", again.url)
        text = (
            recipe.read_text().replace("concurrency = 4", "concurrency = 2").replace("timeout_s = 60", "timeout_s = 90")
        )
        recipe.write_text(text)
        done = build(recipe, tmp_path / "out", device="cpu")
    assert [shard.to_json() for shard in done.shards] == [shard.to_json() for shard in whole.shards]
    assert len(again.questions) == 20
    assert sorted({*seeds(chat), *seeds(again)}) == everything
    assert not {question.body["seed"] for question in chat.questions[:40]} & set(seeds(again))


def test_a_finished_build_asks_nothing_and_needs_no_server(recipe, tmp_path, monkeypatch):
    with Chat(key=KEY) as chat:
        monkeypatch.setenv("CHAT_URL", chat.url)
        first = build(recipe, tmp_path / "out", device="cpu")
    assert build(recipe, tmp_path / "out", device="cpu").digest == first.digest


def test_a_missing_key_or_address_is_said_before_anything_is_scored(recipe, tmp_path, monkeypatch):
    monkeypatch.delenv("CHAT_URL", raising=False)
    with pytest.raises(RecipeError, match="environment variable CHAT_URL"):
        build(recipe, tmp_path / "out", device="cpu")
    monkeypatch.setenv("CHAT_URL", "http://127.0.0.1:9/v1")
    monkeypatch.delenv("CHAT_KEY")
    with pytest.raises(UsageError, match="CHAT_KEY"):
        build(recipe, tmp_path / "out", device="cpu")
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_pictures_a_server_will_not_answer_are_counted_and_said(recipe, tmp_path, monkeypatch):
    bad: set[int] = set()

    def is_bad(question: Question) -> bool:
        bad.update([question.shade] if not bad else [])
        return question.shade in bad

    with Chat(key=KEY) as chat:
        monkeypatch.setenv("CHAT_URL", chat.url)
        chat.trouble(status=400, times=float("inf"), on=is_bad)
        manifest = build(recipe, tmp_path / "out", device="cpu")
    lost = manifest.funnel[-1].failed["caption_failed"]
    assert 1 <= lost == 30 - len(open_dataset(tmp_path / "out"))
    assert read_tallies(str(tmp_path / "out" / SPENDING))["endpoint"].unanswered == lost


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('url = "http://me:secret@host/v1"', "without a user, a key or a query"),
        ('url = "http://host/v1?key=secret"', "without a user, a key or a query"),
        ('url = "host:8000"', "without a user, a key or a query"),
        ('api_key_env = "sk-secret"', "never the key"),
        ('api_key_env = "hf_secret"', "never the key"),
        ("more = { seed = 3 }", "these have keys of their own"),
    ],
)
def test_a_recipe_that_holds_a_key_or_two_answers_is_refused_without_repeating_the_key(recipe, line, told):
    key = line.split(" = ")[0]
    lines = [one for one in recipe.read_text().splitlines() if not one.startswith(f"{key} =")]
    text = "\n".join(lines).replace('kind = "endpoint"', f'kind = "endpoint"\n{line}')
    with pytest.raises(RecipeError, match=told) as error:
        parse_recipe(text, "recipe.toml")
    assert "secret" not in str(error.value)


def test_how_a_server_is_asked_is_no_part_of_the_digest_and_what_it_is_asked_is(recipe):
    before, text = read_recipe(recipe)
    for old, new in (
        ("$CHAT_URL", "http://x/v1"),
        ("CHAT_KEY", "KEY2"),
        ("timeout_s = 60", ""),
        ("price_in = 1.0", ""),
    ):
        assert parse_recipe(text.replace(old, new), "x").digest == before.digest
    for old, new in (("tiny-vlm", "other"), ("per_image = 2", "per_image = 3"), ("requests = 2", "temperature = 0.5")):
        assert parse_recipe(text.replace(old, new), "x").digest != before.digest
