"""What CLIP sees of each mask (section 3.3 of the paper; mask_former_model.py of the official code)."""

from __future__ import annotations

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.errors import unknown
from ovbench.nn.clip import ClipPair
from ovbench.nn.maskformer import enlarge
from ovbench.nn.regions import look_at_crops, look_at_frame, roi_align, tight_boxes

STYLES = ("cropmask", "crop", "mask", "frame")
"""A mask's region as CLIP sees it:

- "cropmask": the mask's box, everything outside the mask at zero (the mean colour);
- "crop": the mask's box as it is;
- "mask": the whole image, squashed, everything outside the mask at zero;
- "frame" (not official): the whole image once, as it is; a region is the mean of the local features under its
  mask. For towers that were trained on local features at one scale, such as the world's.
"""


def region_boxes(masks: Tensor) -> Tensor:
    """(Q, H, W) bool -> (Q, 4) x0, y0, x1, y1 float.

    The last column and row that are set are the box's end. A mask with nothing in it, or only one pixel
    high or wide, gets the whole image.
    """
    boxes, _ = tight_boxes(masks)
    boxes[:, 2:] -= 1
    flat = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    whole = torch.tensor([0, 0, masks.shape[2], masks.shape[1]], device=boxes.device)
    return torch.where(flat[:, None], whole, boxes).float()


class Regions:
    """The crops of one image, made when asked for.

    Args:
        image: (3, H, W) with CLIP's normalisation, padded.
        mask_logits: (Q, H, W).
        masks: (Q, H, W) bool, the probability is above a half.
        size: (h, w) of a crop.
    """

    def __init__(
        self, image: Tensor, mask_logits: Tensor, masks: Tensor, size: tuple[int, int], style: str
    ) -> None:
        if style not in STYLES:
            raise unknown("region style", style, STYLES)
        self.image, self.masks, self.size, self.style = image, masks, size, style
        if style == "mask":
            self.small = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
            self.small_masks = enlarge(mask_logits[None], size)[0].sigmoid() > 0.5
            self.empty = ~self.small_masks.flatten(1).any(1)
        else:
            self.boxes = region_boxes(masks)
            self.empty = ~masks.flatten(1).any(1)

    def crop(self, query: int) -> Tensor:
        """(3, h, w) for CLIP."""
        if self.style == "mask":
            return self.small * self.small_masks[query]
        image = self.image if self.style == "crop" else self.image * self.masks[query]
        return roi_align(image, self.boxes[query].tolist(), self.size)

    def keys(self) -> list[Hashable]:
        """One per query; queries with equal keys have equal crops."""
        if self.style == "crop":
            return [tuple(box) for box in self.boxes.tolist()]
        return ["empty" if empty else query for query, empty in enumerate(self.empty.tolist())]


def encode_regions(clip: ClipPair, regions: Regions, batch: int) -> Tensor:
    """(Q, E) CLIP features, not normalised; equal crops are encoded once."""
    if regions.style == "frame":
        return look_at_frame(clip, regions.image, regions.masks)
    return look_at_crops(clip, regions.crop, regions.keys(), batch)
