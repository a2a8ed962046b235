"""One row of an ablation with one seed: train, then run. What is finished is taken over."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError
from ovbench.methods.registry import card as card_of
from ovbench.store.rundir import RunDir

from .ablate import Job, same_options
from .environment import resolve_device
from .evaluate import execute
from .plan import Plan, Request, make_plan
from .progress import note
from .train import train
from .training import TrainingPlan, plan_training

_LINE_SECONDS = 60.0


def do(job: Job) -> Path:
    """Train and run a job; the path of the run's `summary.json`.

    Raises:
        OvbenchError: what training and running raise.
    """
    import torch

    request = job.request
    before = torch.get_num_threads()
    torch.set_num_threads(request.threads)
    try:
        weights = _weights(job)
        plan = make_plan(_run_request(job, weights))
        if _outdated(plan):
            note(f"{job.name}: an older run lies here (other weights or code); it is done again")
            plan = make_plan(_run_request(job, weights, fresh=True))
        return execute(plan)
    finally:
        torch.set_num_threads(before)


def _run_request(job: Job, weights: Path, fresh: bool = False) -> Request:
    asked = job.request
    return Request(
        method=f"{asked.method.partition(':')[0]}:{job.variant}",
        protocol=asked.protocol,
        data_root=asked.data_root,
        weights=weights,
        videos=asked.videos,
        frames=asked.frames,
        device=asked.device,
        jobs=1,
        threads=asked.threads,
        out=job.run,
        fresh=fresh,
    )


def _outdated(plan: Plan) -> bool:
    """Whether the run folder, which is the ablation's own, holds a run of another key."""
    run = RunDir(plan.out)
    return run.has_manifest() and run.manifest().get("run_key") != plan.run_key


def _weights(job: Job) -> Path:
    request = job.request
    plan = plan_training(
        request.method.partition(":")[0],
        request.protocol,
        variant=job.variant,
        data_root=request.data_root,
        device=resolve_device(request.device, ("models",)),
    )
    finished = _finished(job, plan)
    if finished is not None:
        return finished
    task = plan.build(job.seed, job.steps)
    return train(
        task,
        job.training,
        plan.key,
        seed=job.seed,
        every=request.every,
        progress=_Lines(job.name, task.steps),
    )


def _finished(job: Job, plan: TrainingPlan) -> Path | None:
    """The weights of a training that has ended in this folder.

    Beside the very same training, one that was made before the card had all of today's options is taken over.

    Raises:
        UserError: the folder holds a training of something else.
    """
    weights, path = job.training / "weights.safetensors", job.training / "training.json"
    if not (weights.is_file() and path.is_file()):
        return None
    try:
        old: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        old = {}
    if not isinstance(old, Mapping):
        old = {}
    now = {**plan.key, "seed": job.seed, "steps": job.steps or old.get("steps")}
    card = card_of(plan.selection.card.id)
    same = all(old.get(k) == now[k] for k in now if k != "options")
    if same and same_options(old.get("options", {}), card, job.variant):
        return weights
    raise UserError(
        "the training that lies here has another seed, other steps, options or another protocol",
        where=job.training,
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
