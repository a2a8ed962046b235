"""How FreeSeg's maps look at the names before any mask is drawn.

Source: FreeSeg, section 3.3; mask2former/modeling/heads/module.py, ContextInteraction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TextAttention(nn.Module):
    """Multi-head cross-attention of another width; names `q_proj`, `k_proj`, `v_proj`, `out_proj`."""

    def __init__(self, dim: int, text_width: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q_proj = nn.Linear(dim, width)
        self.k_proj = nn.Linear(text_width, width)
        self.v_proj = nn.Linear(text_width, width)
        self.out_proj = nn.Linear(width, dim)
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, N, dim) cells and (K, text_width) names -> (B, N, dim)."""
        keys, values = (p(text).unflatten(-1, (self.heads, -1)) for p in (self.k_proj, self.v_proj))
        if self.heads * len(text) < self.q_proj.out_features:
            return self._folded(x, keys, values)
        queries = self.q_proj(x).unflatten(-1, (self.heads, -1))
        shares = self._shares(torch.einsum("bnhd,khd->bnhk", queries, keys), keys)
        found = torch.einsum("bnhk,khd->bnhd", shares, values)
        out: Tensor = self.out_proj(found.flatten(2))
        return out

    def _folded(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The same with keys and values multiplied into the projections first.

        There are many cells and few names: 12 names cost a twentieth of what 2048 channels a cell would.
        """
        count, heads, _ = keys.shape
        asking = self.q_proj.weight.unflatten(0, (heads, -1))
        weight = torch.einsum("hdc,khd->hkc", asking, keys).flatten(0, 1)
        bias = torch.einsum("hd,khd->hk", self.q_proj.bias.unflatten(0, (heads, -1)), keys).flatten()
        shares = self._shares(F.linear(x, weight, bias).unflatten(-1, (heads, count)), keys)
        saying = self.out_proj.weight.unflatten(1, (heads, -1))
        weight = torch.einsum("chd,khd->chk", saying, values).flatten(1)
        return F.linear(shares.flatten(2), weight, self.out_proj.bias)

    def _shares(self, logits: Tensor, keys: Tensor) -> Tensor:
        shares = (logits * keys.shape[-1] ** -0.5).softmax(-1)
        return F.dropout(shares, self.dropout, self.training)


class Interaction(nn.Module):
    """Names `layer_norm_q_1`, `layer_norm_k_1`, `attn`, `gamma` (dim,).

    Two things are as in the official code, not as one would write them. What is found is added to the map
    *after* its norm, and the text is normed once more for every map: four times for the last.
    """

    def __init__(self, dim: int, text_width: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layer_norm_q_1 = nn.LayerNorm(dim)
        self.layer_norm_k_1 = nn.LayerNorm(text_width)
        self.attn = TextAttention(dim, text_width, width, heads, dropout)
        self.gamma = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, maps: Sequence[Tensor], text: Tensor) -> list[Tensor]:
        """Maps (B, dim, h, w) and names (K, text_width) -> the maps' shapes."""
        changed = []
        for x in maps:
            cells = self.layer_norm_q_1(x.flatten(2).transpose(1, 2))
            text = self.layer_norm_k_1(text)
            cells = cells + self.gamma * self.attn(cells, text)
            changed.append(cells.transpose(1, 2).reshape(x.shape))
        return changed
