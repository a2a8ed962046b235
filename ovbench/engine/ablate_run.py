"""Train and run what an ablation lacks, here or in several processes; one that fails does not stop the others."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ovbench.core.errors import IncompleteError, OvbenchError

from .ablate import Experiment, Job, claim, state
from .pool import die_with_parent
from .progress import note

J = TypeVar("J")


def run_ablation(experiment: Experiment, tell: Callable[[str], None] = note) -> dict[str, str]:
    """Train and run what is missing; returns {job name: reason} of those that failed.

    One that fails does not stop the others.

    Raises:
        UserError: the folder belongs to something else.
        IncompleteError: a worker process died.
    """
    claim(experiment)
    every = experiment.jobs
    left = [job for job in every if state(job, experiment) is not None]
    tell(f"{len(every) - len(left)} of {len(every)} rows x seeds are finished in {experiment.out}")
    failed: dict[str, str] = {}
    with each(left, experiment.request.jobs, _work) as results:
        for number, (job, reason) in enumerate(results, 1):
            if reason is not None:
                failed[job.name] = reason
            tell(f"[{number}/{len(left)}] {job.name}: {reason or 'finished'}")
    return failed


@contextmanager
def each(
    jobs: Sequence[J], workers: int, work: Callable[[J], str | None]
) -> Iterator[Iterator[tuple[J, str | None]]]:
    """What became of each job, as they finish: in this process for one worker, else in processes of their own.

    Args:
        work: does one job and returns the reason where it fails; a function of a module, as it crosses processes.

    Raises:
        IncompleteError: a worker process died.
    """
    if min(workers, len(jobs)) <= 1:
        yield ((job, work(job)) for job in jobs)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        futures = {pool.submit(work, job): job for job in jobs}
        yield ((futures[future], future.result()) for future in as_completed(futures))
    except BrokenProcessPool as error:
        raise IncompleteError(
            "a worker process died (out of memory?); what is finished is kept",
            hint="run the same command again, perhaps with a smaller --jobs",
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """A worker ends with its parent, and at once on Ctrl-C: a training goes on from its last checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent()


def _work(job: Job) -> str | None:
    """Do one job; the reason where it fails. An error is told as text: it must cross processes."""
    from .ablate_job import do

    try:
        do(job)
    except OvbenchError as error:
        return " ".join(str(error).split())
    return None
