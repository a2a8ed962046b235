"""DeOP as a method (Han et al.: Decoupled One-Pass Network, ICCV 2023)."""

from __future__ import annotations

import hashlib
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
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .network import Network, load_network


class DeOPSegmenter(FrameSegmenter):
    """Masks from a network that knows no class; CLIP looks at the frame once and names them all.

    Seen and unseen names are treated alike, so no rule is needed for a free vocabulary.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Encode the names once; raises `UserError` for names that the text tower cannot read."""
        super().prepare(vocabulary)
        with torch.inference_mode():
            self.text = self.network.text(vocabulary)

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
        size = out_size or (int(image.shape[0]), int(image.shape[1]))
        return self.network.scores(image, self.text, resize, size)

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{parameter name: shape} of the weights this method takes."""
        return {name: tuple(value.shape) for name, value in self.network.state().items()}

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Take weights, strictly by name; raises `UserError` listing what is missing or left over."""
        self.network.load_official(state)
        self.untrained = not self.network.clip_given
        if self.prepared is not None:
            self.prepare(self.prepared)

    def facts(self) -> dict[str, Any]:
        """Parameter count, CLIP's identity, and a hash of the text vectors."""
        facts: dict[str, Any] = {
            "parameters": sum(p.numel() for p in self.network.net.parameters()),
            "clip": self.network.config.clip,
            "clip_weights": self.network.clip.weights_id,
        }
        if self.prepared is not None:
            facts["text_sha256"] = hashlib.sha256(self.text.cpu().numpy().tobytes()).hexdigest()
        return facts


def build(setup: Setup) -> DeOPSegmenter:
    """Entry point of the method's card."""
    config = Config.from_options(setup.options)
    given = str(setup.options.get("clip_weights", ""))
    path = Path(given) if given else None
    if path is not None and config.shared_clip:
        raise UserError("the world's two-tower model takes no clip_weights", hint="leave clip_weights out")
    return DeOPSegmenter(load_network(config, setup.weights, path, setup.device))
