"""ZegFormer together with its CLIP: from a frame to scores."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.types import Image
from ovbench.nn.maskformer import clip_pixels, combine_probs, enlarge, normalise_pixels, pad, postprocess
from ovbench.nn.maskmodel import MaskModel
from ovbench.nn.regions import tower_size
from ovbench.nn.text import encode_pooled
from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .ensemble import class_scores
from .model import ZegFormer
from .regions import Regions, encode_regions


class Network(MaskModel[Config, ZegFormer]):
    """The mask network and CLIP; official training configurations save no CLIP."""

    method = "zegformer"
    clip_names = ("sem_seg_head.predictor.clip_model.",)

    def build(self) -> ZegFormer:
        """The network around CLIP, which is part of its weights unless it is the embedded one."""
        model = self.towers().model
        inside = None if self.config.shared_clip else model
        return ZegFormer(self.config, int(model.text_projection.shape[1]), inside)

    def texts(self, vocabulary: Vocabulary) -> tuple[Tensor, ...]:
        """(K, E) unit vectors for the mask head, and for CLIP's regions where it looks at them."""
        config = self.config
        sets = (config.templates, *([] if config.ensemble == "none" else [config.region_templates]))
        return tuple(self.encode(vocabulary, name) for name in sets)

    def encode(self, vocabulary: Vocabulary, templates: str) -> Tensor:
        """(K, E) unit vectors by a set of templates; the vocabulary's own are not used.

        A name with ", " in it is a list of synonyms.
        """
        words = [[part for w in words for part in w.split(", ")] for words in vocabulary.synonyms]
        return encode_pooled(self.clip, Vocabulary(vocabulary.names, None, words, load_templates(templates)))

    @torch.inference_mode()
    def scores(
        self, image: Image, texts: tuple[Tensor, ...], seen: Tensor, resize: bool, out_size: tuple[int, int]
    ) -> Tensor:
        """(K, h, w), calibrated."""
        pixels = self.pixels(image, resize)
        found = self.net(pad(normalise_pixels(pixels)), texts[0])
        scores = self.assemble(pixels, found.logits[-1, 0], found.masks[-1], texts[-1], seen)
        scores = postprocess(scores, pixels.shape[-2:], out_size)
        if self.config.calibration > 0:
            scores = scores - self.config.calibration * seen.to(scores)[:, None, None]
        return scores

    def assemble(
        self, pixels: Tensor, logits: Tensor, masks: Tensor, region_text: Tensor, seen: Tensor
    ) -> Tensor:
        """Everything after the mask head, at the padded size.

        Args:
            pixels: (1, 3, H, W) 0..255, not padded.
            logits: (Q, K + 1); masks: (1, Q, h, w) logits.

        Returns:
            (K, H', W') with H' and W' padded.
        """
        size = [side + -side % 32 for side in pixels.shape[-2:]]
        masks = enlarge(masks, size)[0]
        probs = masks.sigmoid()
        opinion = None
        if self.config.ensemble != "none":
            opinion = self.region_logits(pixels, masks, probs > 0.5, region_text)
        return combine_probs(class_scores(logits, opinion, seen, self.config.ensemble), probs)

    def region_logits(self, pixels: Tensor, masks: Tensor, binary: Tensor, text: Tensor) -> Tensor:
        """CLIP's logits (Q, K) of the regions."""
        regions = self.regions(pixels, masks, binary)
        features = encode_regions(self.clip, regions, self.config.region_batch)
        return self.clip.model.logit_scale.exp() * F.normalize(features, dim=-1) @ text.T

    def regions(self, pixels: Tensor, masks: Tensor, binary: Tensor) -> Regions:
        """The regions of (1, 3, H, W) pixels 0..255 under (Q, H', W') mask logits and masks."""
        image = pad(clip_pixels(self.clip, pixels))[0]
        return Regions(image, masks, binary, tower_size(self.clip.model.visual), self.config.style)
