"""SAM's mask decoder for many points of one image: the same function with a third of the arithmetic.

Source of what is computed: segment_anything/modeling/mask_decoder.py and transformer.py (Kirillov et al., 2023,
appendix A); whose module is used as it is, weights and all. What is saved:

- Before its first exchange the image is the same for every point, so its projections are made once.
- Of the 4096 places of the image and the 7 tokens of a point, projections are folded into the tokens' side of each
  product: (k W) q = k (W q). Biases that a softmax cannot see are left out.
- Masks are made where the guessed IoU passes, and only of what the frame covers of SAM's square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class _Head:
    """An attention's matrices by head: q, k, v (heads, c, D), out (heads, c, D); biases of q, k, v (heads, c)."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    q_bias: Tensor
    k_bias: Tensor
    v_bias: Tensor
    out_bias: Tensor

    @classmethod
    def of(cls, attention: Any) -> _Head:
        heads = attention.num_heads
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        q, k, v = (part.weight.unflatten(0, (heads, -1)) for part in parts)
        q_bias, k_bias, v_bias = (part.bias.unflatten(0, (heads, -1)) for part in parts)
        out = attention.out_proj.weight.T.unflatten(0, (heads, -1))
        return cls(q, k, v, out, q_bias, k_bias, v_bias, attention.out_proj.bias)

    @property
    def scale(self) -> float:
        return 1 / math.sqrt(self.q.shape[1])


def split(x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """(..., N, D) by a projection of (heads, c, D) -> (..., heads, N, c)."""
    return torch.einsum("...nd,hcd->...hnc", x, matrix) + bias[:, None]


def tokens_look(head: _Head, tokens: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Tokens attend to an image that is each point's own.

    Args:
        tokens: (B, T, D); places, values: (B, P, D), with and without the code of places.

    Returns:
        (B, T, D).
    """
    asked = torch.einsum("bhtc,hcd->bhtd", split(tokens, head.q, head.q_bias), head.k * head.scale)
    weights = torch.softmax(asked.flatten(1, 2) @ places.transpose(1, 2), dim=-1)
    seen = (weights @ values).unflatten(1, asked.shape[1:3])  # (B, heads, T, D)
    found = torch.einsum("bhtd,hcd->bhtc", seen, head.v) + head.v_bias[:, None]
    return torch.einsum("bhtc,hcd->btd", found, head.out) + head.out_bias


def image_looks(head: _Head, tokens: Tensor, values: Tensor, places: Tensor) -> Tensor:
    """An image that is each point's own attends to tokens: (B, T, D) twice and (B, P, D) -> (B, P, D)."""
    keys = split(tokens, head.k, head.k_bias) * head.scale  # (B, heads, T, c)
    asked = torch.einsum("bhtc,hcd->bhtd", keys, head.q).flatten(1, 2)
    constant = torch.einsum("bhtc,hc->bht", keys, head.q_bias).flatten(1)
    scores = torch.baddbmm(constant[:, None], places, asked.transpose(1, 2))
    return _mix(head, scores, values)


def _mix(head: _Head, scores: Tensor, values: Tensor) -> Tensor:
    """Softmax over tokens of (B, P, heads T) scores, and what the tokens then give: (B, P, D)."""
    heads = len(head.q)
    weights = torch.softmax(scores.unflatten(2, (heads, -1)), dim=-1).flatten(2)
    given = torch.einsum("bhtc,hcd->bhtd", split(values, head.v, head.v_bias), head.out)
    return torch.baddbmm(head.out_bias, weights, given.flatten(1, 2))


class PointDecoder:
    """The decoder of one SAM, for single positive points without boxes and masks."""

    def __init__(self, sam: Any) -> None:
        self.decoder = sam.mask_decoder
        self.prompts = sam.prompt_encoder
        transformer = self.decoder.transformer
        self.layers = list(transformer.layers)
        self.to_image = [_Head.of(layer.cross_attn_token_to_image) for layer in self.layers]
        self.to_tokens = [_Head.of(layer.cross_attn_image_to_token) for layer in self.layers]
        self.final = _Head.of(transformer.final_attn_token_to_image)
        self.places = self.prompts.get_dense_pe()[0].flatten(1).T  # (P, D)

    def open(self, embedding: Tensor) -> Image:
        """Everything about an image that no point changes; `embedding` (1, D, h, w) of SAM's encoder."""
        image = (embedding + self.prompts.no_mask_embed.weight[:, :, None, None])[0].flatten(1).T
        placed = image + self.places
        first, back = self.to_image[0], self.to_tokens[0]
        return Image(
            image,
            split(placed, first.k, first.k_bias),
            split(image, first.v, first.v_bias),
            split(placed, back.q, back.q_bias),
        )

    def ask(self, image: Image, points: Tensor) -> Answers:
        """What SAM thinks of (B, 2) points, x and y in pixels of its square."""
        labels = torch.ones(len(points), 1, dtype=torch.int, device=points.device)
        sparse, _ = self.prompts(points=(points[:, None], labels), boxes=None, masks=None)
        fixed = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        start = torch.cat([fixed.expand(len(points), -1, -1), sparse], dim=1)
        tokens, places = self._first(image, start)
        for layer, look, back in zip(self.layers[1:], self.to_image[1:], self.to_tokens[1:], strict=True):
            tokens = layer.norm1(tokens + layer.self_attn(q=tokens + start, k=tokens + start, v=tokens))
            placed = places + self.places
            tokens = layer.norm2(tokens + tokens_look(look, tokens + start, placed, places))
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            places = layer.norm4(places + image_looks(back, tokens + start, tokens, placed))
        seen = tokens_look(self.final, tokens + start, places + self.places, places)
        tokens = self.decoder.transformer.norm_final_attn(tokens + seen)
        masks = self.decoder.num_mask_tokens
        quality = self.decoder.iou_prediction_head(tokens[:, 0])[
            :, 1:
        ]  # the first is for unambiguous prompts
        return Answers(quality, tokens[:, 2 : 1 + masks], places)

    def _first(self, image: Image, start: Tensor) -> tuple[Tensor, Tensor]:
        """The first layer, whose image no point has changed yet."""
        layer, look, back = self.layers[0], self.to_image[0], self.to_tokens[0]
        tokens = layer.norm1(layer.self_attn(q=start, k=start, v=start))
        asked = split(tokens + start, look.q, look.q_bias) * look.scale
        weights = torch.softmax(torch.einsum("bhtc,hpc->bhtp", asked, image.keys), dim=-1)
        found = torch.einsum("bhtp,hpc->bhtc", weights, image.values)
        tokens = layer.norm2(tokens + torch.einsum("bhtc,hcd->btd", found, look.out) + look.out_bias)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        keys = split(tokens + start, back.k, back.k_bias) * back.scale
        scores = torch.einsum("hpc,bhtc->bpht", image.queries, keys).flatten(2)
        return tokens, layer.norm4(image.places + _mix(back, scores, tokens))

    def masks(self, answers: Answers, keep: Tensor, size: tuple[int, int]) -> Tensor:
        """The masks of answers that pass.

        Args:
            keep: (B, 3) bool.
            size: (h, w) of the frame in pixels of SAM's square.

        Returns:
            (N, rows, columns) logits, in the order of `keep`; a fourth of the square's size, cut one cell behind
            what the frame covers.
        """
        points, which = keep.nonzero(as_tuple=True)
        used = keep.any(1)
        grid = self.prompts.image_embedding_size
        rows, columns = (min(4 * n, -(-side // 4) + 1) for side, n in zip(size, grid, strict=True))
        places = answers.places[used].transpose(1, 2).unflatten(2, grid)
        places = places[:, :, : -(-rows // 4), : -(-columns // 4)]
        large = self.decoder.output_upscaling(places)[:, :, :rows, :columns]
        nets = self.decoder.output_hypernetworks_mlps[1:]
        asked = torch.stack([net(answers.tokens[used, i]) for i, net in enumerate(nets)], dim=1)
        row = (used.cumsum(0) - 1)[points]
        return (asked @ large.flatten(2)).unflatten(2, (rows, columns))[row, which]


@dataclass(frozen=True)
class Image:
    """An encoded image: its places (P, D), and their parts in the first layer's attentions, (heads, P, c)."""

    places: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


@dataclass(frozen=True)
class Answers:
    """Of B points: `quality` (B, 3) guessed IoU; `tokens` (B, 3, D) and `places` (B, P, D), what masks come from."""

    quality: Tensor
    tokens: Tensor
    places: Tensor


def enlarge(masks: Tensor, size: tuple[int, int], out_size: tuple[int, int]) -> Tensor:
    """Masks at a fourth of SAM's square -> the frame: bilinear to the square, cut, bilinear to the frame's size.

    Args:
        masks: (N, rows, columns) as `PointDecoder.masks` gives them.
        size: (h, w) of the frame in the square.
        out_size: (H, W) of the frame.
    """
    square = F.interpolate(masks[None], scale_factor=4.0, mode="bilinear", align_corners=False)
    cut = square[..., : size[0], : size[1]]
    return F.interpolate(cut, out_size, mode="bilinear", align_corners=False)[0]
