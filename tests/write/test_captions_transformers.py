"""Captions by models of Transformers: made here, saved, loaded; those of a slow reference, the same in any batch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dfndr_builders.captions.captioner import Asked, Unwritten, caption_seed
from dfndr_builders.captions.image_to_text import ImageToText, Source
from dfndr_builders.captions.sampling import Sampling, next_tokens, uniforms
from support.image_to_text import WORDS, blip, encoder_decoder
from support.pairs import glyph_table, jpeg

from dfndr.errors import ModelError
from dfndr.images import decode


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng(devices=[]):
        return {"vit-gpt2": encoder_decoder(base / "vit-gpt2"), "blip": blip(base / "blip")}


def _captioner(folder: Path, *, copies: int = 3, prompt: str = "", **sampling: float) -> ImageToText:
    drawn = Sampling(**{"max_tokens": 8, "min_tokens": 2, "top_p": 0.95, **sampling})
    return ImageToText("hf", Source(str(folder)), "tiny", "mit", prompt, 5, copies, drawn, "keep", 1, "cpu")


def _asked(count: int) -> list[Asked]:
    return [Asked(row["uid"], row["image"], (0, 1, 2)) for row in glyph_table(count).to_pylist()]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.0}])
def test_captions_are_those_of_a_slow_reference(folders: dict[str, Path], sampling: dict[str, float]) -> None:
    import transformers as hf

    captioner = _captioner(folders["vit-gpt2"], **sampling)
    model = hf.VisionEncoderDecoderModel.from_pretrained(folders["vit-gpt2"]).eval()
    images = hf.AutoImageProcessor.from_pretrained(folders["vit-gpt2"])
    found = captioner.open()(_asked(3))
    for one, texts in zip(_asked(3), found, strict=True):
        pixels = images(images=decode(one.image), return_tensors="pt").pixel_values
        for number, text in zip(one.numbers, texts, strict=True):
            drawn = uniforms([caption_seed(5, "hf", one, number)], 8)[0]
            tokens = [1]
            while len(tokens) < 9 and (tokens[-1] != 2 or len(tokens) == 1):
                with torch.inference_mode():
                    logits = model(pixels, decoder_input_ids=torch.tensor([tokens])).logits[:, -1].float().numpy()
                logits = torch.from_numpy(logits.copy())
                if len(tokens) <= 2:
                    logits[:, 2] = -torch.inf
                place = len(tokens) - 1
                tokens.append(int(next_tokens(logits, [0], drawn[place : place + 1], captioner.sampling)[0]))
            words = [WORDS[token] for token in tokens[1:] if token > 3]
            assert text == " ".join(words)


@pytest.mark.parametrize("kind", ["vit-gpt2", "blip"])
def test_captions_depend_on_neither_the_batch_nor_the_other_captions(folders: dict[str, Path], kind: str) -> None:
    write, asked = _captioner(folders[kind]).open(), _asked(4)
    whole = write(asked)
    torch.manual_seed(123)
    assert write(asked[::-1]) == whole[::-1]
    alone = [[write([Asked(one.uid, one.image, (number,))])[0][0] for number in one.numbers] for one in asked]
    assert alone == whole
    assert len({text for row in whole for text in row}) > 6
    assert write([Asked(one.uid, one.image, (0, 1, 2), attempt=1) for one in asked]) != whole


def test_a_prompt_is_what_a_text_goes_on_from_and_stands_in_the_record(folders: dict[str, Path]) -> None:
    plain, prompted = _captioner(folders["blip"]), _captioner(folders["blip"], prompt="a picture of")
    assert plain.open()(_asked(2)) != prompted.open()(_asked(2))
    record = prompted.record()
    assert (record.kind, record.prompt, record.revision) == ("transformers", "a picture of", "")
    assert len(record.weights_sha256) == 64 != record.weights_sha256 == plain.record().weights_sha256
    assert "BlipForConditionalGeneration" in record.model


def test_what_does_not_end_is_unfinished_and_what_cannot_be_read_has_a_reason(folders: dict[str, Path]) -> None:
    write = replace(_captioner(folders["vit-gpt2"], max_tokens=3), unfinished="drop").open()
    written = [text for row in write(_asked(6)) for text in row]
    reasons = {text.reason for text in written if isinstance(text, Unwritten)}
    assert reasons == {"unfinished"}
    (bad,) = write([Asked("bad", jpeg()[:200], (0, 1))])
    assert [text.reason for text in bad if isinstance(text, Unwritten)] == ["image_unreadable"] * 2


def test_a_model_that_cannot_be_loaded_or_asked_so_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a model that loads"):
        _captioner(tmp_path).open()
    with pytest.raises(ModelError, match="takes none"):
        _captioner(folders["vit-gpt2"], prompt="a picture of").open()


def test_weights_as_a_pickle_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for path in folders["blip"].iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(ModelError, match="a model that loads"):
        _captioner(tmp_path).open()
