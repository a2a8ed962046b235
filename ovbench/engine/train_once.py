"""One training for an experiment of many: gone on with where it stopped, taken over where it has ended."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError
from ovbench.methods.registry import card as card_of

from .ablate import same_options
from .progress import note
from .train import train
from .training import TrainingPlan

_LINE_SECONDS = 60.0


def train_once(plan: TrainingPlan, folder: Path, seed: int, steps: int | None, every: int, name: str) -> Path:
    """The weights of a training that ends in `folder`.

    Args:
        steps: None: as many as the method trains by itself.
        every: steps between checkpoints.
        name: what the line on stderr each minute calls it.

    Raises:
        UserError: the folder holds a training of something else.
        OvbenchError: what training raises.
    """
    finished = _finished(plan, folder, seed, steps)
    if finished is not None:
        return finished
    task = plan.build(seed, steps)
    return train(task, folder, plan.key, seed=seed, every=every, progress=_Lines(name, task.steps))


def _finished(plan: TrainingPlan, folder: Path, seed: int, steps: int | None) -> Path | None:
    """The weights of a training that has ended in this folder.

    Beside the very same training, one that was made before the card had all of today's options is taken over.

    Raises:
        UserError: the folder holds a training of something else.
    """
    weights, path = folder / "weights.safetensors", folder / "training.json"
    if not (weights.is_file() and path.is_file()):
        return None
    try:
        old: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        old = {}
    if not isinstance(old, Mapping):
        old = {}
    now = {**plan.key, "seed": seed, "steps": steps or old.get("steps")}
    card = card_of(plan.selection.card.id)
    same = all(old.get(k) == now[k] for k in now if k != "options")
    if same and same_options(old.get("options", {}), card, plan.selection.variant):
        return weights
    raise UserError(
        "the training that lies here has another seed, other steps, options or another protocol",
        where=folder,
        hint="delete that folder, or give another --out",
    )


class _Lines:
    """A line on stderr each minute."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self._shown = name, total, time.monotonic()

    def __call__(self, done: int, entry: Mapping[str, Any]) -> None:
        if time.monotonic() - self._shown >= _LINE_SECONDS:
            self._shown = time.monotonic()
            note(f"{self.name}: step {done}/{self.total}, loss {entry['loss']:.4f}")
