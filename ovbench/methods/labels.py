"""Label maps of one dtype: the narrowest that holds the vocabulary and "other"; and what tells two maps apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.native import kernel
from ovbench.core.types import OTHER8, OTHER16, LabelMap, other_of
from ovbench.metrics.joint import Runs

_FEW = 16  # a map with fewer runs than one in so many pixels is told by its runs


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
    if not label_map.size or label_map.max() < names:
        return None
    other = other_of(label_map.dtype)
    if names >= other or (label_map + label_map.dtype.type(1)).max() <= names:  # "other" wraps to 0
        return None
    bad = (label_map >= names) & (label_map != other)
    return int(label_map[bad].min())


def hash_of(label_maps: Iterable[LabelMap]) -> str:
    """SHA-256 of a video's label maps in frame order, as its record holds it (`predictions_sha256`)."""
    digest = hashlib.sha256()
    for label_map in label_maps:
        digest.update(identity(label_map))
    return digest.hexdigest()


def identity(label_map: LabelMap, known: Runs | None = None) -> bytes:
    """Bytes that only this label map has: dtype and shape, then its runs, or all pixels where runs are many.

    Of a label map with few runs they are a tenth of the pixels, so that hashing them takes little time.

    Args:
        known: its runs, where the caller has them already.
    """
    head = f"{label_map.dtype.name}{label_map.shape}".encode()
    flat = np.ascontiguousarray(label_map).reshape(-1)
    limit = flat.size // _FEW
    if known is not None and known[1].dtype == flat.dtype:
        runs = _packed(*known) if len(known[0]) <= limit else None
    else:
        runs = _runs(flat, limit) if limit else None
    if runs is None:
        return head + b"pixels" + bytes(flat.astype(flat.dtype.newbyteorder("<"), copy=False).data)
    return head + b"runs" + runs


def _runs(flat: LabelMap, limit: int) -> bytes | None:
    """Index of each run's last pixel (uint32) and then the values, little-endian; None for more than `limit`."""
    compiled = kernel("metrics._count")
    if compiled is not None and flat.dtype == np.uint8:
        found: tuple[bytes, bytes] | None = compiled.runs(flat, limit)
        return None if found is None else b"".join(found)
    cut = flat[1:] != flat[:-1]
    if np.count_nonzero(cut) >= limit:
        return None
    ends = np.append(np.flatnonzero(cut), flat.size - 1)
    return _packed(ends, flat[ends])


def _packed(ends: NDArray[np.int64], values: NDArray[Any]) -> bytes:
    places: bytes = ends.astype("<u4").tobytes()
    return places + bytes(values.astype(values.dtype.newbyteorder("<")).data)
