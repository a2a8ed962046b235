"""Training of the world's mask maker: points of seen classes ask for the region they lie in; no class is named."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.engine.drawing import LabelledFrames, Variation
from ovbench.engine.masks import Batch, collate, start_values
from ovbench.engine.ranges import check_ranges
from ovbench.engine.recipe import header, needed, poly
from ovbench.engine.targets import IGNORE, SeenTargets
from ovbench.methods.base import Setup
from ovbench.nn.criterion import mask_losses
from ovbench.nn.maskformer import normalise_pixels
from ovbench.nn.pretext import naming_loss

from .config import check_idle
from .maker import METHOD, MakerSizes, MaskMaker

_FOCAL, _DICE, _QUALITY = (
    20.0,
    1.0,
    1.0,
)  # weights: SAM's focal and dice (paper, section 3), and its IoU head's


class Training:
    """A task for `engine.train`.

    First the backbone alone learns to tell the seen classes apart (`backbone_share` of the steps, as the other mask
    methods of the world start), then the whole learns which points belong together. No head for classes is left.
    A point's region is all pixels of its class, as with the other mask methods of the world. Pixels without a
    target (unseen classes, void) belong to no point's region, and no point is put there.
    """

    half = True

    def __init__(self, setup: Setup, seed: int, steps: int | None) -> None:
        protocol, open_split = needed(setup, METHOD)
        options = setup.options
        if options["proposals"] != "points":
            raise UserError(
                f"variant '{setup.variant}' takes SAM's published masks and is not trained",
                hint="--variant world trains the small mask maker of the embedded world",
            )
        check_ranges(METHOD, options)
        check_idle(METHOD, setup.variant, options)
        if int(options["points"]) < 1:
            raise UserError(
                f"points must be at least 1, not {options['points']}", hint="--set points=24, or leave it out"
            )
        self.setup, self.options, self.seed = setup, options, seed
        self.steps = steps or int(options["steps"])
        self.clip_norm = float(options["gradient"])
        self.variation = Variation.from_options(options)
        self.targets = SeenTargets(protocol)
        torch.manual_seed(seed)
        self.sizes = MakerSizes.from_options(options)
        self.maker = MaskMaker(self.sizes)
        start_values(self.maker)
        self.module: nn.Module = self.maker.to(setup.device)
        self.frames = LabelledFrames(open_split("train"), self.targets)

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; no decay of vectors."""
        matrices = [p for p in self.module.parameters() if p.ndim > 1]
        vectors = [p for p in self.module.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": float(self.options["decay"])},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=float(self.options["rate"]))

    @property
    def begun(self) -> int:
        """The step from which masks are learned."""
        return round(self.steps * float(self.options["backbone_share"]))

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then polynomial decay (power 0.9) to zero, in each part of the training anew."""
        start, end = (0, self.begun) if step < self.begun else (self.begun, self.steps)
        return poly(step - start, end - start, int(self.options["warmup"]))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Focal and dice loss of the masks of drawn points, and squared error of the guessed IoU.

        A pure function of (seed, step) and the weights.
        """
        rng = np.random.default_rng([self.seed, step])
        drawn = [self.variation(rng, *self.frames.draw(rng)) for _ in range(int(self.options["batch"]))]
        batch = collate(drawn, next(self.module.parameters()).device)
        if step < self.begun:
            maps = self.maker.backbone(normalise_pixels(batch.pixels))
            loss = naming_loss(maps, batch.labels, len(self.targets), IGNORE)
            return loss, {"naming": float(loss.detach())}
        return self._mask_loss(rng, batch)

    def _mask_loss(self, rng: np.random.Generator, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        points, regions = self._points(rng, batch)
        features = self.maker.features(batch.pixels)
        vectors = {"vectors": self.maker.vectors(features)}
        naming = naming_loss(vectors, batch.labels, len(self.targets), IGNORE, ["vectors"])
        masks, guess = self.maker.ask(features, points)
        masks = F.interpolate(masks, batch.labels.shape[-2:], mode="bilinear", align_corners=False)
        there = regions.flatten(2).any(2).flatten()  # a frame may have no seen class at all
        if not there.any():
            return naming + guess.sum() * 0.0, {"mask": 0.0, "dice": 0.0, "quality": 0.0}
        logits, truth = masks.flatten(0, 1).flatten(1)[there], regions.flatten(0, 1).flatten(1)[there]
        focal, dice = mask_losses(logits, truth.to(logits), torch.ones_like(logits), "focal")
        quality = (guess.flatten()[there].sigmoid() - iou(logits.detach() > 0, truth)).square()
        parts = {"mask": focal.mean(), "dice": dice.mean(), "quality": quality.mean()}
        loss = naming + _FOCAL * parts["mask"] + _DICE * parts["dice"] + _QUALITY * parts["quality"]
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def _points(self, rng: np.random.Generator, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, N, 2) places as shares of width and height, and (B, N, H, W) bool, the regions they lie in."""
        labels = batch.labels.cpu().numpy()
        height, width = labels.shape[1:]
        chosen = np.stack([draw_points(rng, found, int(self.options["points"])) for found in labels])
        device = batch.labels.device
        places = (chosen + 0.5) / (width, height)
        rows, columns = (torch.from_numpy(chosen[..., axis]).to(device) for axis in (1, 0))
        frame = torch.arange(len(labels), device=device)[:, None]
        classes = batch.labels[frame, rows, columns]
        regions = (batch.labels[:, None] == classes[..., None, None]) & (classes != IGNORE)[..., None, None]
        return torch.from_numpy(places).float().to(device), regions

    def metadata(self) -> dict[str, str]:
        """Header of the weights file."""
        return header(self.setup, METHOD, self.sizes.to_json(), self.targets, self.seed, self.steps)


def draw_points(rng: np.random.Generator, labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """`count` pixels of a frame with targets, x and y, each class there as likely as any other: (N, 2).

    Without any target they are the first pixel.
    """
    flat = labels.ravel()
    classes = np.unique(flat[flat != IGNORE])
    if not len(classes):
        return np.zeros((count, 2), np.int64)
    pixels = [np.flatnonzero(flat == c) for c in classes]
    picked = [pixels[k][rng.integers(len(pixels[k]))] for k in rng.integers(len(classes), size=count)]
    return np.stack([np.array(picked) % labels.shape[1], np.array(picked) // labels.shape[1]], axis=1)


def iou(masks: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of pairs of masks, twice (N, P) bool -> (N,)."""
    both, either = (masks & truth).sum(1), (masks | truth).sum(1)
    return both / either.clamp(min=1)


def build(setup: Setup, seed: int = 0, steps: int | None = None) -> Training:
    """Entry point of the card's `trainer`."""
    return Training(setup, seed, steps)
