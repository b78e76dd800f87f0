"""[[caption]] of kind endpoint: captions from any OpenAI-compatible chat server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dfndr_builders.captions.captioner import Captioner
from dfndr_builders.scorer import OpenModel, Site
from dfndr_builders.sections.base import Misfit, Name, Positive
from dfndr_builders.sections.caption import Caption

if TYPE_CHECKING:
    from dfndr_builders.captions.patience import Address

__all__ = ["Endpoint"]

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_OURS = {"model", "messages", "temperature", "top_p", "seed", "n", "max_tokens", "stream"}
_PROMPT = "Describe this picture in one plain sentence, as a caption would. Say only what can be seen."


class Endpoint(Caption):
    """Captions from a chat server; where it is and how it is asked changes no caption, and is no part of the digest."""

    kind: Literal["endpoint"]
    name: Name = "endpoint"
    model: Annotated[str, Field(min_length=1)]
    prompt: Annotated[str, Field(min_length=1)] = _PROMPT
    system: str = ""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_tokens: Positive = 77
    more: dict[str, Any] = {}
    max_side: Annotated[int, Field(ge=32, le=4096)] = 512
    together: bool = False
    tries: Positive = 3
    license: str = "unknown"
    url: str = Field(exclude=True)
    api_key_env: str | None = Field(default=None, exclude=True)
    concurrency: Annotated[int, Field(gt=0, le=1024)] = Field(default=16, exclude=True)
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = Field(default=120.0, exclude=True)
    requests: Annotated[int, Field(gt=0, le=20)] = Field(default=6, exclude=True)
    unanswered: Positive = Field(default=16, exclude=True)
    price_in: Annotated[float, Field(ge=0)] = Field(default=0.0, exclude=True)
    price_out: Annotated[float, Field(ge=0)] = Field(default=0.0, exclude=True)

    @model_validator(mode="after")
    def _names_a_server_and_no_key(self) -> Self:
        if not re.match(r"https?://[^@?#\s]+$|\$", self.url):
            raise Misfit('url = "http://host:8000/v1", or a variable that holds it, without a user, a key or a query')
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            raise Misfit('api_key_env = "MY_KEY": the name of an environment variable in capitals, never the key')
        if clash := sorted(_OURS & set(self.more)):
            raise Misfit(f"more = {clash}: these have keys of their own")
        return self

    @property
    def attempts(self) -> int:
        """How often each caption is asked for."""
        return self.tries

    @property
    def requests_each(self) -> int:
        """How many requests a picture takes, where all goes well."""
        return 1 if self.together else self.best_of or self.per_image

    def open(self, site: Site, scorer: OpenModel) -> Captioner:
        """Return the captioner; nothing is asked yet."""
        from dfndr_builders.captions import endpoint
        from dfndr_builders.captions.chat import Question
        from dfndr_builders.captions.patience import Patience
        from dfndr_builders.captions.tally import Ledger, Prices

        asked: Mapping[str, Any] = self.model_dump(include={*Question.__dataclass_fields__})
        return endpoint.Endpoint(
            self.name,
            Question(**asked),
            self._address(site),
            site.seed,
            self.max_side,
            self.together,
            self.concurrency,
            Patience(self.timeout_s, self.requests, in_a_row=self.unanswered),
            Prices(self.price_in, self.price_out),
            self.license,
            Ledger(site.spending()),
        )

    def check(self, site: Site) -> None:
        """See that the key is there, and what asks; the server is not asked, for there may be nothing left to do."""
        from dfndr_builders.captions.patience import check_ready

        check_ready(self._address(site))

    def told(self) -> str:
        """Return which model wrote them."""
        return f"written by {self.model}, asked: {self.prompt!r}"

    def _address(self, site: Site) -> Address:
        from dfndr_builders.captions.patience import Address

        return Address(site.resolve(self.url), self.api_key_env)
