"""What it took to build: the time of each phase, and what the servers were asked that wrote captions."""

from __future__ import annotations

from collections import Counter

from dfndr.markup import Html, cells, element, join, outside
from dfndr_builders.report.charts import bar
from dfndr_builders.report.facts import Facts
from dfndr_builders.report.planned import planned
from dfndr_builders.report.words import UNKNOWN, duration, number

__all__ = ["timings"]


def timings(facts: Facts) -> Html | None:
    """Return how long each phase took, what servers were asked, and what had been planned."""
    parts = [part for part in (_phases(facts), _servers(facts), _happened(facts), planned(facts)) if part is not None]
    return element("section", element("h2", "Timings"), *parts, id="timings") if parts else None


def _phases(facts: Facts) -> Html | None:
    found = facts.given.timings
    if not found:
        return None
    whole = sum(timing.seconds for timing in found) or 1.0
    rows = []
    for timing in found:
        rate = number(round(timing.rows / timing.seconds)) if timing.rows > 1 and timing.seconds > 0 else UNKNOWN
        many = number(timing.rows) if timing.rows > 1 else UNKNOWN
        units, length = number(timing.units) if timing.units else UNKNOWN, bar([("kept", timing.seconds / whole)])
        rows.append(
            [
                outside(timing.phase, limit=40),
                length,
                duration(timing.seconds),
                many,
                units,
                rate,
                timing.spent.in_words() or UNKNOWN,
            ]
        )
    head = ["phase", "", "time", "rows", "shards", "rows a second", "where its units' time went"]
    return cells(head, rows, left=2)


def _happened(facts: Facts) -> Html | None:
    """Return what the shards counted on the way: captions that were dropped, by rule, and asked for again."""
    counts: Counter[str] = Counter()
    for shard in facts.given.dataset.shards:
        counts.update({what: int(said) for what, said in shard.notes.items() if said.isascii() and said.isdigit()})
    rows = [[outside(what, limit=120), number(count)] for what, count in sorted(counts.items())]
    return cells(["what happened on the way", "how often"], rows, left=1) if rows else None


def _servers(facts: Facts) -> Html | None:
    """Return what each server was asked for, over all runs of the build."""
    rows = [
        [
            outside(name, limit=60),
            number(one.pictures),
            number(one.unanswered),
            number(one.requests),
            number(one.retries),
            number(one.tokens_in),
            number(one.tokens_out),
            f"{one.cost:,.2f}" if one.cost else UNKNOWN,
            f"{one.pictures / one.seconds:.3g}" if one.seconds else UNKNOWN,
        ]
        for name, one in facts.given.asked.items()
    ]
    head = ["captions by", "pictures", "unanswered", "requests", "of them again", "tokens in", "tokens out", "cost"]
    lead = "What the servers were asked that wrote captions, over all runs, and what that cost at the recipe's prices."
    table = cells([*head, "pictures a second, each worker"], rows, left=1)
    return join([element("p", lead, class_="soft"), table]) if rows else None
