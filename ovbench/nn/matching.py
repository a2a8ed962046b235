"""Which query answers for which mask: the assignment with the least total cost.

Sources: DETR, section 3.1; MaskFormer, section 3.2 (focal and dice cost); Mask2Former, section 3.3 (points).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.errors import unknown

MaskLoss = Literal["focal", "bce"]
MASK_LOSSES = ("focal", "bce")
_ALPHA, _GAMMA = 0.25, 2.0  # of the focal loss
_HUGE = 1e9  # in place of a cost that is not a number: such a step fails at its loss, with a message


@dataclass(frozen=True)
class Weights:
    """How much each part counts, in the cost of a match as in the loss (MaskFormer's are 1, 20, 1)."""

    label: float = 1.0
    mask: float = 20.0
    dice: float = 1.0


def pixel_terms(logits: Tensor, kind: MaskLoss) -> tuple[Tensor, Tensor]:
    """Loss of every pixel if it belongs to the mask, and if it does not; shapes as `logits`."""
    inside = F.softplus(-logits)
    outside = inside + logits
    if kind == "bce":
        return inside, outside
    if kind != "focal":
        raise unknown("mask loss", kind, MASK_LOSSES)
    prob = logits.sigmoid()
    return _ALPHA * (1 - prob) ** _GAMMA * inside, (1 - _ALPHA) * prob**_GAMMA * outside


def mask_costs(logits: Tensor, truth: Tensor, valid: Tensor, kind: MaskLoss) -> Tensor:
    """Mean pixel loss of every pair.

    Args:
        logits: (Q, P) of P pixels or points.
        truth: (N, P) of 0..1.
        valid: (P,) of 0..1, the weight of each pixel.

    Returns:
        (Q, N).
    """
    inside, outside = pixel_terms(logits, kind)
    weighted = truth * valid
    return (inside @ weighted.T + outside @ (valid - weighted).T) / valid.sum().clamp(min=1)


def dice_costs(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """One minus the smoothed Dice overlap of every pair; arguments and result as `mask_costs`."""
    prob, weighted = logits.sigmoid() * valid, truth * valid
    sizes = prob.sum(1)[:, None] + weighted.sum(1)[None]
    return 1 - (2 * prob @ truth.T + 1) / (sizes + 1)


@torch.no_grad()
def match(
    class_logits: Tensor,
    mask_logits: Tensor,
    labels: Tensor,
    truth: Tensor,
    valid: Tensor,
    weights: Weights,
    kind: MaskLoss,
) -> tuple[Tensor, Tensor]:
    """The assignment of one image.

    Args:
        class_logits: (Q, K + 1), "no object" last.
        mask_logits: (Q, P).
        labels: (N,) int64, 0..K-1.
        truth, valid: (N, P) and (P,), see `mask_costs`.

    Returns:
        Query and mask of each pair, (min(Q, N),) int64 both; no query and no mask occurs twice.
    """
    from scipy.optimize import linear_sum_assignment

    cost = weights.mask * mask_costs(mask_logits, truth, valid, kind)
    cost = cost + weights.dice * dice_costs(mask_logits, truth, valid)
    cost = cost - weights.label * class_logits.softmax(-1)[:, labels]
    table = np.nan_to_num(cost.double().cpu().numpy(), nan=_HUGE, posinf=_HUGE, neginf=_HUGE)
    queries, masks = linear_sum_assignment(table)
    device = labels.device
    return torch.from_numpy(queries).to(device), torch.from_numpy(masks).to(device)
