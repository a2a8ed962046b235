"""DeOP's network under its official names: masks, one dense look of CLIP, and a vector for each mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.nn.clip import ClipPair
from ovbench.nn.dense import add_learned_positions, vit_features
from ovbench.nn.detr import Predictions, SinePositions
from ovbench.nn.masknet import EmbeddingPredictor, MaskNet, TextAdapter

from .config import Config
from .heatmap import HeatmapDecoder


@dataclass(frozen=True)
class Output:
    """What the network says of a batch of images.

    `final` is what counts: one layer, logits from CLIP's features under each mask. `proposals`, where asked
    for, are the mask network's own predictions after every decoder layer: what the masks are trained with.
    """

    final: Predictions
    proposals: Predictions | None = None


class DeOP(MaskNet[EmbeddingPredictor]):
    """Han et al.: Open-Vocabulary Semantic Segmentation with Decoupled One-Pass Network, ICCV 2023.

    The predictor's `class_embed` is looked at by the training of the masks alone.
    """

    def __init__(self, config: Config, clip: ClipPair) -> None:
        width = int(clip.model.text_projection.shape[-1])
        if width % config.heatmap_heads or width % 4:
            raise UserError(
                f"heatmap_heads must divide {width}, the width of CLIP's vectors, not be {config.heatmap_heads}",
                hint="--set heatmap_heads=...",
            )
        super().__init__(
            config.resnet("deeplab", (1, 2, 4)),
            config.pyramid,
            lambda channels: EmbeddingPredictor(config, channels, config.embed_width, width),
        )
        self.severance = config.severance
        add_learned_positions(clip.model.visual, config.learned_blocks, config.grid)
        self.clip_adapter = TextAdapter(clip, inside=True, prompt_length=config.prompt_length)
        self.decoder = HeatmapDecoder(config.heatmap_layers, width, config.heatmap_heads, config.heatmap_ffn)
        self.query_embedding = nn.Embedding(config.queries, width)
        self.positions = SinePositions(width // 2)

    def forward(self, images: Tensor, seen_by_clip: Tensor, text: Tensor, every: bool = False) -> Output:
        """Masks and class logits.

        Args:
            images: (B, 3, H, W) normalised, H and W multiples of 32.
            seen_by_clip: (B, 3, H, W) the same images as CLIP gets them.
            text: (K, E) unit vectors.
            every: also give the mask network's own predictions.
        """
        held, masks = self.draw(images, every)
        vectors = self.read_masks(seen_by_clip, masks[-1])
        final = Predictions(self.logits(vectors, text)[None], masks[-1:])
        if not every:
            return Output(final)
        return Output(final, self.proposals(held, masks, text))

    def logits(self, vectors: Tensor, text: Tensor) -> Tensor:
        """(..., E) unit vectors against (K, E) unit vectors of names -> (..., K + 1), the last "no object"."""
        return self.clip_adapter.similarities(vectors, self.clip_adapter.with_void(text))

    def proposals(self, held: Tensor, masks: Tensor, text: Tensor) -> Predictions:
        """The mask network's own predictions, from what `draw` gives."""
        own = F.normalize(self.predictor.class_embed(held), dim=-1)
        return Predictions(self.logits(own, text), masks)

    def read_masks(self, images: Tensor, masks: Tensor) -> Tensor:
        """CLIP's features (B, Q, E), unit vectors, under (B, Q, h, w) mask logits of (B, 3, H, W) images."""
        features = self.dense(images, masks)
        grid = (int(features.shape[2]), int(features.shape[3]))
        shares = F.interpolate(masks.sigmoid(), grid, mode="bilinear", align_corners=False)
        places = self.positions(features).flatten(2).transpose(1, 2)
        memory = features.flatten(2).transpose(1, 2)
        return self.decoder(self.query_embedding.weight, memory, places, shares.flatten(2))

    def dense(self, images: Tensor, masks: Tensor) -> Tensor:
        """CLIP's features (B, E, h, w) of every patch, unit vectors."""
        visual: Any = self.clip_adapter.clip.model.visual
        weights = None
        if self.severance:
            grid = tuple(side // p for side, p in zip(images.shape[-2:], visual.patch_size, strict=True))
            weights = severance(masks, grid)
        mode = "maskclip" if self.severance else "tokens"
        features = vit_features(visual, images, mode, weights)
        return F.normalize(features, dim=1, eps=0)


def severance(masks: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Generalised patch severance: how much of every token's own value it keeps.

    Each query lets a patch see itself alone, as strongly as the query's mask covers it; the queries are
    summed. The official code sums after multiplying with the values, a hundred times the memory.

    Args:
        masks: (B, Q, h', w') logits.
        grid: (h, w) of the patches.

    Returns:
        (B, 1 + h w); the class token's own weight is the number of queries.
    """
    small = F.interpolate(masks, grid, mode="bilinear", align_corners=False).sigmoid()
    total = small.sum(1).flatten(1)
    return torch.cat([total.new_full((len(total), 1), masks.shape[1]), total], dim=1)
