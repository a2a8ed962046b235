"""Spatial-temporal context fusion: a memory handed from frame to frame, and read by the target.

OV2VSS, section III-B (paper profile): the memory starts at t-9, is updated at t-6 and t-3, and is read at t.
As in the paper's Eq. 4 the affinities are plain dot products. We scale them by a constant, which the
normalisations that follow take out again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Config


def token_grids(deepest: tuple[int, int], ratios: Sequence[int]) -> list[tuple[int, int]]:
    """Sizes that every scale is pooled to; equal for all scales, so that token counts agree."""
    return [(max(1, round(deepest[0] / r)), max(1, round(deepest[1] / r))) for r in ratios]


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width of (..., H, W)."""
    return int(x.shape[-2]), int(x.shape[-1])


class TokenPool(nn.Module):
    """Pyramid pooling: (B, C, h, w) -> (B, s, C), each pooled map with its own depthwise 3x3 convolution."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(levels))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
        tokens = []
        for conv, grid in zip(self.convs, grids, strict=True):
            pooled = F.adaptive_avg_pool2d(x, grid) if tuple(x.shape[-2:]) != grid else x
            tokens.append((pooled + conv(pooled)).flatten(2))
        return self.norm(torch.cat(tokens, dim=2).transpose(1, 2))


class Hop(nn.Module):
    """One hand-over: the memory becomes keys and values, the next frame asks."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.pool = TokenPool(width, levels)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(
        self, memory: Tensor, frame: Tensor, grids: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) twice -> affinity (B, hw, s) and values (B, s, C)."""
        tokens = self.pool(memory, grids)
        query = self.query(frame.flatten(2).transpose(1, 2))
        affinity = query @ self.key(tokens).transpose(1, 2) * query.shape[-1] ** -0.5
        return affinity, self.value(tokens)


class Chain(nn.Module):
    """The hand-overs of one scale, t-9 -> t-6 -> t-3 -> t."""

    def __init__(self, width: int, levels: int, hops: int = 3) -> None:
        super().__init__()
        self.hops = nn.ModuleList(Hop(width, levels) for _ in range(hops))

    def forward(self, frames: Sequence[Tensor], grids: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Four (B, C, h, w), oldest first -> the target's affinity (B, s, h, w) and values (B, s, C)."""
        memory = frames[0]
        for hop, frame in zip(self.hops, frames[1:], strict=True):
            affinity, value = hop(memory, frame, grids)
            memory = (affinity @ value / value.shape[1]).transpose(1, 2).reshape(frame.shape)
        return affinity.transpose(1, 2).reshape(*affinity.shape[:1], -1, *frame.shape[-2:]), value


class AffinityRefiner(nn.Module):
    """Affinities of all scales, deep to shallow: convolve, enlarge, add, convolve (the paper's Eq. 5).

    Each key token's affinity is a one-channel image of its own.
    """

    def __init__(self, scales: int) -> None:
        super().__init__()
        self.own = nn.ModuleList(_OneChannel(3 if i == 0 else 5) for i in range(scales))
        self.joint = nn.ModuleList(_OneChannel(3) for _ in range(scales - 1))

    def forward(self, affinities: Sequence[Tensor]) -> Tensor:
        """Deepest first, each (B, s, h, w) -> (B, s, H, W) at the shallowest scale."""
        maps = [own(a) for own, a in zip(self.own, affinities, strict=True)]
        merged = maps[0]
        for joint, finer in zip(self.joint, maps[1:], strict=True):
            if merged.shape[-2:] != finer.shape[-2:]:
                merged = F.interpolate(merged, finer.shape[-2:], mode="bilinear", align_corners=True)
            merged = joint(merged + finer)
        return merged


class _OneChannel(nn.Sequential):
    """Convolution, normalisation and ReLU of each channel of (B, s, h, w) as an image of its own.

    All channels share one kernel. A depthwise convolution with that kernel repeated computes the same as
    s one-channel images, four times faster on a CPU.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__(nn.Conv2d(1, 1, kernel, padding=kernel // 2), nn.GroupNorm(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self[0], self[1]
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None and isinstance(norm, nn.GroupNorm)
        s, pad = x.shape[1], conv.kernel_size[0] // 2
        x = F.conv2d(x, conv.weight.expand(s, -1, -1, -1), conv.bias.expand(s), padding=pad, groups=s)
        return F.relu(F.group_norm(x, s, norm.weight.expand(s), norm.bias.expand(s), norm.eps))


class ContextFusion(nn.Module):
    """STCF: features of four frames -> context of the target, (B, C, H1, W1) at the shallowest scale."""

    def __init__(self, config: Config, scales: int = 4) -> None:
        super().__init__()
        levels = len(config.pool_ratios)
        self.ratios = config.pool_ratios
        self.refine = config.refine
        self.chains = nn.ModuleList(Chain(config.width, levels) for _ in range(scales))
        self.refiner = AffinityRefiner(scales)
        self.merge_values = nn.Linear(scales * config.width, config.width)
        self.norm = nn.GroupNorm(1, config.width)

    def forward(self, frames: Sequence[Sequence[Tensor]]) -> Tensor:
        """`frames[i][l]`: scale l (shallow first) of frame i (t-9, t-6, t-3, t)."""
        scales = len(frames[0])
        grids = token_grids(size_of(frames[0][-1]), self.ratios)
        results = [chain([f[level] for f in frames], grids) for level, chain in enumerate(self.chains)]
        affinities = [results[level][0] for level in reversed(range(scales))]
        if self.refine:
            affinity = self.refiner(affinities)
        else:
            affinity = F.interpolate(affinities[0], frames[0][0].shape[-2:], mode="bilinear")
        value = self.merge_values(torch.cat([v for _, v in results], dim=-1))
        return self.norm(torch.einsum("bshw,bsc->bchw", affinity, value) / value.shape[1])


class FrameContext(nn.Module):
    """What stands in for STCF where it is switched off: the target's own scales, enlarged and merged.

    The released code has the same in its single-frame path (one projection, normalisation and ReLU over all
    scales). Earlier frames are not read.
    """

    def __init__(self, config: Config, scales: int = 4) -> None:
        super().__init__()
        self.merge = nn.Conv2d(scales * config.width, config.width, 1)
        self.norm = nn.GroupNorm(1, config.width)

    def forward(self, frames: Sequence[Sequence[Tensor]]) -> Tensor:
        """The same as `ContextFusion`: `frames[-1]` is the target -> (B, C, H1, W1)."""
        scales = frames[-1]
        size = size_of(scales[0])
        same = [
            x if size_of(x) == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
            for x in scales
        ]
        return self.norm(F.relu(self.merge(torch.cat(same, dim=1))))


class RandomFrameEnhancement(nn.Module):
    """Region vectors of a random (at test time: the farthest) frame, read by the target's context.

    OV2VSS, section III-C. The result is added to the context (the paper does not say; without the sum the
    context would only choose among region vectors).
    """

    def __init__(self, config: Config, scales: int = 4) -> None:
        super().__init__()
        width = config.width
        self.ratios = config.pool_ratios
        self.pools = nn.ModuleList(TokenPool(width, len(config.pool_ratios)) for _ in range(scales))
        self.merge = nn.Linear(scales * width, width)
        self.assign = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, config.regions)
        )
        self.attention = nn.MultiheadAttention(width, config.heads, batch_first=True)

    def regions(self, far: Sequence[Tensor]) -> Tensor:
        """The far frame's scales -> region vectors (B, R, C); they do not depend on the target."""
        grids = token_grids(size_of(far[-1]), self.ratios)
        tokens = self.merge(
            torch.cat([pool(x, grids) for pool, x in zip(self.pools, far, strict=True)], dim=-1)
        )
        share = self.assign(tokens).softmax(dim=1)
        return share.transpose(1, 2) @ tokens

    def forward(self, context: Tensor, regions: Tensor) -> Tensor:
        """Context (B, C, H, W) and region vectors (B, R, C) -> (B, C, H, W)."""
        query = context.flatten(2).transpose(1, 2)
        found, _ = self.attention(query, regions, regions, need_weights=False)
        return context + found.transpose(1, 2).reshape(context.shape)
