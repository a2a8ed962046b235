"""ZegFormer as a method (Ding et al.: Decoupling Zero-Shot Semantic Segmentation, CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap
from ovbench.methods.base import FrameSegmenter, Setup, check_image
from ovbench.nn.seen import seen_flags, training_names
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .network import Network, load_network


class ZegFormerSegmenter(FrameSegmenter):
    """Masks from a network that knows no class, names from its queries and from CLIP's look at each mask."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.seen: tuple[bool, ...] = ()

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Encode the names once and decide which of them count as seen."""
        super().prepare(vocabulary)
        config = self.network.config
        trained = self.network.trained_on or training_names(config.seen_names)
        self.seen = seen_flags(vocabulary, config.seen_rule, trained)
        with torch.inference_mode():
            self.text, self.region_text = self.network.text(vocabulary)

    def segment_frame(self, image: Image) -> LabelMap:
        """(H, W, 3) uint8 RGB -> (H, W) vocabulary indices."""
        dtype = np.uint8 if len(self.vocabulary) < 255 else np.uint16
        return self._scores(check_image(image), True, None).argmax(0).cpu().numpy().astype(dtype)

    def scores(
        self, image: Image, resize: bool = True, out_size: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """What the label map is the argmax of: (K, h, w) float32.

        Args:
            image: (H, W, 3) uint8 RGB.
            resize: False feeds the image as it is (padded to a multiple of 32).
            out_size: (h, w) of the scores; default the image's own size.
        """
        return self._scores(check_image(image), resize, out_size).cpu().numpy()

    def _scores(self, image: Image, resize: bool, out_size: tuple[int, int] | None) -> Tensor:
        assert self.vocabulary  # says so when prepare has not been called
        seen = torch.tensor(self.seen, device=self.network.device)
        size = out_size or (int(image.shape[0]), int(image.shape[1]))
        return self.network.scores(image, self.text, self.region_text, seen, resize, size)

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{parameter name: shape} of the weights this method takes."""
        return {name: tuple(value.shape) for name, value in self.network.net.state_dict().items()}

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Take weights, strictly by name; raises `UserError` listing what is missing or left over."""
        self.network.load_official(state)
        self.untrained = not self.network.clip_given
        if self.prepared is not None:
            self.prepare(self.prepared)

    def facts(self) -> dict[str, Any]:
        """Parameter count, CLIP's identity, the number of seen names and the rule that chose them."""
        config = self.network.config
        return {
            "parameters": sum(p.numel() for p in self.network.net.parameters()),
            "clip": config.clip,
            "clip_weights": self.network.clip.weights_id,
            "seen_rule": config.seen_rule,
            "seen_names": [n for n, s in zip(self.vocabulary.names, self.seen, strict=True) if s]
            if self.prepared
            else [],
        }


def build(setup: Setup) -> ZegFormerSegmenter:
    """Entry point of the method's card."""
    config = Config.from_options(setup.options)
    given = str(setup.options.get("clip_weights", ""))
    path = Path(given) if given else None
    if path is not None and config.shared_clip:
        raise UserError("the world's two-tower model takes no clip_weights", hint="leave clip_weights out")
    return ZegFormerSegmenter(load_network(config, setup.weights, path, setup.device))
