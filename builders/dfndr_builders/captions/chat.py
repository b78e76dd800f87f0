"""What is said to an OpenAI-compatible chat server about a picture, and what is made of its answer; no network here.

The request is `POST {url}/chat/completions` with a picture as a data URL in a part of kind `image_url`: OpenAI's form,
which vLLM, SGLang, llama.cpp and most hosted services take.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dfndr.describe import printable

__all__ = ["Answer", "Failure", "Json", "Question", "read_answer"]

Json: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any]

_NEW_LIMIT = "max_completion_tokens"
_AGAIN = {408, 409, 425, 429}
_NEVER = {
    401: "the key was not taken",
    402: "the server wants to be paid first",
    403: "the key has no right to this",
    404: "there is no such model, or no such address",
    405: "this address takes no questions",
}
_MOST_SEED = 2**31 - 1


class Failure(Exception):
    """A question without a usable answer: `again` where it may be asked again, `stop` where no other question helps.

    It is outside of the DfndrError tree: it becomes a row's reason, or the error that stops a build. `wait_s` is how
    long the server asked to be left alone. No message of it holds a key.
    """

    def __init__(self, detail: str, *, again: bool = False, stop: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(detail)
        self.detail, self.again, self.stop, self.wait_s = detail, again, stop, wait_s


@dataclass(frozen=True)
class Answer:
    """The choices of one answer, in order: a text, or None and why there is none; and the tokens it took."""

    choices: tuple[tuple[str | None, str], ...]
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True)
class Question:
    """Everything that is the same for all pictures; `more` are further fields of the request as they are.

    Where `more` has `max_completion_tokens`, the older `max_tokens` is not sent beside it.
    """

    model: str
    prompt: str
    system: str = ""
    temperature: float = 1.0
    top_p: float = 0.9
    max_tokens: int = 77
    more: Mapping[str, Json] = field(default_factory=dict)

    def body(self, jpeg: bytes, *, seed: int, choices: int = 1) -> dict[str, Json]:
        """Return the request's JSON; of the seed 31 bits are sent, which every server takes."""
        address = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        parts = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": self.prompt}]
        messages: list[Any] = [{"role": "system", "content": self.system}] if self.system else []
        limit = {} if _NEW_LIMIT in self.more else {"max_tokens": self.max_tokens}
        return {
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": parts}],
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": seed & _MOST_SEED,
            **({"n": choices} if choices > 1 else {}),
            **limit,
            **self.more,
        }


def read_answer(status: int, content_type: str, content: bytes) -> Answer:
    """Return what an answer says; raises Failure where it is none."""
    if status in _NEVER:
        told = "" if status in (401, 403) else _told(content)  # such an answer may repeat the key
        raise Failure(f"status {status}, {_NEVER[status]}{told}", stop=True)
    if 300 <= status < 400:
        raise Failure(f"status {status}: the server sends its visitors elsewhere", stop=True)
    if status != 200:
        raise Failure(f"status {status}{_told(content)}", again=status in _AGAIN or status >= 500)
    if "json" not in content_type.lower():
        kind = printable(content_type)[:60] or "no type"
        raise Failure(f"an answer of {kind} in place of JSON{_told(content)}", again=True)
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Failure(f"an answer that is no JSON: {str(error)[:80]}", again=True) from error
    try:
        choices = tuple(_choice(one["message"], one.get("finish_reason")) for one in given["choices"])
        used = given.get("usage") or {}
        tokens = [int(used.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise Failure(f"JSON that is no answer of a chat{_told(content)}", again=True) from error
    if not choices:
        raise Failure("an answer without choices", again=True)
    return Answer(choices, *tokens)


def _choice(message: Mapping[str, Any], finish: object) -> tuple[str | None, str]:
    """Return a choice's text, or None and in a word what it is instead."""
    content = message.get("content")
    if isinstance(content, list):  # some servers answer in parts, as they are asked
        content = "".join(str(part.get("text", "")) for part in content)
    if message.get("refusal") or finish == "content_filter":
        return None, "refusing"
    if not isinstance(content, str) or not content.strip():
        return None, "empty"
    return (None, "unfinished") if finish == "length" else (content.strip(), "")


def _told(content: bytes) -> str:
    """Return what a server says of a failure, on one line and short."""
    text = content[:2000].decode("utf-8", "replace")
    try:
        given = json.loads(content)
        error = given.get("error", given)
        text = str(error.get("message", error.get("detail", error)) if isinstance(error, dict) else error)
    except (ValueError, RecursionError, AttributeError):
        pass
    text = " ".join(printable(text).split())[:160]
    return f": {text!r}" if text else ""
