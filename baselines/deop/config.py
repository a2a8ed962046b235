"""Sizes and switches of DeOP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ovbench.core.errors import UserError
from ovbench.nn.conv import Norm
from ovbench.nn.resnet import BLOCKS


@dataclass(frozen=True)
class Config:
    """One set of sizes for the whole network, and how frames are fed to it."""

    # mask network
    depth: int = 101  # of the ResNet: 50 or 101
    blocks: str = ""  # residual blocks per stage, "1,1,1,1"; empty: those of `depth`
    stem_width: int = 64
    norm: Norm = "frozen"  # "group" for backbones that are trained from nothing
    pool: bool = True  # off: no max pooling in the stem, strides half as long
    res5_stride: int = 2  # 1: the deepest map as large as the one before
    dim: int = 256
    queries: int = 100
    heads: int = 8
    ffn: int = 2048
    layers: int = 6
    pyramid: int = 256  # width of the pixel decoder and of masks
    dropout: float = 0.1  # of the mask decoder, in training
    embed_width: int = 1024  # hidden width of the class head that mask training uses
    # CLIP
    clip: str = "ViT-B-16-quickgelu"  # name that ovbench.nn.clip.load_clip understands
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
    long_side: int = 2560

    @property
    def stage_blocks(self) -> tuple[int, ...]:
        """Residual blocks of the four stages."""
        if not self.blocks:
            return BLOCKS[self.depth]
        counts = _numbers("blocks", self.blocks, ",", "3,4,6,3")
        if len(counts) != 4 or min(counts) < 1:
            raise UserError(f"blocks must look like 3,4,6,3, not '{self.blocks}'")
        return counts

    @property
    def learned_blocks(self) -> tuple[int, ...]:
        """CLIP blocks with learned positions of their own."""
        return _numbers("position_blocks", self.position_blocks, ",", "1,2,3")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the learned positions."""
        sides = _numbers("position_grid", self.position_grid, "x", "24x24")
        if len(sides) != 2 or min(sides) < 1:
            raise UserError(f"position_grid must look like 24x24, not '{self.position_grid}'")
        return sides[0], sides[1]

    @property
    def shared_clip(self) -> bool:
        """Whether CLIP stays in its own file: the embedded world's model serves all methods."""
        return self.clip == "world"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Config:
        """A configuration from a card's options; raises `UserError` for values that cannot be."""
        config = cls(**{f.name: options[f.name] for f in fields(cls) if f.name in options})
        if config.short_side < 0 or config.long_side < config.short_side:
            raise UserError("short_side must be 0 or more, and long_side at least that")
        if config.dim % 4 or config.dim % config.heads:
            raise UserError(f"dim must be a multiple of 4 and of heads, not {config.dim}")
        assert config.stage_blocks and config.grid and config.learned_blocks is not None
        return config


def _numbers(key: str, text: str, sign: str, example: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(sign)) if text else ()
    except ValueError:
        raise UserError(f"{key} must look like {example}, not '{text}'") from None
