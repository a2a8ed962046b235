"""Sizes and switches of ZegFormer."""

from __future__ import annotations

from dataclasses import dataclass

from ovbench.core.errors import UserError
from ovbench.nn.maskconfig import REGION_USE, MaskConfig, RegionLook, ResNetSizes


@dataclass(frozen=True)
class Config(ResNetSizes, RegionLook, MaskConfig):
    """One set of sizes for the whole network, and how its answers are combined."""

    # text
    templates: str = "scene"  # of the mask head's names
    region_templates: str = "region32"  # of the names that regions are compared with
    # inference
    style: str = "cropmask"  # what CLIP sees of a region, see `regions.py`
    ensemble: str = "seen"  # see `ensemble.py`
    calibration: float = 0.1  # taken off the maps of seen classes
    region_batch: int = 8  # crops that CLIP sees at once

    in_use = (
        MaskConfig.in_use | REGION_USE | {"templates", "region_templates", "style", "ensemble", "calibration"}
    )

    def check(self) -> None:
        """Raise `UserError` for values that cannot be."""
        super().check()
        if self.calibration < 0:
            raise UserError(f"calibration must be at least 0, not {self.calibration:g}")
        assert self.stage_blocks
