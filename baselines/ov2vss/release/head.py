"""The official decode head, target row alone.

Names and function: `SegFormerHead_CAT` in decode_heads/segformer_voca.py of the official code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import CrossAttention
from .fusion import SCALES, Fusion
from .predictor import CorrLayout, Predictor
from .tokens import Grids, TokenPool, pool

SEEN, WIDTH = 81, 256


@dataclass
class Far:
    """All that the far frame contributes to a target; nothing of it depends on the target.

    `memory`: per scale (shallow first) its keys times its values, (B, 256, 256); `regions`: (B, 81, 256).
    """

    memory: list[Tensor]
    regions: Tensor


class DecodeHead(nn.Module):
    """Everything behind the backbone. Maps are lists of four (B, 256, h, w), shallow first."""

    def __init__(self, clip_model: nn.Module, layout: CorrLayout = "fixed") -> None:
        super().__init__()
        for n in SCALES:
            self.add_module(f"linear_c{n}", _linear())
            self.add_module(f"linear_down_c{n}", _linear())
            self.add_module(f"pooling_mhsa_c{n}", TokenPool(WIDTH))
        self.linear_fuse = nn.ModuleDict(
            {"conv": nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False), "bn": nn.BatchNorm2d(WIDTH)}
        )
        self.pooling_linear = nn.Linear(4 * WIDTH, WIDTH)
        self.hypercorre_module = Fusion(WIDTH)
        self.mul_attention = CrossAttention(WIDTH)
        self.dsn_head = nn.Sequential(
            nn.Conv2d(WIDTH, 512, 3, padding=1),
            nn.BatchNorm2d(512),
            nn.ReLU(),
            nn.Dropout2d(0.05),
            nn.Conv2d(512, SEEN, 1),
        )
        self.aux_head = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 1), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Conv2d(WIDTH, SEEN, 1)
        )
        self.predictor = Predictor(clip_model, layout)

    def far(self, maps: Sequence[Tensor]) -> Far:
        """What the far frame contributes."""
        grids = self.grids(maps)
        with _full_precision(maps[0]):
            memory = [self.hypercorre_module.first_memory(n, grids[n - 1]) for n in SCALES]
        return Far(memory, self.regions(self.far_tokens(grids)))

    def context(
        self, far: Far, maps9: Sequence[Tensor], maps6: Sequence[Tensor], maps: Sequence[Tensor]
    ) -> Tensor:
        """(B, h w, 256): the target's context before the far frame's regions replace it."""
        h, w = (int(side) for side in maps[0].shape[2:])
        with _full_precision(maps[0]):
            target = [self.place_vectors("linear_down_c", n, maps[n - 1].float()) for n in SCALES[1:]]
            out: Tensor = self.hypercorre_module(
                far.memory, self.grids(maps9), self.grids(maps6), [maps[0], *target], (h, w)
            )
        return out

    def enhanced(self, context: Tensor, regions: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, h w, 256) context, (B, 81, 256) regions -> (B, 256, h, w).

        The official reshape does not transpose: places and channels are scrambled, and weights trained so
        expect it.
        """
        out: Tensor = self.mul_attention(context, regions)
        return out.reshape(out.shape[0], WIDTH, *size)

    def auxiliary(self, context: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, h w, 256) context -> (B, 81, h, w) logits of the seen classes (training only)."""
        out: Tensor = self.aux_head(context.transpose(1, 2).unflatten(2, size))
        return out

    def grids(self, maps: Sequence[Tensor]) -> list[Grids]:
        """The four grids of every scale, after `linear_down_c*` (which commutes with taking means)."""
        with _full_precision(maps[0]):
            return [
                pool(maps[n - 1].float()).map(self.get_submodule(f"linear_down_c{n}.proj")) for n in SCALES
            ]

    def far_tokens(self, grids: Sequence[Grids]) -> Tensor:
        """(B, s, 256) from the far frame's four scales, shallow first."""
        parts = [self.get_submodule(f"pooling_mhsa_c{n}")(grids[n - 1]) for n in SCALES]
        out: Tensor = self.pooling_linear(torch.cat(parts, dim=-1))
        return out

    def regions(self, tokens: Tensor) -> Tensor:
        """(B, 81, 256): means of the tokens (B, s, 256), one per output of `dsn_head`, softmax over tokens."""
        logits = self.dsn_head(tokens.transpose(1, 2)[:, :, None])
        return logits.flatten(2).softmax(dim=-1) @ tokens

    def fused(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, 256, h, w) of the fallback's own projections, deep first."""
        x = torch.cat([self.place_vectors("linear_c", n, maps[n - 1]) for n in reversed(SCALES)], dim=-1)
        x = x.transpose(1, 2).unflatten(2, tuple(maps[0].shape[2:]))
        return F.relu(self.linear_fuse["bn"](self.linear_fuse["conv"](x)))

    def deep(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, 256, h, w): c4 as the predictor takes it."""
        places = self.place_vectors("linear_down_c", 4, maps[3])
        return places.transpose(1, 2).unflatten(2, tuple(maps[3].shape[2:]))

    def place_vectors(self, layer: str, n: int, x: Tensor) -> Tensor:
        """(B, 256, h, w) -> (B, h w, 256) through the layer of scale n."""
        out: Tensor = self.get_submodule(f"{layer}{n}.proj")(x.flatten(2).transpose(1, 2))
        return out


def _linear() -> nn.ModuleDict:
    return nn.ModuleDict({"proj": nn.Linear(WIDTH, WIDTH)})


def _full_precision(x: Tensor) -> torch.autocast:
    """Products without softmax or scale grow to 1e3 and beyond: they stay in float32 under any autocast."""
    return torch.autocast(x.device.type, enabled=False)
