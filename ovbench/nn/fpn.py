"""MaskFormer's feature pyramid: four maps in, one map of per-pixel features out.

Source: MaskFormer, section 3.3; mask_former/modeling/heads/pixel_decoder.py, BasePixelDecoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .conv import Conv
from .resnet import STAGES


class PixelDecoder(nn.Module):
    """Top-down pyramid with group norm; names `adapter_1..3`, `layer_1..4`, `mask_features`.

    Args:
        channels: widths of the four maps, shallow first.
        dim: width of the pyramid.
        mask_dim: width of the result; default `dim`.
    """

    def __init__(self, channels: Sequence[int], dim: int = 256, mask_dim: int | None = None) -> None:
        super().__init__()
        self.layer_4 = Conv(channels[3], dim, 3, norm="group", activation=True)
        for k in (1, 2, 3):
            self.add_module(f"adapter_{k}", Conv(channels[k - 1], dim, 1, norm="group"))
            self.add_module(f"layer_{k}", Conv(dim, dim, 3, norm="group", activation=True))
        self.mask_features = Conv(dim, mask_dim or dim, 3)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Maps "res2" to "res5" -> (B, mask_dim, H/4, W/4)."""
        x: Tensor = self.layer_4(maps[STAGES[3]])
        for k in (3, 2, 1):
            side = self.get_submodule(f"adapter_{k}")(maps[STAGES[k - 1]])
            x = self.get_submodule(f"layer_{k}")(side + F.interpolate(x, side.shape[-2:], mode="nearest"))
        features: Tensor = self.mask_features(x)
        return features
