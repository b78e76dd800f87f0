from dataclasses import replace

import pytest
from support.tiny import encoder_record, write_dataset

from dfndr.describe import describe, funnel_lines, printable, rule_in_words
from dfndr.format.funnel import Counts
from dfndr.format.manifest import Manifest, Step, read_manifest
from dfndr.format.schema import Preprocess


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("described") / "dataset"
    write_dataset(root, (3, 2), [])
    return read_manifest(str(root))


def _sources(manifest: Manifest, counts: dict[str, tuple[int, int]]) -> list[str]:
    """Return the lines on the sources of a dataset whose one step took and gave so many rows of each."""
    parts = {name: Counts(given, kept, {"not_selected": given - kept}) for name, (given, kept) in counts.items()}
    whole = [sum(pair) for pair in zip(*counts.values(), strict=True)]
    step = Step("select", whole[0], whole[1], {"not_selected": whole[0] - whole[1]}, {}, parts)
    text = describe(replace(manifest, funnel=(step,)))
    return [line.rstrip() for line in text.partition("\nsources")[2].partition("\n\n")[0].splitlines()[1:]]


def test_the_most_frequent_reason_comes_first_and_none_without_rows() -> None:
    step = Step("select", 100, 40, {"a_rule": 5, "duplicate": 0, "not_selected": 50, "other": 5}, {})
    assert [line.split()[:3] for line in funnel_lines((step,))[1:]] == [
        ["50", "dropped:", "not_selected"],
        ["5", "dropped:", "a_rule"],
        ["5", "dropped:", "other"],
    ]


def test_each_source_is_shown_with_what_came_in_and_what_is_kept(manifest: Manifest) -> None:
    shown = _sources(manifest, {"web": (2_000, 500), "": (10, 0), "photographs": (3_000, 3_000)})
    assert [line.split() for line in shown] == [
        ["photographs", "3,000", "3,000", "100.0", "%"],
        ["web", "2,000", "500", "25.0", "%"],
        ["(none", "named)", "10", "0", "0.0", "%"],
    ]


def test_many_sources_take_no_more_than_twelve_lines_and_lose_no_row(manifest: Manifest) -> None:
    shown = _sources(manifest, {f"site {number:03d}": (100 + number, number) for number in range(200)})
    assert len(shown) == 11  # and the line above them
    assert shown[0].split() == ["site", "199", "299", "199", "66.6", "%"]
    rows = [line.replace(",", "").removesuffix(" %").split() for line in shown]
    assert sum(int(row[2]) for row in rows[:10]) + int(rows[10][3]) == sum(100 + number for number in range(200))
    assert rows[10] == ["and", "190", "more", str(sum(range(100, 290))), str(sum(range(190)))]


def test_a_single_source_is_no_table(manifest: Manifest) -> None:
    assert _sources(manifest, {"web": (2_000, 500)}) == []


def test_the_name_of_a_source_gives_the_terminal_no_command_and_is_shortened(manifest: Manifest) -> None:
    shown = _sources(manifest, {"\x1b[2Jweb\n" + "w" * 200: (5, 1), "other": (4, 1)})
    assert "\x1b" not in "".join(shown) and len(shown) == 2
    assert shown[0].split()[-4:] == ["5", "1", "20.0", "%"] and len(shown[0]) < 90


def test_a_selection_is_said_in_words_and_not_as_python(manifest: Manifest) -> None:
    rule = {
        "by": "mix",
        "top_fraction": 0.5,
        "also": [{"by": "clip", "threshold": 0.2}, {"by": "quality", "count": 9}],
        "deciles": ["mix", "clip"],
        "quota": {"column": "source", "shares": {"web": 0.7, "books": 0.3}},
    }
    about = {"selection": {"rule": rule, "cut": 0.25, "samples": 1_905}}
    text = describe(replace(manifest, provenance=about))
    assert (
        "  selected by mix: top_fraction 0.5, out of 1,905 rows that were still in the running; "
        "the lowest score kept is 0.2500\n"
        "  also: by clip, threshold 0.2; by quality, count 9\n"
        "  deciles: mix, clip\n"
        "  quota: column source, shares (web 0.7, books 0.3)\n"
    ) in text


def test_a_rule_in_words_names_what_is_simply_true() -> None:
    assert rule_in_words({"by": "clip", "quota": {"column": "cluster", "balanced": True}}) == (
        "by clip, quota (column cluster, balanced)"
    )


@pytest.mark.parametrize(
    ("text", "shown"), [("a\tb", "a b"), ("\x1b[31m", " [31m"), ("\u202ex", " x"), ("Hà Nội 🏖", "Hà Nội 🏖")]
)
def test_what_a_terminal_would_obey_is_a_space(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_one_shard_is_not_many(manifest: Manifest) -> None:
    assert describe(manifest).splitlines()[0] == "tiny: 5 rows in 2 shards (train 5)"
    one = replace(manifest, shards=manifest.shards[:1])
    assert describe(one).splitlines()[0].endswith("in 1 shard (train 3)")


def test_a_dataset_that_no_selection_made_is_said_to_have_none(manifest: Manifest) -> None:
    assert "selected by" not in describe(replace(manifest, provenance={}))


def test_what_nobody_wrote_down_of_a_model_is_said_to_be_so(manifest: Manifest) -> None:
    nothing = Preprocess((0, 0), (), (), "unknown", "unknown")
    record = replace(encoder_record("imported", dim=32), context_length=0, weights_sha256="", preprocess=nothing)
    lines = describe(replace(manifest, encoders={"imported": record})).partition("\nencoders\n")[2].splitlines()[:3]
    assert lines[0].endswith(f", license {record.license}")
    assert [line.strip() for line in lines[1:]] == [
        "32 dims, tokens and pictures not recorded",
        "weights sha256 not recorded",
    ]
