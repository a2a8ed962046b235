"""What tasks of different methods have in common: what they need, a schedule, the header of their weights."""

from __future__ import annotations

import json
from collections.abc import Callable

from ovbench.core.errors import UserError
from ovbench.datasets.base import Dataset
from ovbench.methods.base import Setup
from ovbench.protocol.schema import Protocol

from .targets import SeenTargets


def needed(setup: Setup, method: str) -> tuple[Protocol, Callable[[str], Dataset]]:
    """The protocol of a training and what opens its splits; raises `UserError` where there is none."""
    if setup.protocol is None or setup.open_split is None:
        raise UserError(
            "training needs a protocol", hint=f"ovbench train --method {method} --protocol world-27-9"
        )
    return setup.protocol, setup.open_split


def poly(step: int, steps: int, warmup: int = 0, ratio: float = 0.0) -> float:
    """Factor of the learning rate: linear warm-up times (1 - step / steps) ** 0.9.

    `ratio`: the warm-up's factor in the first step, as mmcv counts; 0: it rises from nothing.
    """
    begun = (step + 1) / max(1, warmup)
    if ratio:
        begun = 1 - (1 - step / max(1, warmup)) * (1 - ratio)
    return min(1.0, begun) * float((1 - step / steps) ** 0.9)


def header(
    setup: Setup, method: str, config: str, targets: SeenTargets, seed: int, steps: int
) -> dict[str, str]:
    """Header of a trained method's weights file; `config` is the network's configuration as JSON."""
    protocol, _ = needed(setup, method)
    return {
        "method": method,
        "variant": setup.variant,
        "config": config,
        "options": json.dumps(dict(setup.options), sort_keys=True),
        "protocol": protocol.id,
        "protocol_hash": protocol.hash,
        "vocabulary_hash": targets.vocabulary.hash,
        "classes": json.dumps(list(targets.vocabulary.names)),
        "seed": str(seed),
        "steps": str(steps),
    }
