"""Licences by name, and whether a dataset under one licence may hold what stands under others.

A small table of what names allow, not legal advice: it finds what is plainly missing or in conflict, and a person
decides about the rest (`Accepted`), by name and with a reason that is told to everybody who gets the dataset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dfndr.errors import UsageError

__all__ = [
    "Accepted",
    "Conflict",
    "License",
    "Use",
    "conflicts",
    "hub_license",
    "license_of",
    "normalized",
    "own_use",
    "parse_accepted",
]

Purpose = Literal["any", "non-commercial", "research"]
_NARROWER: tuple[Purpose, ...] = ("any", "non-commercial", "research")

_CREATIVE_COMMONS = re.compile(r"cc-by(-nc)?(-sa|-nd)?-[1-4]\.[05]")
_ADDRESS = re.compile(r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/([0-9.]+)")
_ANY = """
    0bsd apache-2.0 bitstream-vera bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear cc0-1.0 cc-pdm-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 isc mit mpl-2.0 odc-by ofl-1.1 pddl public-domain unlicense wtfpl zlib
    openrail openrail++ creativeml-openrail-m bigscience-openrail-m
"""
_NONE = ("all-rights-reserved", "copyrighted", "no-redistribution", "proprietary")
_ALIASES = {
    "apache": "apache-2.0", "apache2": "apache-2.0", "apache-2": "apache-2.0", "apache-license-2.0": "apache-2.0",
    "cc-zero": "cc0-1.0", "cc0": "cc0-1.0", "mit-license": "mit", "noncommercial": "non-commercial",
    "odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "openrail-m": "creativeml-openrail-m", "pd": "public-domain",
    "pddl-1.0": "pddl", "pdm": "cc-pdm-1.0", "public-domain-mark": "cc-pdm-1.0", "publicdomain": "public-domain",
    "research": "research-only",
}  # fmt: skip
_HUB = {
    "apache-2.0", "mit", "bsd-3-clause", "unlicense", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "odc-by", "odbl", "pddl",
    "cdla-permissive-2.0", "cdla-sharing-1.0", "apple-amlr",
}  # fmt: skip
"""Those of the Hub's identifiers that datasets and models mostly have; any other licence goes by its own name."""
_UNSTATED = {
    "", "?", "n-a", "na", "no-licence", "no-license", "none", "none-stated", "not-stated", "null", "other", "unknown",
}  # fmt: skip


@dataclass(frozen=True)
class License:
    """What a licence's name allows; `adapted` says that changed copies may be passed on, `alike` under it alone."""

    name: str
    purpose: Purpose = "any"
    redistributed: bool = True
    adapted: bool = True
    alike: bool = False


@dataclass(frozen=True)
class Use:
    """Something that a dataset holds or was made with, and the licence it says it has; None where it says none.

    `name` is what a person calls it by: a source, an encoder. `is_data` says that the thing itself is passed on with
    the dataset (texts, pictures); of a model it is what it gave, so only its purpose is looked at.
    """

    kind: str
    name: str
    license: str | None
    is_data: bool = True
    rows: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


@dataclass(frozen=True)
class Conflict:
    """What keeps a dataset from being published, and why."""

    use: Use
    why: str

    def __str__(self) -> str:
        return f"{self.use}: {self.why}"


@dataclass(frozen=True)
class Accepted:
    """A person's decision that something may be published all the same: what it is called, and the reason."""

    name: str
    reason: str

    def covers(self, use: Use) -> bool:
        """Say whether this is about a use: by its own name, or by the name of its licence."""
        mine = self.name.casefold().strip()
        return mine == use.name.casefold().strip() or bool(
            normalized(use.license) and normalized(self.name) == normalized(use.license)
        )


_TABLE: dict[str, License] = {
    **{name: License(name) for name in _ANY.split()},
    **{name: License(name, alike=True) for name in ("odbl", "cdla-sharing-1.0")},
    **{name: License(name, "research", redistributed=False, adapted=False) for name in _NONE},
    "apple-amlr": License("apple-amlr", "research"),
}


def normalized(name: str | None) -> str:
    """Return a licence's name as the table spells it (`CC BY 4.0` is `cc-by-4.0`), "" where none is stated."""
    given = (name or "").strip().lower()
    address = _ADDRESS.match(given)
    if address:
        kind = {"zero": "cc0", "mark": "cc-pdm"}.get(address[1], f"cc-{address[1]}")
        given = f"{kind}-{address[2]}"
    found = re.sub(r"[^a-z0-9.+?]+", "-", given.removeprefix("http://").removeprefix("https://")).strip("-")
    return "" if found in _UNSTATED else _ALIASES.get(found, found)


def license_of(name: str | None) -> License | None:
    """Return what a licence allows, or None where its name is not known.

    The Creative Commons say it in their names; so do all that have `research-only` or `non-commercial` in theirs.
    """
    found = normalized(name)
    parts = _CREATIVE_COMMONS.fullmatch(found)
    if parts:
        return License(found, "non-commercial" if parts[1] else "any", True, parts[2] != "-nd", parts[2] == "-sa")
    if found in _TABLE:
        return _TABLE[found]
    said: dict[str, Purpose] = {"research-only": "research", "non-commercial": "non-commercial"}
    return next((License(found, said[words]) for words in said if f"-{words}-" in f"-{found}-"), None)


def own_use(declared: str) -> Use:
    """Return a dataset's own licence as something to decide about: it goes by `the dataset`."""
    return Use("licence of", "the dataset", declared)


def conflicts(declared: str, uses: Iterable[Use], accepted: Sequence[Accepted] = ()) -> list[Conflict]:
    """Return what the declared licence of a dataset cannot hold, less what a person accepted."""
    own = license_of(declared)
    found = []
    if own is None:
        why = f"{declared!r} is not one that dfndr knows" if normalized(declared) else "the recipe states none"
        found = [Conflict(own_use(declared), why)]
    for use in uses:
        why = _against(use, own)
        if why:
            found.append(Conflict(use, why))
    return [one for one in found if not any(decision.covers(one.use) for decision in accepted)]


def _against(use: Use, own: License | None) -> str:
    """Return why a use stands against a dataset's licence, "" where it does not."""
    if not normalized(use.license):
        return "states no licence"
    given = license_of(use.license)
    if given is None:
        return f"its licence {use.license!r} is not one that dfndr knows"
    if not given.redistributed and use.is_data:
        return f"its licence {use.license!r} forbids passing it on"
    if not given.adapted and use.is_data:
        return f"its licence {use.license!r} forbids passing on what was changed or selected from it"
    if own is None:
        return ""
    if _NARROWER.index(given.purpose) > _NARROWER.index(own.purpose):
        allowed = {"non-commercial": "commercial use", "research": "other use than research"}[given.purpose]
        return f"its licence {use.license!r} forbids {allowed}, which {own.name!r} allows"
    if given.alike and use.is_data and not _is_alike(given.name, own.name):
        return f"its licence {use.license!r} asks for the same licence, and the dataset's is {own.name!r}"
    return ""


def _is_alike(given: str, own: str) -> bool:
    """Say whether a share-alike licence allows another: itself, or a later version of itself."""
    (family, _, version), (other, _, later) = given.rpartition("-"), own.rpartition("-")
    return given == own or (family == other and version <= later and bool(re.fullmatch(r"\d\.\d", version)))


def parse_accepted(given: str) -> Accepted:
    """Read `NAME: reason`; raises UsageError where one of the two is missing."""
    name, colon, reason = given.partition(": ")
    if not (colon and name.strip() and reason.strip()):
        expected, do = "NAME: reason", "Name a source, a model or a licence, and say why it may be published."
        raise UsageError("--accept-license", expected=expected, found=repr(given), do=do)
    return Accepted(name.strip(), " ".join(reason.split()))


def hub_license(given: str) -> list[str]:
    """Return the lines of a card's header that name a licence; a JSON string is a YAML string."""
    name = normalized(given)
    if name in _HUB:
        return [f"license: {name}"]
    named = re.sub(r"[^a-z0-9.]+", "-", name).strip("-") or "unknown"
    return ["license: other", f"license_name: {json.dumps(named)}"]
