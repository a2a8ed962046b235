"""DeOP's heatmap decoder: queries gather CLIP's features, each under its own mask.

Source: mask_former/modeling/transformer/transformer.py of the official code (TransformerDecoderLinear).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.nn.detr import DecoderLayer


class MaskedGather(nn.Module):
    """Attention that averages values as they are, its weights multiplied by masks.

    Values are not projected, nor is the result, so it stays in the space of the values. The weights are
    multiplied after the softmax and not made to sum to one again. Names `in_proj_weight` (3 D, D), whose last
    third is in the official checkpoint but never used, and `in_proj_bias` (3 D,).
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, masks: Tensor) -> Tensor:
        """(B, Q, D) asks (B, N, D) keys and values under (B, Q, N) masks -> (B, Q, D)."""
        dim = query.shape[-1]
        (w_q, w_k, _), (b_q, b_k, _) = self.in_proj_weight.split(dim), self.in_proj_bias.split(dim)
        q = self._split(F.linear(query, w_q, b_q)) * (dim // self.heads) ** -0.5
        k = self._split(F.linear(key, w_k, b_k))
        weights = F.dropout((q @ k.transpose(-2, -1)).softmax(-1), self.dropout, self.training)
        out = (weights * masks[:, None]) @ self._split(value)
        return out.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class OutLayer(nn.Module):
    """Self-attention, then `MaskedGather`, made unit; names `self_attn`, `norm1`, `multihead_attn_my`."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.multihead_attn_my = MaskedGather(dim, heads, dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.dropout = dropout

    def forward(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, masks: Tensor) -> Tensor:
        """As `DecoderLayer`, with (B, Q, N) masks -> (B, Q, D) unit vectors (zero where a mask lets nothing in)."""
        asked = x + query
        own = self.self_attn(asked, asked, x, need_weights=False)[0]
        x = self.norm1(x + F.dropout(own, self.dropout, self.training))
        out = self.multihead_attn_my(x + query, key, value, masks)
        length = out.norm(dim=-1, keepdim=True)
        # A faint mask gives a tiny vector, still made unit: no lower bound unless some vector is exactly zero.
        return out / (length + 1e-10 * (length == 0).any())


class HeatmapDecoder(nn.Module):
    """Decoder layers over CLIP's dense features, then `OutLayer`.

    Names `layers.N` (cross-attention `multihead_attn_my`), `outlayer`, and `norm`, which belongs to the
    checkpoint although nothing reads what it normalises.
    """

    def __init__(self, layers: int, dim: int, heads: int, ffn: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(dim, heads, ffn, dropout, cross="multihead_attn_my") for _ in range(layers)
        )
        self.outlayer = OutLayer(dim, heads, dropout)
        if layers:
            self.norm = nn.LayerNorm(dim)

    def forward(self, queries: Tensor, features: Tensor, places: Tensor, masks: Tensor) -> Tensor:
        """What CLIP sees under each mask.

        Args:
            queries: (Q, D) codes of the queries.
            features: (B, N, D) unit vectors; places: (1, N, D) codes of their places.
            masks: (B, Q, N) probabilities.

        Returns:
            (B, Q, D) unit vectors in CLIP's space.
        """
        query = queries[None].expand(len(features), -1, -1)
        x, key = torch.zeros_like(query), features + places
        for layer in self.layers:
            x = layer(x, query, key, features)
        return self.outlayer(x, query, key, features, masks)
