"""Features for every place of an image from a two-tower model that was trained on whole images."""

from __future__ import annotations

import math
from collections.abc import Iterable
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


def own_features(clip: ClipPair, images: Tensor) -> Tensor:
    """`dense_features` in the mode that the tower was made for: the embedded world's was trained on its tokens."""
    return dense_features(clip, images, "tokens" if clip.name == "world" else "maskclip")


def vit_features(visual: Any, images: Tensor, mode: str, weights: Tensor | None = None) -> Tensor:
    """`dense_features` of an open_clip `VisionTransformer`, with its learned positions where it has any.

    Args:
        weights: (B, 1 + h w), one factor per token for the value that the last block reads, class token
            first (DeOP's patch severance); not with mode "tokens".
    """
    if visual.attn_pool is not None or visual.final_ln_after_pool:
        raise UserError("dense features need a ViT without attention pooling", where=type(visual).__name__)
    x, (h, w) = embed(visual, images)
    blocks = visual.transformer.resblocks
    first = visual.transformer.batch_first
    for i, block in enumerate(blocks):
        learned = learned_positions(block, (h, w))
        x = x if learned is None else x + learned
        x = x if first else x.transpose(0, 1)
        if mode == "tokens" or i + 1 < len(blocks):
            x = block(x)
        else:
            factors = None if weights is None else (weights if first else weights.T)
            x = value_path(block, x, residual=mode == "maskclip", weights=factors)
        x = x if first else x.transpose(0, 1)
    x = visual.ln_post(x[:, 1:])
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
    learned = learned_positions(visual, (h, w))
    # Towers with learned positions come from codes that compare numbers of places, not their layout.
    table, grid = visual.positional_embedding, visual.grid_size
    same = len(table) == x.shape[1] + 1 and learned is not None
    x = torch.cat([start, x], dim=1) + (table if same else resize_positions(table, grid, (h, w)))
    tokens: Tensor = visual.ln_pre(x if learned is None else x + learned)
    return tokens, (h, w)


def add_learned_positions(visual: Any, blocks: Iterable[int], grid: tuple[int, int]) -> None:
    """Give an open_clip ViT further position tables, `learned_position` (1 + h w, D), in place.

    One is added before the first norm, beside the tower's own table; one to the input of each block named.
    Names: `visual.learned_position`, `visual.transformer.resblocks.N.learned_position` (DeOP).

    Raises:
        UserError: a block that the tower does not have.
    """
    count = len(visual.transformer.resblocks)
    for index in (chosen := sorted(set(blocks))):
        if not 0 <= index < count:
            raise UserError(
                f"the tower has blocks 0 to {count - 1}; there are no positions for block {index}"
            )
    width = int(visual.class_embedding.shape[0])
    for module in (visual, *(visual.transformer.resblocks[i] for i in chosen)):
        table = torch.randn(1 + grid[0] * grid[1], width) / math.sqrt(width)
        module.learned_position = nn.Parameter(table)
        module.learned_grid = grid


def learned_positions(module: Any, size: tuple[int, int]) -> Tensor | None:
    """The learned position table of a tower or block for a grid, (1 + h w, D); None where there is none.

    A table with as many places as the grid has cells is taken as it is, whatever the grid's layout: DeOP's
    code (third_party/CLIP/clip/model.py) compares the numbers only.
    """
    table: Tensor | None = getattr(module, "learned_position", None)
    if table is None or len(table) == 1 + size[0] * size[1]:
        return table
    return resize_positions(table, module.learned_grid, size)


def resize_positions(table: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Position table (1 + h0 w0, D), class slot first, for a grid of another size: (1 + h w, D)."""
    if tuple(grid) == tuple(size):
        return table
    places = table[1:].T.reshape(1, -1, *grid)
    places = F.interpolate(places, size, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], places[0].flatten(1).T], dim=0)


def value_path(block: Any, x: Tensor, *, residual: bool, weights: Tensor | None = None) -> Tensor:
    """A transformer block in which every token attends to itself alone; any token layout (..., D).

    Args:
        residual: off leaves out the shortcut and the MLP.
        weights: (...) factor of each token's value, before the output projection.
    """
    attention: nn.MultiheadAttention | None = getattr(block, "attn", None)
    if not isinstance(attention, nn.MultiheadAttention):
        raise UserError(
            "this tower's attention has extra parts that the value path does not cover",
            hint="use mode=tokens, or a model with open_clip's default blocks",
        )
    width = x.shape[-1]
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    own = F.linear(block.ln_1(x), weight, bias)
    value: Tensor = attention.out_proj(own if weights is None else own * weights[..., None])
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
