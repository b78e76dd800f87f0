"""The whole page: one file that asks for nothing else, light or dark as the reader's system is, without a script."""

from __future__ import annotations

from pathlib import Path

from dfndr.markup import document, element
from dfndr_builders.report import running, sections
from dfndr_builders.report.facts import Facts

__all__ = ["page"]

_SECTIONS = (
    ("funnel", "Funnel", sections.funnel),
    ("groups", "Sources", sections.groups),
    ("scores", "Scores", sections.scores),
    ("samples", "Samples", sections.samples),
    ("duplicates", "Duplicates", sections.duplicates),
    ("lengths", "Lengths", sections.lengths),
    ("timings", "Timings", running.timings),
    ("made", "Made of", sections.made),
)


def page(facts: Facts) -> str:
    """Return the page as HTML; its policy forbids scripts and everything that would come from elsewhere."""
    made = {name: make(facts) for name, _, make in _SECTIONS}
    there = [name for name, found in made.items() if found is not None]
    links = [element("a", title, href=f"#{name}") for name, title, _ in _SECTIONS if name in there]
    nav = element("nav", *links, aria_label="sections")
    body = element("body", element("main", sections.header(facts), nav, *(made[name] for name in there)))
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return document(f"{facts.given.dataset.manifest.name}: what the build did", body, style=style)
