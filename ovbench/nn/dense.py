"""Features for every place of an image from a two-tower model that was trained on whole images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError, unknown

from .clip import ClipPair

MODES = ("tokens", "maskclip", "value-only")
"""How the last block is read:

- "tokens": as it is; right for models trained on local similarities, such as the world's.
- "maskclip": attention replaced by the value and output projections, residual and MLP kept: what the
  released ViT code of MaskCLIP computes, and OV2VSS after it. For ResNets: value and output projections of
  the attention pooling, applied at every place.
- "value-only": the same without residual and MLP.
"""


def dense_features(clip: ClipPair, images: Tensor, mode: str = "maskclip") -> Tensor:
    """Features in the text space for every cell of the tower's grid.

    Args:
        images: (B, 3, H, W) float32, normalised; H and W are cut to multiples of the patch by the stem.
        mode: one of `MODES`.

    Returns:
        (B, E, h, w), not normalised. The class token is dropped; position tables of another grid are
        interpolated bicubically.

    Raises:
        UserError: an unknown mode, or one the tower does not know.
    """
    if mode not in MODES:
        raise unknown("dense mode", mode, MODES)
    visual = clip.model.visual
    if hasattr(visual, "attnpool"):
        return _resnet_features(visual, images, mode)
    return vit_features(visual, images, mode)


def vit_features(visual: Any, images: Tensor, mode: str) -> Tensor:
    """`dense_features` of an open_clip `VisionTransformer`."""
    if visual.attn_pool is not None or visual.final_ln_after_pool:
        raise UserError("dense features need a ViT without attention pooling", where=type(visual).__name__)
    x, (h, w) = embed(visual, images)
    blocks = visual.transformer.resblocks
    first = visual.transformer.batch_first
    x = x if first else x.transpose(0, 1)
    for block in blocks[: len(blocks) if mode == "tokens" else -1]:
        x = block(x)
    if mode != "tokens":
        x = value_path(blocks[-1], x, residual=mode == "maskclip")
    x = (x if first else x.transpose(0, 1))[:, 1:]
    x = visual.ln_post(x)
    if visual.proj is not None:
        x = x @ visual.proj
    out: Tensor = x.transpose(1, 2).reshape(x.shape[0], -1, h, w)
    return out


def embed(visual: Any, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """(B, 3, H, W) -> tokens before the first block (B, 1 + h w, D), class token first, and (h, w)."""
    x = visual.conv1(images)
    h, w = int(x.shape[-2]), int(x.shape[-1])
    x = x.flatten(2).transpose(1, 2)
    start = visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
    x = torch.cat([start, x], dim=1) + resize_positions(visual.positional_embedding, visual.grid_size, (h, w))
    tokens: Tensor = visual.ln_pre(x)
    return tokens, (h, w)


def resize_positions(table: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Position table (1 + h0 w0, D), class slot first, for a grid of another size: (1 + h w, D)."""
    if tuple(grid) == tuple(size):
        return table
    places = table[1:].T.reshape(1, -1, *grid)
    places = F.interpolate(places, size, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], places[0].flatten(1).T], dim=0)


def value_path(block: Any, x: Tensor, *, residual: bool) -> Tensor:
    """A transformer block in which every token attends to itself alone; any token layout (..., D)."""
    attention: nn.MultiheadAttention | None = getattr(block, "attn", None)
    if not isinstance(attention, nn.MultiheadAttention):
        raise UserError(
            "this tower's attention has extra parts that the value path does not cover",
            hint="use mode=tokens, or a model with open_clip's default blocks",
        )
    width = x.shape[-1]
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    value: Tensor = attention.out_proj(F.linear(block.ln_1(x), weight, bias))
    if not residual:
        return value
    x = x + block.ls_1(value)
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def _resnet_features(visual: Any, images: Tensor, mode: str) -> Tensor:
    if mode != "maskclip":
        raise unknown("dense mode of a ResNet tower", mode, ["maskclip"])
    x = visual.stem(images)
    for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = stage(x)
    pool = visual.attnpool
    out: Tensor = pool.c_proj(pool.v_proj(x.movedim(1, -1))).movedim(-1, 1)
    return out
