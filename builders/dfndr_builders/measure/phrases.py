"""What is written about pictures without saying what they show: file names, addresses, credits, calls to click.

The lists are short and curated: a phrase is here because it names no picture wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dfndr_builders.measure.ngrams import count_words, is_unspaced, tokens

__all__ = ["CALLS", "CREDIT", "EXTENSION", "SIZE", "SOURCES", "URL", "PhraseSet", "is_boilerplate", "is_file_name"]

CALLS = (
    *("click to enlarge", "click here to enlarge", "click image to enlarge", "click on image to enlarge"),
    *("click the image to enlarge", "click for larger image", "click for a larger image", "click for larger version"),
    *("click to view larger image", "click to view full size", "click for full size", "click to zoom"),
    *("tap to enlarge", "tap to zoom", "enlarge image", "view larger image", "roll over image to zoom in"),
    *("image not available", "no image available", "image coming soon", "photo not available"),
    *("zum vergrößern klicken", "zum vergrößern anklicken", "klicken zum vergrößern", "bild vergrößern"),
    *("cliquez pour agrandir", "cliquer pour agrandir", "agrandir l'image", "cliquez sur l'image pour l'agrandir"),
    *("haga clic para ampliar", "haz clic para ampliar", "clic para ampliar", "ampliar imagen"),
    *("clicca per ingrandire", "clicca sull'immagine per ingrandirla", "clique para ampliar", "ampliar a imagem"),
    *("klik om te vergroten", "klik voor een grotere afbeelding", "kliknij aby powiększyć"),
    *("нажмите чтобы увеличить", "нажмите для увеличения", "nhấn để phóng to", "nhấp để phóng to"),
    *("点击放大", "点击查看大图", "點擊放大", "クリックで拡大", "クリックして拡大", "클릭하면 확대"),
)
"""Calls to the reader, and pictures that are not there."""

SOURCES = (
    *("stock photo", "stock photos", "stock image", "stock images", "stock photography", "stock illustration"),
    *("stock vector", "stock vectors", "stock footage", "royalty free", "royalty free image", "royalty free photo"),
    *("free photo", "free stock photo", "free image", "free download", "stockfoto", "stockfotos", "foto de stock"),
    *("fotos de stock", "photo libre de droits", "imagen de archivo", "fotografía de stock"),
    *("shutterstock", "getty images", "gettyimages", "istock", "istockphoto", "alamy", "alamy stock photo"),
    *("adobe stock", "depositphotos", "dreamstime", "123rf", "pinterest", "unsplash", "pexels", "pixabay"),
    *("freepik", "flickr", "imgur", "vecteezy", "bigstock", "fotolia"),
)
"""Where a picture is from or sold."""

_GENERIC = (
    *("image may contain", "may be an image of", "no photo description available", "no description available"),
    *("no alternative text description for this image", "no automatic alt text available", "image may be subject to"),
    *("a picture containing", "description automatically generated", "this image has an empty alt attribute"),
    *("untitled", "untitled image", "untitled photo", "untitled design", "unnamed chunk"),
    *("placeholder", "placeholder image", "image placeholder", "placeholder text", "alt text"),
    *("alternative text", "alt tag", "image result for", "thumbnail image", "featured image", "default image"),
    *("photo gallery", "image gallery", "photo by", "photo credit", "image credit", "photo courtesy of"),
    *("all rights reserved", "sin título", "ohne titel", "sans titre", "senza titolo", "sem título", "без названия"),
)

_WHATEVER_FOLLOWS = (("plot", "of", "chunk"), ("this", "image", "has", "an", "empty", "alt", "attribute"))
_NUMBERED = re.compile(r"(?:fig|figure|figura|abb|abbildung|image|photo|picture|slide|page|hình|рис)\W*\d+\W*[a-z]?\W*")

URL = re.compile(r"(?:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"|)\]]+", re.IGNORECASE)
"""An address with a scheme or `www.`; a bare domain ("Booking.com") is a name."""

EXTENSION = re.compile(r"\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|heic|heif|avif|jfif|psd|cr2|nef|dng)$", re.IGNORECASE)

SIZE = re.compile(r"\s*\|\s*\d+x\d+(?:\s*,\s*\d+%)?$")
"""The size that Discourse writes behind a picture's name: "diagram|690x351"."""

_NAME = r"(?:@[\w.]+|[^\W\d_a-z][\w.'\u2019-]*)"
CREDIT = re.compile(
    r"\(?\b(?i:(?:photo|image|picture|photograph|illustration|foto|bild|imagen|imagem)s?)\s*"
    r"(?i:(?:credits?|courtesy(?: of)?|by|von|par|cr[ée]dit|via)\s*:?\s*(?:by\s+)?)"
    rf"(?:{_NAME})(?:\s+(?:(?:de|van|von|la|le|du|on|via|from|of|and|&|/)\s+)?{_NAME}){{0,4}}\)?[.\s]*$"
)
"""A credit at the end of a text: "Photo by Jane Doe on Unsplash"; the names begin with capitals or @."""

_CAMERA = re.compile(
    r"(?:(?:dscn?|dscf|_?dsc|img|imag|image|images|pict?|picture|photo|foto|pxl|mvimg|gopr|cimg|hpim|dji|fb[ _-]img|vid"
    r"|scan|untitled|unnamed|download|capture|fig|figure|thumb|thumbnail|slide|whatsapp image)"
    r"[ _-]*[(#]?\d[\d _.:()x-]*(?:at [\d.]+)?(?:[ _-](?:edited|copy|small|large|scaled|crop|web|\d+))*"
    r"|(?:untitled|unnamed|download|image|img|dsc)(?:[ _-](?:design|copy|\d+))*"
    r"|screen ?shot[ _-]*(?:from )?\d[\d _.:/-]*(?:(?:at|um|à|a las) )?[\d .:_-]*(?:[ap]m)?(?:\(\d+\))?"
    r"|[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+(?:[_-]\d+)+(?:[_-][a-z])?)",
    re.IGNORECASE,
)
_LONGEST_NAME = 255
_NO_LETTERS = re.compile(r"[\W\d_]+")


class PhraseSet:
    """Phrases to be found as whole words, whatever their case and the punctuation between them."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_first: dict[str, list[list[str]]] = {}
        for words in sorted((tokens(phrase) for phrase in phrases), key=len, reverse=True):
            if words:
                self._by_first.setdefault(words[0], []).append(words)

    def without(self, words: Sequence[str]) -> list[str]:
        """Return the words that are in no phrase; of phrases that begin at one word the longest counts."""
        left, place = [], 0
        while place < len(words):
            length = self._length_at(words, place)
            left += [] if length else [words[place]]
            place += length or 1
        return left

    def found_in(self, words: Sequence[str]) -> bool:
        """Say whether any phrase is there."""
        return any(self._length_at(words, place) for place in range(len(words)))

    def _length_at(self, words: Sequence[str], place: int) -> int:
        for phrase in self._by_first.get(words[place], ()):
            if list(words[place : place + len(phrase)]) == phrase:
                return len(phrase)
        return 0


_BOILERPLATE = PhraseSet((*CALLS, *SOURCES, *_GENERIC))


def is_boilerplate(text: str) -> bool:
    """Say whether a text is nothing but phrases of the lists, a credit, or a number ("Figure 3").

    White space must be single spaces. One word may be left beside phrases of two words and more. Numbers, single
    letters and a file's extension are no words here. What knitr writes ("plot of chunk NAME") is boilerplate whatever
    the name.
    """
    words = tokens(EXTENSION.sub("", text))
    if any(tuple(words[: len(start)]) == start for start in _WHATEVER_FOLLOWS):
        return True
    if _NUMBERED.fullmatch(text.casefold()) is not None:
        return True
    credit = CREDIT.search(text)
    if credit is not None and not tokens(text[: credit.start()]):
        return True
    left = _BOILERPLATE.without(words)
    return count_words(_without_numbers(left)) <= (len(words) - len(left) > 1) and len(left) < len(words)


def _without_numbers(words: Sequence[str]) -> str:
    """Join words that are more than numbers and single letters; a letter of a script without spaces stays."""
    return " ".join(word for word in words if len(_NO_LETTERS.sub("", word)) > 1 or is_unspaced(word))


def is_file_name(text: str) -> bool:
    """Say whether a whole text is a file's name: "DSC04818.jpg", "IMG_2034", "Screenshot 2020-01-01 at 10.11.12".

    White space must be single spaces, and nothing longer than 255 characters is a name. With an extension, at most
    two words may stand before it, else the text describes something and happens to be a file's name too; without one
    it must look like what cameras and programs write, or be a hash or a row of numbers.
    """
    if len(text) > _LONGEST_NAME:
        return False
    name = SIZE.sub("", text)
    stem = EXTENSION.sub("", name)
    if stem != name and len(stem.split()) <= 2:
        return True
    return _CAMERA.fullmatch(stem) is not None
