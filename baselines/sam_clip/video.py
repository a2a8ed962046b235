"""SAM 2 + CLIP: regions of key frames are named once and carried through the frames that follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap
from ovbench.datasets.base import Video
from ovbench.methods.base import Segmenter, Setup, check_image, check_video, place, unused
from ovbench.nn.clip import ClipPair
from ovbench.nn.text import TextRows, encode_rows
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .fusion import fuse, to_labels
from .looks import class_probs, look
from .regions import Regions, inclusive_boxes
from .sam2 import Sam2, load_sam2
from .segmenter import open_clip_of, whole_frame


class Sam2Clip(Segmenter):
    """Every `every` frames SAM 2 draws the regions of a frame and CLIP names them; in between both are carried on.

    A frame's labels depend on the key frame before it and on what lies between, never on later frames. A carried
    region keeps what CLIP said of it; what appears between two key frames takes the rule for uncovered pixels.

    Args:
        every: distance of key frames.
        most: regions carried, the best ones; the rest are dropped, as following costs time for each.
    """

    def __init__(self, clip: ClipPair, sam: Sam2, config: Config, every: int, most: int) -> None:
        if every < 1 or most < 1:
            raise UserError(f"every ({every}) and most ({most}) must be at least 1", hint="--set every=...")
        self.clip, self.sam, self.config, self.every, self.most = clip, sam, config, every, most
        self.rows: TextRows | None = None

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Encode the names with the vocabulary's templates; raises `UserError` for what the tower cannot read."""
        super().prepare(vocabulary)
        self.rows = encode_rows(self.clip, vocabulary)

    def segment(self, video: Video) -> Iterator[LabelMap]:
        """One label map per frame; frames after the last wanted one before a key frame are not looked at."""
        check_video(video)
        assert self.vocabulary  # says so when prepare has not been called
        for start in range(0, len(video), self.every):
            end = min(start + self.every, len(video))
            wanted = [video.wanted(index) for index in range(start, end)]
            used = max((i + 1 for i, flag in enumerate(wanted) if flag), default=0)
            images = [check_image(video.image(i), place(video, i)) for i in range(start, start + used)]
            labels = self._carried(images) if images else iter(())
            for flag in wanted[:used]:
                found = next(labels)
                yield found if flag else unused()
            for _ in range(used, end - start):
                yield unused()

    def _carried(self, images: list[Image]) -> Iterator[LabelMap]:
        """Label maps of a key frame and of those after it."""
        regions = self.sam.regions(images[0])
        regions = regions[torch.arange(min(len(regions), self.most), device=regions.masks.device)]
        if not len(regions):
            for image in images:  # nothing to carry
                regions = whole_frame(image, self.clip.device)
                yield self._labels(image, regions, self._name(image, regions))
            return
        probs = self._name(images[0], regions)
        for image, masks in zip(images, self.sam.follow(images, regions.masks), strict=True):
            carried = Regions(masks, regions.quality, regions.stability, inclusive_boxes(masks))
            yield self._labels(image, carried, probs)

    @torch.inference_mode()
    def _name(self, image: Image, regions: Regions) -> Tensor:
        """(N, K) probabilities of the classes."""
        assert self.rows is not None
        features = look(self.clip, image, regions, self.config.look, self.config.region_batch)
        return class_probs(features, self.rows, self.config.temperature)

    @torch.inference_mode()
    def _labels(self, image: Image, regions: Regions, probs: Tensor) -> LabelMap:
        def frame() -> Tensor:
            return self._name(image, whole_frame(image, self.clip.device))[0]

        return to_labels(*fuse(regions, probs, self.config.rule, self.config.uncovered, frame))

    def facts(self) -> dict[str, Any]:
        """Parameter counts, configuration, CLIP's identity."""
        own = sum(p.numel() for p in self.sam.model.parameters())
        return {
            "parameters": own + sum(p.numel() for p in self.clip.model.parameters()),
            "config": asdict(self.config) | {"every": self.every, "most": self.most},
            "masks": "SAM 2 (transformers), carried from key frames",
            "clip": self.clip.name,
            "clip_weights": self.clip.weights_id,
        }


def build(setup: Setup) -> Sam2Clip:
    """Entry point of the method's card."""
    options = setup.options
    config = Config.from_options(
        {**options, "proposals": "grid", "sam": "", "crop_layers": 0, "min_region": 0}
    )
    sam = load_sam2(setup.weights, config, setup.device)
    return Sam2Clip(open_clip_of(setup, config), sam, config, int(options["every"]), int(options["most"]))
