"""A linear head as a part of the model whose vectors it maps: multiplied into the last matrix of each tower.

A head maps unit vectors and makes unit vectors again. As its map has no bias, it may as well take the vectors before
they are brought to length one, so that one matrix times the tower's own last one does both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dfndr.errors import UsageError

if TYPE_CHECKING:
    import torch

    from dfndr.heads.model import Head

__all__ = ["folded"]

_IMAGE = ("visual.proj", "visual.attnpool.c_proj.", "visual.head.proj.", "visual.head.mlp.fc2.")
_TEXT = (
    "text_projection",
    "text_projection.",
    "text.text_projection",
    "text.text_projection.",
    "text.proj.2.",
    "text.proj.",
)
"""Where open_clip's towers end: a matrix of shape (width, dim), or with a dot at its end a linear layer."""


def folded(
    state: Mapping[str, torch.Tensor], config: Mapping[str, Any], head: Head
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the weights and the config of a model whose vectors are those that the head makes of the given one's.

    They have the head's scale, and its bias where it was trained with one. Raises UsageError for a head that is not
    linear, and for a tower whose end is not known.
    """

    if head.kind != "linear":
        expected, do = "a linear head", "Train one with --kind linear, or keep the encoder and use the head after it."
        raise UsageError(
            "head", expected=expected, found=f"one of kind {head.kind}, which no matrix can stand for", do=do
        )
    changed = {**config, "embed_dim": head.dim}
    weights = {name: tensor.detach().cpu().float() for name, tensor in state.items()}
    for ends, side, what in ((_IMAGE, head.image, "image"), (_TEXT, head.text, "text")):
        matrix: torch.Tensor = side.weight.detach().cpu()
        if not _fold(weights, ends, matrix):
            _append(weights, changed, what, matrix)
    shape = weights["logit_scale"].shape
    weights["logit_scale"] = head.log_scale.detach().cpu().reshape(shape)
    weights.pop("logit_bias", None)
    changed.pop("init_logit_bias", None)
    if head.loss == "siglip":
        weights["logit_bias"] = head.bias.detach().cpu().reshape(shape)
        changed["init_logit_bias"] = float(head.bias.detach())
    return {name: tensor.contiguous() for name, tensor in weights.items()}, changed


def _fold(weights: dict[str, torch.Tensor], ends: tuple[str, ...], matrix: torch.Tensor) -> bool:
    """Multiply a head's matrix into the tower's last one, in float64; say whether there is one."""
    for end in ends:
        names = [f"{end}weight", f"{end}bias"] if end.endswith(".") else [end]
        if names[0] not in weights:
            continue
        for name in filter(weights.__contains__, names):
            own = weights[name].double()
            new = matrix.double() @ own if end.endswith(".") else own @ matrix.double().T
            weights[name] = new.float()
        return True
    return False


def _append(weights: dict[str, torch.Tensor], config: dict[str, Any], what: str, matrix: torch.Tensor) -> None:
    """Put a head's matrix behind a tower that has none at its end."""
    key = "vision_cfg" if what == "image" else "text_cfg"
    tower = dict(config[key])
    add = _ADDED.get((what, tower.get("timm_proj") or tower.get("proj_type") or ""))
    if add is None:
        do = "Keep the encoder and use the head after it."
        raise UsageError(f"{what} tower", expected="a last matrix to fold into", found="none that is known", do=do)
    name, change, laid = add
    weights[name], config[key] = laid(matrix).clone(), tower | change


_Added = tuple[str, dict[str, str], Callable[["torch.Tensor"], "torch.Tensor"]]
_ADDED: dict[tuple[str, str], _Added] = {
    ("image", "none"): ("visual.head.proj.weight", {"timm_proj": "linear"}, lambda matrix: matrix),
    ("text", "none"): ("text.text_projection", {"proj_type": "linear"}, lambda matrix: matrix.T),
}
"""By the `timm_proj` or `proj_type` of a tower without a projection: the new tensor, and what its config says then."""
