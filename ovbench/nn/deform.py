"""Multi-scale deformable attention: every cell looks at a few places of every map, and says itself where.

Source: Zhu et al., Deformable DETR, ICLR 2021, section 4.1; names as in the official modules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]
"""(rows, columns) of a map."""


def gather_grid(values: Tensor, sizes: Sequence[Size], places: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of bilinear samples, by `grid_sample`; zeros outside the maps.

    Args:
        values: (B, S, heads, D) of all maps, one after the other, row by row.
        sizes: of the maps; S is the sum of their cells.
        places: (B, N, heads, levels, points, 2), x and y in 0..1 of the level's map.
        weights: (B, N, heads, levels, points).

    Returns:
        (B, N, heads * D).
    """
    batch, count, heads, _, points, _ = places.shape
    depth = values.shape[-1]
    grids = (2 * places - 1).transpose(1, 2).flatten(0, 1)
    shares = weights.transpose(1, 2).reshape(batch * heads, 1, count, -1)
    samples = []
    for level, part in enumerate(values.split_with_sizes([h * w for h, w in sizes], dim=1)):
        maps = part.permute(0, 2, 3, 1).reshape(batch * heads, depth, *sizes[level])
        samples.append(F.grid_sample(maps, grids[:, :, level], align_corners=False))
    total = (torch.cat(samples, dim=-1) * shares).sum(-1)
    return total.reshape(batch, heads * depth, count).transpose(1, 2)


def gather_rows(values: Tensor, sizes: Sequence[Size], places: Tensor, weights: Tensor) -> Tensor:
    """`gather_grid` by `embedding_bag`: a sample is four weighted rows of one table.

    On a CPU this reads each cell's channels in one go and keeps no samples, which is faster; its gradients are not.
    """
    batch, count, heads = places.shape[:3]
    shape = torch.tensor(sizes, device=places.device)  # (levels, 2) of rows, columns
    rows, columns = (shape[:, i].view(1, 1, 1, -1, 1) for i in (0, 1))
    starts = (shape.prod(1).cumsum(0) - shape.prod(1)).view(1, 1, 1, -1, 1)
    x, y = places[..., 0] * columns - 0.5, places[..., 1] * rows - 0.5
    left, top = x.floor(), y.floor()
    right_share, lower_share = x - left, y - top
    first = torch.arange(batch, device=places.device).view(-1, 1, 1, 1, 1) * values.shape[1] + starts
    head = torch.arange(heads, device=places.device).view(1, 1, -1, 1, 1)
    indices, shares = [], []
    for down in (0, 1):
        for across in (0, 1):
            column, row = left.long() + across, top.long() + down
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            cell = row.clamp(min=0).minimum(rows - 1) * columns + column.clamp(min=0).minimum(columns - 1)
            share = (right_share if across else 1 - right_share) * (lower_share if down else 1 - lower_share)
            indices.append((first + cell) * heads + head)
            shares.append(share * weights * inside)
    bags = batch * count * heads
    picked, share = (torch.stack(parts, dim=-1).reshape(bags, -1) for parts in (indices, shares))
    table = values.reshape(-1, values.shape[-1])
    total = F.embedding_bag(picked, table, mode="sum", per_sample_weights=share)
    return total.reshape(batch, count, -1)


class DeformAttention(nn.Module):
    """Names `sampling_offsets`, `attention_weights`, `value_proj`, `output_proj`."""

    def __init__(self, dim: int, levels: int, heads: int, points: int) -> None:
        super().__init__()
        self.shape = (heads, levels, points)
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.start()

    def start(self) -> None:
        """Fresh values: each head looks in a direction of its own, point n is n cells away, all weigh the same."""
        heads, levels, points = self.shape
        angle = torch.arange(heads) * (2 * math.pi / heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        far = torch.arange(1, points + 1).view(1, 1, -1, 1)
        with torch.no_grad():
            bias = (direction.view(heads, 1, 1, 2) * far).expand(-1, levels, -1, -1)
            self.sampling_offsets.bias.copy_(bias.flatten())
        for weight in (self.sampling_offsets.weight, *self.attention_weights.parameters()):
            nn.init.zeros_(weight)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, centres: Tensor, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """What every query finds.

        Args:
            query: (B, N, dim).
            centres: (N, 2), x and y of each query in 0..1.
            x: (B, S, dim), the maps as `gather_grid` takes them.
            sizes: of the maps.

        Returns:
            (B, N, dim).
        """
        heads, levels, points = self.shape
        batch, count, _ = query.shape
        values = self.value_proj(x).unflatten(-1, (heads, -1))
        offsets = self.sampling_offsets(query).view(batch, count, heads, levels, points, 2)
        cells = query.new_tensor([(w, h) for h, w in sizes]).view(levels, 1, 2)
        places = centres.view(1, count, 1, 1, 1, 2) + offsets / cells
        weights = self.attention_weights(query).view(batch, count, heads, -1).softmax(-1)
        weights = weights.unflatten(-1, (levels, points))
        quick = x.device.type == "cpu" and not torch.is_grad_enabled()
        gather = gather_rows if quick else gather_grid
        out: Tensor = self.output_proj(gather(values, sizes, places, weights))
        return out


class DeformLayer(nn.Module):
    """Deformable self-attention and two linear layers; each added, then normalised (post-norm)."""

    def __init__(self, dim: int, levels: int, heads: int, points: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = DeformAttention(dim, levels, heads, points)
        self.linear1, self.linear2 = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = dropout

    def forward(self, x: Tensor, codes: Tensor, centres: Tensor, sizes: Sequence[Size]) -> Tensor:
        """(B, S, dim) and the cells' codes (1, S, dim), which are added to queries alone -> (B, S, dim)."""
        x = self.norm1(x + self._drop(self.self_attn(x + codes, centres, x, sizes)))
        hidden = self._drop(F.relu(self.linear1(x)))
        out: Tensor = self.norm2(x + self._drop(self.linear2(hidden)))
        return out

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


def cell_centres(sizes: Sequence[Size], device: torch.device) -> Tensor:
    """Centres of all cells of the maps, in their order: (S, 2), x and y in 0..1."""
    centres = []
    for h, w in sizes:
        y, x = ((torch.arange(n, dtype=torch.float32, device=device) + 0.5) / n for n in (h, w))
        centres.append(torch.stack([x.expand(h, w), y[:, None].expand(h, w)], -1).flatten(0, 1))
    return torch.cat(centres)
