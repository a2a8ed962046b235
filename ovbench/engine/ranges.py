"""Which numbers the options of a training may be, whatever the method: asked before anything is built or written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovbench.core.errors import UserError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both allowed; `above`: more than `low`."""

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        """Never infinity, never NaN."""
        enough = value > self.low if self.above else value >= self.low
        return math.isfinite(value) and enough and value <= self.high

    def __str__(self) -> str:
        least = f"more than {self.low:g}" if self.above else f"at least {self.low:g}"
        return least if math.isinf(self.high) else f"from {self.low:g} to {self.high:g}"


_COUNT, _WEIGHT, _SHARE, _RATE = Range(1), Range(0), Range(0, 1), Range(0, above=True)

RANGES: Mapping[str, Range] = {
    **dict.fromkeys(("steps", "batch", "second_batch", "accumulate"), _COUNT),
    **dict.fromkeys(("templates", "regions", "seen", "heads", "queries", "layers", "upsample"), _COUNT),
    **dict.fromkeys(("width", "text_width", "low_width", "high_width", "dim", "ffn", "pyramid"), _COUNT),
    **dict.fromkeys(("rate", "head_rate", "decoder_rate"), _RATE),
    **dict.fromkeys(("negatives", "warmup", "decay", "gradient", "backbone_rate"), _WEIGHT),
    **dict.fromkeys(("alpha", "beta", "no_object", "mask_weight", "dice_weight"), _WEIGHT),
    **dict.fromkeys(("map_weight", "map_dice_weight", "label_weight"), _WEIGHT),
    **dict.fromkeys(("warmup_ratio", "backbone_share", "mask_share", "dropout"), _SHARE),
}
"""By name of the option. Methods that have an option of this name mean the same by it."""


def check_ranges(method: str, options: Mapping[str, Any]) -> None:
    """Refuse numbers with which no training can go well.

    Raises:
        UserError: names the option, its value and what it may be.
    """
    for name, allowed in RANGES.items():
        value = options.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue  # a switch of this name (`ffn`), or no such option
        if value not in allowed:
            raise UserError(
                f"option '{name}' of {method} must be {allowed}, not {value:g}",
                hint=f"--set {name}=..., or leave it out",
            )
