"""Asking a captioner, and asking again for what breaks a rule, so that each caption depends on its number alone.

A caption is the text of the first attempt that keeps the rules and is not the caption of a smaller number. To ask for
more captions of a picture therefore adds some, and never changes one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from dfndr.errors import DataError
from dfndr_builders.captions.captioner import Asked, Unwritten, Write, Written
from dfndr_builders.captions.rules import Rules

__all__ = ["Answer", "Text", "ask"]

_Drawn: TypeAlias = dict[int, list[Written]]
"""Of one picture what each attempt gave, by the caption's number, in order."""


@dataclass(frozen=True)
class Text:
    """A caption that keeps the rules: its number, and the attempt that gave it."""

    number: int
    attempt: int
    text: str


@dataclass
class Answer:
    """The captions of one picture by their numbers, how many were dropped, by reason, and asked for again."""

    texts: list[Text] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    again: int = 0
    details: dict[str, str] = field(default_factory=dict)
    """By reason, what a captioner said of the first drop."""


def ask(write: Write, asked: Sequence[Asked], rules: Rules, *, tries: int) -> list[Answer]:
    """Ask for all captions, then up to `tries` times in all for those that are dropped; an answer for each picture."""
    drawn: list[_Drawn] = [{number: [] for number in one.numbers} for one in asked]
    while wanted := [
        (place, replace(one, attempt=attempt, numbers=numbers))
        for place, one in enumerate(asked)
        for attempt, numbers in _wanted(drawn[place], rules, tries).items()
    ]:
        for (place, one), written in zip(wanted, _written(write, [one for _, one in wanted]), strict=True):
            for number, text in zip(one.numbers, written, strict=True):
                drawn[place][number].append(text.strip() if isinstance(text, str) else text)
    return [_answer(one, rules) for one in drawn]


def _written(write: Write, asked: list[Asked]) -> list[list[Written]]:
    found = write(asked)
    if [len(one) for one in found] != [len(one.numbers) for one in asked]:
        do = "Report this: a captioner broke its promise."
        raise DataError("captioner", expected="an answer for each caption", found="other answers", do=do)
    return found


def _wanted(drawn: _Drawn, rules: Rules, tries: int) -> dict[int, tuple[int, ...]]:
    """Return the numbers for which no attempt will do so far and another is left, by that attempt.

    A number may come to want another attempt late: when a smaller one takes the same text.
    """
    chosen = {text.number for text in _answer(drawn, rules).texts}
    wanted: dict[int, tuple[int, ...]] = {}
    for number, attempts in drawn.items():
        if number not in chosen and len(attempts) < tries and not any(map(_is_final, attempts)):
            wanted[len(attempts)] = (*wanted.get(len(attempts), ()), number)
    return wanted


def _is_final(written: Written) -> bool:
    return isinstance(written, Unwritten) and written.final


def _answer(drawn: _Drawn, rules: Rules) -> Answer:
    """Choose each number's caption, the smaller numbers first."""
    answer, taken = Answer(), set[str]()
    for number, attempts in drawn.items():
        answer.again += max(0, len(attempts) - 1)
        for attempt, written in enumerate(attempts):
            why = _dropped(written, rules, taken)
            if why is None and isinstance(written, str):
                answer.texts.append(Text(number, attempt, written))
                taken.add(_same(written))
                break
            answer.dropped[why or "empty"] += 1
            if isinstance(written, Unwritten) and written.detail:
                answer.details.setdefault(written.reason, written.detail)
    return answer


def _dropped(written: Written, rules: Rules, taken: set[str]) -> str | None:
    if isinstance(written, Unwritten):
        return written.reason
    return rules.broken(written) or ("duplicate" if _same(written) in taken else None)


def _same(text: str) -> str:
    """Return what two captions share that are one but for case and white space."""
    return " ".join(text.casefold().split())
