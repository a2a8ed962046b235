"""Validation while a training goes on: runs like any other, in folders below the training's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError
from ovbench.datasets.open import open_dataset
from ovbench.protocol.load import load_protocol

from .evaluate import run
from .plan import Request
from .train import VALIDATION
from .training import TrainingPlan


@dataclass(frozen=True)
class Validation:
    """What `ovbench train --validate-every` runs; call it with the number of finished steps and the weights.

    The run lies in OUT/validation/step-0001000: manifest, records and summary as `ovbench run` writes them,
    with the same scores for the same weights.

    `protocol`: id or path, of which the evaluation split is read. `videos`: only the first ones; None: all.
    """

    plan: TrainingPlan
    protocol: str
    out: Path
    videos: int | None = None
    threads: int = 1

    def __call__(self, done: int, weights: Path) -> Mapping[str, Any]:
        """Run, and say for the log: the scores of each group by name, and where the run lies."""
        folder = self.out / VALIDATION / f"step-{done:07d}"
        summary = run(self.request(folder, weights))
        if self.plan.device == "cuda":
            import torch

            torch.cuda.empty_cache()  # of the run's network: the training may need the room
        scores = json.loads(summary.read_text(encoding="utf-8"))["scores"]
        plain = {
            f"{group}.{name}" if isinstance(found, Mapping) else group: value
            for group, found in scores.items()
            for name, value in (found.items() if isinstance(found, Mapping) else [("", found)])
            if isinstance(value, int | float) or value is None
        }
        return {**plain, "run": f"{VALIDATION}/{folder.name}"}

    def request(self, folder: Path, weights: Path) -> Request:
        """The run, as `ovbench run` would be asked for it. A run that was interrupted is begun anew."""
        plan = self.plan
        return Request(
            method=plan.selection.id,
            protocol=self.protocol,
            data_root=plan.data_root,
            weights=weights,
            variant=plan.selection.variant or None,
            settings=dict(plan.selection.given),
            videos=self.videos,
            device=plan.device,
            jobs=1,
            threads=self.threads,
            out=folder,
            fresh=True,
        )

    def check(self) -> None:
        """Say before the training begins what would fail after hours.

        Raises:
            UserError: another data set than the training's, or one that is not here.
        """
        protocol = load_protocol(self.protocol)
        if protocol.dataset.name != self.plan.protocol.dataset.name:
            raise UserError(
                f"validation on '{protocol.id}' would need another data set ({protocol.dataset.name})",
                hint=f"choose a protocol on {self.plan.protocol.dataset.name}",
            )
        if self.videos is not None and self.videos < 1:
            raise UserError(f"--validate-videos must be at least 1, not {self.videos}")
        open_dataset(protocol, self.plan.data_root)
