"""Means of a map over four grids, and the tokens made of them ("P2T pooling" of the official code)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError

RATIOS = (2, 4, 6, 8)
"""The official code passes other ratios per scale, and its pooling overwrites them with these."""


@dataclass
class Grids:
    """Four coarser grids of one map, end to end.

    `values`: (B, s, C) means; `sizes`: (h, w) of each grid.
    """

    values: Tensor
    sizes: list[tuple[int, int]]

    def map(self, function: Callable[[Tensor], Tensor]) -> Grids:
        """The grids of `function(map)`: for functions of each place that are linear plus a constant."""
        return Grids(function(self.values), self.sizes)


def grid_sizes(h: int, w: int) -> list[tuple[int, int]]:
    """Sides of the four grids of an (h, w) map: half of a cell is rounded to the even number, as Python rounds.

    Raises:
        UserError: a map so small that a grid would be empty.
    """
    sizes = [(round(h / r), round(w / r)) for r in RATIOS]
    if min(min(size) for size in sizes) < 1:
        raise UserError(
            f"a frame of {h} x {w} cells of 16 pixels is too small for the release profile",
            hint="it needs more than 64 pixels on each side; choose a larger input size",
        )
    return sizes


def pool(x: Tensor) -> Grids:
    """(B, C, h, w) -> its means over the four grids."""
    sizes = grid_sizes(int(x.shape[2]), int(x.shape[3]))
    parts = [F.adaptive_avg_pool2d(x, size).flatten(2).transpose(1, 2) for size in sizes]
    return Grids(torch.cat(parts, dim=1), sizes)


class TokenPool(nn.Module):
    """Each grid plus its own depthwise 3x3 convolution, then LayerNorm over channels.

    Names and function: `pooling_mhsa` in decode_heads/hypercorre.py of the official code.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.d_convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in RATIOS)

    def forward(self, grids: Grids) -> Tensor:
        """Grids -> (B, s, C) tokens."""
        parts = grids.values.split([h * w for h, w in grids.sizes], dim=1)
        tokens = []
        for part, size, conv in zip(parts, grids.sizes, self.d_convs, strict=True):
            near = conv(part.unflatten(1, size).permute(0, 3, 1, 2))
            tokens.append(part + near.flatten(2).transpose(1, 2))
        out: Tensor = self.norm(torch.cat(tokens, dim=1))
        return out
