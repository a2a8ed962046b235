"""Sizes and switches of DeOP."""

from __future__ import annotations

from dataclasses import dataclass

from ovbench.core.errors import UserError
from ovbench.nn.maskconfig import MaskConfig, ResNetSizes, numbers


@dataclass(frozen=True)
class Config(ResNetSizes, MaskConfig):
    """One set of sizes for the whole network, and how frames are fed to it."""

    embed_width: int = 1024  # hidden width of the class head that mask training uses
    # CLIP
    clip_input: str = "imagenet"  # statistics of CLIP's input: "imagenet" as released, or "clip"
    severance: bool = True  # off: the last block attends as it was trained to
    position_blocks: str = "1,2,3,4,5"  # blocks with learned positions of their own
    position_grid: str = "24x24"  # layout of the learned positions
    prompt_length: int = 16
    # heatmap decoder
    heatmap_layers: int = 1
    heatmap_heads: int = 8
    heatmap_ffn: int = 1024
    # inference
    short_side: int = 512  # 0: frames keep their size

    in_use = MaskConfig.in_use | {"severance"}

    @property
    def learned_blocks(self) -> tuple[int, ...]:
        """CLIP blocks with learned positions of their own."""
        return numbers("position_blocks", self.position_blocks, ",", "1,2,3")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the learned positions."""
        sides = numbers("position_grid", self.position_grid, "x", "24x24")
        if len(sides) != 2 or min(sides) < 1:
            raise UserError(f"position_grid must look like 24x24, not '{self.position_grid}'")
        return sides[0], sides[1]

    def check(self) -> None:
        """Raise `UserError` for values that cannot be."""
        super().check()
        if self.heatmap_layers < 0:
            raise UserError(f"heatmap_layers must be at least 0, not {self.heatmap_layers}")
        assert self.stage_blocks and self.grid and self.learned_blocks is not None
