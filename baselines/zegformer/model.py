"""ZegFormer's mask network: class-agnostic masks, and query vectors that are compared with class names."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.nn.detr import MaskPredictor, Predictions
from ovbench.nn.fpn import PixelDecoder
from ovbench.nn.resnet import ResNet

from .config import Config


class Predictor(MaskPredictor):
    """Queries to masks and to vectors in the text space (section 3.2 of the paper).

    Names beyond those of `MaskPredictor`: `projection_layer`, `bg_feature` (1, E), `logit_scale` (1,), and
    `clip_model` where the checkpoint holds it.
    """

    def __init__(self, config: Config, channels: int, text_width: int, clip: nn.Module | None) -> None:
        super().__init__(
            channels,
            config.queries,
            config.dim,
            config.heads,
            config.ffn,
            config.layers,
            config.pyramid,
            config.dropout,
        )
        self.projection_layer = nn.Linear(config.dim, text_width)
        self.bg_feature = nn.Parameter(torch.empty(1, text_width).uniform_(-1, 1) / math.sqrt(text_width))
        self.logit_scale = nn.Parameter(torch.tensor([math.log(100)]), requires_grad=False)
        if clip is not None:
            self.clip_model = clip

    def classify(self, held: Tensor, text: Tensor) -> Tensor:
        """(..., Q, dim) against (K, E) unit vectors -> logits (..., Q, K + 1).

        The last column is the background. Its vector is not made unit, which is part of the method.
        """
        vectors = F.normalize(self.projection_layer(held), dim=-1)
        return self.logit_scale.exp() * vectors @ torch.cat([text, self.bg_feature]).T


class ZegFormer(nn.Module):
    """Backbone, pixel decoder and predictor under the official names."""

    def __init__(self, config: Config, text_width: int, clip: Any = None) -> None:
        super().__init__()
        self.backbone = ResNet(
            config.depth,
            "basic",
            blocks=config.stage_blocks,
            width=config.stem_width,
            norm=config.norm,
            pool=config.pool,
            res5_stride=config.res5_stride,
        )
        channels = self.backbone.channels
        self.sem_seg_head = nn.ModuleDict(
            {
                "pixel_decoder": PixelDecoder(channels, config.pyramid),
                "predictor": Predictor(config, channels[-1], text_width, clip),
            }
        )

    @property
    def predictor(self) -> Predictor:
        """The part that knows about classes."""
        part = self.sem_seg_head["predictor"]
        assert isinstance(part, Predictor)
        return part

    def forward(self, images: Tensor, text: Tensor, every: bool = False) -> Predictions:
        """Masks and class logits.

        Args:
            images: (B, 3, H, W) normalised, H and W multiples of 32.
            text: (K, E) unit vectors.
            every: give the predictions after every decoder layer, as deep supervision needs them.
        """
        maps = self.backbone(images)
        features = self.sem_seg_head["pixel_decoder"](maps)
        held = self.predictor.decode(maps["res5"])
        held = held if every else held[-1:]
        return Predictions(self.predictor.classify(held, text), self.predictor.masks(held, features))
