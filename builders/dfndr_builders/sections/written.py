"""[[caption]] sections whose captions a model writes here, word for word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dfndr import storage
from dfndr_builders.captions.captioner import Captioner
from dfndr_builders.captions.sampling import Sampling
from dfndr_builders.scorer import OpenModel, Site
from dfndr_builders.sections.base import TRAINED, Misfit, Name, Part
from dfndr_builders.sections.caption import Caption
from dfndr_builders.sections.models import Model

__all__ = ["Coca", "Transformers"]


class Sampled(Caption):
    """What every [[caption]] whose words are drawn can say: asked again with another seed, a caption is another."""

    tries: Annotated[int, Field(ge=1, le=100)] = 3
    top_p: Part = 0.9
    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0

    @property
    def attempts(self) -> int:
        """How often each caption is asked for; once at temperature 0."""
        return self.tries if self.temperature else 1


class Coca(Model, Sampled):
    """Captions by a CoCa of open_clip."""

    kind: Literal["coca"]
    name: Name = "coca"
    max_tokens: Annotated[int, Field(ge=3, le=1_000)] = 30
    min_tokens: Annotated[int, Field(ge=1, le=1_000)] = 5
    unfinished: Literal["drop", "keep"] = "drop"

    @model_validator(mode="after")
    def _is_written_by_a_model_of_its_own(self) -> Self:
        if self.pretrained == TRAINED:
            raise Misfit(f"pretrained = {TRAINED!r} is a filter, and no captioner")
        if self.min_tokens >= self.max_tokens:
            raise Misfit(f"min_tokens = {self.min_tokens} is no less than max_tokens = {self.max_tokens}")
        return self

    def open(self, site: Site, scorer: OpenModel) -> Captioner:
        """Load the model."""
        from dfndr_builders.captions.coca import Coca as Writer

        model = site.model(self, self.name)
        record = model.record
        own = record.pretrained.startswith(f"{record.model}:")
        told = record.pretrained if own else f"{record.model}, {record.pretrained}"
        sampling = Sampling(self.top_p, self.temperature, self.max_tokens, self.min_tokens)
        copies = self.best_of or self.per_image
        return Writer(self.name, model.spec, told, site.seed, copies, sampling, self.unfinished)

    def check(self, site: Site) -> None:
        """Load the model, and look whether it is a CoCa."""
        from dfndr.models import load_model
        from dfndr_builders.captions.coca_decoder import require_coca

        spec = site.model(self, self.name).spec
        model, _, tokenizer = load_model(spec)
        require_coca(model, tokenizer, f"captioner {self.name!r}", longest=self.max_tokens)

    def told(self) -> str:
        """Return which model."""
        return f"written by the CoCa {self.model or self.pretrained}"


class Transformers(Sampled):
    """Captions by an image-to-text model of Hugging Face Transformers."""

    kind: Literal["transformers"]
    name: Name = "transformers"
    model: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    prompt: str = ""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    license: str = "unknown"
    max_tokens: Annotated[int, Field(ge=1, le=10_000)] = 60
    unfinished: Literal["drop", "keep"] = "drop"

    def open(self, site: Site, scorer: OpenModel) -> Captioner:
        """Return the captioner; its model is loaded when it is recorded."""
        return self._captioner(site)

    def check(self, site: Site) -> None:
        """Load the model, and see that it takes the prompt."""
        self._captioner(site).open()

    def fetched(self, resolve: Callable[[str], str]) -> str:
        """Return the model, where it is no folder."""
        return "" if storage.is_folder(resolve(self.model)) else self.model

    def _captioner(self, site: Site) -> Captioner:
        from dfndr_builders.captions.image_to_text import ImageToText, Source

        source = Source(self.fetched(site.resolve) or site.resolve(self.model), self.revision, self.precision)
        return ImageToText(
            self.name,
            source,
            self.model,
            self.license,
            self.prompt,
            site.seed,
            self.best_of or self.per_image,
            Sampling(self.top_p, self.temperature, self.max_tokens, min_tokens=1),
            self.unfinished,
            site.runs.threads,
            site.runs.device,
        )

    def told(self) -> str:
        """Return which model."""
        return f"written by {self.model}"
