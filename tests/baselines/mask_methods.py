"""The methods whose networks draw masks, at a size for quick tests, with a CLIP of their own inside."""

from __future__ import annotations

from typing import Any

import numpy as np

from ovbench.methods.create import create

METHODS = ("zegformer", "zsseg", "deop", "freeseg")
"""Those with a MaskFormer's head."""
ALL = (*METHODS, "san")
_HEAD = "sem_seg_head.predictor.query_embed.weight"
QUERIES = {**dict.fromkeys(METHODS, _HEAD), "san": "side_adapter_network.query_embed"}
"""A parameter that is not CLIP's, by method."""
SMALL: dict[str, dict[str, Any]] = {
    "zegformer": {
        "templates": "single",
        "region_templates": "single",
        "ensemble": "seen",
        "calibration": 0.1,
    },
    "zsseg": {"prompt": "single", "ensemble": True, "ensemble_weight": 0.8},
    "deop": {"prompt_start": "", "severance": True},
    "freeseg": {
        "prompt_start": "",
        "task": "semantic segmentation.",
        "task_length": 2,
        "ensemble_weight": 0.8,
    },
    "san": {"templates": "single", "reading": "tokens"},
}


def small(method: str, weights: Any = None, **options: Any) -> Any:
    """The world's size around the model "tiny", which reads any word; untrained unless `weights` are given."""
    untrained = True if weights is None else None
    given = {"clip": "tiny", **SMALL[method], **options}
    return create(method, "world", weights=weights, untrained=untrained, **given)


def picture(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: coloured blocks."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:height, :width]
