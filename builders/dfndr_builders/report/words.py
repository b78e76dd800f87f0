"""Numbers, reasons and rules in words, as the page says them."""

from __future__ import annotations

from collections.abc import Mapping

from dfndr.format.schema import DROPPED, FAILED
from dfndr.markup import shortened

__all__ = ["LANGUAGES", "MINUS", "UNKNOWN", "condition", "duration", "meaning", "megabytes", "number", "share", "value"]

LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "la": "Latin", "lt": "Lithuanian",
    "lv": "Latvian", "ms": "Malay", "nb": "Norwegian", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovene", "sq": "Albanian", "sr": "Serbian",
    "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "th": "Thai", "tl": "Tagalog", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""English names of the languages met most (ISO 639-1); another one goes by its code."""

MINUS = "\N{MINUS SIGN}"

UNKNOWN = "\N{EN DASH}"
"""What stands where a number is not known or means nothing."""

_CONDITION_CHARACTERS = 200
_COMPARED = {
    "below": "{column} is below {value}",
    "above": "{column} is above {value}",
    "is": "{column} is {value}",
    "one_of": "{column} is one of {value}",
    "not_one_of": "{column} is none of {value}",
    "lowest": "among the lowest {value} by {column}",
    "highest": "among the highest {value} by {column}",
}


def number(count: int) -> str:
    """Return a count with commas."""
    return f"{count:,}"


def share(part: int, whole: int) -> str:
    """Return a share in per cent with one decimal; what is neither none nor all never looks like it."""
    if whole <= 0:
        return UNKNOWN
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.1f} %" if 0 < part < whole else f"{percent:.0f} %"


def value(given: object) -> str:
    """Return a measured value in few digits; a score has four decimals, a whole number none."""
    if given is None:
        return "none"
    if isinstance(given, bool):
        return "yes" if given else "no"
    if isinstance(given, float):
        if given.is_integer() and abs(given) < 1e15:
            return f"{int(given):,}"
        return f"{given:.4f}" if 1e-3 <= abs(given) < 10 else f"{given:.4g}"
    return f"{given:,}" if isinstance(given, int) else str(given)


def megabytes(size_bytes: int) -> str:
    """Return a size in kB, MB or GB."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB")):
        if size_bytes >= limit:
            return f"{size_bytes / limit:,.1f} {unit}"
    return f"{size_bytes / 1e3:,.1f} kB"


def duration(seconds: float) -> str:
    """Return a time in the largest unit that makes sense."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def condition(rule: Mapping[str, object]) -> str | None:
    """Return what a rule (`reason`, `column`, `comparison`, `value`) says, or None where it cannot be understood."""
    form = _COMPARED.get(str(rule.get("comparison")))
    column, compared = rule.get("column"), rule.get("value")
    if form is None or not isinstance(column, str) or compared is None:
        return None
    if str(rule["comparison"]) in ("lowest", "highest") and isinstance(compared, float | int):
        told = f"{100 * compared:.4g} %"
    elif isinstance(compared, list | tuple):
        told = ", ".join(map(str, compared))
    else:
        told = f"{compared:g}" if isinstance(compared, float) else value(compared)
    return shortened(form.format(column=column, value=told), _CONDITION_CHARACTERS)


def meaning(reason: str, rules: Mapping[str, Mapping[str, object]]) -> str:
    """Return what a reason to drop a row, or to fail, means: of the format's lists, or what the recipe's rule says."""
    known = DROPPED.get(reason) or FAILED.get(reason)
    if known is not None:
        return known
    return condition(rules.get(reason, {})) or "a rule of the recipe"
