"""The whole page: one file that asks for nothing else, light or dark as the reader's system is, without a script."""

from __future__ import annotations

from pathlib import Path

from dfndr_builders.report import sections
from dfndr_builders.report.facts import Facts
from dfndr_builders.report.markup import Html, element, join

__all__ = ["page"]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_TITLES = (
    ("funnel", "Funnel"),
    ("groups", "Sources"),
    ("scores", "Scores"),
    ("samples", "Samples"),
    ("duplicates", "Duplicates"),
    ("lengths", "Lengths"),
    ("timings", "Timings"),
    ("made", "Made of"),
)


def page(facts: Facts) -> str:
    """Return the page as HTML; its policy forbids scripts and everything that would come from elsewhere."""
    made = {name: getattr(sections, name)(facts) for name, _ in _TITLES}
    there = [name for name, found in made.items() if found is not None]
    links = [element("a", title, href=f"#{name}") for name, title in _TITLES if name in there]
    style = Html((Path(__file__).parent / "style.css").read_text(encoding="utf-8"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{facts.given.dataset.manifest.name}: what the build did"),
        element("style", style),
    )
    nav = element("nav", *links, aria_label="sections")
    body = element("body", element("main", sections.header(facts), nav, *(made[name] for name in there)))
    return "<!doctype html>\n" + element("html", join([head, body], "\n"), lang="en") + "\n"
