"""What CLIP sees of a region."""

from __future__ import annotations

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.errors import unknown
from ovbench.core.types import Image
from ovbench.nn.clip import ClipPair
from ovbench.nn.regions import look_at_crops, look_at_frame, masked_crop, tower_size
from ovbench.nn.text import TextRows

from .regions import Regions

LOOKS = ("crop", "masked-crop", "pooled")
"""- "crop": its box, at the tower's size (aspect not kept), with whatever surrounds the region in it;
- "masked-crop": its box with everything else at CLIP's mean colour;
- "pooled": the frame once; the mean of dense features under the mask (`ovbench.nn.regions.look_at_frame`).
"""


def look(clip: ClipPair, image: Image, regions: Regions, how: str, batch: int) -> Tensor:
    """Features of N >= 1 regions in CLIP's space, (N, E) unit vectors.

    Crops go through the tower `batch` at a time; equal ones (same box, or same mask) go once.
    """
    if how not in LOOKS:
        raise unknown("look", how, LOOKS)
    pixels = clip.normalize(image)[0]
    if how == "pooled":
        return F.normalize(_pooled(clip, pixels, regions.masks), dim=1)
    size, masked = tower_size(clip.model.visual), how == "masked-crop"
    boxes = [(x0, y0, x1 + 1, y1 + 1) for x0, y0, x1, y1 in regions.boxes.tolist()]

    def crop(index: int) -> Tensor:
        return masked_crop(pixels, regions.masks[index] if masked else None, boxes[index], size)

    keys: list[Hashable] = list(boxes)
    if masked:
        inside = zip(boxes, regions.masks.cpu().numpy(), strict=True)
        keys = [(box, mask[box[1] : box[3], box[0] : box[2]].tobytes()) for box, mask in inside]
    return F.normalize(look_at_crops(clip, crop, keys, batch), dim=1)


def _pooled(clip: ClipPair, pixels: Tensor, masks: Tensor) -> Tensor:
    """Padded to whole patches, which towers would cut off otherwise; masks reach no further than the frame."""
    patch = clip.model.visual.patch_size
    down, right = (-side % int(p) for side, p in zip(pixels.shape[-2:], patch, strict=True))
    if down or right:
        pixels, masks = F.pad(pixels, (0, right, 0, down)), F.pad(masks, (0, right, 0, down))
    return look_at_frame(clip, pixels, masks)


def class_probs(features: Tensor, text: TextRows, temperature: float) -> Tensor:
    """Softmax over classes of scaled cosines, a class being as good as its best synonym: (N, E) -> (N, K)."""
    cosines = text.reduce(text.vectors @ features.T)
    return torch.softmax(temperature * cosines, dim=0).T
