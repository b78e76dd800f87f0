"""Selection with all that a rule may say, against the same said again in plain Python."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dfndr_builders.rules import DropRule
from dfndr_builders.select import Fusion, Limit, Quota, Rule, select
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.selecting import decile, outcomes
from support.tiny import write_dataset

SCORES = (-0.5, 0.0, 0.25, 0.5, 0.75)
TYPES = {
    "uid": pa.string(),
    "dfn": pa.float32(),
    "clip": pa.float32(),
    "quality": pa.float32(),
    "source": pa.string(),
    "language": pa.string(),
    "width": pa.int32(),
    "blur": pa.float64(),
    "gray": pa.bool_(),
    "same": pa.int64(),
    "near": pa.int64(),
}


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    score = st.one_of(st.sampled_from(SCORES), st.sampled_from(SCORES), st.sampled_from(SCORES))
    odd = st.one_of(score, score, score, st.just(math.nan), st.just(math.inf))
    row = st.fixed_dictionaries(
        {
            "uid": st.integers(0, 60).map(lambda number: f"{number * 7919 % 61:02x}" + f"{number:030x}"),
            "dfn": odd,
            "clip": score,
            "quality": score,
            "source": st.sampled_from(["a", "b", "c", None]),
            "language": st.sampled_from(["en", "de", None]),
            "width": st.one_of(st.integers(0, 6), st.none()),
            "blur": st.one_of(st.sampled_from([0.0, 0.5, 1.0, math.nan]), st.none()),
            "gray": st.sampled_from([True, False, None]),
            "same": st.one_of(st.integers(0, 5), st.none()),
            "near": st.one_of(st.integers(0, 5), st.none()),
        }
    )
    return draw(st.lists(row, min_size=1, max_size=45))


DROPS = [
    DropRule("narrow", "width", "below", 2),
    DropRule("wide", "width", "above", 4),
    DropRule("gray", "gray", "is", True),
    DropRule("foreign", "language", "not_one_of", ("en",)),
    DropRule("german", "language", "one_of", ("de", "fr")),
    DropRule("worst", "blur", "lowest", 0.3),
    DropRule("best", "width", "highest", 0.25),
    DropRule("blurred", "blur", "above", 0.5),
]
FUSIONS = [
    Fusion("fused", "rank", (("dfn", 1.0), ("clip", 2.0))),
    Fusion("fused", "weighted", (("dfn", 0.5), ("quality", -1.0))),
    Fusion("fused", "z", (("clip", 1.0),)),
]


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    limits = st.sampled_from([{"top_fraction": 0.3}, {"top_fraction": 0.8}, {"count": 6}, {"threshold": 0.25}])
    quotas = [
        Quota("source", most=2),
        Quota("source", most_share=0.34),
        Quota("source", shares=(("a", 0.5), ("c", 0.25))),
        Quota("source", balanced=True),
        Quota("language", balanced=True),
    ]
    fusions = draw(st.one_of(st.just(()), st.sampled_from(FUSIONS).map(lambda fusion: (fusion,))))
    by = "fused" if fusions and draw(st.booleans()) else "dfn"
    also = draw(st.lists(limits, max_size=2))
    return Rule(
        by,
        **draw(limits),
        drop=tuple(draw(st.lists(st.sampled_from(DROPS), max_size=2, unique_by=lambda rule: rule.reason))),
        groups=tuple(draw(st.lists(st.sampled_from([("same_text", "same"), ("near_duplicate", "near")]), max_size=2))),
        fusions=fusions,
        also=tuple(Limit(name, **limit) for name, limit in zip(("clip", "quality"), also, strict=False)),
        quota=draw(st.one_of(st.none(), st.sampled_from(quotas))),
        deciles=draw(st.sampled_from([(), ("dfn",), ("clip", by)])),
    )


def dataset_of(root: Path, rows: Sequence[Mapping[str, Any]], cut: int) -> Any:
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()}
    return write_dataset(root, [min(cut, len(rows)), len(rows) - min(cut, len(rows))], (), columns=columns)


@given(rows=tables(), rule=rules(), cut=st.integers(0, 45), lists=st.booleans())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_selection_is_what_plain_python_says(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], rule: Rule, cut: int, lists: bool
) -> None:
    root, cut = tmp_path_factory.mktemp("any"), min(cut, len(rows))
    dataset = dataset_of(root / "s", rows, cut)
    include, exclude = ({row["uid"] for row in rows[start::6]} if lists else set() for start in (0, 4))
    chosen = select(
        dataset,
        rule,
        str(root / "out"),
        include=pa.array(sorted(include)) if lists else None,
        exclude=pa.array([*sorted(exclude), "f" * 32]) if lists else None,
    )
    expected = outcomes(rows, rule, list(include), list(exclude))
    written = pq.read_table(root / "out" / "train.parquet").to_pylist()
    kept = [row["row"] + cut * row["shard"] for row in written]
    assert kept == [number for number, outcome in enumerate(expected) if outcome == "kept"]
    assert chosen.step.rows_out == len(kept)
    counts = Counter(outcome for outcome in expected if outcome not in ("kept", "score_not_finite"))
    assert {reason: count for reason, count in chosen.step.dropped.items() if count} == counts
    for source in {row["source"] for row in rows}:
        found = [outcome for row, outcome in zip(rows, expected, strict=True) if row["source"] == source]
        part = chosen.step.sources[source or ""]
        assert {"kept": part.rows_out, **part.dropped, **part.failed} == {"kept": 0} | Counter(found)
    assert chosen.absent == ({"include": 0, "exclude": 1} if lists else {})
    for name in rule.deciles:
        deciles = decile(rows, kept, name)
        assert [row[f"{name}_decile"] for row in written] == [deciles[number] for number in kept]
