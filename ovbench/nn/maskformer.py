"""Around a MaskFormer-like network: resizing, padding, combining masks with classes, and cutting back.

Source: detectron2 (ResizeShortestEdge, ImageList, sem_seg_postprocess) and MaskFormer, section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from ovbench.core.types import Image

from .clip import ClipPair

MULTIPLE = 32
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""RGB statistics on the scale 0..255."""


def resized_shape(height: int, width: int, short: int, longest: int) -> tuple[int, int]:
    """The size whose short side is `short`, or less where the long side would pass `longest`; never below 1."""
    scale = short / min(height, width)
    h, w = (float(short), width * scale) if height < width else (height * scale, float(short))
    if max(h, w) > longest:
        over = longest / max(h, w)
        h, w = h * over, w * over
    return max(1, int(h + 0.5)), max(1, int(w + 0.5))


def resize_shortest(image: Image, short: int, longest: int) -> Image:
    """(H, W, 3) uint8 -> the same at `resized_shape`, by Pillow's bilinear filter; short 0 keeps the size."""
    height, width = int(image.shape[0]), int(image.shape[1])
    h, w = resized_shape(height, width, short, longest) if short else (height, width)
    if (h, w) == (height, width):
        return image
    pixels = Pillow.fromarray(np.ascontiguousarray(image)).resize((w, h), Pillow.Resampling.BILINEAR)
    return np.asarray(pixels)


def to_pixels(image: Image, device: torch.device | str = "cpu") -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 0..255."""
    return torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float()


def normalise_pixels(
    pixels: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """(B, 3, H, W) 0..255 -> (pixels - mean) / std per channel."""
    centre = torch.tensor(mean, device=pixels.device).view(3, 1, 1)
    return (pixels - centre) / torch.tensor(std, device=pixels.device).view(3, 1, 1)


def clip_pixels(clip: ClipPair, pixels: Tensor) -> Tensor:
    """(B, 3, H, W) 0..255 -> with CLIP's statistics."""
    mean, std = ([v * 255 for v in values] for values in (clip.mean, clip.std))
    return normalise_pixels(pixels, mean, std)


def pad(x: Tensor, multiple: int = MULTIPLE) -> Tensor:
    """Zeros at the bottom and right up to a multiple; of the normalised image, hence of grey."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple))


def enlarge(masks: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """(B, Q, h, w) mask logits -> (B, Q, H, W), bilinear."""
    return F.interpolate(masks, tuple(size), mode="bilinear", align_corners=align_corners)


def combine(class_probs: Tensor, mask_logits: Tensor) -> Tensor:
    """Class scores (Q, K) times mask probabilities of (Q, H, W) logits, summed over queries: (K, H, W)."""
    return combine_probs(class_probs, mask_logits.sigmoid())


def combine_probs(class_probs: Tensor, mask_probs: Tensor) -> Tensor:
    """`combine` for masks that are probabilities already."""
    flat: Tensor = class_probs.T @ mask_probs.flatten(1)
    return flat.reshape(-1, *mask_probs.shape[1:])


def combine_enlarged(
    class_probs: Tensor, masks: Tensor, padded: Sequence[int], size: Sequence[int], queries: int = 20
) -> Tensor:
    """`enlarge` to the padded image, cut to `size`, and `combine`, a few queries at a time.

    At full size a hundred enlarged masks and their probabilities are most of a frame's memory.

    Args:
        class_probs: (Q, K).
        masks: (Q, h, w) logits.
        padded, size: (H, W) of the image with and without padding.
        queries: enlarged at once.

    Returns:
        (K, H, W).
    """
    height, width = size
    total = masks.new_zeros(class_probs.shape[1], height * width)
    for start in range(0, len(masks), queries):
        part = slice(start, start + queries)
        large = enlarge(masks[part][None], padded)[0, :, :height, :width]
        total.addmm_(class_probs[part].T, large.sigmoid().flatten(1))
    return total.reshape(-1, height, width)


def combine_resized(
    class_probs: Tensor,
    masks: Tensor,
    padded: Sequence[int],
    size: Sequence[int],
    out_size: Sequence[int],
    queries: int = 20,
) -> Tensor:
    """Mask logits -> the padded image -> cut to `size` -> `out_size`, and only then `combine`.

    Bilinear resizing is linear along each axis, so all steps of an axis are one matrix: the large masks in between
    are never made.

    Args:
        class_probs: (Q, K).
        masks: (Q, h, w) logits.
        padded, size, out_size: (H, W) of the padded image, of the image, of the result.
        queries: combined at once.

    Returns:
        (K, *out_size).
    """
    rows, columns = (
        _resizing(masks.shape[1 + axis], padded[axis], size[axis], out_size[axis]).to(masks)
        for axis in (0, 1)
    )
    height, width = out_size
    total = masks.new_zeros(class_probs.shape[1], height * width)
    for start in range(0, len(masks), queries):
        part = slice(start, start + queries)
        large = rows @ (masks[part] @ columns.T)
        total.addmm_(class_probs[part].T, large.sigmoid_().flatten(1))
    return total.reshape(-1, height, width)


def _resizing(cells: int, padded: int, size: int, out: int) -> Tensor:
    """(out, cells): one axis resized from `cells` to `padded`, cut to `size`, resized to `out`."""
    steps = F.interpolate(torch.eye(cells)[None], padded, mode="linear", align_corners=False)[..., :size]
    return F.interpolate(steps, out, mode="linear", align_corners=False)[0].T


def postprocess(scores: Tensor, size: Sequence[int], out_size: Sequence[int]) -> Tensor:
    """(K, H, W) on the padded image -> cut to `size`, then bilinear to `out_size`: (K, h, w)."""
    cut = scores[:, : size[0], : size[1]]
    if tuple(cut.shape[1:]) == tuple(out_size):
        return cut
    return F.interpolate(cut[None], tuple(out_size), mode="bilinear", align_corners=False)[0]
