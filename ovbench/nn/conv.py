"""A convolution that carries its normalisation as a child called `norm`, and batch norm that never changes."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["frozen", "group"]


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine parameters are buffers (detectron2's FrozenBatchNorm2d).

    Buffers `weight`, `bias`, `running_mean`, `running_var`, each (C,); no step counter; eps 1e-5.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


class Conv(nn.Conv2d):
    """Convolution, then `norm` (if any), then ReLU (if asked for); names `weight`, `bias`, `norm.*`.

    Args:
        norm: "frozen" (`FrozenBatchNorm`), "group" (32 groups, fewer where a group would have less than 8
            channels) or None. Only without a norm there is a bias.
        padding: default keeps the size at stride 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        norm: Norm | None = None,
        activation: bool = False,
    ) -> None:
        padding = dilation * (kernel // 2) if padding is None else padding
        super().__init__(inputs, outputs, kernel, stride, padding, dilation, bias=norm is None)
        self.norm = make_norm(norm, outputs) if norm else None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        x = super().forward(x)
        if self.norm is not None:
            x = self.norm(x)
        return F.relu_(x) if self.activation else x


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """A normalisation by name, see `Conv`."""
    if kind == "frozen":
        return FrozenBatchNorm(channels)
    most = min(32, max(1, channels // 8))
    return nn.GroupNorm(next(n for n in range(most, 0, -1) if channels % n == 0), channels)
