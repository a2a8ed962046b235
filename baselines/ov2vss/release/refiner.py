"""The affinity refiner: every key's map of affinities is smoothed, deep scales first.

Names and function: `HPNLearner_topk2` in decode_heads/hypercorre.py of the official code. There each of the s
keys becomes an image of one channel. Here the keys are channels, convolved separately with the one kernel: the
affinities lie in memory as places x keys, which is that image with channels last, and nothing is copied.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Refiner(nn.Module):
    """Affinities at the three deeper scales -> one refined affinity."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_layer4 = _level(3)
        self.encoder_layer3 = _level(5)
        self.encoder_layer2 = _level(5)
        self.encoder_layer4to3 = _level(3)
        self.encoder_layer3to2 = _level(3)

    def forward(self, deep: Tensor, middle: Tensor, shallow: Tensor, size: tuple[int, int]) -> Tensor:
        """Affinities (B, h w, s) at c4, c3 and c2, maps of one size -> (B, h w, s), not negative.

        Between scales the official code resizes (align_corners on); with maps of one size that changes nothing.
        """
        x = smooth(self.encoder_layer4, deep, size) + smooth(self.encoder_layer3, middle, size)
        x = smooth(self.encoder_layer4to3, x, size) + smooth(self.encoder_layer2, shallow, size)
        return smooth(self.encoder_layer3to2, x, size)


def smooth(level: nn.Sequential, x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h w, s): convolve each key's image, normalise it (one group), ReLU."""
    conv: nn.Conv2d = level[0].conv2  # type: ignore[assignment]
    norm: nn.GroupNorm = level[1]  # type: ignore[assignment]
    keys = x.shape[2]
    image = x.unflatten(1, size).permute(0, 3, 1, 2)
    kernel = conv.weight.expand(keys, 1, -1, -1)
    image = F.conv2d(image, kernel, conv.bias.expand(keys), padding=conv.padding, groups=keys)  # type: ignore[union-attr]
    image = F.group_norm(image, keys, norm.weight.expand(keys), norm.bias.expand(keys), norm.eps)
    return F.relu(image).flatten(2).transpose(1, 2)


class _Conv(nn.Module):
    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(1, 1, kernel, padding=kernel // 2)


def _level(kernel: int) -> nn.Sequential:
    return nn.Sequential(_Conv(kernel), nn.GroupNorm(1, 1))
