"""A training that takes seconds: a model of one layer, a pool of glyphs, and a hand that interrupts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dfndr_builders.clip.spec import TrainingSpec
from dfndr_builders.pools.glyphs import GlyphsPool

from dfndr.progress import Silent

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 1, "width": 32, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "layers": 1, "width": 32, "heads": 2},
}
SPEC = TrainingSpec(MODEL, epochs=3, batch_size=100, learning_rate=1e-3, warmup_steps=2, workers=1, device="cpu")
POOL = GlyphsPool(count=600)


class Interrupting(Silent):
    """Presses Ctrl-C after 700 samples, in the second epoch of POOL."""

    @contextmanager
    def task(self, name: str, total: int | None, unit: str = "rows") -> Iterator[Interrupting]:
        self.left = 700 if name == "train dfn" else 10**9
        yield self

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt
