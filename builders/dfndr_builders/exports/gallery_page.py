"""The gallery's page: no script, nothing from elsewhere, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dfndr_builders.report
from dfndr.format.manifest import Manifest
from dfndr.markup import Html, cells, document, element, join, outside
from dfndr_builders.report.charts import histogram
from dfndr_builders.report.histograms import Histogram
from dfndr_builders.report.words import number, value

__all__ = ["Gallery", "Tile", "gallery_page"]


@dataclass(frozen=True)
class Tile:
    """One row; `picture` is the path of its thumbnail, relative to the page."""

    uid: str
    text: str | None
    picture: str | None
    score: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class Gallery:
    """What the page shows: samples, for each its nearest rows and their cosines in `space`; `by` names the score."""

    manifest: Manifest
    digest: str
    samples: Sequence[Tile]
    nearest: Sequence[Sequence[tuple[Tile, float]]]
    space: str | None
    histograms: Sequence[Histogram]
    by: str | None = None


def gallery_page(given: Gallery) -> str:
    """Return the page as HTML."""
    sections = {"samples": _samples(given), "scores": _scores(given), "nearest": _nearest(given), "made": _made(given)}
    titles = {"samples": "Samples", "scores": "Scores", "nearest": "Neighbours", "made": "Made of"}
    there = {name: found for name, found in sections.items() if found is not None}
    nav = element("nav", *(element("a", titles[name], href=f"#{name}") for name in there), aria_label="sections")
    name = given.manifest.name
    lead = element(
        "p",
        element("b", number(len(given.samples))),
        f" of {number(len(given.manifest))} rows, chosen by a hash of their uids",
        class_="lead",
    )
    body = element("body", element("main", element("h1", name), lead, nav, *there.values()))
    style = (Path(dfndr_builders.report.__file__).parent / "style.css").read_text(encoding="utf-8")
    more = (Path(__file__).parent / "gallery.css").read_text(encoding="utf-8")
    return document(f"{name}: samples", body, style=style + more, images="'self'")


def _section(name: str, title: str, *content: object) -> Html:
    return element("section", element("h2", title), *content, id=name)


def _samples(given: Gallery) -> Html:
    if not given.samples:
        return _section("samples", "Samples", element("p", "The dataset has no rows.", class_="empty"))
    linked = given.space is not None
    tiles = [_tile(tile, f"#n-{tile.uid}" if linked else None) for tile in given.samples]
    by = element("p", "Highest first by ", outside(given.by), ".", class_="soft") if given.by else None
    return _section("samples", "Samples", by, element("div", *tiles, class_="cards"))


def _tile(tile: Tile, link: str | None, told: str | None = None) -> Html:
    score = told if told is not None else value(tile.score) if tile.score is not None else None
    place = element("p", outside(tile.source, limit=32), class_="place") if tile.source and told is None else None
    words = element(
        "div",
        element("div", element("span", score, class_="score"), class_="numbers") if score is not None else None,
        element("p", outside(tile.text) if tile.text else element("em", "no text"), class_="text"),
        place,
        class_="words",
    )
    return element("a" if link else "article", _picture(tile), words, href=link, class_="card")


def _picture(tile: Tile) -> Html:
    if tile.picture is None:
        return element("div", element("span", "no picture"), class_="picture none")
    image = element("img", src=tile.picture, alt="", loading="lazy", decoding="async")
    return element("div", image, class_="picture")


def _scores(given: Gallery) -> Html | None:
    if not given.histograms:
        return None
    plots = [histogram(found, title=outside(found.column), limit="") for found in given.histograms]
    return _section(
        "scores",
        "Scores",
        element("p", "Of all rows of the dataset.", class_="soft"),
        element("div", *plots, class_="plots"),
    )


def _nearest(given: Gallery) -> Html | None:
    if given.space is None or not given.samples:
        return None
    shown = {tile.uid for tile in given.samples}
    told = element(
        "p",
        "The rows of the whole dataset that are nearest to each sample, by cosine in ",
        element("code", given.space),
        ".",
        class_="soft",
    )
    strips = []
    for sample, near in zip(given.samples, given.nearest, strict=True):
        tiles = [_tile(tile, f"#n-{tile.uid}" if tile.uid in shown else None, f"{cosine:.4f}") for tile, cosine in near]
        own = element("div", _tile(sample, None), element("code", sample.uid), class_="own")
        strips.append(
            element("section", own, element("div", *tiles, class_="cards"), class_="near", id=f"n-{sample.uid}")
        )
    return _section("nearest", "Neighbours", told, *strips)


def _made(given: Gallery) -> Html:
    manifest = given.manifest
    facts = [
        ("Licence", outside(manifest.license)),
        ("Digest", element("code", given.digest)),
        ("Rows", number(len(manifest))),
    ]
    rows = [[space.name, f"{space.per_row} of {space.dim}", space.dtype] for space in manifest.spaces]
    table = cells(["space", "vectors per row, numbers in each", "type"], rows) if rows else None
    listed = element("dl", *(element("div", element("dt", name), element("dd", told)) for name, told in facts))
    return _section("made", "Made of", listed, element("h3", "Vectors") if table else None, table, join([]))
