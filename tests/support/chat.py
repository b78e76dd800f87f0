"""A stand-in for an OpenAI-compatible chat server on loopback, made for tests: one endpoint, and faults.

It sees a picture by its mean colour and says so, with the seed and the number of the choice: its answer is a pure
function of the request. It stops when its `with` ends.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from PIL import Image

from support.loopback import Loopback

__all__ = ["KEY", "MODEL", "Chat", "Trouble"]

KEY, MODEL = "sk-loopback-0123456789abcdef", "tiny-vlm"


@dataclass
class Trouble:
    """What goes wrong with the next `times` questions that `on` is true of.

    `reject` answers `status` with `body`, `page` a page of HTML with status 200, `cut` closes the connection, `half`
    in the middle of the answer, `torn` answers half of the JSON as if it were whole, `hang` waits until the server
    ends, `drip` sends a byte at a time without end, and `answer` gives `body` in place of an answer.
    """

    kind: Literal["reject", "page", "cut", "half", "torn", "hang", "drip", "answer"] = "reject"
    status: int = 500
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    times: float = 1
    on: Callable[[Question], bool] = lambda question: True


@dataclass(frozen=True)
class Question:
    """A request as it came, and the picture in it."""

    headers: Mapping[str, str]
    body: dict[str, Any]
    picture: Image.Image

    @property
    def shade(self) -> int:
        """The mean of the picture's red."""
        return round(sum(self.picture.getchannel(0).get_flattened_data()) / (self.picture.width * self.picture.height))


class Chat:
    """The server; `questions` are all that came, and `troubles` what is to go wrong. `choices` is the largest `n`."""

    def __init__(self, *, choices: int = 8, key: str | None = None) -> None:
        self.questions: list[Question] = []
        self.troubles: list[Trouble] = []
        self.choices, self.key = choices, key
        self.busiest = self.busy = 0
        self.over = threading.Event()
        self.lock = threading.Lock()
        self._server = Loopback(_Handler, chat=self)
        self.url = f"{self._server.url}/v1"

    def __enter__(self) -> Chat:
        self._server.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.end()

    def trouble(self, kind: str = "reject", **about: Any) -> None:
        self.troubles.append(Trouble(kind, **about))  # type: ignore[arg-type]

    def next_trouble(self, question: Question) -> Trouble | None:
        with self.lock:
            self.questions.append(question)
            for trouble in self.troubles:
                if trouble.times > 0 and trouble.on(question):
                    trouble.times -= 1
                    return trouble
        return None

    def answer(self, question: Question) -> dict[str, Any]:
        """Return a whole answer; tokens are counted so that a test can add them up."""
        count = min(question.body.get("n", 1), self.choices)
        seed = question.body["seed"]
        texts = [say(question.shade, seed + number) for number in range(count)]
        choices = [
            {"index": number, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for number, text in enumerate(texts)
        ]
        return {
            "object": "chat.completion",
            "model": MODEL,
            "choices": choices,
            "usage": {"prompt_tokens": 100, "completion_tokens": 7 * count, "total_tokens": 100 + 7 * count},
        }


def say(shade: int, seed: int) -> str:
    """Return what the model of this server writes."""
    word = hashlib.sha256(f"{shade} {seed}".encode()).hexdigest()[:8]
    return f"A picture of shade {shade}, seen as {word}."


class _Handler(BaseHTTPRequestHandler):
    chat: Chat
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            return self._send(404, {"detail": "Not Found"})
        with self.chat.lock:
            self.chat.busy += 1
            self.chat.busiest = max(self.chat.busiest, self.chat.busy)
        try:
            return self._serve(Question(dict(self.headers), body, _picture(body)))
        finally:
            with self.chat.lock:
                self.chat.busy -= 1

    def _serve(self, question: Question) -> None:
        trouble = self.chat.next_trouble(question)
        if self.chat.key is not None and question.headers.get("Authorization") != f"Bearer {self.chat.key}":
            given = question.headers.get("Authorization", "").removeprefix("Bearer ")
            return self._send(401, _error(f"Incorrect API key provided: {given}", "invalid_api_key"))
        if question.body["model"] != MODEL:
            return self._send(404, _error(f"The model `{question.body['model']}` does not exist.", "model_not_found"))
        if trouble is None:
            return self._send(200, self.chat.answer(question))
        return self._fail(trouble, question)

    def _fail(self, trouble: Trouble, question: Question) -> None:
        whole = json.dumps(self.chat.answer(question)).encode()
        if trouble.kind == "reject":
            self._send(trouble.status, trouble.body or _error("made to fail", "internal_error"), trouble.headers)
        elif trouble.kind == "answer":
            self._send(200, trouble.body, trouble.headers)
        elif trouble.kind == "page":
            self._send(200, b"<html><title>Welcome</title></html>", {"Content-Type": "text/html; charset=utf-8"})
        elif trouble.kind == "torn":
            self._send(200, whole[: len(whole) // 2])
        elif trouble.kind == "half":
            self._start(200, len(whole), {})
            self.wfile.write(whole[: len(whole) // 2])
        elif trouble.kind == "drip":
            self._start(200, 1 << 20, {})
            while not self.chat.over.wait(0.01):
                self.wfile.write(b" ")
        elif trouble.kind == "hang":
            self.chat.over.wait()
        if trouble.kind in ("cut", "half", "hang", "drip"):
            self.close_connection = True

    def _start(self, status: int, size: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(size)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, answer: object, headers: Mapping[str, str] | None = None) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self._start(status, len(data), headers or {})
        self.wfile.write(data)


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _picture(body: dict[str, Any]) -> Image.Image:
    part = next(part for part in body["messages"][-1]["content"] if part["type"] == "image_url")
    data = part["image_url"]["url"].removeprefix("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
