"""Sizes of SAN's side network, and which part of CLIP it looks into."""

from __future__ import annotations

from dataclasses import dataclass

from ovbench.core.errors import UserError, unknown
from ovbench.nn.maskconfig import MaskConfig, numbers

READINGS = ("tokens", "pool")
"""How a proposal is named: by a copy of CLIP's class token, or by a mean over places (no class token needed)."""


@dataclass(frozen=True)
class Config(MaskConfig):
    """The network and how it is used; the defaults are the official ones for ViT-B/16.

    Of `MaskConfig`: `dim`, `heads`, `layers`, `ffn` are those of the side network's blocks, `pyramid` is the
    width of masks and of the attention bias.
    """

    heads: int = 6
    dim: int = 240
    layers: int = 8
    ffn: int = 960
    dropout: float = 0.0
    patch: int = 16  # of the side network, in pixels of the padded frame
    side_grid: str = "40x40"  # of its position table
    clip_scale: float = 0.5  # CLIP sees the padded frame this much smaller
    clip_blocks: int = 9  # of CLIP's blocks run without proposals; the others name them
    fusion: str = "0,3,6,9"  # after how many of CLIP's blocks its map goes to side block 0, 1, 2, ...
    reading: str = "tokens"  # see READINGS
    templates: str = "vild"  # a set of prompt templates

    def check(self) -> None:
        """Raise `UserError` for values that cannot be."""
        super().check()
        if self.reading not in READINGS:
            raise unknown("reading", self.reading, READINGS)
        if not 0 < self.clip_scale <= 1:
            raise UserError(
                f"clip_scale must be more than 0 and at most 1, not {self.clip_scale:g}",
                hint="--set clip_scale=0.5",
            )
        for key in ("patch", "clip_blocks"):
            if getattr(self, key) < 1:
                raise UserError(
                    f"{key} must be at least 1, not {getattr(self, key)}", hint=f"--set {key}=..."
                )
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise UserError(f"side_grid must look like 40x40, not '{self.side_grid}'")
        levels = self.fused
        if not levels or len(levels) > self.layers or min(levels) < 0 or max(levels) > self.clip_blocks:
            raise UserError(
                f"fusion must be 1 to {self.layers} numbers from 0 to {self.clip_blocks} (clip_blocks), "
                f"not '{self.fusion}'",
                hint="--set fusion=0,3,6,9",
            )

    @property
    def grid(self) -> tuple[int, ...]:
        """Rows and columns of the side network's position table."""
        return numbers("side_grid", self.side_grid, "x", "40x40")

    @property
    def fused(self) -> tuple[int, ...]:
        """Number of CLIP's blocks behind the map that each of the first side blocks is given."""
        return numbers("fusion", self.fusion, ",", "0,3,6,9")
