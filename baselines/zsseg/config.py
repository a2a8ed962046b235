"""Sizes of zsseg's network, and the settings that its authors choose anew for every data set."""

from __future__ import annotations

from dataclasses import dataclass

from ovbench.core.errors import UserError
from ovbench.nn.maskconfig import REGION_USE, MaskConfig, RegionLook

PROMPTS = {"vild": "vild", "imagenet": "imagenet80", "single": "sculpture", "world": "world"}
"""Fixed prompts: the name that an option gives, and the template set it stands for."""

LEARNED, SAME = "learned", "same"


@dataclass(frozen=True)
class Config(RegionLook, MaskConfig):
    """The network and how it is used; the defaults are the official ones for COCO-Stuff."""

    # the network
    backbone: str = "r101c"  # see model.BACKBONES
    class_hidden: int = 1024
    prompt: str = "vild"  # a key of PROMPTS, or "learned"
    region_prompt: str = "same"  # for crops; otherwise they have towers and a "no object" vector of their own
    prompt_length: int = 16
    # its use
    ensemble: bool = True  # off: crops are not looked at
    ensemble_weight: float = 0.8  # 0: only crops count
    region_look: str = "crop"  # "frame": CLIP sees the frame once, regions are means under their masks
    mask_threshold: float = 0.5  # of the masks that cut crops out

    in_use = MaskConfig.in_use | REGION_USE | {"ensemble", "ensemble_weight", "region_look", "mask_threshold"}

    def check(self) -> None:
        """Raise `UserError` for a weight or a threshold outside 0..1, or a size that cannot be."""
        super().check()
        for key in ("ensemble_weight", "mask_threshold"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"{key} must lie between 0 and 1, not {getattr(self, key)}")
