"""zsseg together with its CLIP: two opinions about each mask, and the scores they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.types import Image
from ovbench.nn.maskformer import clip_pixels, combine_probs, enlarge, normalise_pixels, pad, postprocess
from ovbench.nn.maskmodel import MaskModel
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .model import ADAPTERS, ZsSegNet


@dataclass(frozen=True)
class Opinions:
    """What is known of one image's queries, at the network's input size (H, W).

    `query` (Q, K + 1) logits, the last column "no object"; `masks` (Q, H, W) probabilities;
    `region` (V, K) logits of the masks that are not empty; `valid` (Q,) bool, which these are.
    Without a look at regions `region` is empty and `valid` all False.
    """

    query: Tensor
    masks: Tensor
    region: Tensor
    valid: Tensor


class Network(MaskModel[Config, ZsSegNet]):
    """zsseg with its CLIP, or two of them. Which names count as seen matters unless the weight is 0.5."""

    method = "zsseg"
    clip_names = tuple(f"{a}.clip_model." for a in ADAPTERS)

    def build(self) -> ZsSegNet:
        """The network with its adapters; CLIP is part of the weights unless it is the embedded one."""
        return ZsSegNet(self.config, self.towers)

    def texts(self, vocabulary: Vocabulary) -> tuple[Tensor, ...]:
        """(K, E) unit vectors for queries, and for regions where their adapter is another one."""
        own, regions = self.net.clip_adapter, self.net.regions
        return tuple(a.text(vocabulary) for a in ((own,) if regions is own else (own, regions)))

    def scores(
        self, image: Image, texts: tuple[Tensor, ...], seen: Tensor, resize: bool, out_size: tuple[int, int]
    ) -> Tensor:
        """(K, h, w), not negative; they need not add up to 1."""
        return self.assemble(self.opinions(image, texts, resize), seen, out_size)

    @torch.inference_mode()
    def opinions(self, image: Image, texts: tuple[Tensor, ...], resize: bool = True) -> Opinions:
        """Everything before the ensemble, see `Opinions`."""
        pixels = self.pixels(image, resize)
        padded = pad(normalise_pixels(pixels))
        said = self.net(padded, texts[0])
        height, width = pixels.shape[-2:]
        masks = enlarge(said.masks[0], padded.shape[-2:])[0, :, :height, :width].sigmoid()
        valid = torch.zeros(len(masks), dtype=torch.bool, device=masks.device)
        region = masks.new_zeros(0, len(texts[-1]))
        if self.config.ensemble:
            region, valid = self.look(pixels, masks > self.config.mask_threshold, texts[-1])
        return Opinions(said.logits[0, 0], masks, region, valid)

    def look(self, pixels: Tensor, masks: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's logits (V, K) of the masks that are not empty, and which these are.

        Args:
            pixels: (1, 3, H, W) 0..255.
            masks: (Q, H, W) bool.
        """
        regions, shown = self.net.regions, clip_pixels(self.net.regions.clip, pixels)[0]
        if self.config.region_look == "frame":
            vectors, valid = regions.under(shown, masks)
        else:
            vectors, valid = regions.regions(shown, masks, self.config.region_batch)
        return regions.similarities(F.normalize(vectors, dim=-1), text), valid

    @torch.inference_mode()
    def assemble(self, found: Opinions, seen: Tensor, out_size: Sequence[int]) -> Tensor:
        """Opinions of the queries -> (K, h, w) scores.

        Masks and classes are combined at the network's input size, and the sum is resized.
        """
        masks = found.masks[found.valid] if self._regions_alone else found.masks
        scores = combine_probs(self.weigh(found, seen), masks)
        return postprocess(scores, masks.shape[-2:], out_size)

    @property
    def _regions_alone(self) -> bool:
        return self.config.ensemble and self.config.ensemble_weight == 0

    def weigh(self, found: Opinions, seen: Tensor) -> Tensor:
        """Class weights (Q, K) of the queries; (V, K) where only regions count.

        The query's "no object" is dropped after the softmax, the region's never enters it. An empty mask has
        1 for the region's part.
        """
        query = found.query.softmax(-1)[:, :-1]
        if not self.config.ensemble:
            return query
        region = found.region.softmax(-1)
        if self._regions_alone:
            return region
        filled = torch.ones_like(query)
        filled[found.valid] = region
        return combine_opinions(query, filled, seen, self.config.ensemble_weight)


def combine_opinions(query: Tensor, region: Tensor, seen: Tensor, weight: float) -> Tensor:
    """Geometric mixture of two opinions: query^w region^(1-w) where seen, query^(1-w) region^w elsewhere.

    Args:
        query, region: (Q, K) probabilities.
        seen: (K,) bool.
    """
    power = torch.where(seen, weight, 1 - weight).to(query)
    return query**power * region ** (1 - power)
