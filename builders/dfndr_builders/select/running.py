"""Which rows are still in the running: each row's outcome so far, as a view that is made anew when more is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dfndr_builders.select.conditions import condition_of
from dfndr_builders.select.database import number
from dfndr_builders.select.frame import Frame
from dfndr_builders.select.fusions import fused
from dfndr_builders.select.repeats import mark_repeats
from dfndr_builders.select.rule import Rule

__all__ = ["DUPLICATE", "EXCLUDED", "INCLUDED", "KEPT", "NOT_FINITE", "Running", "columns_needed", "scores_needed"]

KEPT, NOT_FINITE, DUPLICATE, EXCLUDED, _FIRST_RULE = 0, 1, 2, 3, 4
INCLUDED = 255


def scores_needed(rule: Rule) -> list[str]:
    """Return the scores that the data has to hold: all that are named, fusions replaced by what they are made of."""
    fusions = {fusion.name: [name for name, _ in fusion.of] for fusion in rule.fusions}
    named = [rule.by, *(limit.by for limit in rule.also), *rule.deciles]
    found = [score for name in [*named, *fusions] for score in fusions.get(name, [name])]
    return list(dict.fromkeys(found))


def columns_needed(rule: Rule) -> list[str]:
    """Return every column that a rule looks at, and the source."""
    quota = [rule.quota.column] if rule.quota else []
    drops, groups = [drop.column for drop in rule.drop], [name for _, name in rule.groups]
    return [*scores_needed(rule), "source", *drops, *groups, *quota]


@dataclass
class Running:
    """The views `judged` (every row: place, uid, source, part, groups, scores, forced, outcome) and `running`.

    `outcome` is a code, an index into `reasons`, and null for the rows in the running; `scores` has the columns of the
    views by the scores' names. The table `marks` (place, mark) holds what is known of single rows.
    """

    database: Any
    frame: Frame
    rule: Rule
    reasons: list[str] = field(init=False)
    scores: dict[str, str] = field(init=False)
    _columns: list[str] = field(init=False)
    _conditions: list[str] = field(init=False, default_factory=list)
    _joins: list[str] = field(init=False, default_factory=list)
    _fused: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        rule, frame = self.rule, self.frame
        fusions = {fusion.name: "[select] fusion" for fusion in rule.fusions}
        for name in fusions:
            frame.refuse(name, f"[select] fusion {name!r}")
        where = {rule.by: "[select] by"} | {name: "[select]" for name in scores_needed(rule) if name != rule.by}
        self.scores = {name: f"s{number}" for number, name in enumerate(scores_needed(rule))}
        self._columns = [f"{frame.score(name, where[name])} AS {column}" for name, column in self.scores.items()]
        self._columns += [
            f"{frame.column(name, f'[select] {reason}')} AS g{number}"
            for number, (reason, name) in enumerate(rule.groups)
        ]
        self._columns.append(f"{frame.names.get('source', 'NULL')} AS source")
        quota = rule.quota
        self._columns.append(f"{frame.column(quota.column, '[select] quota') if quota else 0} AS part")
        self.reasons = ["", "score_not_finite", "duplicate", "excluded", *(drop.reason for drop in rule.drop)]
        self.reasons += [*(reason for reason, _ in rule.groups), "over_quota", "not_selected"]

    @property
    def is_finite(self) -> str:
        """The condition that all scores that are needed are finite numbers."""
        given = [self.frame.score(name, "[select]") for name in scores_needed(self.rule)]
        return "(" + " AND ".join(f"coalesce(isfinite({score}), false)" for score in given) + ")"

    def code(self, group: int) -> int:
        """Return the code of the number-th group of duplicates."""
        return _FIRST_RULE + len(self.rule.drop) + group

    def start(self, folder: Any) -> None:  # noqa: ANN401  a Path
        """Find the uids that come again."""
        self.database.execute("CREATE OR REPLACE TEMP TABLE marks (place BIGINT, mark UTINYINT)")
        mark_repeats(self.database, folder, mark=DUPLICATE, condition=self.is_finite)

    def apply_rules(self) -> None:
        """Turn the rules into conditions, and define the views."""
        firsts = f"(SELECT * FROM scores ANTI JOIN (FROM marks WHERE mark = {DUPLICATE}) USING (place) "
        samples = f"{firsts} WHERE {self.is_finite})"
        self._conditions = [condition_of(self.database, drop, self.frame, samples=samples) for drop in self.rule.drop]
        self.define()

    def fuse(self) -> None:
        """Make the fused scores, over the rows now in the running."""
        self._fused, self._joins = [], []
        self.scores = {name: self.scores[name] for name in scores_needed(self.rule)}
        self.define()
        expressions = {}
        joins: list[str] = []
        for fusion in self.rule.fusions:
            expressions[fusion.name] = fused(self.database, fusion, self.scores, running="running", joins=joins)
        self._fused = [f"{text} AS f{number}" for number, text in enumerate(expressions.values())]
        self.scores = self.scores | {name: f"f{number}" for number, name in enumerate(expressions)}
        self._joins = joins
        self.define()

    def settle(self) -> None:
        """Turn the view `judged` into a table without uids and texts: what limits look at, and the outcomes so far.

        `source` and `part` become numbers from 1, in the order of the values, as in `source_codes` and `part_codes`.
        """
        quota = self.rule.quota
        columns = {"source": "source"} if "source" in self.frame.names else {}
        same = [] if columns else ["CAST(NULL AS INTEGER) AS source"]
        if quota and quota.column != "source":
            columns["part"] = quota.column
        else:
            same.append("source AS part" if quota else "0 AS part")
        kept = ["place", "CAST(outcome AS UTINYINT) AS outcome", *dict.fromkeys(self.scores.values())]
        if number(self.database, f"SELECT count(*) FROM marks WHERE mark = {INCLUDED}"):
            kept.append("forced")
        else:
            same.append("false AS forced")
        for name, column in columns.items():
            values = f"SELECT DISTINCT {self.frame.names[column]} AS value FROM scores"
            code = "CAST(row_number() OVER (ORDER BY value NULLS FIRST) AS INTEGER) AS code"
            self.database.execute(f"CREATE OR REPLACE TEMP TABLE {name}_codes AS SELECT value, {code} FROM ({values})")
            kept.append(f"{name}_codes.code AS {name}")
        if "source AS part" in same:
            self.database.execute("CREATE OR REPLACE TEMP VIEW part_codes AS FROM source_codes")
        joins = [f"JOIN {name}_codes ON judged.{name} IS NOT DISTINCT FROM {name}_codes.value" for name in columns]
        query = f"SELECT {', '.join(kept)} FROM judged {' '.join(joins)}"
        self.database.execute(f"CREATE OR REPLACE TABLE settled AS {query}")
        self.database.execute(f"CREATE OR REPLACE TEMP VIEW judged AS SELECT {', '.join(['*', *same])} FROM settled")
        self.database.execute("CREATE OR REPLACE TEMP VIEW running AS SELECT * FROM judged WHERE outcome IS NULL")

    def define(self) -> None:
        """Define the views by all that is known by now."""
        marked = number(self.database, "SELECT count(*) FROM marks")
        mark, join = ("mark", "LEFT JOIN marks USING (place)") if marked else ("CAST(NULL AS UTINYINT)", "")
        rules = "".join(f" WHEN {text} THEN {_FIRST_RULE + place}" for place, text in enumerate(self._conditions))
        self.database.execute(
            "CREATE OR REPLACE TEMP VIEW judged AS WITH simple AS ("
            f"SELECT place, uid, {', '.join(self._columns)}, coalesce({mark} = {INCLUDED}, false) AS forced, "
            f"CASE WHEN NOT {self.is_finite} THEN {NOT_FINITE} WHEN {mark} <> {INCLUDED} THEN {mark} "
            f"WHEN {mark} = {INCLUDED} THEN NULL{rules} ELSE NULL END AS outcome FROM scores {join}) "
            f"SELECT {', '.join(['simple.*', *self._fused])} FROM simple {' '.join(self._joins)}"
        )
        self.database.execute("CREATE OR REPLACE TEMP VIEW running AS SELECT * FROM judged WHERE outcome IS NULL")
