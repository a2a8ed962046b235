"""FreeSeg's pixel decoder: three maps that look at each other, and per-pixel features at a quarter of the image.

Source: Mask2Former, section 3.2.1; FreeSeg, mask2former/modeling/heads/msdeformattn.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.nn.conv import Conv, make_norm
from ovbench.nn.deform import DeformLayer, Size, cell_centres
from ovbench.nn.detr import SinePositions

from .config import Config

LEVELS = ("res5", "res4", "res3")
"""The backbone's maps that look at each other, in the order of the levels."""


class Encoder(nn.Module):
    """Names `level_embed` (levels, dim), `encoder.layers.N`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim, levels = config.pyramid, len(LEVELS)
        self.level_embed = nn.Parameter(torch.randn(levels, dim))
        sizes = (dim, levels, config.heads, config.sampling_points, config.encoder_ffn, config.dropout)
        layers = nn.ModuleList(DeformLayer(*sizes) for _ in range(config.encoder_layers))
        self.encoder = nn.ModuleDict({"layers": layers})
        self.positions = SinePositions(dim // 2)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, dim, h, w), one of each level -> the same shapes."""
        sizes: list[Size] = [(int(m.shape[2]), int(m.shape[3])) for m in maps]
        codes = torch.cat(
            [
                self.positions(m).flatten(2).transpose(1, 2) + level
                for m, level in zip(maps, self.level_embed, strict=True)
            ],
            dim=1,
        )
        x = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)
        centres = cell_centres(sizes, x.device)
        for layer in cast(nn.ModuleList, self.encoder["layers"]):
            x = layer(x, codes, centres, sizes)
        parts = x.split_with_sizes([h * w for h, w in sizes], dim=1)
        return [p.transpose(1, 2).unflatten(2, size) for p, size in zip(parts, sizes, strict=True)]


class PixelDecoder(nn.Module):
    """Names `input_proj.N.{0,1}`, `transformer`, `adapter_1`, `layer_1`, `mask_features`.

    Args:
        channels: widths of the backbone's four maps, shallow first.
    """

    def __init__(self, channels: Sequence[int], config: Config) -> None:
        super().__init__()
        dim = config.pyramid
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, dim, 1), make_norm("group", dim)) for width in channels[:0:-1]
        )
        self.transformer = Encoder(config)
        self.adapter_1 = Conv(channels[0], dim, 1, norm="group")
        self.layer_1 = Conv(dim, dim, 3, norm="group", activation=True)
        self.mask_features = Conv(dim, dim, 1)

    def forward(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Maps "res2" to "res5" -> (B, dim, H/4, W/4), and a map of each level, (B, dim, h, w)."""
        projected = [proj(maps[name]) for proj, name in zip(self.input_proj, LEVELS, strict=True)]
        levels = self.transformer(projected)
        side = self.adapter_1(maps["res2"])
        large = F.interpolate(levels[-1], side.shape[-2:], mode="bilinear", align_corners=False)
        features: Tensor = self.mask_features(self.layer_1(side + large))
        return features, levels
