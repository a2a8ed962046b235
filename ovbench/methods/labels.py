"""Label maps of one dtype: the narrowest that holds the vocabulary and "other"."""

from __future__ import annotations

from typing import Any

import numpy as np

from ovbench.core.types import OTHER8, OTHER16, LabelMap, other_of


def label_dtype(names: int) -> np.dtype[Any]:
    """uint8 for up to 255 names, uint16 beyond."""
    return np.dtype(np.uint8 if names <= OTHER8 else np.uint16)


def narrow(label_map: LabelMap, names: int) -> LabelMap:
    """`label_map` in `label_dtype(names)`, "other" kept; one whose values do not fit is returned as it is."""
    dtype = label_dtype(names)
    if label_map.dtype == dtype or label_map.dtype not in (np.uint8, np.uint16):
        return label_map
    if dtype == np.uint16:
        wide = label_map.astype(np.uint16)
        wide[label_map == OTHER8] = OTHER16
        return wide
    if ((label_map >= names) & (label_map != OTHER16)).any():
        return label_map
    return label_map.astype(np.uint8)  # 65535 becomes 255


def outside(label_map: LabelMap, names: int) -> int | None:
    """The smallest value that is neither a vocabulary index nor "other"; None when all are fine."""
    bad = (label_map >= names) & (label_map != other_of(label_map.dtype))
    return int(label_map[bad].min()) if bad.any() else None
