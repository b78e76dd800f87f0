"""Image-to-text models of Transformers small enough to make in a moment, as folders that the library loads."""

from pathlib import Path
from typing import Any

__all__ = ["WORDS", "blip", "encoder_decoder"]

_SPOKEN = "a dog cat man tree boat red old on in the of picture two"
WORDS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", *_SPOKEN.split()]


def _tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    names = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **names)


def encoder_decoder(folder: Path) -> Path:
    """Save a ViT that a GPT-2 looks at; return the folder."""
    import torch
    import transformers as hf

    vit = hf.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    gpt = hf.GPT2Config(vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, **ids)
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vit, gpt)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    torch.manual_seed(0)
    model = hf.VisionEncoderDecoderModel(config=config)
    model.generation_config = hf.GenerationConfig(decoder_start_token_id=1, pad_token_id=0, eos_token_id=2)
    return _saved(folder, model, hf.ViTImageProcessor(size={"height": 32, "width": 32}), _tokenizer())


def blip(folder: Path) -> Path:
    """Save a BLIP; return the folder."""
    import torch
    import transformers as hf

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 0}
    text = {**small, **ids, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 32}
    config = hf.BlipConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 8})
    torch.manual_seed(0)
    size = {"height": 32, "width": 32}
    processor = hf.BlipProcessor(hf.BlipImageProcessor(size=size), _tokenizer())
    return _saved(folder, hf.BlipForConditionalGeneration(config), processor)


def _saved(folder: Path, model: Any, *parts: Any) -> Path:
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.5)
    for part in (model, *parts):
        part.save_pretrained(folder)
    return folder
