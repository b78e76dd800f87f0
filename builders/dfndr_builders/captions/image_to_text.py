"""Captions by an image-to-text model of Hugging Face Transformers: BLIP, LLaVA, Qwen-VL, an encoder with a decoder.

The library's own `generate` runs each model in its own way. Its draws are ours: a logits processor leaves one token to
draw from, the one that the caption's own seed says. Each picture has a forward pass of its own, with all its captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from dfndr.encoder import pick_device
from dfndr.errors import MissingExtra, ModelError
from dfndr.format.captioner import Setting
from dfndr.images import BadImage, decode
from dfndr.models import in_a_line, weights_sha256
from dfndr_builders.captions.captioner import SEED_RULE, Asked, CaptionerRecord, Unwritten, Write, Written, caption_seed
from dfndr_builders.captions.sampling import NOT_FINITE, Sampling, next_tokens, uniforms

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

__all__ = ["ImageToText", "Source"]


@dataclass(frozen=True)
class Source:
    """Which model, and how it is loaded: a folder, or a name on the Hub with a commit, tag or branch of it."""

    model: str
    revision: str | None = None
    precision: str = "fp32"


@dataclass(frozen=True)
class ImageToText:
    """A model that writes `copies` captions of a picture at once, number n in place n.

    `told` is the model as the recipe says it. A text goes on from `prompt`, which goes through the chat template where
    the model's processor has one. `min_tokens` and `max_tokens` count what is written, and what ends it.
    """

    name: str
    source: Source
    told: str
    license: str
    prompt: str
    seed: int
    copies: int
    sampling: Sampling
    unfinished: Literal["drop", "keep"] = "drop"
    threads: int = 2
    device: str = "auto"

    def record(self) -> CaptionerRecord:
        """Load the model and return what it is."""
        model, _ = _loaded(self.source)
        settings: dict[str, Setting] = {
            "unfinished": self.unfinished,
            "precision": self.source.precision,
            "copies": self.copies,
        }
        return CaptionerRecord(
            "transformers",
            f"{self.told} ({type(model).__name__})",
            self.license,
            revision=str(getattr(model.config, "_commit_hash", None) or ""),
            weights_sha256=weights_sha256(model.state_dict()),
            prompt=self.prompt,
            seed_rule=SEED_RULE,
            sampling={**asdict(self.sampling), **settings, "threads": self.threads},
        )

    def open(self) -> Write:
        """Load the model; raises ModelError where it cannot be, or does not take the prompt."""
        return _Writer(self).write


class _Writer:
    def __init__(self, given: ImageToText) -> None:
        model, self._processor = _loaded(given.source)
        self._given, self._device = given, pick_device(given.device)
        self._model = model.eval().to(self._device)
        self._tokenizer = getattr(self._processor, "tokenizer", self._processor)
        told = getattr(model.generation_config, "eos_token_id", None)
        ends = told if isinstance(told, list) else [told]
        ends += [self._tokenizer.eos_token_id, self._tokenizer.sep_token_id]
        self._ends = sorted({int(end) for end in ends if end is not None})
        self._text = self._prompt()

    def _prompt(self) -> str:
        """Return what the model is given beside the picture."""
        prompt, where = self._given.prompt, f"captioner {self._given.name!r} ({self._given.told})"
        if getattr(self._processor, "chat_template", None):
            if not prompt:
                raise ModelError(
                    where, expected="a prompt, as this model is asked", found="none", do="Add prompt = ..."
                )
            said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
            return str(self._processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False))
        if prompt and isinstance(self._processor, _Pair):
            raise ModelError(
                where, expected="no prompt, as this model takes none", found=repr(prompt), do="Leave it out."
            )
        return prompt

    def write(self, asked: Sequence[Asked]) -> list[list[Written]]:
        """Write what is asked for, a picture at a time."""
        import torch

        torch.set_num_threads(max(1, self._given.threads))
        found: list[list[Written]] = []
        for one in asked:
            try:
                tokens = self._tokens(one, decode(one.image))
                found.append([self._written(tokens[number]) for number in one.numbers])
            except BadImage as problem:
                found.append([Unwritten(problem.reason, problem.detail, final=True)] * len(one.numbers))
        return found

    def _tokens(self, asked: Asked, picture: Image) -> npt.NDArray[np.int64]:
        """Draw the tokens of all copies, shape (copies, tokens)."""
        import torch
        from transformers import LogitsProcessorList

        given = self._given
        told = {"text": self._text} if self._text else {}
        inputs = self._processor(images=picture, return_tensors="pt", **told).to(self._device)
        inputs = {
            name: value.to(self._model.dtype) if value.is_floating_point() else value for name, value in inputs.items()
        }
        seeds = [caption_seed(given.seed, given.name, asked, number) for number in range(given.copies)]
        drawing = _Drawing(uniforms(seeds, given.sampling.max_tokens), given.sampling, self._ends)
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            self._model.generate(
                **inputs,
                logits_processor=LogitsProcessorList([drawing]),
                max_new_tokens=given.sampling.max_tokens,
                num_return_sequences=given.copies,
                **_ONE_LEFT,
            )
        return np.stack(drawing.tokens, axis=1)

    def _written(self, tokens: npt.NDArray[np.int64]) -> Written:
        if (tokens == NOT_FINITE).any():
            return Unwritten("not_finite", "the model gave no numbers", final=True)
        over = np.flatnonzero(np.isin(tokens, self._ends))
        text = self._tokenizer.decode(
            tokens[: over[0] if len(over) else None].tolist(), skip_special_tokens=True
        ).strip()
        if self._given.unfinished == "drop" and not len(over):
            return Unwritten("unfinished", text[:80])
        return str(text)


_ONE_LEFT: dict[str, Any] = {
    **{"do_sample": True, "num_beams": 1, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "typical_p": 1.0},
}
"""How to draw from one token: what a model's own settings would change of it is set aside."""


class _Drawing:
    """A logits processor that draws by numbers of our own; `tokens` has an array for each step, shape (copies,)."""

    def __init__(self, drawn: npt.NDArray[np.float64], sampling: Sampling, ends: list[int]) -> None:
        self._drawn, self._sampling, self._ends = drawn, sampling, ends
        self._is_over = np.zeros(len(drawn), dtype=bool)
        self.tokens: list[npt.NDArray[np.int64]] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        logits, step = scores.float(), len(self.tokens)
        if step < self._sampling.min_tokens:
            logits[:, self._ends] = -torch.inf
        tokens = next_tokens(logits, range(len(self._drawn)), self._drawn[:, step], self._sampling)
        tokens[self._is_over] = self._ends[0]
        self.tokens.append(tokens)
        self._is_over |= np.isin(tokens, [NOT_FINITE, *self._ends])
        left = torch.full_like(scores, -torch.inf)
        left[torch.arange(len(tokens)), torch.from_numpy(np.where(tokens == NOT_FINITE, self._ends[0], tokens))] = 0
        return left


@dataclass(frozen=True)
class _Pair:
    """A picture's and a text's processor that are no processor of one name, as those of an encoder with a decoder."""

    images: Any
    tokenizer: Any

    def __call__(self, images: Image, return_tensors: str) -> Any:  # noqa: ANN401
        return self.images(images=images, return_tensors=return_tensors)


@lru_cache(maxsize=2)
def _loaded(source: Source) -> tuple[Any, Any]:
    """Return the model and its processor; no code of the model's folder is run, and no pickle is read."""
    try:
        hf: Any = import_module("transformers")
    except ImportError as error:
        raise MissingExtra.of("transformers", "captions") from error
    import torch

    quiet = hf.utils.logging
    shows_bars = quiet.is_progress_bar_enabled()
    quiet.disable_progress_bar()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[source.precision]
    safely = {"revision": source.revision, "trust_remote_code": False}
    try:
        model = hf.AutoModelForImageTextToText.from_pretrained(
            source.model, dtype=dtype, use_safetensors=True, **safely
        )
        processor = hf.AutoProcessor.from_pretrained(source.model, **safely)
        if not (hasattr(processor, "tokenizer") and hasattr(processor, "image_processor")):
            images = hf.AutoImageProcessor.from_pretrained(source.model, **safely)
            processor = _Pair(images, hf.AutoTokenizer.from_pretrained(source.model, **safely))
    except Exception as error:
        # Loading runs code of several libraries, each with errors of its own; the cause is kept and said in one line.
        do = "Name a folder or a model of the Hub that AutoModelForImageTextToText loads, with weights as safetensors."
        raise ModelError(source.model, expected="a model that loads", found=in_a_line(error), do=do) from error
    finally:
        if shows_bars:
            quiet.enable_progress_bar()
    return model, processor
