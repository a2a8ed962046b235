"""Points of masks instead of all their pixels, most of them where a mask is unsure of itself (PointRend)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """`count` points a mask; `unsure` of them are the least sure out of `oversample` times as many."""

    count: int = 12544
    oversample: float = 3.0
    unsure: float = 0.75


def at_points(maps: Tensor, places: Tensor, *, nearest: bool = False) -> Tensor:
    """Values of (M, H, W) maps at (M, P, 2) places, x and y in 0..1 of the map: (M, P)."""
    mode = "nearest" if nearest else "bilinear"
    grid = (places[:, None] * 2 - 1).to(maps)
    return F.grid_sample(maps[:, None], grid, mode=mode, padding_mode="border", align_corners=False)[:, 0, 0]


@torch.no_grad()
def choose_points(logits: Tensor, sampling: Sampling) -> Tensor:
    """Places (M, count, 2) for the losses of (M, h, w) mask logits: unsure ones first, then any."""
    masks, count = len(logits), sampling.count
    unsure = int(sampling.unsure * count)
    tried = torch.rand(masks, max(unsure, int(count * sampling.oversample)), 2, device=logits.device)
    doubt = -at_points(logits, tried).abs()
    best = doubt.topk(unsure, dim=1).indices
    chosen = tried.gather(1, best[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, torch.rand(masks, count - unsure, 2, device=logits.device)], dim=1)
