"""A pool without what is nobody's business: addresses and numbers masked in texts, pictures of faces marked.

The wrapped pool is what everything else reads, so neither a score nor a filter, a caption or a vector is made of what
was masked. The uid stays that of the pool's own text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dfndr.errors import MissingExtra, PoolError
from dfndr_builders.pools.base import Pool, PoolShard
from dfndr_builders.stage import good_rows, mark_problems

__all__ = ["EMAIL", "HAS_FACE", "PHONE", "Private", "masked"]

EMAIL, PHONE = "[email]", "[phone]"
"""What stands in the place of an address or a number."""

HAS_FACE = "has_face"
"""The boolean column, and the reason under which its rows are dropped."""

_EMAIL = re.compile(r"[\w.%+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}\b")


def masked(text: str, *, emails: bool, phones: Sequence[str]) -> str:
    """Return a text with e-mail addresses and phone numbers replaced.

    Numbers are those that libphonenumber holds for valid: with their country's code, or as written within one of the
    given regions (`US`); none where there is no region. Dates, prices, ISBNs and sizes are none.
    """
    if emails:
        text = _EMAIL.sub(EMAIL, text)
    for region in phones if sum(map(str.isdigit, text)) >= 6 else ():
        import phonenumbers

        for match in reversed(list(phonenumbers.PhoneNumberMatcher(text, region))):
            text = text[: match.start] + PHONE + text[match.end :]
    return text


@dataclass(frozen=True)
class Private:
    """`pool`, with texts masked, and with `has_face` where `faces` names its column of boxes.

    Boxes are a list, or a JSON list in a string, as DataComp's `face_bboxes`; null says that there are none known.
    A row with anything else failed as `json_unreadable`.
    """

    pool: Pool
    emails: bool = False
    phones: tuple[str, ...] = ()
    faces: str | None = None

    def __post_init__(self) -> None:
        if self.phones:
            try:
                import phonenumbers
            except ImportError as error:
                raise MissingExtra.of("phonenumbers", "curate") from error
            unknown = sorted(set(self.phones) - set(phonenumbers.SUPPORTED_REGIONS))
            if unknown:
                do = "Name countries by their two letters, such as US, DE or VN."
                raise PoolError("pool: phone_regions", expected="known regions", found=str(unknown), do=do)

    def schema(self) -> pa.Schema:
        """Return the pool's schema, followed by `has_face` where faces are looked for."""
        given = self.pool.schema()
        if self.faces is None:
            return given
        if self.faces not in given.names:
            found, do = f"the columns {given.names}", "Put it into the pool's `keep`."
            raise PoolError("pool: drop_faces", expected=f"a column {self.faces!r}", found=found, do=do)
        return given.append(pa.field(HAS_FACE, pa.bool_()))

    def shards(self) -> Sequence[PoolShard]:
        """List the pool's shards."""
        return self.pool.shards()

    def read(self, shard: PoolShard) -> Iterator[pa.Table]:
        """Yield the shard's rows, masked."""
        schema = self.schema()
        place = schema.get_field_index("text")
        for table in self.pool.read(shard):
            texts = [
                None if text is None else masked(text, emails=self.emails, phones=self.phones)
                for text in table["text"].to_pylist()
            ]
            table = table.set_column(place, schema.field("text"), pa.array(texts, pa.string()))
            if self.faces is not None:
                table = self._with_faces(table, self.faces)
            yield table

    def _with_faces(self, table: pa.Table, column: str) -> pa.Table:
        boxes = table[column].to_pylist()
        found = [_any_box(given) for given in boxes]
        good = set(good_rows(table))
        bad = {row: ("json_unreadable", f"{column}: {boxes[row]!r}") for row, is_there in enumerate(found)
               if is_there is None and row in good}  # fmt: skip
        table = table.append_column(pa.field(HAS_FACE, pa.bool_()), pa.array(found, pa.bool_()))
        return mark_problems(table, bad)


def _any_box(given: Any) -> bool | None:  # noqa: ANN401  whatever the pool's column holds
    """Return whether there is a box, None where what is given is no list of them."""
    try:
        boxes = json.loads(given) if isinstance(given, str) and given.strip() else given or []
    except (ValueError, RecursionError):
        return None
    return bool(boxes) if isinstance(boxes, list) else None
