"""One open_clip model as an encoder of images and texts: loaded from anywhere, named by what it really was.

A last digit of a model's output can depend on the batch's shape and the number of threads, so an encoder always runs
at one batch shape (the last batch is padded) with a fixed number of threads; both stand in its record. When the
device runs out of memory the batch is halved for good, and `notes` says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from dfndr.errors import ModelError, UsageError
from dfndr.format.schema import EncoderRecord, Preprocess
from dfndr.images import MAX_PIXELS, BadImage, decode
from dfndr.models import EncoderSpec, activation_of, hub_revision, load_model, weights_sha256
from dfndr.views.replay import apply
from dfndr.views.view import View

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Prepared: TypeAlias = list[torch.Tensor | BadImage]
    """What the model takes, a picture each, or the reason why there is none."""

__all__ = ["Encoded", "Encoder", "EncoderSpec", "open_encoder", "pick_device"]


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

    `revision` is the commit of the Hub that it came from, "" where it did not come from there.
    """

    def __init__(self, spec: EncoderSpec, model: Any, preprocess: Any, tokenizer: Any) -> None:  # noqa: ANN401
        import torch

        self.spec = spec
        self.device = pick_device(spec.device)
        self.batch_size = spec.batch_size
        self.revision = hub_revision(spec.pretrained)
        self.notes: dict[str, str] = {}
        self._model, self._preprocess, self._tokenizer = model.eval().to(self.device), preprocess, tokenizer
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[spec.precision]
        self.record = self._make_record(spec)
        self._threads = spec.threads

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
        )

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        """Decode, preprocess and encode image files, equal ones once; threads make them ready while the model runs."""
        return _of_distinct(self._encode_images, images)

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        """Tokenize (cut at the context length, as the model's own tokenizer does) and encode, equal texts once."""
        return _of_distinct(self._encode_texts, texts)

    def _encode_images(self, images: Sequence[bytes]) -> Encoded:
        def ready(image: bytes) -> Prepared:
            picture = decode(image)
            _check_resized(picture.size, self.record.preprocess)
            return [self._preprocess(picture)]

        tasks = [(partial(ready, image), 1) for image in images]
        return self._encode(len(images), self._prepared(tasks), self._model.encode_image)

    def encode_views(self, images: Sequence[bytes], views: Sequence[Sequence[View]]) -> Encoded:
        """Encode the views of each image file, one image after the other; each is decoded once.

        Views take the place of the model's own cutting and resizing. Raises DataError for a view that does not lie
        inside its picture; where a picture cannot be used, each of its views has the problem.
        """

        def ready(image: bytes, views: Sequence[View]) -> Prepared:
            picture = decode(image)
            return [self._preprocess(apply(view, picture, size=self.record.preprocess.size)) for view in views]

        tasks = [(partial(ready, image, its), len(its)) for image, its in zip(images, views, strict=True)]
        return self._encode(sum(map(len, views)), self._prepared(tasks), self._model.encode_image)

    def _prepared(self, tasks: Sequence[tuple[Callable[[], Prepared], int]]) -> Iterator[Prepared]:
        """Run tasks in threads, two batches ahead, and yield what they give, as many pictures as each says, in batches.

        A picture that cannot be used is yielded as its problem, as often as there would have been pictures.
        """
        waiting: deque[tuple[Future[Prepared], int]] = deque()
        done: Prepared = []
        size = self.batch_size
        with ThreadPoolExecutor(max(1, self._threads)) as pool:
            for task, count in tasks:
                waiting.append((pool.submit(task), count))
                while sum(its for _, its in waiting) >= 2 * size:
                    done += _given(*waiting.popleft())
                    while len(done) >= size:
                        yield done[:size]
                        done = done[size:]
            for future, count in waiting:
                done += _given(future, count)
        for start in range(0, len(done), size):
            yield done[start : start + size]

    def _encode_texts(self, texts: Sequence[str]) -> Encoded:
        size = self.batch_size
        chunks = (list(self._tokenizer(list(texts[start : start + size]))) for start in range(0, len(texts), size))
        return self._encode(len(texts), chunks, self._model.encode_text)

    def _encode(
        self, count: int, chunks: Iterable[list[torch.Tensor | BadImage]], forward: Callable[..., Any]
    ) -> Encoded:
        import numpy as np
        import torch

        torch.set_num_threads(max(1, self._threads))
        done = Encoded(np.zeros((count, self.record.dim), dtype=np.float32))
        start = 0
        for chunk in chunks:
            good = []
            for place, value in enumerate(chunk, start):
                if isinstance(value, BadImage):
                    done.problems[place] = (value.reason, value.detail)
                else:
                    good.append(place)
            if good:
                done.vectors[good] = self._forward([chunk[place - start] for place in good], forward)
            start += len(chunk)
        lengths = np.linalg.norm(done.vectors.astype(np.float64), axis=1)
        for row in np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0))):
            done.problems.setdefault(int(row), ("vector_not_finite", f"a vector of length {lengths[row]}"))
        usable = [row for row in range(count) if row not in done.problems]
        done.vectors[usable] /= lengths[usable, None].astype(np.float32)
        done.vectors[list(done.problems)] = 0
        return done

    def _forward(self, inputs: Sequence[Any], forward: Callable[..., Any]) -> npt.NDArray[np.float32]:
        """Run rows through the model at the constant batch shape, halving it for good when memory runs out."""
        import numpy as np
        import torch

        found = []
        start = 0
        while start < len(inputs):
            rows = torch.stack(list(inputs[start : start + self.batch_size]))
            padded = torch.zeros((self.batch_size, *rows.shape[1:]), dtype=rows.dtype)
            padded[: len(rows)] = rows
            try:
                with torch.inference_mode():
                    moved = padded.to(self.device)
                    moved = moved.to(self._dtype) if moved.is_floating_point() else moved
                    found.append(forward(moved)[: len(rows)].float().cpu().numpy())
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    where, said = f"encoder {self.record.name!r}", str(error).splitlines()[0][:200]
                    do = "Take a smaller model, or another device."
                    raise ModelError(where, expected="memory for one row", found=said, do=do) from error
                self.batch_size = max(1, self.batch_size // 2)
                self.notes["batch_size"] = f"halved to {self.batch_size}: the device ran out of memory"
                continue
            start += len(rows)
        return np.concatenate(found)


def _given(future: Future[Prepared], count: int) -> Prepared:
    try:
        return future.result()
    except BadImage as problem:
        return [problem] * count


_Input = TypeVar("_Input", bytes, str)


def _of_distinct(encode: Callable[[Sequence[_Input]], Encoded], given: Sequence[_Input]) -> Encoded:
    """Encode each distinct input once, so that equal ones get equal vectors, and pools that repeat them take less."""
    places = {value: place for place, value in enumerate(dict.fromkeys(given))}
    if len(places) == len(given):
        return encode(given)
    found, rows = encode(list(places)), [places[value] for value in given]
    problems = {row: found.problems[place] for row, place in enumerate(rows) if place in found.problems}
    return Encoded(found.vectors[rows], problems)


def _check_resized(size: tuple[int, int], preprocess: Preprocess) -> None:
    """Raise BadImage where the short side, made as long as the model wants it, makes too many pixels of the other."""
    if preprocess.resize_mode == "shortest":
        scale = max(preprocess.size) / min(size)
        if size[0] * scale * size[1] * scale > MAX_PIXELS:
            detail = f"{size[0]} x {size[1]} pixels, too long and thin to be resized to {max(preprocess.size)}"
            raise BadImage("image_too_large", detail)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "not enough memory", "can't allocate memory")
    )


@lru_cache(maxsize=8)
def open_encoder(spec: EncoderSpec) -> Encoder:
    """Load a model once per process; raises ModelError where it cannot be loaded or would not be what it says."""
    return Encoder(spec, *load_model(spec))
