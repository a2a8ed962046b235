"""Who draws the regions: SAM by its package's generator, SAM by our grid, or the world's mask maker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovbench.core.types import Image
from ovbench.nn.checkpoint import apply
from ovbench.nn.weights_file import state_of

from .config import Config, GridConfig
from .grid import GridGenerator, check_tidying
from .maker import MaskMaker
from .regions import Regions, cut, inclusive_boxes, none_of, suppress_masks
from .sam import fill_sam


class Proposer(ABC):
    """Gives the regions of a frame; `title` is what a manifest says of it."""

    title: str
    model: torch.nn.Module

    @abstractmethod
    def __call__(self, image: Image) -> Regions:
        """(H, W, 3) uint8 RGB -> the frame's regions, best first; there may be none."""

    def parameters(self) -> int:
        """How many numbers the model has."""
        return sum(p.numel() for p in self.model.parameters())

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{parameter name: shape}."""
        return {name: tuple(value.shape) for name, value in self.model.state_dict().items()}

    def load_official(self, state: Mapping[str, Any]) -> None:
        """Take weights, strictly by name."""
        apply(self.model, state_of(state))


class AutomaticProposer(Proposer):
    """`SamAutomaticMaskGenerator` of the package, as it is."""

    def __init__(self, sam: Any, config: GridConfig, size: str) -> None:
        from segment_anything import SamAutomaticMaskGenerator

        check_tidying(config)
        self.model, self.size = sam, size
        self.title = f"SAM {size}, the package's automatic generator"
        self.generator = SamAutomaticMaskGenerator(
            sam,
            points_per_side=config.points_per_side,
            points_per_batch=config.points_per_batch,
            pred_iou_thresh=config.quality,
            stability_score_thresh=config.stability,
            stability_score_offset=config.stability_offset,
            box_nms_thresh=config.nms,
            crop_n_layers=config.crop_layers,
            crop_nms_thresh=config.nms,
            min_mask_region_area=config.min_region,
        )

    def __call__(self, image: Image) -> Regions:
        found = self.generator.generate(np.ascontiguousarray(image))
        device = self.generator.predictor.device
        size = (int(image.shape[0]), int(image.shape[1]))
        if not found:
            return none_of(size, device)
        masks = torch.from_numpy(np.stack([entry["segmentation"] for entry in found])).to(device)
        quality = torch.tensor([entry["predicted_iou"] for entry in found], device=device)
        stable = torch.tensor([entry["stability_score"] for entry in found], device=device)
        regions = Regions(masks, quality, stable, inclusive_boxes(masks))
        return regions[masks.flatten(1).any(1)]

    def load_official(self, state: Mapping[str, Any]) -> None:
        fill_sam(self.model, self.size, state)


class GridProposer(Proposer):
    """SAM by `GridGenerator`: the same masks as the package's generator, sooner."""

    def __init__(self, sam: Any, config: GridConfig, size: str) -> None:
        self.model, self.size = sam, size
        self.title = f"SAM {size}, grid of points"
        self.generator = GridGenerator(sam, config)

    def __call__(self, image: Image) -> Regions:
        regions = self.generator(image)
        return regions[regions.masks.flatten(1).any(1)]

    def load_official(self, state: Mapping[str, Any]) -> None:
        fill_sam(self.model, self.size, state)
        self.generator = GridGenerator(self.model, self.generator.config)  # it keeps products of weights


class PointProposer(Proposer):
    """The world's mask maker, asked at every point of a grid.

    Not SAM: a small network trained on the protocol's seen classes. Masks of points that lie in the same region
    are duplicates; the one that its maker thinks best of stays.
    """

    title = "a small mask maker of our own, trained on masks of the protocol's seen classes (not SAM)"

    def __init__(self, maker: MaskMaker, config: GridConfig) -> None:
        self.model, self.maker, self.config = maker, maker, config
        self.points = point_grid(config.points_per_side)

    def __call__(self, image: Image) -> Regions:
        logits, quality = self.maker.draw(image, self.points)
        keep = quality > self.config.quality
        regions = cut(logits[keep], quality[keep], self.config.stability, self.config.stability_offset)
        return suppress_masks(regions, regions.quality, self.config.nms)


def point_grid(side: int) -> Tensor:
    """(side * side, 2) float64 points, x and y as shares, in the middle of equal cells, row by row."""
    line = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def make_proposer(config: Config, model: Any) -> Proposer:
    """By the option `proposals`."""
    if config.proposals == "points":
        return PointProposer(model, config)
    kind = AutomaticProposer if config.proposals == "automatic" else GridProposer
    return kind(model, config, config.sam)
