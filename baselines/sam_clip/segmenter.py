"""SAM + CLIP as a method: regions, a name for each, one label per pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap
from ovbench.methods.base import FrameSegmenter, Setup, check_image, check_size
from ovbench.nn.clip import ClipPair, load_clip
from ovbench.nn.text import TextRows, encode_rows
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config, check_idle
from .fusion import fuse, to_labels
from .grid import check_tidying
from .looks import class_probs, look
from .maker import MakerSizes, load_maker
from .proposals import Proposer, make_proposer
from .regions import Regions, inclusive_boxes
from .sam import load_sam


class SamClip(FrameSegmenter):
    """One frame at a time: regions from `proposer`, names from CLIP's look at each of them.

    Args:
        clip: the two-tower model.
        proposer: gives the regions of a frame.
        config: what CLIP looks at, and the rule for pixels that several regions cover, or none.
    """

    def __init__(self, clip: ClipPair, proposer: Proposer, config: Config) -> None:
        self.clip, self.proposer, self.config = clip, proposer, config
        self.rows: TextRows | None = None

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Encode the names with the vocabulary's templates; raises `UserError` for what the tower cannot read."""
        super().prepare(vocabulary)
        self.rows = encode_rows(self.clip, vocabulary)

    def segment_frame(self, image: Image) -> LabelMap:
        """(H, W, 3) uint8 RGB -> (H, W) vocabulary indices; `OTHER` where it abstains."""
        return to_labels(*self._scores(image))

    def scores(
        self, image: Image, resize: bool = True, out_size: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """What the label map is the argmax of, but where it abstains: there all scores are 0.

        Args:
            image: (H, W, 3) uint8 RGB.
            resize: without effect; SAM's input size is part of SAM, the world's maker takes frames as they are.
            out_size: (h, w) of the scores, bilinear; default the image's own size.

        Returns:
            (K, h, w) float32; they need not add up to 1.
        """
        scores, _ = self._scores(check_image(image))
        size = check_size(out_size)
        if size is not None and size != tuple(scores.shape[1:]):
            scores = F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]
        found: NDArray[np.float32] = scores.float().cpu().numpy()
        return found

    @torch.inference_mode()
    def _scores(self, image: Image) -> tuple[Tensor, Tensor]:
        """(K, H, W) scores, and (H, W) bool, where there are any."""
        assert self.vocabulary  # says so when prepare has not been called
        regions = self.proposer(image)
        if not len(regions):
            regions = whole_frame(image, self.clip.device)
        return self.fuse(image, regions)

    @torch.inference_mode()
    def fuse(self, image: Image, regions: Regions) -> tuple[Tensor, Tensor]:
        """Name regions and put them together: (K, H, W) scores, and (H, W) bool, where there are any."""

        def frame() -> Tensor:
            return self.name(image, whole_frame(image, self.clip.device))[0]

        config = self.config
        return fuse(regions, self.name(image, regions), config.rule, config.uncovered, frame)

    def name(self, image: Image, regions: Regions) -> Tensor:
        """(N, K) probabilities of the classes for N >= 1 regions."""
        if self.rows is None:
            raise UserError("no vocabulary yet", hint="call prepare(vocabulary) before segment or scores")
        features = look(self.clip, image, regions, self.config.look, self.config.region_batch)
        return class_probs(features, self.rows, self.config.temperature)

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{parameter name: shape} of the mask maker's weights (SAM's own names); CLIP has a file of its own."""
        return self.proposer.official_names()

    def load_official(self, state: Mapping[str, Any]) -> None:
        """Take the mask maker's weights, strictly by name; raises `UserError` listing what does not fit."""
        self.proposer.load_official(state)
        self.untrained = "name-seeded" in (self.clip.weights_id or "")

    def facts(self) -> dict[str, Any]:
        """Parameter counts, configuration, CLIP's identity, a hash of the text vectors."""
        own = self.config.proposals == "points"
        facts: dict[str, Any] = {
            "parameters": self.proposer.parameters() + sum(p.numel() for p in self.clip.model.parameters()),
            "config": asdict(self.config) | ({"sam": None} if own else {}),
            "masks": self.proposer.title,
            "clip": self.clip.name,
            "clip_weights": self.clip.weights_id,
        }
        if own:
            facts["remark"] = "masks come from a small mask maker of our own, not from SAM."
        if self.rows is not None:
            facts["text_sha256"] = hashlib.sha256(self.rows.vectors.cpu().numpy().tobytes()).hexdigest()
        return facts


def whole_frame(image: Image, device: torch.device) -> Regions:
    """The frame as its only region."""
    masks = torch.ones(1, *image.shape[:2], dtype=torch.bool, device=device)
    one = torch.ones(1, device=device)
    return Regions(masks, one, one, inclusive_boxes(masks))


def open_clip_of(setup: Setup, config: Config) -> ClipPair:
    """CLIP from the option `clip_weights`; the embedded world's from its shipped file.

    Raises:
        UserError: no file for a CLIP that needs one, unless the run is untrained.
    """
    given = str(setup.options["clip_weights"])
    return load_clip(
        config.clip,
        Path(given) if given else None,
        setup.device,
        untrained=setup.weights is None and not given and config.clip != "world",
    )


def build(setup: Setup) -> SamClip:
    """Entry point of the method's card."""
    config = Config.from_options(setup.options)
    check_idle(setup.method, setup.variant, setup.options)
    check_tidying(config)
    clip = open_clip_of(setup, config)
    if config.proposals == "points":
        maker = load_maker(MakerSizes.from_options(setup.options), setup.weights, setup.device)
        return SamClip(clip, make_proposer(config, maker), config)
    return SamClip(clip, make_proposer(config, load_sam(config.sam, setup.weights, setup.device)), config)
