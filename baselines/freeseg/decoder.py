"""The masked decoder: queries look at one map after the other, each only where its last mask was.

Source: Mask2Former, section 3.2; FreeSeg, mask2former/modeling/transformer/.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.nn.detr import MLP, SinePositions

from .config import Config
from .pixels import LEVELS


class Attention(nn.Module):
    """Attention, added, then normalised; names `norm` and that of the attention, which the official code varies."""

    def __init__(self, name: str, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = name
        self.add_module(name, nn.MultiheadAttention(dim, heads, batch_first=True))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None = None
    ) -> Tensor:
        """(B, Q, D) each; `hidden` (B * heads, Q, N) bool is where a query must not look."""
        found, _ = self.get_submodule(self.attention)(query, key, value, attn_mask=hidden)
        out: Tensor = self.norm(x + found)
        return out


class FeedForward(nn.Module):
    """Two linear layers, added, then normalised; names `linear1`, `linear2`, `norm`."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Q, D) -> the same shape."""
        out: Tensor = self.norm(x + self.linear2(F.relu(self.linear1(x))))
        return out


class MaskedPredictor(nn.Module):
    """Queries that draw masks and have a vector in CLIP's space.

    Names: `transformer_{cross_attention,self_attention,ffn}_layers.N`, `decoder_norm`, `query_feat`,
    `query_embed`, `level_embed`, `class_embed`, `mask_embed`; `input_proj` only where widths differ.

    Args:
        text_width: of CLIP's vectors.
    """

    def __init__(self, config: Config, text_width: int) -> None:
        super().__init__()
        dim, heads, count = config.dim, config.heads, config.layers
        self.heads = heads
        self.positions = SinePositions(dim // 2)
        self.transformer_self_attention_layers, self.transformer_cross_attention_layers = (
            nn.ModuleList(Attention(name, dim, heads) for _ in range(count))
            for name in ("self_attn", "multihead_attn")
        )
        self.transformer_ffn_layers = nn.ModuleList(FeedForward(dim, config.ffn) for _ in range(count))
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(config.queries, dim)
        self.query_embed = nn.Embedding(config.queries, dim)
        self.level_embed = nn.Embedding(len(LEVELS), dim)
        same = config.pyramid == dim
        self.input_proj = nn.ModuleList(
            nn.Identity() if same else nn.Conv2d(config.pyramid, dim, 1) for _ in LEVELS
        )
        self.class_embed = MLP(dim, config.class_hidden, text_width, 2)
        self.mask_embed = MLP(dim, dim, config.pyramid, 3)

    def decode(self, maps: Sequence[Tensor], features: Tensor, every: bool = False) -> tuple[Tensor, Tensor]:
        """What the queries hold, and the masks they draw.

        Args:
            maps: (B, pyramid, h, w) of each level.
            features: (B, pyramid, H, W).
            every: also before the first layer and after each, as deep supervision needs it.

        Returns:
            (L, B, Q, dim), normed, and mask logits (L, B, Q, H, W), L = 1 or the number of layers + 1.
        """
        values, keys = self._memory(maps)
        codes = self.query_embed.weight[None].expand(len(features), -1, -1)
        x = self.query_feat.weight[None].expand(len(features), -1, -1)
        held = [self.decoder_norm(x)]
        masks = [self.masks(held[-1][None], features)]
        parts = (
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
        )
        for i, (cross, own, ffn) in enumerate(zip(*parts, strict=True)):
            level = i % len(maps)
            hidden = self._hidden(masks[-1][0], maps[level])
            x = cross(x, x + codes, keys[level], values[level], hidden)
            x = ffn(own(x, x + codes, x + codes, x))
            if not every:
                held, masks = [], []
            held.append(self.decoder_norm(x))
            masks.append(self.masks(held[-1][None], features))
        return torch.stack(held), torch.cat(masks)

    def _memory(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """(B, N, dim) of each level: what is looked at, without and with the code of places."""
        values, keys = [], []
        for x, proj, level in zip(maps, self.input_proj, self.level_embed.weight, strict=True):
            values.append(proj(x).flatten(2).transpose(1, 2) + level)
            keys.append(values[-1] + self.positions(x).flatten(2).transpose(1, 2))
        return values, keys

    @torch.no_grad()
    def _hidden(self, masks: Tensor, level: Tensor) -> Tensor:
        """(B, Q, H, W) mask logits -> where queries must not look in a map, (B * heads, Q, N) bool.

        A query whose mask is empty there may look everywhere.
        """
        small = F.interpolate(masks, level.shape[-2:], mode="bilinear", align_corners=False)
        hidden = small.sigmoid().flatten(2) < 0.5
        hidden &= ~hidden.all(-1, keepdim=True)
        return hidden.repeat_interleave(self.heads, dim=0)

    def masks(self, held: Tensor, features: Tensor) -> Tensor:
        """(..., B, Q, dim) and (B, pyramid, H, W) -> mask logits (..., B, Q, H, W)."""
        return torch.einsum("...bqc,bchw->...bqhw", self.mask_embed(held), features)
