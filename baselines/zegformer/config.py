"""Sizes and switches of ZegFormer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ovbench.core.errors import UserError
from ovbench.nn.conv import Norm
from ovbench.nn.resnet import BLOCKS


@dataclass(frozen=True)
class Config:
    """One set of sizes for the whole network, and how its answers are combined."""

    # network
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
    dropout: float = 0.1  # of the decoder, in training
    clip: str = "ViT-B-16-quickgelu"  # name that ovbench.nn.clip.load_clip understands
    # text
    templates: str = "scene"  # of the mask head's names
    region_templates: str = "region32"  # of the names that regions are compared with
    # inference
    short_side: int = 640  # 0: frames keep their size
    long_side: int = 2560
    style: str = "cropmask"  # what CLIP sees of a region, see `regions.py`
    ensemble: str = "seen"  # see `ensemble.py`
    calibration: float = 0.1  # taken off the maps of seen classes
    seen_rule: str = "flags"  # see ovbench.nn.seen
    seen_names: str = "coco-stuff-156"  # the list that rules with names look at
    region_batch: int = 8  # crops that CLIP sees at once

    @property
    def stage_blocks(self) -> tuple[int, ...]:
        """Residual blocks of the four stages; raises `UserError` for a text that is not four numbers."""
        if not self.blocks:
            return BLOCKS[self.depth]
        try:
            counts = tuple(int(part) for part in self.blocks.split(","))
        except ValueError:
            counts = ()
        if len(counts) != 4 or min(counts) < 1:
            raise UserError(f"blocks must look like 3,4,6,3, not '{self.blocks}'")
        return counts

    @property
    def shared_clip(self) -> bool:
        """Whether CLIP stays in its own file: the embedded world's model serves all methods."""
        return self.clip == "world"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Config:
        """A configuration from a card's options; raises `UserError` for values that cannot be."""
        config = cls(**{f.name: options[f.name] for f in fields(cls) if f.name in options})
        if config.short_side < 0 or config.long_side < config.short_side or config.region_batch < 1:
            raise UserError("short_side must be 0 or more, long_side at least that, region_batch at least 1")
        if config.dim % 4 or config.dim % config.heads:
            raise UserError(f"dim must be a multiple of 4 and of heads, not {config.dim}")
        assert config.stage_blocks
        return config
