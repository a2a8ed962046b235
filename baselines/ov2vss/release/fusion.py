"""Spatial-temporal context fusion as the official code runs it: far -> t-9 -> t-6 -> t.

Names and function: `hypercorre_topk2` in decode_heads/hypercorre.py of the official code, the target's row alone.
Its first two steps have neither softmax nor scale, so (Q K') V is computed as Q (K' V): a frame hands on one
256 x 256 matrix per scale. Its pooling is linear and the same in all channels, so the linear maps before it act
on pooled frames. Both change rounding, not the function.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .refiner import Refiner
from .tokens import Grids, TokenPool

SCALES = range(1, 5)  # c1 (shallow) to c4 (deep)


class Fusion(nn.Module):
    """Raw dot-product attention of the target on tokens that went through two earlier frames.

    The official numbering runs against itself: at scale n the layers `k` and `q` have number n, all others
    5 - n. `q1` and `f4` (affinity of c1) are not used officially and absent here.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        for n in SCALES:
            m = 5 - n
            linear = [f"k{n}", f"q{n}", f"pk{m}", f"f{m}p", f"i{m}", f"iv{m}", f"f{m}", f"v{m}"]
            for name in linear if n > 1 else [x for x in linear if x not in ("q1", "f4")]:
                self.add_module(name, nn.Linear(width, width))
            for name in (f"pooling_mhsa_fk{m}", f"pooling_mhsa_sk{m}", f"pooling_mhsa_f{m}"):
                self.add_module(name, TokenPool(width))
        self.pooling_proj_linear = nn.Linear(4 * width, width)
        self.hpn = Refiner()

    def layer(self, name: str, number: int, suffix: str = "") -> nn.Module:
        """A layer by its official name."""
        return self.get_submodule(f"{name}{number}{suffix}")

    def first_memory(self, n: int, far: Grids) -> Tensor:
        """(B, 256, 256): keys times values of the far frame at scale n (1 = shallow)."""
        tokens = self.layer("pooling_mhsa_fk", 5 - n)(far)
        return product(self.layer("pk", 5 - n)(tokens), self.layer("f", 5 - n, "p")(tokens))

    def second_memory(self, n: int, memory: Tensor, older: Grids) -> Tensor:
        """(B, 256, 256) after frame t-9 has read the far frame's memory."""
        tokens = self.layer("pooling_mhsa_sk", 5 - n)(self._read(n, memory, older))
        return product(self.layer("i", 5 - n)(tokens), self.layer("iv", 5 - n)(tokens))

    def last_tokens(self, n: int, memory: Tensor, newer: Grids) -> Tensor:
        """(B, s, 256) tokens of what frame t-6 read: the target's keys and values are made of them."""
        tokens: Tensor = self.layer("pooling_mhsa_f", 5 - n)(self._read(n, memory, newer))
        return tokens

    def affinity(self, n: int, target: Tensor, tokens: Tensor) -> Tensor:
        """(B, h w, s) of the target's places (B, h w, 256) and the tokens, at scale n > 1."""
        return self.layer("q", n)(target) @ self.layer("f", 5 - n)(tokens).mT  # type: ignore[no-any-return]

    def values(self, tokens: Sequence[Tensor]) -> Tensor:
        """(B, s, 256) from the last tokens of the four scales, shallow first; officially deep stands first."""
        parts = [self.layer("v", 5 - n)(tokens[n - 1]) for n in reversed(SCALES)]
        out: Tensor = self.pooling_proj_linear(torch.cat(parts, dim=-1))
        return out

    def forward(
        self,
        memory: Sequence[Tensor],
        older: Sequence[Grids],
        newer: Sequence[Grids],
        target: Sequence[Tensor],
        size: tuple[int, int],
    ) -> Tensor:
        """(B, h w, 256) context of the target.

        Args:
            memory: `first_memory` of the far frame, shallow first.
            older, newer: grids of t-9 and t-6.
            target: places (B, h w, 256) of the target; c1's are not read.
            size: (h, w).
        """
        tokens = [
            self.last_tokens(n, self.second_memory(n, memory[n - 1], older[n - 1]), newer[n - 1])
            for n in SCALES
        ]
        deep, middle, shallow = (self.affinity(n, target[n - 1], tokens[n - 1]) for n in (4, 3, 2))
        return self.hpn(deep, middle, shallow, size) @ self.values(tokens)  # type: ignore[no-any-return]

    def _read(self, n: int, memory: Tensor, frame: Grids) -> Grids:
        return frame.map(lambda x: self.layer("k", n)(x) @ memory)


def product(keys: Tensor, values: Tensor) -> Tensor:
    """(B, s, C), (B, s, C) -> (B, C, C)."""
    return keys.mT @ values
