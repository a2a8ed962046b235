"""The skeleton of a MaskFormer under the official names, and the class head that zsseg and DeOP give it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .clip import ClipPair
from .detr import MLP, MaskPredictor
from .fpn import PixelDecoder
from .maskconfig import MaskConfig
from .prompts import LearnedPrompt
from .resnet import ResNet

P = TypeVar("P", bound=MaskPredictor)

TEMPERATURE = 100.0
"""Of all cosines in zsseg and DeOP; a constant, CLIP's own `logit_scale` is loaded and not used."""


class ConfiguredPredictor(MaskPredictor):
    """`MaskPredictor` with the sizes of a configuration; `channels`: width of the deepest map."""

    def __init__(self, config: MaskConfig, channels: int) -> None:
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


class EmbeddingPredictor(ConfiguredPredictor):
    """Queries with a vector in CLIP's space as well: an MLP called `class_embed`, (..., dim) -> (..., E)."""

    def __init__(self, config: MaskConfig, channels: int, hidden: int, text_width: int) -> None:
        super().__init__(config, channels)
        self.class_embed = MLP(config.dim, hidden, text_width, 2)


class MaskNet(nn.Module, Generic[P]):
    """Names `backbone`, `sem_seg_head.pixel_decoder`, `sem_seg_head.predictor`.

    Args:
        predictor: makes the predictor, given the width of the deepest map.
    """

    def __init__(self, backbone: ResNet, pyramid: int, predictor: Callable[[int], P]) -> None:
        super().__init__()
        self.backbone = backbone
        decoder = PixelDecoder(backbone.channels, pyramid)
        parts: dict[str, nn.Module] = {
            "pixel_decoder": decoder,
            "predictor": predictor(backbone.channels[-1]),
        }
        self.sem_seg_head = nn.ModuleDict(parts)

    @property
    def predictor(self) -> P:
        """The part that turns queries into masks and vectors."""
        return cast(P, self.sem_seg_head["predictor"])

    def draw(self, images: Tensor, every: bool = False) -> tuple[Tensor, Tensor]:
        """What the queries hold, and the masks they draw.

        Args:
            images: (B, 3, H, W) normalised, H and W multiples of 32.
            every: after every decoder layer, as deep supervision needs it.

        Returns:
            (L, B, Q, dim) and mask logits (L, B, Q, h, w), L = 1 or the number of layers.
        """
        maps = self.backbone(images)
        features = self.sem_seg_head["pixel_decoder"](maps)
        held = self.predictor.decode(maps["res5"])
        held = held if every else held[-1:]
        return held, self.predictor.masks(held, features)


class TextAdapter(nn.Module):
    """CLIP for class names: names `non_object_embedding`, `clip_model`, `prompt_learner`.

    Args:
        clip: the two towers.
        inside: whether their weights belong to this module's.
        prompt_length: vectors of a learned prompt, 0 without one.
    """

    def __init__(self, clip: ClipPair, *, inside: bool, prompt_length: int) -> None:
        super().__init__()
        self._clip = [clip]  # in a list: not a submodule
        width, outputs = clip.model.text_projection.shape
        self.non_object_embedding = nn.Parameter(torch.randn(1, outputs) / width**0.5)
        if inside:
            self.clip_model = clip.model
        if prompt_length:
            self.prompt_learner = LearnedPrompt(clip, prompt_length)

    @property
    def clip(self) -> ClipPair:
        """The two towers."""
        return self._clip[0]

    def similarities(self, vectors: Tensor, text: Tensor) -> Tensor:
        """(..., E) and (N, E), unit vectors both -> (..., N)."""
        return TEMPERATURE * vectors @ text.T

    def with_void(self, text: Tensor) -> Tensor:
        """(K, E) -> (K + 1, E): the "no object" row at the end."""
        return torch.cat([text, F.normalize(self.non_object_embedding, dim=-1)])
