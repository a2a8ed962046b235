"""What methods share whose networks draw masks and name them with CLIP (`ovbench.nn.maskmodel`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ovbench.core.types import Image, LabelMap
from ovbench.protocol.vocabulary import Vocabulary

from .base import FrameSegmenter, Setup, check_image, check_size
from .labels import label_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from ovbench.nn.maskmodel import MaskModel

    M = TypeVar("M", bound=MaskModel[Any, Any])
else:
    M = TypeVar("M")


class MaskSegmenter(FrameSegmenter, Generic[M]):
    """A network's masks and names, one frame at a time."""

    def __init__(self, network: M) -> None:
        self.network = network
        self.texts: tuple[Tensor, ...] = ()

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Encode the names once and decide which of them count as seen.

        Raises:
            UserError: names that the text tower cannot read.
        """
        import torch

        super().prepare(vocabulary)
        self._seen = self.network.seen(vocabulary)
        flags = self._seen.flags if self._seen else (False,) * len(vocabulary)
        self.seen = torch.tensor(flags, device=self.network.device)
        with torch.inference_mode():
            self.texts = self.network.texts(vocabulary)

    @property
    def text(self) -> Tensor:
        """(K, E) vectors that the queries are compared with."""
        return self.texts[0]

    @property
    def region_text(self) -> Tensor:
        """(K, E) vectors that CLIP's look at regions is compared with."""
        return self.texts[-1]

    def segment_frame(self, image: Image) -> LabelMap:
        """(H, W, 3) uint8 RGB -> (H, W) vocabulary indices."""
        best = self._scores(image, True, None).argmax(0)
        return best.cpu().numpy().astype(label_dtype(len(self.vocabulary)))

    def scores(
        self, image: Image, resize: bool = True, out_size: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """What the label map is the argmax of.

        Args:
            image: (H, W, 3) uint8 RGB.
            resize: False feeds the image as it is (padded to a multiple of 32), not at the configured size.
            out_size: (h, w) of the scores; default the image's own size.

        Returns:
            (K, h, w) float32; they need not add up to 1.

        Raises:
            UserError: a size that is not two numbers from 1 on.
        """
        found: NDArray[np.float32] = self._scores(image, resize, out_size).cpu().numpy()
        return found

    def _scores(self, image: Image, resize: bool, out_size: tuple[int, int] | None) -> Tensor:
        assert self.vocabulary  # says so when prepare has not been called
        height, width = check_image(image).shape[:2]
        return self.network.scores(
            image, self.texts, self.seen, resize, check_size(out_size) or (height, width)
        )

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{parameter name: shape} of the weights this method takes."""
        return {name: tuple(value.shape) for name, value in self.network.state().items()}

    def load_official(self, state: Mapping[str, Any]) -> None:
        """Take weights, strictly by name; raises `UserError` listing what is missing or left over.

        `state` is what a weights file holds: tensors or NumPy arrays by name, bare or under "model" or
        "state_dict", with a wrapper's prefix or without.
        """
        self.network.load_official(state)
        self.untrained = not self.network.clip_given
        if self.prepared is not None:
            self.prepare(self.prepared)

    def facts(self) -> dict[str, Any]:
        """Parameter count, configuration, CLIP's identity, who counts as seen, a hash of the text vectors."""
        network = self.network
        facts: dict[str, Any] = {
            "parameters": sum(p.numel() for p in network.net.parameters()),
            "config": network.config.to_json(),
            "clip": network.config.clip,
            "clip_weights": network.clip.weights_id,
        }
        if self.prepared is not None:
            digest = hashlib.sha256()
            for text in self.texts:
                digest.update(text.cpu().numpy().tobytes())
            facts["text_sha256"] = digest.hexdigest()
            facts |= self._seen.facts() if self._seen else {}
        return facts


def load_network(setup: Setup, network: type[M], config: Any) -> M:
    """The network of a setup: its weights, or name-seeded ones; CLIP's from the option `clip_weights`."""
    given = str(setup.options.get("clip_weights", ""))
    path = Path(given) if given else None
    return network.load(config, setup.weights, path, setup.device, setup.variant)
