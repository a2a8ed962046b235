"""Regions of a frame: masks that know no class, with what their maker thinks of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ovbench.nn.regions import tight_boxes


@dataclass(frozen=True)
class Regions:
    """N regions of an (H, W) frame, best first.

    `masks` (N, H, W) bool, none empty; `quality` (N,) IoU as the maker guesses it; `stability` (N,) IoU of the
    mask cut a little higher and a little lower; `boxes` (N, 4) int64, x0, y0, x1, y1, the last pixel's own
    coordinates (segment-anything's convention).
    """

    masks: Tensor
    quality: Tensor
    stability: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, rows: Tensor) -> Regions:
        """Some of them, by indices or flags."""
        return Regions(self.masks[rows], self.quality[rows], self.stability[rows], self.boxes[rows])


def none_of(size: tuple[int, int], device: torch.device) -> Regions:
    """No region of a frame of (height, width)."""
    empty = torch.zeros(0, device=device)
    masks = torch.zeros(0, *size, dtype=torch.bool, device=device)
    return Regions(masks, empty, empty, torch.zeros(0, 4, dtype=torch.int64, device=device))


def cut(logits: Tensor, quality: Tensor, stability: float, offset: float, threshold: float = 0.0) -> Regions:
    """Masks at their threshold, those left out that change much when it moves, or that are empty.

    Args:
        logits: (N, H, W).
        quality: (N,).
        stability: least IoU of the masks cut at `threshold` + `offset` and - `offset`.
    """
    high = (logits > threshold + offset).flatten(1).sum(1, dtype=torch.int32)
    low = (logits > threshold - offset).flatten(1).sum(1, dtype=torch.int32)
    stable = high / low  # the higher cut lies inside the lower one; NaN where both are empty
    keep = stable >= stability if stability > 0 else torch.ones_like(stable, dtype=torch.bool)
    masks = logits[keep] > threshold
    boxes = inclusive_boxes(masks)
    return Regions(masks, quality[keep], stable[keep], boxes)


def inclusive_boxes(masks: Tensor) -> Tensor:
    """(N, H, W) bool -> (N, 4) int64; zeros for an empty mask."""
    boxes, valid = tight_boxes(masks)
    boxes[:, 2:] -= valid[:, None].to(boxes)
    return boxes


def join(parts: list[Regions]) -> Regions:
    """Regions of the same frame, one after the other; at least one part."""
    return Regions(
        torch.cat([part.masks for part in parts]),
        torch.cat([part.quality for part in parts]),
        torch.cat([part.stability for part in parts]),
        torch.cat([part.boxes for part in parts]),
    )


def suppress(regions: Regions, scores: Tensor, threshold: float) -> Regions:
    """Non-maximum suppression by box, best score first: what SAM's generator does with its masks."""
    from torchvision.ops import nms

    return regions[nms(regions.boxes.float(), scores, threshold)]


def suppress_masks(regions: Regions, scores: Tensor, threshold: float) -> Regions:
    """Non-maximum suppression by the masks themselves, which may share a box and differ, best score first."""
    order = scores.argsort(descending=True, stable=True)
    flat = regions.masks[order].flatten(1).float()
    both = flat @ flat.T
    area = flat.sum(1)
    over = both / (area[:, None] + area[None] - both).clamp(min=1) > threshold
    kept: list[int] = []
    for i, row in enumerate(over.cpu()):
        if area[i] > 0 and not row[kept].any():
            kept.append(i)
    return regions[order[torch.tensor(kept, dtype=torch.int64, device=order.device)]]
