"""One open_clip model as an encoder of images and texts: loaded from anywhere, named by what it really was.

A last digit of a model's output can depend on the batch's shape and the number of threads, so an encoder always runs
at one batch shape (the last batch is padded) with a fixed number of threads; both stand in its record.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from dfndr.errors import UsageError
from dfndr.format.schema import EncoderRecord, Preprocess
from dfndr.images import BadImage, Picture
from dfndr.looks import Looks
from dfndr.models import EncoderSpec, activation_of, hub_revision, load_model, weights_sha256
from dfndr.passes import Passes, cores
from dfndr.pixels import Preparation, prepared
from dfndr.short_texts import ROWS_SHARE, TextTower
from dfndr.views.replay import apply
from dfndr.views.view import View

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from dfndr.pixels import Prepared

__all__ = ["Encoded", "Encoder", "EncoderSpec", "open_encoder", "pick_device"]

_MOST_READERS = 16


@dataclass
class Encoded:
    """Vectors of shape (n, dim), float32 and of unit length; rows named in `problems` are zero and not to be used."""

    vectors: npt.NDArray[np.float32]
    problems: dict[int, tuple[str, str]] = field(default_factory=dict)


def pick_device(device: str) -> str:
    """Turn "auto" into cuda, mps or cpu, whichever is there first; raises UsageError for one that is not there."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = (str(error).splitlines() or [type(error).__name__])[0][:120]
        expected = "a device of this machine"
        raise UsageError(f"device {device!r}", expected=expected, found=found, do="Say auto or cpu.") from error
    return device


class Encoder:
    """A loaded model; `encode_images` and `encode_texts` give unit vectors, `record` says what it really is.

    `revision` is the commit of the Hub that it came from, "" where it did not come from there; `looks` is what it is
    shown of pictures, `passes` run the model, and `waited` is how long they waited for pictures in all.
    """

    def __init__(self, spec: EncoderSpec, model: Any, preprocess: Any, tokenizer: Any) -> None:  # noqa: ANN401
        import torch

        self.spec = spec
        self.device = pick_device(spec.device)
        self.passes = Passes(spec.name, self.device, spec.batch_size, spec.threads)
        self.revision = hub_revision(spec.pretrained)
        self.waited = 0.0
        self._model, self._tokenizer = model.eval().to(self.device), tokenizer
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[spec.precision]
        self.record = self._make_record(spec)
        self._preparation = Preparation(preprocess, self.record.preprocess, spec.decode)
        self.looks = Looks(self._preparation.pixels)
        self._tower = TextTower(self._model, spec.precision, self._tokens(["a"]).to(self.device))
        self._rooms = threading.local()

    def _make_record(self, spec: EncoderSpec) -> EncoderRecord:
        import torch

        shape = self._model.visual.preprocess_cfg
        size = shape["size"]
        context_length = int(getattr(self._tokenizer, "context_length", None) or self._model.context_length)
        with torch.inference_mode():
            tokens = torch.zeros((1, context_length), dtype=torch.long, device=self.device)
            dim = int(self._model.encode_text(tokens).shape[-1])
        bias = getattr(self._model, "logit_bias", None)
        return EncoderRecord(
            name=spec.name,
            model=spec.model,
            pretrained=spec.pretrained,
            weights_sha256=weights_sha256(self._model.state_dict()),
            dim=dim,
            context_length=context_length,
            preprocess=Preprocess(
                size=(size, size) if isinstance(size, int) else (int(size[0]), int(size[1])),
                mean=tuple(float(value) for value in shape["mean"]),
                std=tuple(float(value) for value in shape["std"]),
                interpolation=str(shape["interpolation"]),
                resize_mode=str(shape["resize_mode"]),
            ),
            precision=spec.precision,
            logit_scale=float(self._model.logit_scale.detach().exp()),
            license=spec.license,
            batch_size=spec.batch_size,
            threads=spec.threads,
            logit_bias=None if bias is None else float(bias.detach()),
            activation=activation_of(self._model),
            decode="" if spec.decode == "exact" else spec.decode,
        )

    def one_at_a_time(self) -> Encoder:
        """Return the same model for single queries, which are not worth a whole batch; the last digit may differ."""
        mine = copy.copy(self)
        mine.passes = Passes(self.spec.name, self.device, 1, self.spec.threads)
        return mine

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        """Decode, preprocess and encode image files, equal ones once; threads make them ready while the model runs."""
        return _of_distinct(self._encode_images, images)

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        """Tokenize (cut at the context length, as the model's own tokenizer does) and encode, equal texts once."""
        return _of_distinct(self._encode_texts, texts)

    def _encode_images(self, images: Sequence[bytes]) -> Encoded:
        def ready(image: bytes) -> Prepared:
            return [self.looks.of(image)]

        tasks = [(partial(ready, image), 1) for image in images]
        return self._encode_pixels(len(images), tasks)

    def encode_views(self, images: Sequence[bytes], views: Sequence[Sequence[View]]) -> Encoded:
        """Encode the views of each image file, one image after the other; each is decoded once.

        Views take the place of the model's own cutting and resizing. Raises DataError for a view that does not lie
        inside its picture; where a picture cannot be used, each of its views has the problem.
        """

        def ready(image: bytes, views: Sequence[View]) -> Prepared:
            picture, size = Picture(image).pixels(), self.record.preprocess.size
            return [self._preparation.cut(apply(view, picture, size=size)) for view in views]

        tasks = [(partial(ready, image, its), len(its)) for image, its in zip(images, views, strict=True)]
        return self._encode_pixels(sum(map(len, views)), tasks)

    def _encode_texts(self, texts: Sequence[str]) -> Encoded:
        import numpy as np

        done = Encoded(np.zeros((len(texts), self.record.dim), dtype=np.float32))
        tokens = self._tokens(texts) if texts else None
        share = ROWS_SHARE if self._tower.lengths else 1
        blocks: list[tuple[list[int], int]] = []
        for rows, length in self._tower.groups(tokens) if tokens is not None else ():
            size = max(1, self.passes.batch_size // share)
            blocks += [(rows[start : start + size], length) for start in range(0, len(rows), size)]
        given = (tokens[rows, :length] for rows, length in blocks if tokens is not None)
        for (rows, _), found in zip(blocks, self.passes.over(given, self._tower.encode, share=share), strict=True):
            done.vectors[rows] = found
        return _of_length_one(done)

    def _tokens(self, texts: Sequence[str]) -> torch.Tensor:
        found: torch.Tensor = self._tokenizer(list(texts))
        return found

    def _encode_pixels(self, count: int, tasks: Sequence[tuple[Callable[[], Prepared], int]]) -> Encoded:
        import numpy as np
        import torch

        done = Encoded(np.zeros((count, self.record.dim), dtype=np.float32))
        places: deque[list[int]] = deque()
        chunks = prepared(tasks, min(cores(), _MOST_READERS), self.passes.batch_size)

        def blocks() -> Iterator[torch.Tensor]:
            start = 0
            for chunk in self._waiting(chunks):
                good: dict[int, npt.NDArray[np.uint8]] = {}
                for place, value in enumerate(chunk, start):
                    if isinstance(value, BadImage):
                        done.problems[place] = (value.reason, value.detail)
                    else:
                        good[place] = value
                if good:
                    places.append(list(good))
                    yield torch.from_numpy(np.stack(list(good.values())))
                start += len(chunk)

        for found in self.passes.over(blocks(), self._seen):
            done.vectors[places.popleft()] = found
        return _of_length_one(done)

    def _waiting(self, chunks: Iterable[Prepared]) -> Iterator[Prepared]:
        waiting, began = iter(chunks), time.perf_counter()
        while (chunk := next(waiting, None)) is not None:
            self.waited += time.perf_counter() - began
            yield chunk
            began = time.perf_counter()

    def _seen(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        room: torch.Tensor | None = getattr(self._rooms, "room", None)
        if room is None or len(room) != len(pixels):
            shape = (len(pixels), 3, *pixels.shape[1:3])
            self._rooms.room = room = torch.empty(shape, dtype=torch.float32, device=pixels.device)
        found: torch.Tensor = self._model.encode_image(self._preparation.numbers(pixels, room).to(self._dtype))
        return found


_Input = TypeVar("_Input", bytes, str)


def _of_distinct(encode: Callable[[Sequence[_Input]], Encoded], given: Sequence[_Input]) -> Encoded:
    """Encode each distinct input once, so that equal ones get equal vectors, and pools that repeat them take less."""
    places = {value: place for place, value in enumerate(dict.fromkeys(given))}
    if len(places) == len(given):
        return encode(given)
    found, rows = encode(list(places)), [places[value] for value in given]
    problems = {row: found.problems[place] for row, place in enumerate(rows) if place in found.problems}
    return Encoded(found.vectors[rows], problems)


def _of_length_one(done: Encoded) -> Encoded:
    """Make every vector as long as one, and a problem of each that cannot be."""
    import numpy as np

    lengths = np.linalg.norm(done.vectors.astype(np.float64), axis=1)
    for row in np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0))):
        done.problems.setdefault(int(row), ("vector_not_finite", f"a vector of length {lengths[row]}"))
    usable = [row for row in range(len(lengths)) if row not in done.problems]
    done.vectors[usable] /= lengths[usable, None].astype(np.float32)
    done.vectors[list(done.problems)] = 0
    return done


@lru_cache(maxsize=8)
def open_encoder(spec: EncoderSpec) -> Encoder:
    """Load a model once per process; raises ModelError where it cannot be loaded or would not be what it says."""
    return Encoder(spec, *load_model(spec))
