"""Rows of a dataset on the page: cards with a picture, strips of them, and pairs of duplicates."""

from __future__ import annotations

from dfndr.markup import Html, data_url, element, join, outside
from dfndr_builders.report.strips import Card, Pair, Strip
from dfndr_builders.report.words import value

__all__ = ["card", "pair", "strip"]


def strip(given: Strip, meaning: str | None) -> Html:
    """Return a strip of cards under its title; `meaning` says what its reason means."""
    kind = "kept" if given.reason is None else "dropped"
    told = element("p", meaning, class_="soft") if meaning else None
    return element(
        "section",
        element("h3", given.title),
        told,
        element("div", *map(card, given.cards), class_="cards"),
        class_=f"strip {kind}",
    )


def card(given: Card) -> Html:
    """Return one row: picture, score, text, key and what was measured."""
    score = element("span", value(given.score), class_="score") if given.score is not None else None
    values = [
        element("span", outside(name, limit=40), " ", element("b", outside(value(found), limit=40)), class_="value")
        for name, found in given.values.items()
    ]
    caption = element("p", outside(given.caption, limit=120), class_="caption") if given.caption else None
    place = [outside(given.key, limit=48)] if given.key else []
    place += [outside(given.source, limit=32)] if given.source else []
    return element(
        "article",
        _picture(given.picture),
        element(
            "div",
            element("div", score, *values, class_="numbers") if score or values else None,
            element("p", outside(given.text) if given.text else element("em", "no text"), class_="text"),
            caption,
            element("p", join(place, " · "), class_="place") if place else None,
            class_="words",
        ),
        class_="card",
    )


def _picture(data: bytes | None) -> Html:
    source = data_url(data)
    if source is None:
        return element("div", element("span", "no picture"), class_="picture none")
    return element("div", element("img", src=source, alt="", loading="lazy", decoding="async"), class_="picture")


def pair(given: Pair) -> Html:
    """Return a removed row beside the one it gave way to, with the distance between them."""
    far = "" if given.distance is None else f"distance {value(given.distance)}"
    kept = card(given.kept) if given.kept is not None else element("article", _picture(None), class_="card")
    return element(
        "section",
        element("div", element("code", given.reason), element("span", far, class_="n"), class_="head"),
        element(
            "div",
            element("div", element("span", "removed", class_="soft"), card(given.removed)),
            element("div", element("span", "stays", class_="soft"), kept),
            class_="two",
        ),
        class_="pair",
    )
