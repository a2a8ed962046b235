"""ZegFormer's mask network: class-agnostic masks, and query vectors that are compared with class names."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.nn.detr import Predictions
from ovbench.nn.masknet import ConfiguredPredictor, MaskNet

from .config import Config


class Predictor(ConfiguredPredictor):
    """Queries to masks and to vectors in the text space (section 3.2 of the paper).

    Names beyond those of `MaskPredictor`: `projection_layer`, `bg_feature` (1, E), `logit_scale` (1,), and
    `clip_model` where the checkpoint holds it.
    """

    def __init__(self, config: Config, channels: int, text_width: int, clip: nn.Module | None) -> None:
        super().__init__(config, channels)
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


class ZegFormer(MaskNet[Predictor]):
    """Backbone, pixel decoder and predictor under the official names."""

    def __init__(self, config: Config, text_width: int, clip: nn.Module | None = None) -> None:
        super().__init__(
            config.resnet(),
            config.pyramid,
            lambda channels: Predictor(config, channels, text_width, clip),
        )

    def forward(self, images: Tensor, text: Tensor, every: bool = False) -> Predictions:
        """Masks and class logits; arguments as those of `draw`, and (K, E) unit vectors."""
        held, masks = self.draw(images, every)
        return Predictions(self.predictor.classify(held, text), masks)
