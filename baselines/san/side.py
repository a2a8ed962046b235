"""SAN's side network: a narrow ViT beside CLIP, whose queries draw masks and tell CLIP where to look.

Source: Xu et al., CVPR 2023, section 3; MendelXu/SAN, san/model/side_adapter/.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.nn.detr import MLP

from .config import Config

_EPS = 1e-6


def as_map(tokens: Tensor, size: Sequence[int]) -> Tensor:
    """(B, h w, D) -> (B, D, h, w)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *size)


class SideAttention(nn.Module):
    """Self-attention; names `qkv`, `proj`. (B, N, D) -> (B, N, D)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Every token looks at every token."""
        parts = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*parts.unbind(0))
        out: Tensor = self.proj(seen.transpose(1, 2).flatten(2))
        return out


class SideBlock(nn.Module):
    """Pre-norm block of a ViT with exact GELU; names `norm1`, `attn`, `norm2`, `mlp.fc1`, `mlp.fc2`."""

    def __init__(self, dim: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=_EPS) for _ in range(2))
        self.attn = SideAttention(dim, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, ffn), "fc2": nn.Linear(ffn, dim)})

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return out


class SideViT(nn.Module):
    """Names `pos_embed`, `patch_embed.proj`, `blocks.N`; there is no class token and no last norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        rows, columns = config.grid
        self.grid = (rows, columns)
        self.pos_embed = nn.Parameter(torch.randn(1, rows * columns, config.dim) * 0.02)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, config.dim, config.patch, config.patch)})
        self.blocks = nn.ModuleList(
            SideBlock(config.dim, config.heads, config.ffn) for _ in range(config.layers)
        )

    def patches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> map (B, D, h, w) and the positions of its cells (1, h w, D).

        A grid with as many cells as the table takes it as it is, row after row, whatever its layout: so does the
        official code, which compares counts. A frame of 512x800 (32x50 cells) has the table of 40x40 cut anew.
        """
        x = self.patch_embed["proj"](images)
        if x.shape[-2] * x.shape[-1] == self.pos_embed.shape[1]:
            return x, self.pos_embed
        table = as_map(self.pos_embed, self.grid)
        table = F.interpolate(table, x.shape[-2:], mode="bicubic", align_corners=False)
        return x, table.flatten(2).transpose(1, 2)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a map, (B, C, h, w) -> (B, C, h, w); names `weight`, `bias`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Each place by itself."""
        last = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, _EPS)
        return last.movedim(-1, 1)


class Fusion(nn.Module):
    """One of CLIP's maps for the side network; names `input_proj.0` (norm), `input_proj.1` (1x1)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.input_proj = nn.Sequential(ChannelNorm(channels), nn.Conv2d(channels, dim, 1))

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """(B, channels, h0, w0) -> (B, h w, dim)."""
        x = F.interpolate(self.input_proj(x), tuple(size), mode="bilinear", align_corners=False)
        return x.flatten(2).transpose(1, 2)


class CellMLP(nn.Module):
    """1x1 convolutions with ReLU between, names `layers.N`: (B, inputs, h, w) -> (B, outputs, h, w)."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        sizes = (inputs, hidden, hidden, outputs)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Every cell by itself."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class MaskDecoder(nn.Module):
    """Queries against cells, twice: what they mask, and how much CLIP's heads attend to it for them.

    Names `query_mlp`, `pix_mlp`, `attn_mlp`, `bias_scaling`.

    Args:
        dim: of queries and cells.
        width: of their products.
        heads: of CLIP.
    """

    def __init__(self, dim: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_mlp = MLP(dim, width, width, 3)
        self.pix_mlp = CellMLP(dim, width, width)
        self.attn_mlp = CellMLP(dim, width, width * heads)
        self.bias_scaling = nn.Linear(1, 1)
        nn.init.ones_(self.bias_scaling.weight)
        nn.init.zeros_(self.bias_scaling.bias)

    def forward(self, queries: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q, D) and (B, D, h, w) -> mask logits (B, Q, h, w) and attention bias (B, heads, Q, h, w)."""
        size = cells.shape[-2:]
        asked = self.query_mlp(queries)
        masks = (asked @ self.pix_mlp(cells).flatten(2)).unflatten(2, size)
        per_head = self.attn_mlp(cells).flatten(2).unflatten(1, (self.heads, -1))
        bias = (asked[:, None] @ per_head).unflatten(3, size)
        return masks, bias * self.bias_scaling.weight[0, 0] + self.bias_scaling.bias[0]


class SideAdapter(nn.Module):
    """Names `query_embed`, `query_pos_embed`, `vit_model`, `fusion_layers.layer_N`, `mask_decoder`.

    Args:
        channels: width of CLIP's maps.
        clip_heads: of CLIP's blocks.
    """

    def __init__(self, config: Config, channels: int, clip_heads: int) -> None:
        super().__init__()
        self.query_embed = nn.Parameter(torch.randn(1, config.queries, config.dim))
        self.query_pos_embed = nn.Parameter(torch.randn(1, config.queries, config.dim) * 0.02)
        self.vit_model = SideViT(config)
        self.fused = config.fused
        self.fusion_layers = nn.ModuleDict(
            {f"layer_{i}": Fusion(channels, config.dim) for i in range(len(config.fused))}
        )
        self.mask_decoder = MaskDecoder(config.dim, config.pyramid, clip_heads)

    def forward(
        self, images: Tensor, maps: Sequence[Tensor], last: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """What `MaskDecoder` gives after each of the last side blocks, on the side network's grid.

        Arguments as those of `run`.
        """
        for queries, cells in self.run(images, maps, last):
            yield self.mask_decoder(queries, cells)

    def run(self, images: Tensor, maps: Sequence[Tensor], last: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Queries (B, Q, D) and cells (B, D, h, w) after each of the last side blocks.

        Args:
            images: (B, 3, H, W), normalised; sides are multiples of the patch.
            maps: CLIP's, (B, channels, h0, w0): before its first block and after each that has run.
            last: how many side blocks, counted from the end.
        """
        cells, places = self.vit_model.patches(images)
        size, count = cells.shape[-2:], self.query_embed.shape[1]
        queries = self.query_embed.expand(len(images), -1, -1)
        x = torch.cat([queries, cells.flatten(2).transpose(1, 2)], dim=1)
        where = torch.cat([self.query_pos_embed, places], dim=1)
        x = self._with_clip(x + where, maps, 0, size)
        blocks = len(self.vit_model.blocks)
        for done, block in enumerate(self.vit_model.blocks, 1):
            # Each block sees the places anew, which a plain ViT does not.
            x = self._with_clip(block(x), maps, done, size)
            if done > blocks - last:
                yield x[:, :count], as_map(x[:, count:], size)
            x = x + where

    def _with_clip(self, x: Tensor, maps: Sequence[Tensor], block: int, size: Sequence[int]) -> Tensor:
        """Cells with CLIP's map added that goes into this block; queries stay as they are."""
        if block >= len(self.fused):
            return x
        more = self.fusion_layers[f"layer_{block}"](maps[self.fused[block]], size)
        return torch.cat([x[:, : -more.shape[1]], x[:, -more.shape[1] :] + more], dim=1)
