"""Regions from SAM asked at a grid of points: what the package's automatic generator gives, with less work."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovbench.core.types import Image
from ovbench.flow.opencv import opencv

from .config import GridConfig
from .decoder import Answers, PointDecoder, enlarge
from .regions import Regions, cut, inclusive_boxes, join, none_of, suppress

_OVERLAP = 512 / 1500  # of crops, as a share of the short side: the package's default
_AT_ONCE = 32  # masks at the frame's size


def check_tidying(config: GridConfig) -> None:
    """Raise `UserError` where masks shall be tidied (`min_region`), which the package does with OpenCV, without it."""
    if config.min_region > 0:
        opencv()


class GridGenerator:
    """Same parameters, same masks, same order as `SamAutomaticMaskGenerator`.

    Each crop (the frame, unless there are `crop_layers`) is encoded once. Masks are drawn for points whose guessed
    IoU passes and stay bits in an array: no run-length codes in between.
    """

    def __init__(self, sam: Any, config: GridConfig) -> None:
        from segment_anything.utils.amg import build_all_layer_point_grids
        from segment_anything.utils.transforms import ResizeLongestSide

        check_tidying(config)
        self.sam, self.config = sam, config
        self.decoder = PointDecoder(sam)
        self.resize = ResizeLongestSide(sam.image_encoder.img_size)
        self.grids = build_all_layer_point_grids(config.points_per_side, config.crop_layers, 1)

    @torch.inference_mode()
    def __call__(self, image: Image) -> Regions:
        """(H, W, 3) uint8 RGB -> regions, in the order of the package's records."""
        from segment_anything.utils.amg import generate_crop_boxes

        size = (int(image.shape[0]), int(image.shape[1]))
        crops, layers = generate_crop_boxes(size, self.config.crop_layers, _OVERLAP)
        found = [
            self._crop(image, crop, self.grids[layer]) for crop, layer in zip(crops, layers, strict=True)
        ]
        regions = join(found)
        if len(crops) > 1:  # masks of smaller crops are preferred
            areas = torch.tensor([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in crops], dtype=torch.float32)
            scores = (1 / areas).repeat_interleave(torch.tensor([len(part) for part in found]))
            regions = suppress(regions, scores.to(regions.quality), self.config.nms)
        return self._tidy(regions) if self.config.min_region > 0 else regions

    def _crop(self, image: Image, crop: list[int], grid: Any) -> Regions:
        """The regions of a part of the frame (x0, y0, x1, y1), at the frame's size."""
        x0, y0, x1, y1 = crop
        part = np.ascontiguousarray(image[y0:y1, x0:x1])
        size = (y1 - y0, x1 - x0)
        shown = self.resize.apply_image(part)
        pixels = torch.as_tensor(shown, device=self.sam.device).permute(2, 0, 1)[None]
        encoded = self.decoder.open(self.sam.image_encoder(self.sam.preprocess(pixels)))
        points = self.resize.apply_coords(grid * np.array([size[1], size[0]]), size)
        points = torch.as_tensor(points, device=self.sam.device)
        shape = (int(shown.shape[0]), int(shown.shape[1]))
        batches = points.split(self.config.points_per_batch)
        parts = [self._masks(self.decoder.ask(encoded, some), shape, size) for some in batches]
        regions = self._placed(join(parts), crop, (int(image.shape[0]), int(image.shape[1])))
        return suppress(regions, regions.quality, self.config.nms)

    def _masks(self, answers: Answers, shape: tuple[int, int], size: tuple[int, int]) -> Regions:
        """Of a batch's answers the masks that are good and stable, at the crop's size."""
        config = self.config
        keep = torch.ones_like(answers.quality, dtype=torch.bool)
        if config.quality > 0:
            keep = answers.quality > config.quality
        if not bool(keep.any()):
            return none_of(size, answers.quality.device)
        small, quality = self.decoder.masks(answers, keep, shape), answers.quality[keep]
        parts = [
            cut(
                enlarge(some, shape, size),
                guess,
                config.stability,
                config.stability_offset,
                self.sam.mask_threshold,
            )
            for some, guess in zip(small.split(_AT_ONCE), quality.split(_AT_ONCE), strict=True)
        ]
        return join(parts)

    def _placed(self, regions: Regions, crop: list[int], size: tuple[int, int]) -> Regions:
        """Regions of a crop as regions of the frame, without those that the crop's edge seems to cut."""
        from segment_anything.utils.amg import is_box_near_crop_edge, uncrop_boxes_xyxy, uncrop_masks

        height, width = size
        if crop == [0, 0, width, height]:
            return regions
        whole = regions[~is_box_near_crop_edge(regions.boxes, crop, [0, 0, width, height])]
        masks = uncrop_masks(whole.masks, crop, height, width)
        return Regions(masks, whole.quality, whole.stability, uncrop_boxes_xyxy(whole.boxes, crop))

    def _tidy(self, regions: Regions) -> Regions:
        """Holes and islands smaller than `min_region` pixels taken out; what then is a duplicate goes."""
        from segment_anything.utils.amg import remove_small_regions

        if not len(regions):
            return regions
        masks: list[Tensor] = []
        untouched: list[float] = []
        for mask in regions.masks.cpu().numpy():
            filled, holes = remove_small_regions(mask, self.config.min_region, mode="holes")
            clean, islands = remove_small_regions(filled, self.config.min_region, mode="islands")
            masks.append(torch.from_numpy(np.asarray(clean, dtype=np.bool_)))
            untouched.append(float(not (holes or islands)))
        tidy = torch.stack(masks).to(regions.masks.device)
        scores = torch.tensor(untouched, device=tidy.device)
        boxes = inclusive_boxes(tidy)
        return suppress(Regions(tidy, regions.quality, regions.stability, boxes), scores, self.config.nms)
