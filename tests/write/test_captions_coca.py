"""CoCa captions: token for token those of a slow reference, whatever the batch; where they end; what is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dfndr_builders.captions.asking import ask
from dfndr_builders.captions.captioner import Asked, Unwritten, Written, caption_seed
from dfndr_builders.captions.coca import Coca
from dfndr_builders.captions.coca_decoder import CocaDecoder
from dfndr_builders.captions.rules import Rules
from dfndr_builders.captions.sampling import Sampling, next_tokens, uniforms
from support.coca import babbling_coca, coca_spec
from support.models import tiny_spec
from support.pairs import glyph_table, jpeg

from dfndr.encoder import open_encoder
from dfndr.errors import ModelError
from dfndr.images import decode
from dfndr.models import EncoderSpec, load_model


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> EncoderSpec:
    """A tiny CoCa with random weights."""
    return coca_spec(tmp_path_factory.mktemp("coca"))


def _asked(count: int, numbers: Sequence[int] = (0, 1, 2)) -> list[Asked]:
    rows = glyph_table(count).to_pylist()
    return [Asked(row["uid"], row["image"], tuple(numbers)) for row in rows]


def _coca(spec: EncoderSpec, *, copies: int = 3, unfinished: Any = "keep", **sampling: float) -> Coca:
    return Coca("coca", spec, "tiny", 5, copies, Sampling(**{"max_tokens": 14, **sampling}), unfinished)


def _reference(coca: Coca, asked: Asked, number: int) -> str:
    """Write one caption of one picture by the model's own forward, over all vocabulary, the plain way."""
    model, preprocess, tokenizer = load_model(coca.spec)
    sampling = coca.sampling
    drawn = uniforms([caption_seed(coca.seed, coca.name, asked, number)], sampling.max_tokens)[0]
    tokens = [tokenizer.sot_token_id]
    with torch.inference_mode():
        image = preprocess(decode(asked.image)).unsqueeze(0)
        while len(tokens) < sampling.max_tokens - 1:
            logits = model(image, torch.tensor([tokens]), output_labels=False)["logits"][0, -1].double().numpy()
            if len(tokens) < sampling.min_tokens:
                logits[tokenizer.eot_token_id] = -np.inf
            tokens.append(_plain_draw(logits, drawn[len(tokens) - 1], sampling))
            if tokens[-1] in (tokenizer.eot_token_id, 0):
                tokens.pop()
                break
    return tokenizer.decode(tokens[1:]).split(".")[0].strip()


def _plain_draw(logits: np.ndarray, number: float, sampling: Sampling) -> int:
    if sampling.temperature == 0:
        return int(logits.argmax())
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    kept, total = [], 0.0
    for token in np.argsort(-shares, kind="stable"):
        kept.append(token)
        total += shares[token]
        if total >= sampling.top_p:
            break
    weights = shares[kept] ** (1 / sampling.temperature)
    return int(kept[int(np.searchsorted(np.cumsum(weights / weights.sum()), number, side="right"))])


@pytest.mark.parametrize("text_cfg", [{}, {"embed_cls": False}, {"ls_init_value": 0.3}])
def test_the_decoder_gives_the_logits_of_the_models_own_forward(tmp_path: Path, text_cfg: dict[str, object]) -> None:
    model, _, _ = load_model(coca_spec(tmp_path, text_cfg=text_cfg))
    model.eval()
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 32, 32, generator=rng)
    tokens = torch.randint(1, 49_000, (6, 24), generator=rng)
    with torch.inference_mode():
        expected = model(images.repeat_interleave(3, 0), tokens, output_labels=False)["logits"]
        decoder = CocaDecoder(model, model.visual(images)[1], 3, 24)
        found = torch.stack([decoder.step(tokens[:, place]) for place in range(24)], dim=1)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.6, "top_p": 0.5}, {"temperature": 0.0}])
def test_captions_are_those_of_a_slow_reference(spec: EncoderSpec, sampling: dict[str, float]) -> None:
    coca, asked = _coca(spec, **sampling), _asked(3, (0, 2))
    found = coca.open()(asked)
    assert found == [[_reference(coca, one, number) for number in one.numbers] for one in asked]
    assert (len({text for row in found for text in row}) > 3) == (sampling.get("temperature") != 0)


def test_captions_depend_on_neither_the_batch_nor_the_other_captions_nor_their_order(spec: EncoderSpec) -> None:
    write, asked = _coca(spec, max_tokens=10).open(), _asked(3)
    whole = write(asked)
    assert [write([one])[0] for one in asked] == whole
    assert write(asked[::-1]) == whole[::-1]
    assert [write([Asked(asked[1].uid, asked[1].image, (number,))])[0][0] for number in (0, 1, 2)] == whole[1]
    again = write([Asked(one.uid, one.image, (0, 1, 2), attempt=1) for one in asked])
    assert all(
        first != second for old, new in zip(whole, again, strict=True) for first, second in zip(old, new, strict=True)
    )


def test_tokens_are_drawn_from_the_nucleus_as_often_as_they_are_likely() -> None:
    logits = torch.log(torch.tensor([[0.05, 0.5, 0.02, 0.3, 0.13]])).repeat(2, 1)
    drawn = (np.arange(4000) + 0.5) / 4000
    found = [int(next_tokens(logits, [1], drawn[place : place + 1], Sampling(top_p=0.9))[0]) for place in range(4000)]
    shares = np.bincount(found, minlength=5) / 4000
    np.testing.assert_allclose(shares, np.array([0, 0.5, 0, 0.3, 0.13]) / 0.93, atol=1e-3)


def test_a_flat_distribution_is_looked_at_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 3000)).astype(np.float32) * np.array([[0.1], [8], [1]], dtype=np.float32)
    for number in rng.random(20):
        found = next_tokens(torch.from_numpy(logits), [0, 1, 2], np.full(3, number), Sampling())
        assert found.tolist() == [_plain_draw(row.astype(np.float64), number, Sampling()) for row in logits]


def _babble(folder: Path, likely: dict[str, float], **given: Any) -> list[list[Written]]:
    named = babbling_coca(folder / "-".join(likely), likely)
    spec = EncoderSpec("coca", "", named, batch_size=6, threads=1, device="cpu")
    return _coca(spec, **given).open()(_asked(4))


def test_a_text_is_cut_at_its_end_then_at_its_first_full_stop(tmp_path: Path) -> None:
    stopped = _babble(tmp_path, {"dog": 1, "cat": 1, ".": 2}, min_tokens=1)
    texts = [str(text) for row in stopped for text in row]
    assert all(set(text.split()) <= {"dog", "cat"} and text == text.strip() for text in texts)
    assert len({len(text.split()) for text in texts}) > 2
    ended = [str(text) for row in _babble(tmp_path, {"dog": 1, "": 1}, min_tokens=4) for text in row]
    assert all(set(text.split()) == {"dog"} for text in ended)
    assert min(len(text.split()) for text in ended) == 3, "no end before there are min_tokens, the start token included"
    paused = [str(text) for row in _babble(tmp_path, {"dog": 1, "<pad>": 1}, min_tokens=4) for text in row]
    assert {len(text.split()) for text in paused} > {0, 1}, "the token that pads ends a text as well"
    assert not any("!" in text for text in paused)


def test_a_text_that_never_ends_is_cut_at_the_limit_and_dropped_as_unfinished_unless_it_is_kept(tmp_path: Path) -> None:
    endless = _babble(tmp_path, {"dog": 1, "cat": 1}, unfinished="drop")
    assert {written.reason for row in endless for written in row if isinstance(written, Unwritten)} == {"unfinished"}
    kept = _babble(tmp_path, {"dog": 1, "cat": 1}, unfinished="keep")
    assert {len(str(text).split()) for row in kept for text in row} == {12}, "14 with those that start and end it"


def test_what_is_unfinished_is_asked_for_again_and_counted(tmp_path: Path) -> None:
    likely = {word: 1.0 for word in ("dog", "cat", "man", "tree", "boat")} | {".": 0.6}
    spec = EncoderSpec("coca", "", babbling_coca(tmp_path / "coca", likely), batch_size=6, threads=1, device="cpu")
    answers = ask(_coca(spec, unfinished="drop").open(), _asked(4), Rules(), tries=4)
    dropped = sum((answer.dropped for answer in answers), start=type(answers[0].dropped)())
    assert dropped["unfinished"] > 0
    assert sum(len(answer.texts) for answer in answers) > sum(answer.again == 0 for answer in answers)
    assert sum(answer.again for answer in answers) >= dropped["unfinished"] - 12


def test_a_picture_that_cannot_be_read_has_a_reason_and_changes_no_other(spec: EncoderSpec) -> None:
    write, asked = _coca(spec, max_tokens=8).open(), _asked(3)
    bad = Asked("bad", jpeg()[:300], (0, 1))
    found = write([*asked[:1], bad, *asked[1:]])
    assert [written.reason for written in found[1] if isinstance(written, Unwritten)] == ["image_unreadable"] * 2
    assert [found[0], *found[2:]] == write(asked)


def test_half_precision_writes_captions_of_its_own_record(spec: EncoderSpec) -> None:
    coca = _coca(replace(spec, precision="bf16"), max_tokens=8)
    asked = _asked(2)
    assert coca.open()(asked) == coca.open()(asked)
    assert coca.record().sampling["precision"] == "bf16"


def test_a_record_says_all_that_captions_depend_on(spec: EncoderSpec) -> None:
    record = _coca(spec).record()
    assert (record.kind, record.model, record.license) == ("coca", "tiny", "mit")
    assert record.weights_sha256 == open_encoder(spec).record.weights_sha256
    assert record.sampling == {
        **{"top_p": 0.9, "temperature": 1.0, "max_tokens": 14, "min_tokens": 5, "unfinished": "keep"},
        **{"precision": "fp32", "batch_size": 6, "threads": 1},
    }
    assert "uid" in record.seed_rule


def test_a_model_that_cannot_write_is_refused(spec: EncoderSpec, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a CoCa, found CLIP"):
        _coca(tiny_spec(tmp_path)).open()
    with pytest.raises(ModelError, match="max_tokens up to 24"):
        _coca(spec, max_tokens=25).open()
    with pytest.raises(ModelError, match="text tower of open_clip's own"):
        _coca(coca_spec(tmp_path, text_cfg={"no_causal_mask": True})).open()
