"""One row of an ablation with one seed: train, then run. What is finished is taken over."""

from __future__ import annotations

from pathlib import Path

from ovbench.store.rundir import RunDir

from .ablate import Job
from .environment import resolve_device
from .evaluate import execute
from .plan import Plan, Request, make_plan
from .progress import note
from .train_once import train_once
from .training import plan_training


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
    return train_once(plan, job.training, job.seed, job.steps, request.every, job.name)
