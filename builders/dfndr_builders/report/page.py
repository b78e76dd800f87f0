"""The whole page: one file that asks for nothing else, light or dark as the reader's system is, without a script."""

from __future__ import annotations

from pathlib import Path

from dfndr.markup import document, element
from dfndr_builders.report import sections
from dfndr_builders.report.facts import Facts

__all__ = ["page"]

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
    nav = element("nav", *links, aria_label="sections")
    body = element("body", element("main", sections.header(facts), nav, *(made[name] for name in there)))
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return document(f"{facts.given.dataset.manifest.name}: what the build did", body, style=style)
