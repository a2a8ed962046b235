"""SAN together with its CLIP: from a frame to scores."""

from __future__ import annotations

import torch
from torch import Tensor

from ovbench.core.types import Image
from ovbench.nn.maskformer import clip_pixels, combine_resized, pad
from ovbench.nn.maskmodel import MaskModel
from ovbench.nn.text import encode_vocabulary
from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .model import SideAdapterNet

POSITIONS, BACKGROUND = "clip_visual_extractor.positional_embedding", "ov_classifier.bg_embed"
"""Parameters among CLIP's names that SAN trains."""


class Network(MaskModel[Config, SideAdapterNet]):
    """SAN's network; a released file holds all of it, CLIP's image tower with positions trained by SAN."""

    method = "san"
    clip_names = ("clip_visual_extractor.", "clip_rec_head.", "ov_classifier.")
    fixed_names = ("ov_classifier.attn_mask",)

    def build(self) -> SideAdapterNet:
        """The network around the two towers."""
        return SideAdapterNet(self.config, self.towers())

    def of_clip(self, name: str) -> bool:
        """Whether a parameter is CLIP's as published."""
        return super().of_clip(name) and name not in (POSITIONS, BACKGROUND)

    def fill_by_name(self) -> None:
        """As for every mask network; a CLIP that was given keeps its positions."""
        positions = self.net.clip_visual_extractor.positional_embedding
        given = positions.detach().clone()
        super().fill_by_name()
        if self.own_clip:
            with torch.no_grad():
                positions.copy_(given)

    def texts(self, vocabulary: Vocabulary) -> tuple[Tensor, ...]:
        """(K, E) unit vectors in the vocabulary's order; synonyms are averaged, its own templates not used."""
        words = [[word.strip() for word in words] for words in vocabulary.synonyms]
        templates = load_templates(self.config.templates)
        return (encode_vocabulary(self.clip, Vocabulary(vocabulary.names, None, words, templates)),)

    @torch.inference_mode()
    def scores(
        self, image: Image, texts: tuple[Tensor, ...], seen: Tensor, resize: bool, out_size: tuple[int, int]
    ) -> Tensor:
        """(K, h, w), not negative; sums over proposals, which can exceed 1. Nothing depends on `seen`.

        Mask logits are brought to the output size first, and only then become probabilities.
        """
        pixels = self.pixels(image, resize)
        padded = pad(clip_pixels(self.clip, pixels))
        found = self.net(padded, texts[0])
        classes = found.logits[-1, 0].softmax(-1)[:, :-1]
        return combine_resized(classes, found.masks[-1, 0], padded.shape[-2:], pixels.shape[-2:], out_size)
