"""The image vector of a two-tower model, without what never reaches it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dense import embed


def encode_images(model: Any, images: Tensor) -> Tensor:
    """The same as `model.encode_image`, to rounding.

    A ViT whose class token is the result has no use for the other tokens after its last attention: the last
    block is computed for the class token alone, which saves about 7 % of a ViT-B.

    Args:
        images: (B, 3, H, W) float32, normalised, of the tower's size.

    Returns:
        (B, E), not normalised.
    """
    visual = model.visual
    if not _class_token(visual):
        whole: Tensor = model.encode_image(images)
        return whole
    x, _ = embed(visual, images)
    for block in visual.transformer.resblocks[:-1]:
        x = block(x)
    out: Tensor = visual.ln_post(first_token(visual.transformer.resblocks[-1], x))
    return out if visual.proj is None else out @ visual.proj


def first_token(block: Any, x: Tensor) -> Tensor:
    """What a transformer block makes of the first token: (B, N, D) -> (B, D)."""
    attention: nn.MultiheadAttention = block.attn
    width, heads = x.shape[-1], attention.num_heads
    y = block.ln_1(x)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = F.linear(y[:, :1], weight[:width], bias[:width])
    key, value = F.linear(y, weight[width:], bias[width:]).chunk(2, dim=-1)
    query, key, value = (t.reshape(*t.shape[:2], heads, -1).transpose(1, 2) for t in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    x = x[:, 0] + block.ls_1(attention.out_proj(mixed)[:, 0])
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def _class_token(visual: Any) -> bool:
    """Whether a tower is a plain open_clip ViT that ends in its class token."""
    if getattr(visual, "attn_pool", 0) is not None or getattr(visual, "pool_type", "") != "tok":
        return False
    blocks = visual.transformer.resblocks
    plain = isinstance(getattr(blocks[-1], "attn", None), nn.MultiheadAttention)
    return plain and bool(visual.transformer.batch_first) and not torch.is_grad_enabled()
