"""What a measurement of retrieval says, and how it reads beside another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Comparison", "Retrieval"]


@dataclass(frozen=True)
class Retrieval:
    """Recall at k in percent, each way, with what guessing would give; over `images` and `texts` (distinct strings)."""

    images: int
    texts: int
    image_to_text: Mapping[int, float]
    text_to_image: Mapping[int, float]
    image_to_text_chance: Mapping[int, float]
    text_to_image_chance: Mapping[int, float]

    def to_json(self) -> dict[str, object]:
        """Return a JSON object of the same fields, with `R@k` for k."""
        fields: dict[str, object] = {"images": self.images, "texts": self.texts}
        for way in ("image_to_text", "text_to_image", "image_to_text_chance", "text_to_image_chance"):
            recall: Mapping[int, float] = getattr(self, way)
            fields[way] = {f"R@{k}": value for k, value in recall.items()}
        return fields


@dataclass(frozen=True)
class Comparison:
    """Retrieval between two spaces before and after a head; None where there is nothing to measure."""

    image: str
    text: str
    before: Retrieval | None
    after: Retrieval | None

    def to_json(self) -> dict[str, object]:
        """Return a JSON object of the same fields."""
        found = {"before": self.before and self.before.to_json(), "after": self.after and self.after.to_json()}
        return {"image": self.image, "text": self.text, **found}

    def __str__(self) -> str:
        found = self.after or self.before
        if found is None:
            return f"{self.image} with {self.text}: nothing to measure"
        lines = [f"{self.image} with {self.text}: {found.images:,} images, {found.texts:,} distinct texts"]
        lines.append(f"{'recall in percent':<34}" + "".join(f"{f'R@{k}':>8}" for k in found.image_to_text))
        for way, label in (("image_to_text", "image to text"), ("text_to_image", "text to image")):
            for retrieval, suffix, name in (
                (found, "_chance", "by chance"),
                (self.before, "", "cached vectors"),
                (self.after, "", "after the head"),
            ):
                if retrieval is not None:
                    recall: Mapping[int, float] = getattr(retrieval, way + suffix)
                    lines.append(f"{label + ', ' + name:<34}" + "".join(f"{value:>8.2f}" for value in recall.values()))
        return "\n".join(lines)
