"""Residual networks under detectron2's names: `stem.conv1.norm.weight`, `res2.0.shortcut.weight`, ...

Sources: detectron2/modeling/backbone/resnet.py (stride on the 3x3 convolution) and
projects/DeepLab/deeplab/resnet.py (the deep stem, dilations of the last stage's blocks).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .conv import Conv, Norm

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STAGES = ("res2", "res3", "res4", "res5")


class ResNet(nn.Module):
    """(B, 3, H, W) -> maps "res2" to "res5" at strides 4, 8, 16 and 32.

    Args:
        depth: 50 or 101; other numbers of blocks through `blocks`.
        stem: "basic", one 7x7 convolution, or "deeplab", three 3x3 convolutions that end in twice the width.
        res5_dilations: of the last stage's blocks; its stride stays 2.
        width: channels of the basic stem; the stages have 4, 8, 16 and 32 times as many (official: 64).
        norm: "frozen" as published; "group" for networks that are trained from nothing.
        pool: off leaves out the stem's max pooling, so that all strides are half as long (for small frames).
        res5_stride: of the last stage; 1 keeps the map of the one before at its size.

    `channels` holds the widths of the four maps.
    """

    def __init__(
        self,
        depth: int = 50,
        stem: Literal["basic", "deeplab"] = "basic",
        res5_dilations: Sequence[int] = (1, 1, 1),
        *,
        blocks: Sequence[int] | None = None,
        width: int = 64,
        norm: Norm = "frozen",
        pool: bool = True,
        res5_stride: int = 2,
    ) -> None:
        super().__init__()
        strides = (1, 2, 2, res5_stride)
        counts = tuple(blocks or BLOCKS[depth])
        self.channels = tuple(width * 4 * 2**i for i in range(4))
        self.stem = (BasicStem if stem == "basic" else DeepLabStem)(width, norm, pool)
        inputs = self.stem.outputs
        for i, (name, count, outputs) in enumerate(zip(STAGES, counts, self.channels, strict=True)):
            dilations = tuple(res5_dilations) if name == "res5" else ()
            stage = nn.Sequential()
            for k in range(count):
                dilation = dilations[k] if k < len(dilations) else 1
                stride = strides[i] if k == 0 else 1
                stage.append(Bottleneck(inputs if k == 0 else outputs, outputs, stride, dilation, norm))
            self.add_module(name, stage)
            inputs = outputs

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Four maps by name, shallow first."""
        x = self.stem(x)
        maps = {}
        for name in STAGES:
            x = self.get_submodule(name)(x)
            maps[name] = x
        return maps


class BasicStem(nn.Module):
    """7x7 convolution at stride 2 and 3x3 max pooling at stride 2."""

    def __init__(self, width: int, norm: Norm, pool: bool) -> None:
        super().__init__()
        self.outputs, self.pool = width, pool
        self.conv1 = Conv(3, width, 7, 2, norm=norm, activation=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width, H/4, W/4)."""
        x = self.conv1(x)
        return F.max_pool2d(x, 3, 2, 1) if self.pool else x


class DeepLabStem(nn.Module):
    """Three 3x3 convolutions, the first at stride 2, and 3x3 max pooling at stride 2."""

    def __init__(self, width: int, norm: Norm, pool: bool) -> None:
        super().__init__()
        self.outputs, self.pool = 2 * width, pool
        self.conv1 = Conv(3, width, 3, 2, norm=norm, activation=True)
        self.conv2 = Conv(width, width, 3, norm=norm, activation=True)
        self.conv3 = Conv(width, 2 * width, 3, norm=norm, activation=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 2 width, H/4, W/4)."""
        x = self.conv3(self.conv2(self.conv1(x)))
        return F.max_pool2d(x, 3, 2, 1) if self.pool else x


class Bottleneck(nn.Module):
    """1x1, 3x3 (stride and dilation here), 1x1, around a shortcut that is a convolution where widths differ."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, norm: Norm) -> None:
        super().__init__()
        middle = outputs // 4
        self.shortcut = Conv(inputs, outputs, 1, stride, norm=norm) if inputs != outputs else None
        self.conv1 = Conv(inputs, middle, 1, norm=norm, activation=True)
        self.conv2 = Conv(middle, middle, 3, stride, dilation=dilation, norm=norm, activation=True)
        self.conv3 = Conv(middle, outputs, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.conv3(self.conv2(self.conv1(x)))
        y = y + (x if self.shortcut is None else self.shortcut(x))
        return F.relu_(y)
