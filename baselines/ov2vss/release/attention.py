"""Scaled multi-head attention with the official code's names (`MulitHeadAttention`)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """Queries on other tokens, eight heads; no bias but the output's."""

    def __init__(self, width: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """(B or 1, N, C), (B, M, C) -> (B, N, C)."""
        batch = tokens.shape[0]
        q = self._split(self.q_proj(queries)).expand(batch, -1, -1, -1)
        k, v = self._split(self.k_proj(tokens)), self._split(self.v_proj(tokens))
        read = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(read.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
