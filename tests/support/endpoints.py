"""An endpoint captioner that gives up soon, pictures of one shade each, and what the stand-in server writes of them."""

import io

from dfndr_builders.captions.captioner import Asked, caption_seed
from dfndr_builders.captions.chat import Question
from dfndr_builders.captions.endpoint import Endpoint
from dfndr_builders.captions.patience import Address, Patience
from PIL import Image

from support.chat import MODEL, Chat, say

__all__ = ["QUICK", "asked", "endpoint", "expected", "picture"]

QUICK = Patience(timeout_s=60.0, tries=3, first_wait_s=0.005, longest_wait_s=0.5, in_a_row=6)


def endpoint(chat: Chat, **more: object) -> Endpoint:
    question = Question(MODEL, "Describe the picture in one sentence.")
    return Endpoint("vlm", question, Address(chat.url), **{"seed": 5, "patience": QUICK, **more})


def picture(shade: int, *, size: tuple[int, int] = (40, 24), exif: bytes = b"") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 10, 10)).save(file, "PNG", exif=exif)
    return file.getvalue()


def asked(count: int, *, numbers: tuple[int, ...] = (0,), attempt: int = 0) -> list[Asked]:
    return [Asked(f"{shade:032x}", picture(shade), numbers, attempt) for shade in range(0, 8 * count, 8)]


def expected(one: Asked, number: int) -> str:
    shade = round(Image.open(io.BytesIO(one.image)).getpixel((0, 0))[0])
    return say(shade, caption_seed(5, "vlm", one, number) % 2**31)
