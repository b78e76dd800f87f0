"""The text side of an open_clip CoCa, a token at a time: what earlier tokens and the picture gave is kept.

Yu et al. 2022 (arXiv 2205.01917): a causal text tower, and on it a decoder whose layers look at the text so far and
then at the picture. Its own `forward` computes both anew for every token; here each layer keeps its keys and values,
and those of a picture are shared by all its captions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dfndr.errors import ModelError

if TYPE_CHECKING:
    import torch

__all__ = ["CocaDecoder", "require_coca"]


def require_coca(model: Any, tokenizer: Any, where: str, *, longest: int) -> None:  # noqa: ANN401  open_clip has no types
    """Raise ModelError for a model that is no CoCa, whose text side is not open_clip's own, or that is too short."""
    found = type(model).__name__
    if not hasattr(model, "text_decoder"):
        do = "Name a model such as coca_ViT-B-32, or one whose config has a multimodal_cfg."
        raise ModelError(where, expected="a CoCa", found=found, do=do)
    blocks = getattr(getattr(model.text, "transformer", None), "resblocks", [])
    is_plain = bool(len(blocks)) and all(type(block).__name__ == "ResidualAttentionBlock" for block in blocks)
    is_plain = is_plain and getattr(model.text, "attn_mask", None) is not None
    if not (is_plain and hasattr(tokenizer, "sot_token_id") and hasattr(tokenizer, "decoder")):
        do = "Take a CoCa whose text_cfg names no model of Hugging Face, and has no block_type."
        raise ModelError(where, expected="a CoCa with a text tower of open_clip's own", found=f"another {found}", do=do)
    if longest > model.context_length:
        expected = f"max_tokens up to {model.context_length}, which is all that the model knows"
        raise ModelError(where, expected=expected, found=str(longest), do="Ask for shorter captions.")


class CocaDecoder:
    """The state of some captions while they are written: `copies` of each picture, one token after the other."""

    def __init__(self, model: Any, image_tokens: torch.Tensor, copies: int, length: int) -> None:  # noqa: ANN401
        self._text, self._decoder = model.text, model.text_decoder
        rows = len(image_tokens) * copies
        self._copies, self._position = copies, 0
        self._tower = [_Past(block, rows, length) for block in self._text.transformer.resblocks]
        self._own = [_Past(block, rows, length) for block in self._decoder.resblocks]
        self._seen = [_keys_values(block, block.ln_1_kv(image_tokens)) for block in self._decoder.cross_attn]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Take the next token of every caption, shape (pictures x copies,), and return logits, (rows, vocabulary)."""
        text, decoder = self._text, self._decoder
        x = text.token_embedding(tokens).to(text.transformer.get_cast_dtype())
        x = x + text.positional_embedding[self._position].to(x.dtype)
        for past in self._tower:
            x = past.step(x, self._position)
        if text.cls_emb is None:
            x = text.ln_final(x)
        for past, block, seen in zip(self._own, decoder.cross_attn, self._seen, strict=True):
            x = past.step(x, self._position)
            x = _looking(block, x, seen, self._copies)
        self._position += 1
        return (decoder.ln_final(x) @ decoder.text_projection.to(x.dtype)).float()


class _Past:
    """A layer that looks at the text so far, with its keys and values, shape (rows, heads, length, head dim)."""

    def __init__(self, block: Any, rows: int, length: int) -> None:  # noqa: ANN401
        self._block = block
        self._shape = (rows, block.attn.num_heads, length, block.attn.head_dim)

    def step(self, x: torch.Tensor, position: int) -> torch.Tensor:
        """Take what one token gave in the layer below, shape (rows, width); return the same of this layer."""
        from torch.nn import functional

        attn = self._block.attn
        given = functional.linear(self._block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
        query, key, value = (part.unflatten(-1, (attn.num_heads, attn.head_dim)) for part in given.chunk(3, dim=-1))
        if position == 0:
            self._keys, self._values = key.new_zeros(self._shape), value.new_zeros(self._shape)
        self._keys[:, :, position], self._values[:, :, position] = key, value
        stop = position + 1
        found = functional.scaled_dot_product_attention(
            query.unsqueeze(2), self._keys[:, :, :stop], self._values[:, :, :stop]
        )
        return _after(self._block, x, found.flatten(1))


def _keys_values(block: Any, image_tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
    """Return keys and values of pictures in a layer, each of shape (pictures, heads, tokens, head dim)."""
    from torch.nn import functional

    attn = block.attn
    weight, bias = attn.in_proj_weight.chunk(3)[1:], attn.in_proj_bias.chunk(3)[1:]
    given = (functional.linear(image_tokens, *part) for part in zip(weight, bias, strict=True))
    keys, values = (part.unflatten(-1, (attn.num_heads, attn.head_dim)).transpose(1, 2) for part in given)
    return keys, values


def _looking(
    block: Any,  # noqa: ANN401
    x: torch.Tensor,
    seen: tuple[torch.Tensor, torch.Tensor],
    copies: int,
) -> torch.Tensor:
    """Let each caption look at its picture: the captions of one picture are so many queries to the same keys."""
    from torch.nn import functional

    attn = block.attn
    query = functional.linear(block.ln_1(x), attn.in_proj_weight.chunk(3)[0], attn.in_proj_bias.chunk(3)[0])
    query = query.view(-1, copies, attn.num_heads, attn.head_dim).transpose(1, 2)
    found = functional.scaled_dot_product_attention(query, *seen)
    return _after(block, x, found.transpose(1, 2).reshape(x.shape))


def _after(block: Any, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    x = x + block.ls_1(block.attn.out_proj(attended))
    after: torch.Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return after
