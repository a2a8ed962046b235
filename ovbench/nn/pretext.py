"""A start for backbones where no ImageNet weights are at hand: naming every pixel of the training frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_SEED = 5
_SCALE = 20.0  # of cosines


def naming_loss(
    maps: Mapping[str, Tensor],
    labels: Tensor,
    classes: int,
    ignore: int,
    levels: Sequence[str] = ("res4", "res5"),
) -> Tensor:
    """Cross-entropy of backbone maps against one fixed random direction per class, summed over levels.

    The directions are no parameters, so nothing is left behind when the training goes on with another loss.
    Rare classes of a batch count for more (by the square root).

    Args:
        maps: (B, C, h, w) each.
        labels: (B, H, W) integer targets.
    """
    total = labels.new_zeros((), dtype=torch.float32)
    for level in levels:
        found = maps[level]
        draw = torch.Generator().manual_seed(_SEED)
        directions = F.normalize(torch.randn(classes, found.shape[1], generator=draw), dim=1).to(found)
        logits = _SCALE * torch.einsum("bchw,kc->bkhw", F.normalize(found, dim=1), directions)
        wanted = F.interpolate(labels[:, None].float(), found.shape[-2:], mode="nearest-exact")[:, 0].long()
        there = wanted[wanted != ignore]
        if len(there):
            weight = torch.bincount(there, minlength=classes).clamp(min=1).to(found) ** -0.5
            total = total + F.cross_entropy(logits, wanted, weight, ignore_index=ignore)
        else:
            total = total + logits.sum() * 0.0
    return total
