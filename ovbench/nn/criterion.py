"""The loss of networks whose queries draw masks: each true mask is answered for by one query.

Sources: MaskFormer, section 3.2 and its official configurations (weights 1, 20, 1, "no object" 0.1, after every
decoder layer); Mask2Former, section 3.3, and PointRend (points instead of all pixels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .detr import Predictions
from .matching import MaskLoss, Weights, match, pixel_terms
from .points import Sampling, at_points, choose_points


@dataclass(frozen=True)
class Truth:
    """The masks of one image.

    `labels` (N,) int64; `masks` (N, H, W) bool, one per class that is there; `valid` (H, W) bool, the pixels
    that losses look at.
    """

    labels: Tensor
    masks: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Criterion:
    """Class, mask and dice loss after every decoder layer, each layer with its own assignment.

    Args:
        weights: of the three parts, in the assignment and in the loss.
        no_object: weight of queries that answer for nothing, in the class loss.
        mask_loss: "focal" (MaskFormer and what is built on it) or "bce" (Mask2Former).
        points: how many points of a mask to look at, and how to choose them; None: every pixel.
    """

    weights: Weights = field(default_factory=Weights)
    no_object: float = 0.1
    mask_loss: MaskLoss = "focal"
    points: Sampling | None = None

    def __call__(self, found: Predictions, truths: Sequence[Truth]) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch, summed over layers, and the last layer's parts for the log.

        Args:
            found: logits (L, B, Q, K + 1) and masks (L, B, Q, h, w); deep supervision needs all L layers.
            truths: B of them, masks of equal size, which need not be that of the predictions.
        """
        total, parts = found.logits.new_zeros(()), {}
        for logits, masks in zip(found.logits, found.masks, strict=True):
            losses = self.layer(logits, masks, truths)
            for name, loss in losses.items():
                total = total + getattr(self.weights, name) * loss
            parts = {name: float(loss.detach()) for name, loss in losses.items()}
        return total, parts

    def layer(self, logits: Tensor, masks: Tensor, truths: Sequence[Truth]) -> dict[str, Tensor]:
        """The parts "label", "mask" and "dice", not weighted, of one layer: (B, Q, K + 1) and (B, Q, h, w)."""
        pairs = [self.assign(*image) for image in zip(logits, masks, truths, strict=True)]
        label = self._label_loss(logits, truths, pairs)
        count = max(1, sum(len(t.labels) for t in truths))
        drawn = torch.cat([m[queries] for m, (queries, _) in zip(masks, pairs, strict=True)])
        if not len(drawn):
            nothing = masks.sum() * 0.0
            return {"label": label, "mask": nothing, "dice": nothing}
        truth = torch.cat([t.masks[rows] for t, (_, rows) in zip(truths, pairs, strict=True)])
        valid = torch.cat(
            [t.valid.expand(len(rows), -1, -1) for t, (_, rows) in zip(truths, pairs, strict=True)]
        )
        pixels = self._pixels(drawn, truth.to(drawn), valid.to(drawn))
        mask, dice = mask_losses(*pixels, self.mask_loss)
        return {"label": label, "mask": mask.sum() / count, "dice": dice.sum() / count}

    @torch.no_grad()
    def assign(self, logits: Tensor, masks: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
        """Queries and rows of `truth` that belong together, for one image: (Q, K + 1) and (Q, h, w)."""
        if self.points is None:
            size = masks.shape[-2:]
            shown = F.interpolate(truth.masks[:, None].to(masks), size, mode="nearest")[:, 0].flatten(1)
            valid = F.interpolate(truth.valid[None, None].to(masks), size, mode="nearest").flatten()
            drawn = masks.flatten(1)
        else:
            places = torch.rand(1, self.points.count, 2, device=masks.device)
            drawn = at_points(masks, places.expand(len(masks), -1, -1))
            shown = at_points(truth.masks.to(masks), places.expand(len(truth.masks), -1, -1))
            valid = at_points(truth.valid[None].to(masks), places, nearest=True)[0]
        return match(logits, drawn, truth.labels, shown, valid, self.weights, self.mask_loss)

    def _label_loss(
        self, logits: Tensor, truths: Sequence[Truth], pairs: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        nothing = logits.shape[-1] - 1
        wanted = torch.full(logits.shape[:2], nothing, dtype=torch.int64, device=logits.device)
        for row, truth, (queries, rows) in zip(wanted, truths, pairs, strict=True):
            row[queries] = truth.labels[rows]
        importance = logits.new_ones(nothing + 1)
        importance[nothing] = self.no_object
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), importance)

    def _pixels(self, drawn: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, truth and validity to compare, (M, P) each, from (M, h, w) and (M, H, W)."""
        if self.points is None:
            large = F.interpolate(drawn[:, None], truth.shape[-2:], mode="bilinear", align_corners=False)[
                :, 0
            ]
            return large.flatten(1), truth.flatten(1), valid.flatten(1)
        places = choose_points(drawn.detach(), self.points)
        looked = at_points(valid, places, nearest=True)
        return at_points(drawn, places), at_points(truth, places), looked


def mask_losses(logits: Tensor, truth: Tensor, valid: Tensor, kind: MaskLoss) -> tuple[Tensor, Tensor]:
    """Mean pixel loss and dice loss of M masks: three times (M, P) -> (M,) and (M,)."""
    inside, outside = pixel_terms(logits, kind)
    mask = ((inside * truth + outside * (1 - truth)) * valid).sum(1) / valid.sum(1).clamp(min=1)
    prob, truth = logits.sigmoid() * valid, truth * valid
    dice = 1 - (2 * (prob * truth).sum(1) + 1) / (prob.sum(1) + truth.sum(1) + 1)
    return mask, dice
