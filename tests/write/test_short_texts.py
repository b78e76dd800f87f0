"""Texts cut to fixed lengths: the same vectors as at the full length, whatever stands beside them."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from dfndr.encoder import open_encoder
from dfndr.models import EncoderSpec, load_model
from dfndr.short_texts import TextTower

VISION = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8}
TEXT = {"context_length": 40, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
SIZES = {"embed_dim": 16, "vision_cfg": VISION}
TEXTS = ["a", "a red square", "word " * 13, "word " * 14, "word " * 15, "word " * 29, "word " * 30, "word " * 90]


def model_of(**text: object) -> torch.nn.Module:
    torch.manual_seed(0)
    kind = open_clip.CustomTextCLIP if text else open_clip.CLIP
    return kind(**SIZES, text_cfg={**TEXT, **text}).eval()


@pytest.mark.parametrize("text", [{}, {"pool_type": "eos", "eos_id": 49407}, {"pool_type": "argmax"}], ids=str)
def test_a_causal_tower_gives_the_same_vectors_of_cut_texts(text: dict[str, object]) -> None:
    model, tokens = model_of(**text), open_clip.tokenize(TEXTS, context_length=40)
    tower = TextTower(model, "fp32", tokens[:1])
    assert tower.lengths == (16, 32)
    with torch.inference_mode():
        whole, rows_seen = model.encode_text(tokens), []
        for rows, length in tower.groups(tokens):
            torch.testing.assert_close(tower.encode(tokens[rows, :length]), whole[rows], atol=1e-6, rtol=1e-5)
            rows_seen += [(row, length) for row in rows]
    assert sorted(rows_seen) == [(0, 16), (1, 16), (2, 16), (3, 16), (4, 32), (5, 32), (6, 32), (7, 40)]


@pytest.mark.parametrize(
    "text", [{"no_causal_mask": True}, {"pool_type": "last"}, {"embed_cls": True}, {"pool_type": "first"}], ids=str
)
def test_a_tower_that_may_see_the_padding_runs_at_full_length(text: dict[str, object]) -> None:
    tokens = open_clip.tokenize(TEXTS, context_length=40)
    model = model_of(**text)
    tower = TextTower(model, "fp32", tokens[:1])
    with torch.inference_mode():
        torch.testing.assert_close(tower.encode(tokens), model.encode_text(tokens))
    assert tower.lengths == () and list(tower.groups(tokens)) == [(list(range(8)), 40)]


def test_a_tower_that_only_looks_causal_is_found_out_by_trying() -> None:
    class Looking(torch.nn.Module):
        """A tower with the right mask, which also looks at the mean of all tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model_of()
            self.text_pool_type = "argmax"
            self.attn_mask, self.positional_embedding = self.inner.attn_mask, self.inner.positional_embedding

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.inner.encode_text(tokens) * tokens.float().mean()

    assert TextTower(Looking(), "fp32", open_clip.tokenize(["a"], context_length=40)).lengths == ()


def test_a_texts_vector_does_not_depend_on_the_texts_beside_it(tmp_path: Path) -> None:
    (tmp_path / "short.json").write_text(json.dumps({**SIZES, "text_cfg": TEXT}))
    spec = EncoderSpec("short", str(tmp_path / "short.json"), "random:0", batch_size=8, threads=1, device="cpu")
    encoder, (model, _, tokenizer) = open_encoder(spec), load_model(spec)
    with torch.inference_mode():
        own = torch.nn.functional.normalize(model.encode_text(tokenizer(TEXTS)), dim=-1).numpy()
    together = encoder.encode_texts(TEXTS).vectors
    np.testing.assert_allclose(together, own, atol=1e-5)
    for place, text in enumerate(TEXTS):
        np.testing.assert_array_equal(encoder.encode_texts([text, "a dog"]).vectors[0], together[place])
