"""Names for the arrays that travel through the house."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

LabelMap: TypeAlias = NDArray[Any]
"""(H, W) uint8 or uint16, vocabulary indices; OTHER8 / OTHER16 where the method abstains."""

RawMask: TypeAlias = NDArray[Any]
"""(H, W) uint8 or uint16, ids as they stand in the data set's files."""

OTHER8 = 255
OTHER16 = 65535


def other_of(dtype: np.dtype[Any]) -> int:
    """The abstention value ("other") of a label map of this dtype."""
    return OTHER8 if dtype == np.uint8 else OTHER16
