"""How fast a CoCa writes captions here, beside computing a text anew for each of its tokens, as its forward does.

    python -m benchmarks.captions --pictures 4 --captions 5 --threads 1

The model is a small one of its own (224 px in patches of 16, width 256, six layers that see, three and three that
write) unless `--model` names one of open_clip, such as coca_ViT-L-14. Weights are random: they take as long as trained
ones, and no text ends early. Prints a line of JSON: captions and tokens for a second of CPU time (least, median,
largest), with keys and values kept, then the plain way, and how many times as fast the first is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 3}
SMALL = {
    "embed_dim": 256,
    "vision_cfg": {
        **{"image_size": 224, "layers": 6, "width": 256, "patch_size": 16, "attentional_pool": True},
        **{"attn_pooler_heads": 4, "output_tokens": True},
    },
    "text_cfg": {**_TEXT, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": _TEXT,
    "custom_text": True,
}


def main() -> None:
    """Measure, alternating, and print."""
    import torch
    from dfndr_builders.captions.coca_decoder import CocaDecoder

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="")
    for name, default in (("pictures", 4), ("captions", 5), ("tokens", 28), ("threads", 1), ("runs", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    model = _model(given.model)
    size = model.visual.image_size
    pictures = torch.randn(given.pictures, 3, *(size if isinstance(size, tuple) else (size, size)))
    rows = given.pictures * given.captions

    def kept() -> None:
        decoder = CocaDecoder(model, model.visual(pictures)[1], given.captions, given.tokens)
        last = torch.full((rows,), 49406)
        for _ in range(given.tokens):
            last = decoder.step(last).argmax(dim=-1)

    def plain() -> None:
        seen = [part.repeat_interleave(given.captions, 0) for part in model.visual(pictures)]
        tokens = torch.full((rows, 1), 49406)
        for _ in range(given.tokens):
            found = model(None, tokens, image_latent=seen[0], image_embs=seen[1], output_labels=False)["logits"]
            tokens = torch.cat([tokens, found[:, -1].argmax(dim=-1, keepdim=True)], dim=1)

    times: dict[str, list[float]] = {"kept": [], "plain": []}
    with torch.inference_mode():
        for _ in range(given.runs):
            for name, write in (("kept", kept), ("plain", plain)):
                times[name].append(_seconds(write))
    told: dict[str, object] = {**vars(given), "model": given.model or "small"}
    for name, seconds in times.items():
        told[name] = {
            "captions_per_s": _spread([rows / second for second in seconds]),
            "tokens_per_s": _spread([rows * given.tokens / second for second in seconds]),
        }
    told["ratio"] = _spread([plain / kept for kept, plain in zip(*times.values(), strict=True)])
    print(json.dumps(told))


def _model(name: str) -> Any:  # noqa: ANN401
    import open_clip
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small-coca.json"
        path.write_text(json.dumps(SMALL))
        open_clip.add_model_config(path)
    model = open_clip.create_model(name or path.stem, pretrained_text=False).eval()
    torch.nn.init.normal_(model.text_decoder.text_projection, std=0.02)  # open_clip leaves it as the memory was
    return model


def _seconds(write: Callable[[], None]) -> float:
    started = time.process_time()
    write()
    return time.process_time() - started


def _spread(values: list[float]) -> list[float]:
    """Return the least, the median and the largest."""
    return [round(value, 2) for value in (min(values), statistics.median(values), max(values))]


if __name__ == "__main__":
    main()
