"""The recipes of the ZegFormer, DeOP and FreeSeg recordings: weights from names, images from seeds."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

_QUERIES = re.compile(r"(query_feat|query_embed|query_embedding|level_embed)(\.weight)?$")
_KEPT = ("pixel_mean", "pixel_std", "num_batches_tracked")


def named_state(folder: Path, meta: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict that a recording was made with; entries left at their constructed value are zeros."""
    names = json.loads((folder / "state_dict_names.json").read_text())
    return {
        name: _values(name, tuple(shape), meta["salt"], meta["profile"] == "fanin")
        for name, shape, _ in names
    }


def _values(name: str, shape: tuple[int, ...], salt: str, fanin: bool) -> torch.Tensor:
    if name.endswith(_KEPT) or name.startswith("criterion."):
        return torch.zeros(shape)
    if name.endswith("logit_scale"):
        return torch.full(shape, math.log(100))
    if name.endswith("running_var"):
        return torch.ones(shape)
    seed = int.from_bytes(hashlib.sha256((name + salt).encode()).digest()[:8], "big")
    x = np.asarray(np.random.default_rng(seed).standard_normal(shape))
    if name.endswith(".weight") and len(shape) == 1:
        x = 1 + 0.02 * x
    elif fanin and _QUERIES.search(name):
        pass
    elif fanin and len(shape) >= 2:
        x = x / math.sqrt(math.prod(shape[1:]))
    else:
        x = 0.02 * x
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def block_image(recipe: dict[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: coloured blocks with noise."""
    h, w = recipe["h"], recipe["w"]
    rng = np.random.default_rng(recipe["seed"])
    base = rng.integers(0, 256, size=(3, math.ceil(h / 32), math.ceil(w / 32)))
    image = base.repeat(32, axis=1).repeat(32, axis=2)[:, :h, :w]
    image = image + rng.integers(-20, 21, size=(3, h, w))
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
