"""Captions by a CoCa of open_clip, which is a captioner and a CLIP model in one: tokens drawn from its decoder.

A text starts with the tokenizer's start token, and ends with its end token or the one that pads. It is cut there,
then at its first full stop, as those of the published reinforced datasets were.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from dfndr.encoder import open_encoder, pick_device
from dfndr.images import BadImage, decode
from dfndr.models import EncoderSpec, load_model
from dfndr_builders.captions.captioner import SEED_RULE, Asked, CaptionerRecord, Unwritten, Write, Written, caption_seed
from dfndr_builders.captions.coca_decoder import CocaDecoder, require_coca
from dfndr_builders.captions.sampling import NOT_FINITE, Sampling, next_tokens, uniforms

if TYPE_CHECKING:
    import torch

__all__ = ["Coca"]


@dataclass(frozen=True)
class Coca:
    """A CoCa that writes `copies` captions of each picture at once, number n in place n.

    `told` is the model as the recipe says it. The batch always has `batch_size // copies` pictures (at least one) with
    `copies` captions each, those that nobody asked for included, since a model's last digits may depend on its shape.
    Below full precision the weights stay as they are, and PyTorch's autocast computes. A text that neither ends nor has
    a full stop within `max_tokens` is Unwritten as `unfinished`, or kept.
    """

    name: str
    spec: EncoderSpec
    told: str
    seed: int
    copies: int
    sampling: Sampling
    unfinished: Literal["drop", "keep"] = "drop"

    def record(self) -> CaptionerRecord:
        """Load the model and return what it is."""
        encoder = open_encoder(self.loaded)
        run = {name: getattr(self.spec, name) for name in ("precision", "batch_size", "threads")}
        return CaptionerRecord(
            "coca",
            self.told,
            self.spec.license,
            revision=encoder.revision,
            weights_sha256=encoder.record.weights_sha256,
            seed_rule=SEED_RULE,
            sampling={**asdict(self.sampling), "unfinished": self.unfinished, **run},
        )

    @property
    def loaded(self) -> EncoderSpec:
        """How the model is loaded: open_clip's own conversions leave parts of a CoCa as they were."""
        return replace(self.spec, precision="fp32")

    def open(self) -> Write:
        """Load the model; raises ModelError for one that is no CoCa."""
        return _Writer(self).write


class _Writer:
    def __init__(self, given: Coca) -> None:
        import torch

        self._given, self._device = given, pick_device(given.spec.device)
        self._model, self._preprocess, self._tokenizer = load_model(given.loaded)
        where = f"captioner {given.name!r} ({given.told})"
        require_coca(self._model, self._tokenizer, where, longest=given.sampling.max_tokens)
        self._model = self._model.eval().to(self._device)
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(given.spec.precision)
        self._pictures = max(1, given.spec.batch_size // given.copies)
        size = self._model.visual.preprocess_cfg["size"]
        self._size = (size, size) if isinstance(size, int) else tuple(size)
        self._ends = {NOT_FINITE, int(self._tokenizer.eot_token_id), int(self._model.pad_id)}

    def write(self, asked: Sequence[Asked]) -> list[list[Written]]:
        """Write what is asked for, a batch of pictures at a time."""
        import torch

        torch.set_num_threads(max(1, self._given.spec.threads))
        cast = torch.autocast(self._device.split(":")[0], self._dtype, enabled=self._dtype is not None)
        found: list[list[Written]] = []
        with ThreadPoolExecutor(max(1, self._given.spec.threads)) as pool, torch.inference_mode(), cast:
            for start in range(0, len(asked), self._pictures):
                batch = asked[start : start + self._pictures]
                pictures = list(pool.map(self._prepared, batch))
                tokens = self._tokens(batch, pictures)
                for one, picture, its in zip(batch, pictures, tokens, strict=False):
                    if isinstance(picture, BadImage):
                        found.append([Unwritten(picture.reason, picture.detail, final=True)] * len(one.numbers))
                    else:
                        found.append([self._text(its[number]) for number in one.numbers])
        return found

    def _prepared(self, asked: Asked) -> torch.Tensor | BadImage:
        try:
            prepared: torch.Tensor = self._preprocess(decode(asked.image))
            return prepared
        except BadImage as problem:
            return problem

    def _tokens(self, batch: Sequence[Asked], pictures: Sequence[torch.Tensor | BadImage]) -> npt.NDArray[np.int64]:
        """Draw tokens, shape (pictures, copies, max_tokens - 2): those between the start and the end of a text."""
        import torch

        given, sampling, copies = self._given, self._given.sampling, self._given.copies
        wanted = [(place, number) for place, one in enumerate(batch) for number in one.numbers]
        seeds = [caption_seed(given.seed, given.name, batch[place], number) for place, number in wanted]
        rows = [place * copies + number for place, number in wanted]
        length = sampling.max_tokens - 2
        drawn = uniforms(seeds, length)
        decoder = CocaDecoder(self._model, self._seen(pictures), copies, length)
        end = int(self._tokenizer.eot_token_id)
        tokens = np.full((self._pictures * copies, length), end, dtype=np.int64)
        last = np.full(len(tokens), int(self._tokenizer.sot_token_id))
        for place in range(length):
            logits = decoder.step(torch.from_numpy(last).to(self._device))
            logits[:, self._tokenizer.vocab_size :] = -torch.inf
            if place + 1 < sampling.min_tokens:
                logits[:, end] = -torch.inf
            tokens[rows, place] = next_tokens(logits, rows, drawn[:, place], sampling)
            goes_on = [number for number, row in enumerate(rows) if tokens[row, place] not in self._ends]
            rows, drawn, last = [rows[number] for number in goes_on], drawn[goes_on], np.maximum(tokens[:, place], 0)
            if not rows:
                break
        return tokens.reshape(self._pictures, copies, length)

    def _seen(self, pictures: Sequence[torch.Tensor | BadImage]) -> torch.Tensor:
        """Encode the pictures, those that are missing in the batch as zeros; shape (pictures, tokens, width)."""
        import torch

        batch = torch.zeros((self._pictures, 3, *self._size))
        for place, picture in enumerate(pictures):
            if not isinstance(picture, BadImage):
                batch[place] = picture
        tokens: torch.Tensor = self._model.visual(batch.to(self._device))[1]
        return tokens

    def _text(self, tokens: npt.NDArray[np.int64]) -> Written:
        """Return what tokens say up to the end token and the first full stop."""
        if (tokens == NOT_FINITE).any():
            return Unwritten("not_finite", "the model gave no numbers", final=True)
        over = np.flatnonzero(np.isin(tokens, list(self._ends)))
        given = [int(token) for token in tokens[: over[0] if len(over) else None]]
        special = set(self._tokenizer.all_special_ids)
        text, stop, _ = self._tokenizer.decode([token for token in given if token not in special]).partition(".")
        if self._given.unfinished == "drop" and not len(over) and not stop:
            return Unwritten("unfinished", text.strip()[:80])
        return str(text).strip()
