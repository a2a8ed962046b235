"""DETR's decoder as MaskFormer uses it: queries that look at the deepest map and each draw a mask.

Sources: DETR, appendix A.4; MaskFormer, mask_former/modeling/transformer/.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import Conv


class SinePositions(nn.Module):
    """Fixed code of a cell's place: `dim` sines and cosines for y, then as many for x.

    Places count from 1 and are scaled so that the last one is 2 pi (eps 1e-6). No parameters.
    """

    def __init__(self, dim: int, temperature: float = 10000.0) -> None:
        super().__init__()
        self.dim, self.temperature = dim, temperature

    def forward(self, x: Tensor) -> Tensor:
        """(..., H, W), of which only size and device count -> (1, 2 dim, H, W) float32."""
        h, w = x.shape[-2:]
        rows, columns = self._axis(h, x.device), self._axis(w, x.device)
        y = rows.T[:, :, None].expand(-1, h, w)
        return torch.cat([y, columns.T[:, None, :].expand(-1, h, w)])[None]

    def _axis(self, length: int, device: torch.device) -> Tensor:
        """(length, dim): sine and cosine in turn, from fast to slow."""
        place = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        place = place / (length + 1e-6) * (2 * math.pi)
        slow = torch.arange(self.dim, dtype=torch.float32, device=device)
        angle = place[:, None] / self.temperature ** (2 * (slow // 2) / self.dim)
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, two linear layers; each added, then normalised (post-norm).

    `cross` is the name of the cross-attention (DeOP has another one).
    """

    def __init__(
        self, dim: int, heads: int, ffn: int, dropout: float = 0.0, cross: str = "multihead_attn"
    ) -> None:
        super().__init__()
        self.cross = cross
        self.self_attn = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.add_module(cross, nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True))
        self.linear1 = nn.Linear(dim, ffn)
        self.linear2 = nn.Linear(ffn, dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.dropout = dropout

    def forward(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """One step of all queries.

        Args:
            x: (B, Q, D) what the queries hold.
            query: (1 or B, Q, D) the queries' own codes, added wherever they ask or are asked.
            key, value: (B, N, D) what is looked at: with and without the code of places.
        """
        # Weights are asked for, though unused: attention then takes the same steps as in the official codes,
        # and masks come out equal to the last bit, which matters where they are cut at a half.
        asked = x + query
        x = self.norm1(x + self._drop(self.self_attn(asked, asked, x)[0]))
        cross = self.get_submodule(self.cross)
        x = self.norm2(x + self._drop(cross(x + query, key, value)[0]))
        hidden = self._drop(F.relu(self.linear1(x)))
        out: Tensor = self.norm3(x + self._drop(self.linear2(hidden)))
        return out

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Decoder(nn.Module):
    """Layers in a row, starting from zeros, and one norm for all their outputs; names `layers.N`, `norm`."""

    def __init__(self, layers: int, dim: int, heads: int, ffn: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(dim, heads, ffn, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, queries: Tensor, memory: Tensor, places: Tensor) -> Tensor:
        """Query codes (Q, D), memory (B, N, D), codes of places (1, N, D) -> (layers, B, Q, D)."""
        query = queries[None].expand(len(memory), -1, -1)
        x, key = torch.zeros_like(query), memory + places
        outputs = []
        for layer in self.layers:
            x = layer(x, query, key, memory)
            outputs.append(self.norm(x))
        return torch.stack(outputs)


class MLP(nn.Module):
    """Linear layers with ReLU between; names `layers.0` to `layers.N`. (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * (layers - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Apply all layers."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


@dataclass(frozen=True)
class Predictions:
    """What a mask network says of an image, after every decoder layer (training) or the last alone.

    `logits` (layers, B, Q, K + 1), the last column "no object"; `masks` (layers, B, Q, h, w) logits.
    """

    logits: Tensor
    masks: Tensor


class MaskPredictor(nn.Module):
    """Queries on the deepest map: their vectors and their masks. A method adds its class head to this.

    Names: `query_embed`, `input_proj`, `transformer.decoder`, `mask_embed`. There is no encoder layer.

    Args:
        channels: width of the deepest map.
        queries, dim, heads, ffn, layers, dropout: of the decoder.
        mask_dim: width of the per-pixel features; default `dim`.
    """

    def __init__(
        self,
        channels: int,
        queries: int = 100,
        dim: int = 256,
        heads: int = 8,
        ffn: int = 2048,
        layers: int = 6,
        mask_dim: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.positions = SinePositions(dim // 2)
        self.query_embed = nn.Embedding(queries, dim)
        self.input_proj = Conv(channels, dim, 1)
        self.transformer = nn.ModuleDict({"decoder": Decoder(layers, dim, heads, ffn, dropout)})
        self.mask_embed = MLP(dim, dim, mask_dim or dim, 3)

    def decode(self, deepest: Tensor) -> Tensor:
        """(B, channels, h, w) -> what the queries hold after every layer, normed: (layers, B, Q, dim)."""
        memory = self.input_proj(deepest).flatten(2).transpose(1, 2)
        places = self.positions(deepest).flatten(2).transpose(1, 2)
        out: Tensor = self.transformer["decoder"](self.query_embed.weight, memory, places)
        return out

    def masks(self, held: Tensor, mask_features: Tensor) -> Tensor:
        """(..., B, Q, dim) and (B, mask_dim, H, W) -> mask logits (..., B, Q, H, W)."""
        return torch.einsum("...bqc,bchw->...bqhw", self.mask_embed(held), mask_features)
