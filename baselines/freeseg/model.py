"""FreeSeg's network under the official names: maps that have looked at the names, masks, and vectors for them.

Source: Qin et al.: FreeSeg, CVPR 2023; mask2former/open_vocabulary_model.py of the official code.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.nn.clip import ClipPair
from ovbench.nn.detr import Predictions
from ovbench.nn.prompts import AdaptivePrompt, encode_prompted
from ovbench.nn.regionmodel import RegionAdapter
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .decoder import MaskedPredictor
from .interaction import Interaction
from .pixels import PixelDecoder


class Adapter(RegionAdapter):
    """CLIP with the adaptive prompt: names `non_object_embedding`, `clip_model`, `prompt_learner`."""

    align_corners = True

    def __init__(self, clip: ClipPair, config: Config) -> None:
        super().__init__(clip, inside=not config.shared_clip, prompt_length=0)
        self.prompt_learner = AdaptivePrompt(clip, config.prompt_length, config.task, config.task_length)

    def text(self, vocabulary: Vocabulary) -> Tensor:
        """(K, E) unit vectors; synonyms are averaged. The vocabulary's own templates are not used."""
        return encode_prompted(self.prompt_learner, vocabulary)


class FreeSegNet(nn.Module):
    """Names `backbone`, `sem_seg_head.{pixel_decoder,interaction,predictor}`, `clip_adapter`."""

    def __init__(self, config: Config, clip: ClipPair) -> None:
        super().__init__()
        width = int(clip.model.text_projection.shape[-1])
        self.backbone = config.resnet("deeplab", (1, 2, 4))
        inner, heads = config.interaction_width, config.heads
        parts: dict[str, nn.Module] = {
            "pixel_decoder": PixelDecoder(self.backbone.channels, config),
            "interaction": Interaction(config.pyramid, width, inner, heads, config.dropout),
            "predictor": MaskedPredictor(config, width),
        }
        self.sem_seg_head = nn.ModuleDict(parts)
        self.clip_adapter = Adapter(clip, config)

    @property
    def predictor(self) -> MaskedPredictor:
        """The part that turns queries into masks and vectors."""
        return cast(MaskedPredictor, self.sem_seg_head["predictor"])

    def forward(self, images: Tensor, text: Tensor, every: bool = False) -> Predictions:
        """Masks and class logits, both of which depend on all the names asked for.

        Args:
            images: (B, 3, H, W) normalised, H and W multiples of 32.
            text: (K, E) unit vectors.
            every: also before the first decoder layer and after each.
        """
        asked = self.clip_adapter.with_void(text)
        features, levels = self.sem_seg_head["pixel_decoder"](self.backbone(images))
        *levels, features = self.sem_seg_head["interaction"]([*levels, features], asked)
        held, masks = self.predictor.decode(levels, features, every)
        vectors = F.normalize(self.predictor.class_embed(held), dim=-1)
        return Predictions(self.clip_adapter.similarities(vectors, asked), masks)
