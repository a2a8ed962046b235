"""SAM's ViT-B image encoder under the names that OV2VSS' official code gives it.

Function and names: mmseg/models/backbones/sam_vit.py of the official code. Beside SAM's own code: zero padding
at the right and bottom up to multiples of 16, a position table with a class slot in front, block norms with
eps 1e-5 (SAM: 1e-6), and four maps, one behind each block with global attention, all through one neck.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIM, HEADS, DEPTH, WIDTH = 768, 12, 12, 256
PATCH, GRID, WINDOW = 16, 64, 14
GLOBAL = (2, 5, 8, 11)
BLOCK_EPS, NECK_EPS = 1e-5, 1e-6

_MOST_BIAS = 2**25
"""Position biases held at once, in elements; more heads than this allows are computed one after another."""


class Backbone(nn.Module):
    """(B, 3, H, W) ImageNet-normalised pixels -> four maps (B, 256, ceil(H / 16), ceil(W / 16)), shallow first.

    The official `cls_token` is added and dropped before the first block: it is not a parameter here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"projection": nn.Conv2d(3, DIM, PATCH, PATCH)})
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID * GRID, DIM))
        self.blocks = nn.ModuleList(Block(0 if i in GLOBAL else WINDOW) for i in range(DEPTH))
        self.neck = nn.Sequential(
            nn.Conv2d(DIM, WIDTH, 1, bias=False),
            nn.LayerNorm(WIDTH, NECK_EPS),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            nn.LayerNorm(WIDTH, NECK_EPS),
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The maps lie in memory with channels last, so that reading them as tokens costs nothing."""
        height, width = pixels.shape[-2:]
        x = self.patch_embed["projection"](F.pad(pixels, (0, -width % PATCH, 0, -height % PATCH)))
        x = x.permute(0, 2, 3, 1) + self.positions(int(x.shape[2]), int(x.shape[3]))
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in GLOBAL:
                maps.append(self.through_neck(x))
        return maps

    def positions(self, h: int, w: int) -> Tensor:
        """(1, h, w, 768). A grid of 4,096 places takes the table as it lies, whatever its sides (as officially)."""
        table = self.pos_embed[:, 1:]
        if h * w == GRID * GRID:
            return table.reshape(1, h, w, DIM)
        places = table.reshape(1, GRID, GRID, DIM).permute(0, 3, 1, 2)
        return F.interpolate(places, (h, w), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)

    def through_neck(self, x: Tensor) -> Tensor:
        """(B, h, w, 768) -> (B, 256, h, w); norms over channels, so they are taken on the last axis."""
        reduce: nn.Conv2d = self.neck[0]  # type: ignore[assignment]
        x = self.neck[1](F.linear(x, reduce.weight.flatten(1)))
        x = self.neck[2](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = self.neck[3](x).permute(0, 3, 1, 2)
        return out


class Block(nn.Module):
    """Transformer block on (B, h, w, 768); `window` 0 attends to the whole grid."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(DIM, BLOCK_EPS)
        self.attn = Attention(window or GRID)
        self.norm2 = nn.LayerNorm(DIM, BLOCK_EPS)
        self.mlp = nn.ModuleDict({"lin1": nn.Linear(DIM, 4 * DIM), "lin2": nn.Linear(4 * DIM, DIM)})

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        x = x + self.attn(self.norm1(x), self.window)
        out: Tensor = x + self.mlp["lin2"](F.gelu(self.mlp["lin1"](self.norm2(x))))
        return out


class Attention(nn.Module):
    """Attention with decomposed relative positions: one table for rows, one for columns, shared by the heads."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.proj = nn.Linear(DIM, DIM)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, DIM // HEADS))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, DIM // HEADS))

    def forward(self, x: Tensor, window: int) -> Tensor:
        """(B, h, w, 768) normed tokens -> the same shape; `window` 0 is the whole grid."""
        batch, h, w = x.shape[:3]
        qkv = self.qkv(x)
        if not window:
            return self.proj(self._attend(qkv))  # type: ignore[no-any-return]
        tall, wide = h + -h % window, w + -w % window
        if (tall, wide) != (h, w):
            # Officially zeros are appended to the normed tokens: their query, key and value are the bias.
            padded = self.qkv.bias.to(qkv.dtype).expand(batch, tall, wide, -1).clone()
            padded[:, :h, :w] = qkv
            qkv = padded
        rows, columns = tall // window, wide // window
        qkv = qkv.view(batch, rows, window, columns, window, 3 * DIM).transpose(2, 3)
        out = self._attend(qkv.reshape(-1, window, window, 3 * DIM))
        out = out.view(batch, rows, columns, window, window, DIM).transpose(2, 3)
        return self.proj(out.reshape(batch, tall, wide, DIM)[:, :h, :w])  # type: ignore[no-any-return]

    def _attend(self, qkv: Tensor) -> Tensor:
        """(N, h, w, 3 x 768) -> (N, h, w, 768), each of the N grids for itself."""
        n, h, w = qkv.shape[:3]
        q, k, v = qkv.view(n, h * w, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        by_row, by_column = relative(self.rel_pos_h, h), relative(self.rel_pos_w, w)
        step = max(1, min(HEADS, _MOST_BIAS // (n * (h * w) ** 2)))
        parts = []
        for a in range(0, HEADS, step):
            some = slice(a, a + step)
            bias = position_bias(q[:, some], by_row, by_column)
            parts.append(F.scaled_dot_product_attention(q[:, some], k[:, some], v[:, some], attn_mask=bias))
        out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return out.transpose(1, 2).reshape(n, h, w, DIM)


def relative(table: Tensor, side: int) -> Tensor:
    """(L, d) table over distances -> (side, side, d) for every pair; another L is resized linearly."""
    if len(table) != 2 * side - 1:
        table = F.interpolate(table.T[None], 2 * side - 1, mode="linear", align_corners=False)[0].T
    places = torch.arange(side, device=table.device)
    return table[places[:, None] - places[None, :] + side - 1]


def position_bias(q: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """What relative positions add to the scores of unscaled queries: (N, heads, hw, d) -> (N, heads, hw, hw)."""
    h, w = len(by_row), len(by_column)
    grid = q.unflatten(2, (h, w))
    # The small parts are put in order, so that their large sum is in order without a copy.
    rows = torch.einsum("nahwd,hkd->nahwk", grid, by_row.to(q.dtype)).contiguous()
    columns = torch.einsum("nahwd,wkd->nahwk", grid, by_column.to(q.dtype)).contiguous()
    return (rows[..., :, None] + columns[..., None, :]).reshape(*q.shape[:3], h * w)
