"""From a method's name and a protocol to a task that can be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError
from ovbench.core.paths import check_id
from ovbench.datasets.base import Dataset
from ovbench.datasets.open import open_dataset
from ovbench.methods.base import Setup
from ovbench.methods.create import target
from ovbench.methods.registry import cards
from ovbench.methods.select import Selection, select
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol

from .ranges import check_ranges
from .train import Task


@dataclass(frozen=True)
class TrainingPlan:
    """A training with everything decided but not yet built."""

    selection: Selection
    protocol: Protocol
    data_root: Path | None
    device: str

    @property
    def name(self) -> str:
        """Method and variant, as a file name."""
        variant = self.selection.variant
        return f"{self.selection.id}-{variant}" if variant else self.selection.id

    @property
    def key(self) -> dict[str, Any]:
        """What identifies the training, beside seed and steps."""
        return {
            "method": self.selection.id,
            "variant": self.selection.variant,
            "options": self.selection.method_options,
            "protocol": self.protocol.id,
            "protocol_hash": self.protocol.hash,
        }

    def folder(self, seed: int) -> Path:
        """Where the training goes when nobody says otherwise."""
        return Path("runs", "train", check_id("protocol", self.protocol.id), f"{self.name}-seed{seed}")

    def build(self, seed: int, steps: int | None) -> Task:
        """The task; raises `UserError` for a missing extra, missing data, or a protocol it does not fit."""
        card = self.selection.card
        setup = Setup(
            method=card.id,
            variant=self.selection.variant,
            options=self.selection.method_options,
            untrained=True,
            device=self.device,
            protocol=self.protocol,
            open_split=self._open_split,
            folder=card.folder,
        )
        task: Task = target(card.trainer, card.needs)(setup, seed, steps)
        return task

    def _open_split(self, split: str) -> Dataset:
        if split != "train":
            raise UserError(f"training may read the training split only, not '{split}'")
        return open_dataset(self.protocol, self.data_root, train=True)


def plan_training(
    method: str,
    protocol: str,
    *,
    variant: str | None = None,
    data_root: Path | None = None,
    device: str = "cpu",
    settings: Mapping[str, str] | None = None,
) -> TrainingPlan:
    """Resolve a training.

    Raises:
        UserError: an unknown method, protocol, variant or option; a number out of its range; a method that is
            not trained.
    """
    loaded = load_protocol(protocol)
    selection = select(method, variant, settings, untrained=True, protocol=loaded)
    trainable = ", ".join(name for name, card in cards().items() if card.trainer)
    if not selection.card.trainer:
        raise UserError(f"method '{selection.id}' is not trained", hint=f"methods that are: {trainable}")
    if selection.wrapper:
        raise UserError(
            f"there is nothing to train in the {selection.wrapper.name} of '{selection.id}'",
            hint=f"train '{selection.card.id}'; the {selection.wrapper.name} takes its weights",
        )
    check_ranges(selection.id, selection.method_options)
    return TrainingPlan(selection, loaded, data_root, device)
