"""A trained head and its encoder as one open_clip model, which others load as `local-dir:FOLDER`."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfndr import storage
from dfndr.errors import ModelError, UsageError
from dfndr.heads.folding import folded
from dfndr.heads.sides import Side
from dfndr.models import EncoderSpec, load_model, weights_sha256
from dfndr.querying import encoder_of

if TYPE_CHECKING:
    import torch

    from dfndr.dataset import Dataset
    from dfndr.encoder import Encoder
    from dfndr.heads.model import Head

__all__ = ["TOLERANCE", "ExportedHead", "export_head"]

TOLERANCE = 1e-4
_CONFIG, _WEIGHTS, _RECORD = "open_clip_config.json", "open_clip_model.safetensors", "exported.json"
_CHECKED = 32


@dataclass(frozen=True)
class ExportedHead:
    """What was written: the vectors' length, and by how much any number of any checked vector is another.

    Checked are pictures of noise and texts of the dataset, against the head on the vectors of its encoder in float32.
    """

    encoder: str
    encoder_sha256: str
    dataset: str
    dim: int
    logit_scale: float
    logit_bias: float | None
    license: str
    weights_sha256: str
    image_difference: float
    text_difference: float

    def to_json(self) -> dict[str, object]:
        """Return a JSON object of the same fields."""
        return asdict(self)


def export_head(
    head: Head | str | os.PathLike[str],
    dataset: Dataset,
    out: str | os.PathLike[str],
    *,
    pretrained: str | None = None,
) -> ExportedHead:
    """Fold a linear head into the encoder whose vectors it was trained on, and write the model to a local folder.

    `dataset` is one that has the head's spaces: the encoder is loaded from where its record says, or from `pretrained`,
    and other weights are refused. The model's unit vectors are those that the head makes of the encoder's, held to
    within `TOLERANCE`; scale and bias are the head's. Raises UsageError for a head that cannot be folded and for a
    folder that holds something else, ModelError for weights that do not fit or a check that fails.
    """
    from dfndr.heads.model import Head

    head = head if isinstance(head, Head) else Head.load(head)
    root = os.fspath(out)
    _check_place(root)
    encoder = _encoder(head, dataset, pretrained)
    model, _, tokenizer = load_model(encoder.spec)
    weights, config = folded(model.state_dict(), _config_of(encoder.spec), head)
    with tempfile.TemporaryDirectory() as folder:
        _write(folder, model, tokenizer, weights, config)
        differences = _differences(head.cpu(), (model, tokenizer), folder, _texts(dataset))
        record = encoder.record
        told = ExportedHead(
            record.name,
            record.weights_sha256,
            dataset.digest,
            head.dim,
            float(head.log_scale.detach().exp()),
            float(head.bias.detach()) if head.loss == "siglip" else None,
            record.license,
            weights_sha256(weights),
            *differences,
        )
        if not max(differences) < TOLERANCE:
            do = "Please report it with the encoder's name; keep the encoder and use the head after it."
            found = f"one of {max(differences):.2g}"
            raise ModelError(record.model, expected=f"a difference below {TOLERANCE:g}", found=found, do=do)
        storage.put(root, _RECORD, json.dumps(told.to_json(), indent=1).encode() + b"\n")
        for file in sorted(storage.list_files(folder), key=lambda name: (name == _CONFIG, name)):
            storage.put(root, file, Path(folder, file).read_bytes())
    return told


def _check_place(out: str) -> None:
    """Raise UsageError where `out` is a file or holds something that was not exported from a head."""
    there = [out] if storage.exists(out) and not storage.is_folder(out) else storage.list_files(out)
    if there and _RECORD not in there:
        expected = "a new folder, or one with an exported head"
        raise UsageError(out, expected=expected, found=f"{there[0]!r}", do="Choose another folder.")


def _encoder(head: Head, dataset: Dataset, pretrained: str | None) -> Encoder:
    """Return the one encoder whose images and texts the head was trained on."""
    if head.origin is None:
        do = "Train it with dfndr train-head."
        raise UsageError("head", expected="one that says where it was trained", found="none", do=do)
    sides = [Side.of(dataset, name) for name in (head.origin.image, *head.origin.text)]
    encoders = sorted({encoder for side in sides for encoder in side.encoders})
    if len(encoders) != 1 or len(sides[0].spaces) != 1:
        do = "Keep the encoders and use the head after them: no open_clip model has the towers of several."
        raise UsageError("head", expected="one on the vectors of one encoder", found=" and ".join(encoders), do=do)
    for side, dim in zip(sides, (head.image_dim, *[head.text_dim] * len(sides)), strict=False):
        if side.dim != dim:
            do = "Name the dataset that the head was trained on."
            raise UsageError(f"space {side.name}", expected=f"{dim} dimensions", found=f"{side.dim}", do=do)
    return encoder_of(dataset, sides[0].spaces[0], pretrained=pretrained, device="cpu")


def _config_of(spec: EncoderSpec) -> dict[str, Any]:
    import open_clip

    if spec.pretrained.startswith(("hf-hub:", "local-dir:")):
        found = open_clip.get_model_config(spec.pretrained)
    elif spec.model.endswith(".json"):
        found = json.loads(Path(spec.model).read_bytes())
    else:
        found = open_clip.get_model_config(spec.model)
    return dict(found)


def _write(
    folder: str,
    model: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    weights: dict[str, torch.Tensor],
    config: dict[str, Any],
) -> None:
    """Write the files as open_clip publishes them."""
    from open_clip.push_to_hf_hub import save_config_for_hf
    from safetensors.torch import save

    Path(folder, _WEIGHTS).write_bytes(save(weights))
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(folder)
    save_config_for_hf(model, Path(folder, _CONFIG), config)


def _texts(dataset: Dataset) -> list[str]:
    """Return some texts of the dataset, to check by."""
    first = next((number for number, shard in enumerate(dataset.shards) if shard.rows), None)
    given = [] if first is None else dataset.table(first, ["text"])["text"][:_CHECKED].to_pylist()
    return [text for text in given if text] or ["a photo"]


def _differences(head: Head, own: tuple[Any, Any], folder: str, texts: list[str]) -> tuple[float, float]:
    """Return the largest difference of the written model's vectors of images and of texts from the head's."""
    import torch

    place = f"local-dir:{folder}"
    made, _, made_tokenizer = load_model(EncoderSpec("exported", place, place, device="cpu"))
    model, tokenizer = copy.deepcopy(own[0]).float().eval(), own[1]
    expected, found = (json.dumps(each.visual.preprocess_cfg, sort_keys=True) for each in (model, made))
    if found != expected:
        do = "Please report it with the encoder's name."
        raise ModelError("preprocessing", expected=expected, found=found, do=do)
    size = model.visual.preprocess_cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    pictures = torch.randn(_CHECKED, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        of_image = head.encode_image(model.encode_image(pictures, normalize=True))
        of_text = head.encode_text(model.encode_text(tokenizer(texts), normalize=True))
        made = made.eval()
        image = made.encode_image(pictures, normalize=True) - of_image
        text = made.encode_text(made_tokenizer(texts), normalize=True) - of_text
    return float(image.abs().max()), float(text.abs().max())
