"""Two opinions about each query made into one (section 3.4 of the paper)."""

from __future__ import annotations

import torch
from torch import Tensor

from ovbench.core.errors import unknown

ENSEMBLES = ("seen", "all", "clip", "none")
"""How the mask head's probabilities p and CLIP's c become scores:

- "seen": p^(2/3) c^(1/3) for seen classes, where c is its mean over them; p^(1/3) c^(2/3) for the others;
- "all": p^(1/3) c^(2/3) for every class, c as it is;
- "clip": c alone;
- "none": p alone; CLIP never looks.
"""

BALANCE = 2 / 3


def class_scores(logits: Tensor, region_logits: Tensor | None, seen: Tensor, ensemble: str) -> Tensor:
    """Scores of classes without the background.

    Args:
        logits: (Q, K + 1) of the mask head, background last.
        region_logits: (Q, K) of CLIP; the mask head's background joins them as the last column. None where
            the ensemble is "none".
        seen: (K,) bool.

    Returns:
        (Q, K).
    """
    if ensemble not in ENSEMBLES:
        raise unknown("ensemble", ensemble, ENSEMBLES)
    if ensemble == "none" or region_logits is None:
        return logits.softmax(-1)[:, :-1]
    clip = torch.cat([region_logits, logits[:, -1:]], dim=1).softmax(-1)[:, :-1]
    if ensemble == "clip":
        return clip
    head = logits.softmax(-1)[:, :-1]
    if ensemble == "all":
        return head ** (1 - BALANCE) * clip**BALANCE
    if seen.any():
        clip = torch.where(seen, clip[:, seen].mean(1, keepdim=True), clip)
    return torch.where(seen, head**BALANCE * clip ** (1 - BALANCE), head ** (1 - BALANCE) * clip**BALANCE)
