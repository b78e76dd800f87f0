"""Pools repeat pictures and texts: each distinct one is encoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.models import tiny_spec
from support.pairs import jpeg

from dfndr.encoder import Encoded, open_encoder

IMAGES = [*(jpeg((40, 30), colour=(place * 90, 200 - place * 70, 40)) for place in range(3)), b"no picture"]
TEXTS = ["a dog", "a cat", "two cats", "word " * 400]
ORDER = [3, 0, 3, 1, 2, 0, 3, 3, 1]


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_equal_inputs_are_encoded_once_and_get_equal_vectors_and_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    encoder, given = open_encoder(tiny_spec(tmp_path, batch_size=4)), {"images": IMAGES, "texts": TEXTS}[kind]
    asked, real = [], getattr(encoder, f"_encode_{kind}")

    def counted(values: list[bytes] | list[str]) -> Encoded:
        asked.append(len(values))
        return real(values)

    monkeypatch.setattr(encoder, f"_encode_{kind}", counted)
    encode = getattr(encoder, f"encode_{kind}")
    once, again = encode(given), encode([given[place] for place in ORDER])
    assert asked == [4, 4]
    np.testing.assert_allclose(again.vectors, once.vectors[ORDER], atol=1e-6)
    assert again.problems == {row: once.problems[at] for row, at in enumerate(ORDER) if at in once.problems}
    assert len(np.unique(again.vectors, axis=0)) == 4
