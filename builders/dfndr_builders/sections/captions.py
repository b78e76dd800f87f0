"""[[caption]]: synthetic captions. Each section opens into a captioner."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from dfndr import storage
from dfndr_builders.captions.captioner import Captioner
from dfndr_builders.scorer import OpenModel, Site
from dfndr_builders.sections.base import Name
from dfndr_builders.sections.caption import Caption
from dfndr_builders.sections.endpoint import Endpoint
from dfndr_builders.sections.pools import Glyphs, PoolRecipe
from dfndr_builders.sections.written import Coca, Transformers

__all__ = ["CaptionRecipe", "Coca", "Endpoint", "Retrieval", "Transformers"]


class Retrieval(Caption):
    """Captions from a bank: a text file of one caption a line, or a pool whose texts are the bank."""

    kind: Literal["retrieval"]
    name: Name = "retrieval"
    bank: str | PoolRecipe

    def open(self, site: Site, scorer: OpenModel) -> Captioner:
        """Embed what is left to do of the bank."""
        from dfndr_builders.captions.retrieval import Retrieval as Nearest

        root, digest = site.bank(self, scorer)
        return Nearest(self.name, root, scorer.record.name, digest, self.license)

    def check(self, site: Site) -> None:
        """Look for the bank."""
        if isinstance(self.bank, str):
            storage.size_of(site.resolve(self.bank))
        else:
            site.pools([self.bank])

    @property
    def license(self) -> str:
        """What the recipe says of its bank."""
        if isinstance(self.bank, str):
            return "unknown"
        from dfndr_builders.pools.glyphs import LICENSE

        return self.bank.license or (LICENSE if isinstance(self.bank, Glyphs) else "unknown")

    def told(self) -> str:
        """Return that they are retrieved."""
        return "retrieved from a bank of texts"


CaptionRecipe: TypeAlias = Annotated[Coca | Endpoint | Retrieval | Transformers, Field(discriminator="kind")]
