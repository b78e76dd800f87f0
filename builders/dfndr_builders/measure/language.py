"""The language of a short text, by lingua: n-grams up to five and rules, made for single sentences and words.

High accuracy is used throughout: on captions the low-accuracy models name another language in 8 % of English ones.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from dfndr.errors import MissingExtra, RecipeError
from dfndr_builders.stage import Step, good_rows, require

__all__ = ["Language", "MeasureLanguage", "detector"]

Language = tuple[str | None, float | None]
"""An ISO 639-1 code in lower case and its probability in [0, 1]; both None where nothing can be said."""


@dataclass(frozen=True)
class MeasureLanguage:
    """Add `language`, an ISO 639-1 code, and `language_probability` in [0, 1], float32, four decimals.

    `languages` are the codes to choose from, at least two; all 75 of lingua where there are none. Both columns are
    null where a text has no letters, or none of a script of these languages, and where a row has a problem.
    """

    is_light: ClassVar[bool] = True

    languages: tuple[str, ...] = ()

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the given schema with the two columns."""
        require("measure language", given, {"text": pa.string(), "problem": pa.string()})
        added = [pa.field("language", pa.string()), pa.field("language_probability", pa.float32())]
        return pa.schema([*given, *added])

    def open(self) -> Step:
        """Prepare the models; lingua loads each when a text first needs it, once per worker."""
        detect = detector(self.languages)

        def step(table: pa.Table) -> pa.Table:
            found: list[Language] = [(None, None)] * len(table)
            texts = table["text"]
            for row in good_rows(table):
                text = texts[row].as_py()
                if text is not None:
                    found[row] = detect(text)
            codes = pa.array([code for code, _ in found], pa.string())
            probabilities = pa.array([probability for _, probability in found], pa.float32())
            return pa.table([*table.columns, codes, probabilities], schema=self.schema(table.schema))

        return step


def detector(languages: tuple[str, ...] = ()) -> Callable[[str], Language]:
    """Return a function from a text to its language; raises RecipeError for a code that lingua does not know.

    Texts are seen in NFC. Of equally probable languages the first by code is named, so the answer is always the same.
    """
    try:
        from lingua import IsoCode639_1, LanguageDetectorBuilder
    except ModuleNotFoundError as error:
        raise MissingExtra.of("lingua-language-detector", "curate") from error
    known = {name.lower(): code for name, code in vars(IsoCode639_1).items() if name.isupper() and len(name) == 2}
    unknown = sorted(set(languages) - set(known))
    if unknown or len(set(languages)) == 1:
        do = "Name two or more of: " + ", ".join(sorted(known))
        expected = "ISO 639-1 codes" if unknown else "two or more languages to tell apart"
        found = ", ".join(unknown or languages)
        raise RecipeError("[[measure]] languages", expected=expected, found=found, do=do)
    builder = LanguageDetectorBuilder
    chosen = [known[code] for code in sorted(set(languages))]
    model = (builder.from_iso_codes_639_1(*chosen) if chosen else builder.from_all_languages()).build()

    def detect(text: str) -> Language:
        if not any(map(str.isalpha, text)):
            return None, None
        values = model.compute_language_confidence_values(unicodedata.normalize("NFC", text))
        # Summed in another order each time, so the last digits differ from run to run: four are kept.
        ranked = [(-round(value.value, 4), value.language.iso_code_639_1.name.lower()) for value in values]
        probability, code = min(ranked, default=(0.0, ""))
        return (code, -probability) if probability < 0 else (None, None)

    return detect
