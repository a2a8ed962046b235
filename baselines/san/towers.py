"""CLIP in three parts under SAN's names: blocks that only look, blocks that name proposals, the text tower.

The parameters are those of the two towers, under other names; nothing is held twice.
Source: MendelXu/SAN, san/model/clip_utils/.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.nn.clip import ClipPair
from ovbench.nn.dense import embed

from .side import as_map

_FAR = -100.0
"""Added where a token should not look; finite, as officially: where all are far, the nearest still counts."""


class Extractor(nn.Module):
    """The image tower's first blocks: `class_embedding`, `positional_embedding`, `conv1`, `ln_pre`, `resblocks`."""

    def __init__(self, visual: Any, blocks: int) -> None:
        super().__init__()
        self._visual = [visual]  # in a list: not a submodule
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.conv1, self.ln_pre = visual.conv1, visual.ln_pre
        self.resblocks = nn.ModuleList(visual.transformer.resblocks[:blocks])

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, 3, H, W) -> maps (B, D, h, w) before the first block and after each; class tokens (B, 1, D)."""
        x, size = embed(self._visual[0], images)
        maps = [as_map(x[:, 1:], size)]
        for block in self.resblocks:
            x = run_block(block, x)
            maps.append(as_map(x[:, 1:], size))
        return maps, x[:, :1]


class RecognitionHead(nn.Module):
    """The image tower's last blocks with one more token per proposal: `resblocks`, `ln_post`, `proj`.

    Args:
        blocks: how many of the tower's blocks have run before.
        pooled: for towers whose vector is a mean over places: see `pool`.
    """

    def __init__(self, visual: Any, blocks: int, pooled: bool) -> None:
        super().__init__()
        self.proj = visual.proj
        self.resblocks = nn.ModuleList(visual.transformer.resblocks[blocks:])
        self.ln_post = visual.ln_post
        self.pooled = pooled

    def forward(self, places: Tensor, start: Tensor, bias: Tensor, masks: Tensor) -> Tensor:
        """Vectors of proposals.

        Args:
            places: (B, D, h, w), the map behind the blocks that have run.
            start: (B, 1, D) class token there.
            bias: (B, heads, Q, H, W) attention bias on the side network's grid.
            masks: (B, Q, H, W) logits on the same grid, for `pool` alone.

        Returns:
            (B, Q, E) unit vectors.
        """
        size = places.shape[-2:]
        tokens = torch.cat([start, places.flatten(2).transpose(1, 2)], dim=1)
        if self.pooled:
            found = self.pool(tokens, _largest(bias.mean(1) + F.logsigmoid(masks), size))
        else:
            near = _largest(bias.flatten(0, 1), size).reshape(*bias.shape[:3], -1)
            found = self.ln_post(self.attend(tokens, near)) @ self.proj
        return F.normalize(found, dim=-1)

    def attend(self, tokens: Tensor, near: Tensor) -> Tensor:
        """(B, 1 + hw, D), class token first, and (B, heads, Q, hw) -> (B, Q, D) tokens of proposals.

        They start as copies of the class token. In the last block nothing but them is computed.
        """
        count = near.shape[2]
        x = torch.cat([tokens[:, :1].expand(-1, count, -1), tokens], dim=1)
        mask = proposal_mask(near)
        for block in self.resblocks[:-1]:
            x = run_block(block, x, mask)
        return run_block(self.resblocks[-1], x, mask, count)

    def pool(self, tokens: Tensor, near: Tensor) -> Tensor:
        """(B, 1 + hw, D) and (B, Q, hw) -> (B, Q, E) means of local vectors (not official).

        A tower that averages its places has no class token to copy. This is its mean, with the places weighted
        by the softmax of `near`: the bias, mean over heads, and the log of the mask.
        """
        for block in self.resblocks:
            tokens = run_block(block, tokens)
        local = self.ln_post(tokens[:, 1:]) @ self.proj
        out: Tensor = near.softmax(-1) @ local
        return out


class Classifier(nn.Module):
    """The text tower under SAN's names, and the vector of the background, `bg_embed`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.positional_embedding, self.text_projection = model.positional_embedding, model.text_projection
        self.logit_scale = model.logit_scale
        self.transformer, self.token_embedding = model.transformer, model.token_embedding
        self.ln_final = model.ln_final
        width, outputs = model.text_projection.shape
        self.bg_embed = nn.Parameter(torch.randn(1, outputs) / width**0.5)
        if model.attn_mask is not None:
            self.register_buffer("attn_mask", model.attn_mask)

    def forward(self, vectors: Tensor, text: Tensor) -> Tensor:
        """(..., E) and (K, E), unit vectors both -> (..., K + 1) logits, the background last."""
        rows = torch.cat([text, F.normalize(self.bg_embed, dim=-1)])
        out: Tensor = self.logit_scale.exp() * vectors @ rows.T
        return out


def check_tower(clip: ClipPair, blocks: int) -> None:
    """Raise `UserError` for a tower that cannot be divided: no ViT with plain blocks, or too few of them."""
    visual = clip.model.visual
    resblocks: Any = getattr(getattr(visual, "transformer", None), "resblocks", ())
    plain = resblocks and all(isinstance(b.attn, nn.MultiheadAttention) for b in resblocks)
    if not plain or getattr(visual, "attn_pool", None) is not None or visual.proj is None:
        raise UserError(
            f"san divides a plain ViT, which '{clip.name}' is not", hint="--set clip=ViT-B-16-quickgelu"
        )
    if not 1 <= blocks < len(resblocks):
        raise UserError(
            f"clip_blocks must be from 1 to {len(resblocks) - 1} of the tower's {len(resblocks)}, not {blocks}",
            hint="--set clip_blocks=...",
        )


def proposal_mask(near: Tensor) -> Tensor:
    """(B, heads, Q, hw) bias -> what attention adds: (B heads, Q + 1 + hw, same), proposals first.

    Proposals see themselves and places (with the bias), everything else sees the class token and places.
    """
    count, cells = near.shape[2:]
    mask = near.new_zeros(*near.shape[:2], count + 1 + cells, count + 1 + cells)
    mask[..., :count] = _FAR
    mask[..., :count, count] = _FAR
    mask[..., :count, count + 1 :] = near
    mask.diagonal(dim1=-2, dim2=-1)[..., :count] = 0
    return mask.flatten(0, 1)


def run_block(block: Any, x: Tensor, mask: Tensor | None = None, rows: int | None = None) -> Tensor:
    """A block of the tower on (B, N, D) tokens; with `rows` for the first ones alone: (B, rows, D).

    Args:
        mask: (B heads, N, N), added before the softmax.
    """
    seen = block.ln_1(x)
    asking = seen[:, :rows]
    mask = mask if mask is None else mask[:, :rows]
    attention = block.attn
    if attention.batch_first:
        said = attention(asking, seen, seen, need_weights=False, attn_mask=mask)[0]
    else:
        asking, seen = asking.transpose(0, 1), seen.transpose(0, 1)
        said = attention(asking, seen, seen, need_weights=False, attn_mask=mask)[0].transpose(0, 1)
    x = x[:, :rows] + block.ls_1(said)
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def _largest(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """(N, Q, H, W) -> (N, Q, h w), the largest value in each of CLIP's cells."""
    return F.adaptive_max_pool2d(values, size).flatten(2)
