"""Switches of SAM + CLIP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ovbench.core.errors import UserError
from ovbench.methods.registry import card
from ovbench.nn.maskconfig import ResNetSizes

_OF_SAM = ("sam", "points_per_batch", "crop_layers", "min_region")
_OF_MAKER = (*(f.name for f in fields(ResNetSizes)), "pyramid")


@dataclass(frozen=True)
class GridConfig:
    """When a mask counts as a region: the parameters of segment-anything's automatic generator.

    Its names, in this order: points_per_side, points_per_batch, pred_iou_thresh, stability_score_thresh,
    stability_score_offset, box_nms_thresh (and crop_nms_thresh), crop_n_layers, min_mask_region_area.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    quality: float = 0.88
    stability: float = 0.95
    stability_offset: float = 1.0
    nms: float = 0.7
    crop_layers: int = 0
    min_region: int = 0


@dataclass(frozen=True)
class Config(GridConfig):
    """These, and what becomes of the regions."""

    proposals: str = "grid"  # see `proposals.py`
    sam: str = "vit_b"
    clip: str = "ViT-B-16-quickgelu"  # name that ovbench.nn.clip.load_clip understands
    look: str = "crop"  # see `looks.py`
    region_batch: int = 8  # crops that CLIP sees at once
    temperature: float = 100.0  # of cosines, before the softmax over classes
    rule: str = "confident"  # see `fusion.py`
    uncovered: str = "nearest"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Config:
        """From a card's options; raises `UserError` for values that cannot be."""
        config = cls(**{f.name: options[f.name] for f in fields(cls)})
        for key in ("points_per_side", "points_per_batch", "region_batch"):
            if getattr(config, key) < 1:
                raise UserError(
                    f"{key} must be at least 1, not {getattr(config, key)}", hint=f"--set {key}=..."
                )
        for key in ("crop_layers", "min_region", "stability_offset", "temperature"):
            value = getattr(config, key)
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"{key} must be at least 0, not {value:g}", hint=f"--set {key}=...")
        for key in ("quality", "stability", "nms"):
            if not 0 <= getattr(config, key) <= 1:
                raise UserError(
                    f"{key} must be from 0 to 1, not {getattr(config, key):g}", hint=f"--set {key}=..."
                )
        return config


def check_idle(method: str, variant: str, options: Mapping[str, Any]) -> None:
    """Refuse what would change nothing, and yet stand in the manifest as if it did.

    The world's mask maker (`proposals=points`) knows nothing of SAM's size, batches, crops and tidying: values of the
    card pass. SAM knows nothing of the maker's sizes: values of the card and of the variant pass.

    Raises:
        UserError: names the option.
    """
    own = card(method)
    points = options["proposals"] == "points"
    # A variant that is called by SAM's size must not be used without SAM.
    changed = own.variants[variant].options if variant in own.variants and not points else {}
    for key in _OF_SAM if points else _OF_MAKER:
        if options[key] not in (own.options[key], changed.get(key, own.options[key])):
            raise UserError(
                f"{key} has no effect with proposals={options['proposals']}: "
                + ("SAM alone has it" if points else "the world's mask maker alone has it"),
                hint=f"leave out --set {key}=..., or "
                + ("choose proposals=grid" if points else "take --variant world"),
            )
