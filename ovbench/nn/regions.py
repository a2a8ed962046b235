"""Regions of an image for a two-tower model: boxes of masks, crops, and encoding each different crop once.

Sources: ZegFormer (roi_align crops), zsseg.baseline (tight crops on the mean colour); torchvision's
ops/csrc/ops/cpu/roi_align_kernel.cpp for the sampling rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .clip import ClipPair
from .dense import own_features
from .pooled import encode_images

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, ends exclusive."""


def tight_boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes around masks.

    Args:
        masks: (Q, H, W) bool.

    Returns:
        (Q, 4) int64 of x0, y0, x1, y1, ends exclusive, zeros for an empty mask; (Q,) bool, mask not empty.
    """
    columns, rows = masks.any(1), masks.any(2)
    x0, x1 = _ends(columns)
    y0, y1 = _ends(rows)
    valid = columns.any(1)
    boxes = torch.stack([x0, y0, x1, y1], dim=1)
    return torch.where(valid[:, None], boxes, 0), valid


def _ends(hits: Tensor) -> tuple[Tensor, Tensor]:
    """(Q, N) bool -> first index that is set, and one past the last."""
    marks = hits.to(torch.uint8)
    return marks.argmax(1), hits.shape[1] - marks.flip(1).argmax(1)


def roi_align(image: Tensor, box: Sequence[float], size: tuple[int, int]) -> Tensor:
    """A box of an image at another size: torchvision's `roi_align` (aligned, adaptive sampling) for one box.

    Sampling along y does not depend on x, so it is two products with small averaging matrices, computed
    from the part of the image that the box touches.

    Args:
        image: (C, H, W) float.
        box: x0, y0, x1, y1 in pixels.
        size: (h, w) of the result.

    Returns:
        (C, h, w).
    """
    height, width = image.shape[-2:]
    rows, y = _averaging(float(box[1]), float(box[3]), size[0], height)
    columns, x = _averaging(float(box[0]), float(box[2]), size[1], width)
    part = image[:, y, x]
    return rows.to(image) @ (part @ columns.to(image).T)


def _averaging(start: float, end: float, bins: int, length: int) -> tuple[Tensor, slice]:
    """Weights (bins, n) of the n cells that the interval touches, and which cells of `length` these are."""
    size = torch.tensor((end - 0.5) - (start - 0.5), dtype=torch.float32) / bins
    samples = math.ceil(float(size))
    if samples < 1:
        return torch.zeros(bins, 1), slice(0, 1)
    centre = torch.arange(samples, dtype=torch.float32) + 0.5
    steps = torch.arange(bins, dtype=torch.float32)[:, None]
    place = (start - 0.5) + steps * size + (centre * size / samples)[None]
    inside = (place >= -1) & (place <= length)
    place = place.clamp(min=0)
    low = place.long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    far = torch.where(low >= length - 1, torch.zeros_like(place), place - low)
    weights = torch.zeros(bins, length)
    share = inside.float() / samples
    weights.scatter_add_(1, low, (1 - far) * share)
    weights.scatter_add_(1, high, far * share)
    touched = slice(int(low.min()), int(high.max()) + 1)
    return weights[:, touched], touched


def masked_crop(
    image: Tensor,
    mask: Tensor | None,
    box: Sequence[int] | Tensor,
    size: tuple[int, int],
    fill: Tensor | float = 0.0,
    *,
    align_corners: bool = False,
) -> Tensor:
    """Cut a box out, paint over what the mask leaves out, and resize bicubically (no antialiasing).

    Args:
        image: (C, H, W) float.
        mask: (H, W) bool, or None to keep everything in the box.
        box: x0, y0, x1, y1, ends exclusive; not empty.
        size: (h, w) of the result; the aspect is not kept.
        fill: a number, or (C,) colour, on the image's scale.

    Returns:
        (C, h, w).
    """
    x0, y0, x1, y1 = (int(v) for v in box)
    crop = image[:, y0:y1, x0:x1]
    if mask is not None:
        colour = torch.as_tensor(fill, dtype=image.dtype, device=image.device).reshape(-1, 1, 1)
        crop = torch.where(mask[y0:y1, x0:x1], crop, colour)
    return F.interpolate(crop[None], size, mode="bicubic", align_corners=align_corners)[0]


def encode_crops(
    crop: Callable[[int], Tensor],
    keys: Sequence[Hashable],
    encode: Callable[[Tensor], Tensor],
    batch: int = 8,
) -> Tensor:
    """Encode crops in batches; crops with equal keys are made and encoded once.

    Args:
        crop: gives crop i, (C, h, w), when it is needed; only a batch of them is held at a time.
        keys: one per crop; equal keys promise equal crops (all empty masks give the same crop).
        encode: (B, C, h, w) -> (B, E).

    Returns:
        (N, E) in the order of `keys`.
    """
    first: dict[Hashable, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    makers = list(first.values())
    rank = {key: row for row, key in enumerate(first)}
    parts = []
    for start in range(0, len(makers), batch):
        parts.append(encode(torch.stack([crop(i) for i in makers[start : start + batch]])))
    encoded = torch.cat(parts)
    return encoded[torch.tensor([rank[key] for key in keys], device=encoded.device)]


def look_at_crops(
    clip: ClipPair, crop: Callable[[int], Tensor], keys: Sequence[Hashable], batch: int
) -> Tensor:
    """`encode_crops` with a CLIP's image tower: (N, E), not normalised."""
    return encode_crops(crop, keys, lambda crops: encode_images(clip.model, crops), batch)


def look_at_frame(clip: ClipPair, image: Tensor, masks: Tensor) -> Tensor:
    """Regions from one dense look at the whole frame, see `mean_under`: (Q, E).

    For towers that were trained on local features at one scale, such as the world's; no official code does so.

    Args:
        image: (3, H, W) with CLIP's statistics.
        masks: (Q, H, W) bool.
    """
    return mean_under(own_features(clip, image[None])[0], masks)


def tower_size(visual: object) -> tuple[int, int]:
    """(h, w) of the images that an open_clip tower was trained on."""
    size = visual.image_size  # type: ignore[attr-defined]
    return (int(size[0]), int(size[1])) if isinstance(size, Sequence) else (int(size), int(size))


def mean_under(features: Tensor, masks: Tensor) -> Tensor:
    """What a dense look at the whole frame says of each region: the mean of unit vectors under its mask.

    Args:
        features: (E, h, w) of a tower's grid, not normalised.
        masks: (Q, H, W) bool.

    Returns:
        (Q, E), not normalised; cells count by the share of them that the mask covers, an empty mask stands for
        the whole frame.
    """
    shares = F.adaptive_avg_pool2d(masks[None].to(features), (int(features.shape[1]), int(features.shape[2])))
    shares = shares[0].flatten(1)
    shares = torch.where(masks.flatten(1).any(1, keepdim=True), shares, 1.0)
    shares = shares / shares.sum(1, keepdim=True)
    return shares @ F.normalize(features.flatten(1), dim=0).T
