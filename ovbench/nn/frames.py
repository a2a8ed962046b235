"""Frames on their way to the device: uint8 all the way, pinned on the host where the device is a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image


def upload(frames: Sequence[Image], device: torch.device | str) -> Tensor:
    """Frames of one size as a network takes them: (B, 3, H, W) float32, 0..255, on `device`.

    They travel as bytes, a quarter of the floats, and become floats there. To a CUDA device they go from pinned
    memory without waiting, so the copy overlaps with what the device still computes; torch keeps the
    pinned block until the copy is done, then uses it for the next frames.

    Args:
        frames: at least one (H, W, 3) uint8 RGB picture.

    Raises:
        UserError: frames of several sizes.
    """
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        sizes = ", ".join(sorted(f"{h}x{w}" for h, w, *_ in shapes)) or "none"
        raise UserError(f"frames of one batch must have one size, not several: {sizes} (height x width)")
    device = torch.device(device)
    pinned = device.type == "cuda"
    pixels = torch.empty((len(frames), *frames[0].shape), dtype=torch.uint8, pin_memory=pinned)
    np.stack(frames, out=pixels.numpy())
    moved = pixels.to(device, non_blocking=pinned).permute(0, 3, 1, 2)
    return moved.to(torch.float32, memory_format=torch.contiguous_format)
