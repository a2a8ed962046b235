"""Losses of OV2VSS' training: cross-entropy of the classes asked for and of the auxiliary head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ovbench.engine.targets import IGNORE


@dataclass(frozen=True)
class Rule:
    """How logits become a loss.

    `alpha`, `beta`: weights of the main and the auxiliary cross-entropy. `everywhere`: the mean runs over all
    pixels, those without a label counting 0; else over labelled ones. `enlarge`: logits are resized to the
    labels (bilinear); else labels to the logits (nearest place).
    """

    alpha: float
    beta: float
    everywhere: bool
    enlarge: bool

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Rule:
        """`loss=paper`: alpha and beta as given (III-F), mean over labelled pixels. `loss=release`: what the
        official code computes from stacked logits, 1/2 and 1/2 and the mean over all pixels."""
        enlarge = options["loss_at"] == "labels"
        if options["loss"] == "release":
            return cls(0.5, 0.5, True, enlarge)
        return cls(float(options["alpha"]), float(options["beta"]), False, enlarge)

    def __call__(self, logits: Sequence[Tensor], masks: NDArray[np.uint8], share: slice) -> Tensor:
        """This share's part of the mean cross-entropy over a whole batch; the parts add up to it.

        Args:
            logits: for each of T targets (b, K, h, w), of the samples in `share`.
            masks: (T, B, H, W) labels of the whole batch, `IGNORE` where there is none.
        """
        labels = torch.from_numpy(masks).to(logits[0].device).float()
        found = (logits[0] if len(logits) == 1 else torch.cat(list(logits))).float()
        if tuple(labels.shape[-2:]) != tuple(found.shape[-2:]):
            if self.enlarge:
                found = F.interpolate(found, labels.shape[-2:], mode="bilinear", align_corners=False)
            else:
                labels = F.interpolate(labels, found.shape[-2:], mode="nearest-exact")
        labels = labels.long()
        own = labels[:, share].flatten(0, 1)
        loss = F.cross_entropy(found, own, ignore_index=IGNORE, reduction="sum")
        if self.everywhere:
            return loss / labels.numel()
        return loss / (labels != IGNORE).sum().clamp(min=1)


def relabel(masks: NDArray[np.uint8], asked: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Labels as places among the classes asked for; `IGNORE` for the others."""
    table = np.full(256, IGNORE, np.uint8)
    table[asked] = np.arange(len(asked))
    return table[masks]
