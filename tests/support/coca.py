"""CoCa models small enough to make in a moment, as folders that open_clip loads."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dfndr.models import EncoderSpec

COCA_CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16,
        "attentional_pool": True, "attn_pooler_queries": 6, "attn_pooler_heads": 2, "output_tokens": True,
    },
    "text_cfg": {
        "context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2,
        "embed_cls": True, "output_tokens": True,
    },
    "multimodal_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    "custom_text": True,
}  # fmt: skip
PREPROCESS = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}


def coca_config(folder: Path, **changed: Mapping[str, object]) -> Path:
    """Write the config of a tiny CoCa; `changed` replaces keys of its parts."""
    config = {key: {**value, **changed.get(key, {})} if key in changed else value for key, value in COCA_CONFIG.items()}
    text = json.dumps(config)
    path = folder / f"coca-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    path.write_text(text)
    return path


def coca_spec(folder: Path, *, seed: int = 0, **changed: Any) -> EncoderSpec:
    """Return the spec of a tiny CoCa with random weights; its parts may be changed, and the spec itself."""
    options = {key: changed.pop(key) for key in ("precision", "batch_size") if key in changed}
    given = {"batch_size": 6, "threads": 1, "device": "cpu", "license": "mit", **options}
    path = coca_config(folder, **changed)
    return EncoderSpec("coca", "", _saved(folder / f"{path.stem}-{seed}", path, seed, None), **given)


def babbling_coca(folder: Path, likely: Mapping[str, float], *, seed: int = 0) -> str:
    """Write a CoCa that always draws from some words by their weights, whatever it sees; return its `local-dir:`.

    "" stands for the end of a text, "<pad>" for the token that pads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _saved(folder, coca_config(folder), seed, likely)


def _saved(folder: Path, config: Path, seed: int, likely: Mapping[str, float] | None) -> str:
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    open_clip.add_model_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(config.stem, pretrained_text=False)
        decoder = model.text_decoder
        torch.nn.init.normal_(decoder.text_projection)  # open_clip leaves it as the memory was
    if likely is not None:
        with torch.no_grad():
            decoder.ln_final.weight.zero_()
            decoder.ln_final.bias.copy_(torch.eye(len(decoder.ln_final.bias))[0])
            decoder.text_projection[0] = -100.0
            for word, weight in likely.items():
                decoder.text_projection[0, token_of(word)] = float(torch.tensor(weight).log())
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    told = {"model_cfg": json.loads(config.read_text()), "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    return f"local-dir:{folder}"


@cache
def _tokenizer() -> Any:
    import open_clip

    return open_clip.get_tokenizer("ViT-B-32")


def token_of(word: str) -> int:
    """Return the token of a word that is one; "" is the end of a text, and "<pad>" the token that pads."""
    if word in ("", "<pad>"):
        return 0 if word else int(_tokenizer().eot_token_id)
    (token,) = _tokenizer().encode(word)
    return int(token)
