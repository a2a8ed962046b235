"""SAM itself: the package's model, filled from a stock file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ovbench.core.errors import UserError, missing_extra, unknown
from ovbench.nn.checkpoint import apply, load_weights
from ovbench.nn.maskmodel import naming_file
from ovbench.nn.seeded import fill_by_name
from ovbench.nn.weights_file import state_of

SIZES = {"vit_b": 768, "vit_l": 1024, "vit_h": 1280}
"""Width of the image encoder by name."""


def load_sam(size: str, weights: Path | None, device: str = "cpu") -> Any:
    """A `segment_anything` model in evaluation mode, frozen; without a file it is name-seeded.

    Args:
        size: "vit_b", "vit_l" or "vit_h".
        weights: a stock SAM checkpoint (sam_vit_b_01ec64.pth and so on), or safetensors with its names.

    Raises:
        UserError: an unknown size, another size's file, names or shapes that do not fit.
    """
    try:
        from segment_anything import sam_model_registry
    except ImportError:
        raise missing_extra("segment-anything", "models") from None
    if size not in SIZES:
        raise unknown("SAM", size, SIZES)
    sam = sam_model_registry[size]()
    if weights is None:
        fill_by_name(sam)
    else:
        state, _ = load_weights(weights)
        fill_sam(sam, size, state, weights)
    return sam.eval().requires_grad_(False).to(device)


def fill_sam(sam: Any, size: str, state: Mapping[str, Any], where: Path | None = None) -> None:
    """Copy a state dict into a SAM, strictly; raises `UserError` naming the size that a file is of."""
    tensors = state_of(state)
    table = tensors.get("image_encoder.pos_embed")
    width = int(table.shape[-1]) if isinstance(table, torch.Tensor) and table.ndim else SIZES[size]
    other = next((name for name, found in SIZES.items() if found == width and name != size), None)
    if other is not None:
        raise UserError(
            f"these are weights of SAM {other}, not {size}",
            where=where,
            hint=f"--variant {other.replace('_', '-')}, or --set sam={other}",
        )
    with naming_file(where):
        apply(sam, tensors)
