"""Two opinions about each mask, of its query and of CLIP's look at the region: what zsseg and FreeSeg share.

Sources: zsseg.baseline and FreeSeg, mask_former (mask2former)/modeling/clip_adapter/ and their inference.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.types import Image

from .detr import Predictions
from .maskconfig import EnsembleConfig
from .maskformer import clip_pixels, combine_probs, enlarge, normalise_pixels, pad, postprocess
from .maskmodel import MaskModel
from .masknet import TextAdapter
from .regions import look_at_crops, look_at_frame, masked_crop, tight_boxes, tower_size

C = TypeVar("C", bound=EnsembleConfig)
N = TypeVar("N", bound=nn.Module)


class RegionAdapter(TextAdapter):
    """`TextAdapter` that also looks at regions; `align_corners`: of resizing crops."""

    align_corners: ClassVar[bool] = False

    def regions(self, pixels: Tensor, masks: Tensor, batch: int = 16) -> tuple[Tensor, Tensor]:
        """Cut every mask out and encode it; equal masks are encoded once.

        Args:
            pixels: (3, H, W) with CLIP's statistics.
            masks: (Q, H, W) bool.

        Returns:
            (V, E) vectors of the masks that are not empty, in order, not normalised; (Q,) bool, which these are.
        """
        boxes, valid = tight_boxes(masks)
        chosen = valid.nonzero()[:, 0].tolist()
        if not chosen:
            return pixels.new_zeros(0, self.non_object_embedding.shape[1]), valid
        keys = [_key(masks[i], boxes[i].tolist()) for i in chosen]

        def crop(n: int) -> Tensor:
            return self.crop(pixels, masks[chosen[n]], boxes[chosen[n]].tolist())

        return look_at_crops(self.clip, crop, keys, batch), valid

    def under(self, pixels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Like `regions` from one dense look at the whole frame (not official)."""
        valid = masks.flatten(1).any(1)
        return look_at_frame(self.clip, pixels, masks[valid]), valid

    def crop(self, pixels: Tensor, mask: Tensor, box: Sequence[int]) -> Tensor:
        """One region of the normalised image at the tower's size; what the mask leaves out is CLIP's mean, 0."""
        size = tower_size(self.clip.model.visual)
        return masked_crop(pixels, mask, box, size, align_corners=self.align_corners)


def _key(mask: Tensor, box: Sequence[int]) -> tuple[bytes, ...]:
    """Equal exactly when two masks are: (box, pixels inside the box)."""
    x0, y0, x1, y1 = box
    return repr(tuple(box)).encode(), mask[y0:y1, x0:x1].cpu().numpy().tobytes()


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


class RegionModel(MaskModel[C, N]):
    """A mask network with such a CLIP. Which names count as seen matters unless the weight is 0.5.

    `align_corners`: of enlarging masks to the network's input size.
    """

    align_corners: ClassVar[bool] = False

    @property
    @abstractmethod
    def regions(self) -> RegionAdapter:
        """The adapter that looks at regions."""

    def scores(
        self, image: Image, texts: tuple[Tensor, ...], seen: Tensor, resize: bool, out_size: tuple[int, int]
    ) -> Tensor:
        """(K, h, w), not negative; they need not add up to 1."""
        return self.assemble(self.opinions(image, texts, resize), seen, out_size)

    @torch.inference_mode()
    def opinions(self, image: Image, texts: tuple[Tensor, ...], resize: bool = True) -> Opinions:
        """Everything before the ensemble, see `Opinions`."""
        pixels = self.pixels(image, resize)
        net: Any = self.net
        return self.judge(pixels, net(pad(normalise_pixels(pixels)), texts[0]), texts)

    @torch.inference_mode()
    def judge(self, pixels: Tensor, said: Predictions, texts: tuple[Tensor, ...]) -> Opinions:
        """`opinions` of what the network says of (1, 3, H, W) pixels, 0..255."""
        height, width = pixels.shape[-2:]
        size = pad(pixels).shape[-2:]
        large = enlarge(said.masks[-1], size, align_corners=self.align_corners)
        masks = large[0, :, :height, :width].sigmoid()
        valid = torch.zeros(len(masks), dtype=torch.bool, device=masks.device)
        region = masks.new_zeros(0, len(texts[-1]))
        if self.config.ensemble:
            region, valid = self.look(pixels, masks > self.config.mask_threshold, texts[-1])
        return Opinions(said.logits[-1, 0], masks, region, valid)

    def look(self, pixels: Tensor, masks: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's logits (V, K) of the masks that are not empty, and which these are.

        Args:
            pixels: (1, 3, H, W) 0..255.
            masks: (Q, H, W) bool.
        """
        regions, shown = self.regions, clip_pixels(self.regions.clip, pixels)[0]
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
