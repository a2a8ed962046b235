"""zsseg as a method: queries say what their masks show, CLIP says it too, and the two are multiplied."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap
from ovbench.methods.base import FrameSegmenter, Setup, check_image
from ovbench.nn.maskformer import (
    combine_probs,
    enlarge,
    normalise_pixels,
    pad,
    postprocess,
    resize_shortest,
    to_pixels,
)
from ovbench.nn.seen import seen_flags, training_names
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .network import Network, load_network


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


class ZsSeg(FrameSegmenter):
    """Labels one frame at a time. Which names count as seen matters unless the ensemble's weight is 0.5."""

    def __init__(self, network: Network) -> None:
        self.network = network

    @torch.inference_mode()
    def prepare(self, vocabulary: Vocabulary) -> None:
        """Encode the names once; raises `UserError` for names that the text tower cannot read."""
        super().prepare(vocabulary)
        own, regions = self.network.clip_adapter, self.network.regions
        self.text = own.text(vocabulary)
        self.region_text = self.text if regions is own else regions.text(vocabulary)
        config = self.network.config
        trained = self.network.trained_on or training_names(config.seen_names)
        flags = seen_flags(vocabulary, config.seen_rule, trained)
        self.seen = torch.tensor(flags, device=self.network.device)

    def segment_frame(self, image: Image) -> LabelMap:
        """(H, W, 3) uint8 RGB -> (H, W) vocabulary indices."""
        dtype = np.uint8 if len(self.vocabulary) <= 255 else np.uint16
        return self._scores(image, True, None).argmax(0).cpu().numpy().astype(dtype)

    def scores(
        self, image: Image, resize: bool = True, out_size: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """What the label map is the argmax of.

        Args:
            image: (H, W, 3) uint8 RGB.
            resize: False feeds the image as it is, not at the configured short side.
            out_size: (h, w) of the result; default the image's own size.

        Returns:
            (C, h, w) float32, not negative; they need not add up to 1.
        """
        return self._scores(check_image(image), resize, out_size).cpu().numpy()

    @torch.inference_mode()
    def opinions(self, image: Image, resize: bool = True) -> Opinions:
        """Everything before the ensemble, see `Opinions`."""
        assert self.vocabulary  # says so when prepare has not been called
        config = self.network.config
        if resize:
            image = resize_shortest(image, config.short_side, config.long_side)
        pixels = to_pixels(image, self.network.device)
        padded = pad(normalise_pixels(pixels))
        said = self.network(padded, self.text)
        masks = enlarge(said.masks[0], padded.shape[-2:])[0, :, : image.shape[0], : image.shape[1]].sigmoid()
        valid = torch.zeros(len(masks), dtype=torch.bool, device=masks.device)
        region = masks.new_zeros(0, len(self.vocabulary))
        if config.ensemble:
            regions = self.network.regions
            binary = masks > config.mask_threshold
            if config.region_look == "frame":
                vectors, valid = regions.under(pixels[0], binary)
            else:
                vectors, valid = regions.regions(pixels[0], binary, config.region_batch)
            region = regions.similarities(vectors, self.region_text)
        return Opinions(said.logits[0, 0], masks, region, valid)

    @torch.inference_mode()
    def assemble(self, found: Opinions, out_size: Sequence[int]) -> Tensor:
        """Opinions of the queries -> (K, h, w) scores.

        Masks and classes are combined at the network's input size, and the sum is resized.
        """
        weights, masks = self.weigh(found), found.masks
        if self._regions_alone:
            masks = masks[found.valid]
        return postprocess(combine_probs(weights, masks), masks.shape[-2:], out_size)

    def _scores(self, image: Image, resize: bool, out_size: tuple[int, int] | None) -> Tensor:
        return self.assemble(self.opinions(image, resize), out_size or image.shape[:2])

    @property
    def _regions_alone(self) -> bool:
        return self.network.config.ensemble and self.network.config.ensemble_weight == 0

    def weigh(self, found: Opinions) -> Tensor:
        """Class weights (Q, K) of the queries; (V, K) where only regions count.

        The query's "no object" is dropped after the softmax, the region's never enters it. An empty mask has
        1 for the region's part.
        """
        query = found.query.softmax(-1)[:, :-1]
        if not self.network.config.ensemble:
            return query
        region = found.region.softmax(-1)
        if self._regions_alone:
            return region
        filled = torch.ones_like(query)
        filled[found.valid] = region
        return combine_opinions(query, filled, self.seen, self.network.config.ensemble_weight)

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{parameter name: shape} of the weights this method takes."""
        return {name: tuple(value.shape) for name, value in self.network.state_dict().items()}

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Take weights, strictly by name; raises `UserError` listing what is missing or left over."""
        self.network.load_official(state)
        self.untrained = not self.network.has_clip
        if self.prepared is not None:
            self.prepare(self.prepared)

    def facts(self) -> dict[str, Any]:
        """Parameter count, configuration, seen names, and a hash of the text vectors."""
        facts: dict[str, Any] = {
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "config": self.network.config.to_json(),
            "clip_weights": self.network.clip_adapter.clip.weights_id,
            "seen_rule": self.network.config.seen_rule,
        }
        if self.prepared is not None:
            names = zip(self.prepared.names, self.seen.tolist(), strict=True)
            facts["seen_names"] = [name for name, seen in names if seen]
            facts["text_sha256"] = hashlib.sha256(self.text.cpu().numpy().tobytes()).hexdigest()
        return facts


def combine_opinions(query: Tensor, region: Tensor, seen: Tensor, weight: float) -> Tensor:
    """Geometric mixture of two opinions: query^w region^(1-w) where seen, query^(1-w) region^w elsewhere.

    Args:
        query, region: (Q, K) probabilities.
        seen: (K,) bool.
    """
    power = torch.where(seen, weight, 1 - weight).to(query)
    return query**power * region ** (1 - power)


def build(setup: Setup) -> ZsSeg:
    """Entry point of the method's card."""
    config = Config.from_options(setup.options)
    given = str(setup.options.get("clip_weights", ""))
    if given and config.shared_clip:
        raise UserError("the embedded two-tower models take no clip_weights", hint="leave clip_weights out")
    clip_weights = Path(given) if given else None
    return ZsSeg(load_network(config, setup.weights, clip_weights, setup.device, setup.variant))
