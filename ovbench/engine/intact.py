"""Files that a training left behind are believed only after a look at them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import IntegrityError

if TYPE_CHECKING:
    import torch


_FRESH = "start over with --fresh"


def read_json(path: Path, hint: str = _FRESH) -> dict[str, Any]:
    """The object in a JSON file; raises `IntegrityError`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise damaged("this file is not JSON", path, hint) from error
    if not isinstance(value, dict):
        raise damaged("this file holds no JSON object", path, hint)
    return value


def check_groups(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any]) -> None:
    """Torch takes settings over from a file unasked: those that it lacks would be missed in the first step.

    Raises:
        ValueError: names them.
    """
    for own, found in zip(optimizer.param_groups, stored["param_groups"], strict=True):
        if lacking := sorted({*own} - {*found}):
            raise ValueError(f"the optimiser's settings lack {', '.join(lacking)}")


def check_state(optimizer: torch.optim.Optimizer) -> None:
    """Torch does not look at the shapes of what it has loaded before the first step; raises `ValueError`."""
    kinds = set()
    for parameter, values in optimizer.state.items():
        kinds.add(frozenset(values))
        for name, value in values.items():
            shape = tuple(getattr(value, "shape", ()))
            if shape and shape != tuple(parameter.shape):
                raise ValueError(f"{name} of shape {shape} for {tuple(parameter.shape)}")
    if len(kinds) > 1:
        raise ValueError("the optimiser's state is not of one kind")


def read_pointer(path: Path) -> tuple[int, float]:
    """Finished steps and CPU seconds, as `checkpoint.json` says; raises `IntegrityError`."""
    found = read_json(path)
    step, seconds = found.get("step"), found.get("cpu_seconds")
    if (
        type(step) is not int
        or step < 1
        or not isinstance(seconds, int | float)
        or not 0 <= seconds < math.inf
    ):
        raise damaged("this file must name a step and cpu_seconds", path)
    return step, float(seconds)


def damaged(what: str, where: Path, hint: str = _FRESH) -> IntegrityError:
    """The error for a file of a training that cannot be used."""
    return IntegrityError(what, where=where, hint=hint)
