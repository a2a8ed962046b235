"""From regions that overlap, or leave pixels out, to one score per class and pixel. The paper says nothing of this."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ovbench.core.errors import unknown
from ovbench.core.types import LabelMap
from ovbench.methods.labels import label_dtype

from .regions import Regions

RULES = ("confident", "quality", "smallest", "sum")
"""What a pixel says that several regions cover:

- "confident": what the region says whose best class is most probable;
- "quality": what the region says that its maker holds to be best (SAM's guess of its IoU);
- "smallest": what the smallest region says (parts before wholes);
- "sum": the sum of what all say, weighted by quality, as MaskFormer adds its queries.

Ties go to the region that comes first.
"""

UNCOVERED = ("nearest", "frame", "abstain")
"""What a pixel says that no region covers:

- "nearest": what the nearest covered pixel says (Euclidean distance);
- "frame": what the whole frame, as one more region below all others, says;
- "abstain": nothing; its label is `OTHER`, which every protocol counts as wrong for a pixel with truth.

A frame without any region is one region.
"""


def class_scores(regions: Regions, probs: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """Scores of every class at every pixel.

    Args:
        regions: N >= 1 of them.
        probs: (N, K), what each says.
        rule: one of `RULES`.

    Returns:
        (K, H, W), zeros where nothing covers a pixel; (H, W) bool, what is covered.
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    covered = regions.masks.any(0)
    height, width = covered.shape
    if rule == "sum":
        weighted = (probs * regions.quality[:, None]).T
        return (weighted @ regions.masks.flatten(1).to(probs)).reshape(-1, height, width), covered
    winner = paint(regions.masks, strength(regions, probs, rule))
    found = torch.cat([probs, probs.new_zeros(1, probs.shape[1])])[winner]  # -1 is the row of zeros
    return found.permute(2, 0, 1), covered


def fuse(
    regions: Regions, probs: Tensor, rule: str, uncovered: str, frame: Callable[[], Tensor]
) -> tuple[Tensor, Tensor]:
    """Scores of every class at every pixel, those that no region covers included.

    Args:
        regions, probs, rule: as for `class_scores`.
        uncovered: one of `UNCOVERED`; where nothing is covered at all, "nearest" is "frame".
        frame: gives (K,), what the whole frame says; called when it is needed.

    Returns:
        (K, H, W) scores; (H, W) bool, False where it abstains.
    """
    if uncovered not in UNCOVERED:
        raise unknown("rule for uncovered pixels", uncovered, UNCOVERED)
    scores, covered = class_scores(regions, probs, rule)
    if uncovered == "abstain" or bool(covered.all()):
        return scores, covered
    if uncovered == "nearest" and bool(covered.any()):
        return fill_nearest(scores, covered), torch.ones_like(covered)
    return torch.where(covered, scores, frame()[:, None, None]), torch.ones_like(covered)


def to_labels(scores: Tensor, known: Tensor) -> LabelMap:
    """(K, H, W) scores and (H, W) bool -> label map, `OTHER` where nothing is known."""
    dtype = label_dtype(len(scores))
    labels: LabelMap = scores.argmax(0).cpu().numpy().astype(dtype)
    labels[~known.cpu().numpy()] = np.iinfo(dtype).max
    return labels


def strength(regions: Regions, probs: Tensor, rule: str) -> Tensor:
    """(N,) what decides between regions that cover a pixel; more wins."""
    if rule == "confident":
        return probs.amax(1)
    if rule == "quality":
        return regions.quality
    return -regions.masks.flatten(1).sum(1)


def paint(masks: Tensor, values: Tensor) -> Tensor:
    """(H, W) int64, for every pixel the region of the highest value that covers it, -1 where none does."""
    winner = torch.full(masks.shape[1:], -1, dtype=torch.int64, device=masks.device)
    # From the weakest to the strongest, each over what was painted before; of equals the first comes last.
    for index in values.flip(0).argsort(stable=True):
        region = len(values) - 1 - int(index)
        winner[masks[region]] = region
    return winner


def fill_nearest(scores: Tensor, covered: Tensor) -> Tensor:
    """(K, H, W) scores with each uncovered pixel's taken from the nearest covered one; at least one is."""
    from scipy.ndimage import distance_transform_edt

    if bool(covered.all()):
        return scores
    holes = ~covered.cpu().numpy()
    rows, columns = distance_transform_edt(holes, return_distances=False, return_indices=True)
    there = np.nonzero(holes)
    y, x = (torch.from_numpy(places[there].astype(np.int64)).to(scores.device) for places in (rows, columns))
    filled = scores.clone()
    filled[:, ~covered] = scores[:, y, x]
    return filled
