"""Make the runs of the leaderboard that is kept: train, run, and let twins take the label maps of their method.

The folder of an experiment holds

- `train/NAME/`: trainings of seeds whose weights do not come with the method,
- `saved/NAME/`: runs with label maps, of methods that have twins,
- `PROTOCOL/NAME/`: every finished run without label maps; what tables are made from.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ovbench.core.errors import OvbenchError
from ovbench.methods.registry import card as card_of
from ovbench.methods.select import select, shipped_weights
from ovbench.methods.wrappers import SIGN
from ovbench.protocol.load import load_protocol
from ovbench.store.rundir import RunDir

from .ablate_run import each
from .environment import resolve_device, usable_cores
from .evaluate import run
from .plan import Plan, Request, make_plan
from .pool import start_server
from .progress import note
from .world_board import Board, Entry

_CHECKPOINT = 50  # steps
_RESULTS = ("timing.json", "summary.json")


@dataclass(frozen=True)
class BoardRequest:
    """What is to be made, and with what.

    `jobs`: trainings at a time, and worker processes of a run; None: the usable cores. `steps` None: as many as
    each method trains by itself. `videos` None: all.
    """

    board: Board
    out: Path
    videos: int | None = None
    steps: int | None = None
    device: str = "auto"
    jobs: int | None = None
    threads: int = 1

    @property
    def runs(self) -> Path:
        """Where finished runs go."""
        return self.out / self.board.protocol


@dataclass(frozen=True)
class _Training:
    """A training as a worker process is told of it."""

    entry: Entry
    protocol: str
    folder: Path
    steps: int | None
    device: str
    threads: int


def make_board(asked: BoardRequest, tell: Callable[[str], None] = note) -> dict[str, str]:
    """Make what is missing; returns {run folder: reason} of what could not be made.

    What needs no training comes first. One run that fails does not stop the others. Runs of other weights, options
    or code in these folders are made again.

    Raises:
        UserError: a method, variant or number that does not exist.
        IncompleteError: a worker process died.
    """
    failed: dict[str, str] = {}
    entries, protocol = asked.board.entries, load_protocol(asked.board.protocol)
    jobs = asked.jobs or usable_cores()
    for entry in entries:  # a mistake in the last row shows at once
        for twin in ("", *entry.twins):
            select(_method(entry, twin), given=entry.settings, untrained=None, protocol=protocol)
    left = [entry for entry in entries if _needs_training(asked, entry)]
    tell(f"{len(entries)} methods x seeds in {asked.out}; {len(left)} of them are trained here")
    if jobs > 1:
        start_server(True)
    for entry in entries:
        if entry not in left:
            failed |= _made(asked, entry, tell)
    trained = []
    with each([_training(asked, entry) for entry in left], jobs, _train) as results:
        for training, reason in results:
            if reason is None:
                trained.append(training.entry)
            else:
                failed |= dict.fromkeys(training.entry.folders, reason)
            tell(f"{training.entry.name}: {reason or 'trained'}")
    for entry in left:  # after all trainings, which would compete for the cores that speed is measured on
        if entry in trained:
            failed |= _made(asked, entry, tell)
    return failed


def _training(asked: BoardRequest, entry: Entry) -> _Training:
    folder = asked.out / "train" / entry.name
    return _Training(entry, asked.board.protocol, folder, asked.steps, asked.device, asked.threads)


def _needs_training(asked: BoardRequest, entry: Entry) -> bool:
    if entry.seed is None:
        return False
    protocol = load_protocol(asked.board.protocol)
    return shipped_weights(card_of(entry.base), entry.variant, protocol, _shipped(entry)) is None


def _shipped(entry: Entry) -> str:
    """What a card calls the weights of a seed."""
    return f"seed{entry.seed}"


def _train(job: _Training) -> str | None:
    """Train in this process; the reason where it fails. An error is told as text: it must cross processes."""
    import torch

    from .train_once import train_once
    from .training import plan_training

    before = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    try:
        assert job.entry.seed is not None
        plan = plan_training(
            job.entry.method,
            job.protocol,
            device=resolve_device(job.device, ("models",)),
            settings=job.entry.settings,
        )
        train_once(plan, job.folder, job.entry.seed, job.steps, _CHECKPOINT, job.entry.name)
    except OvbenchError as error:
        return _line(error)
    finally:
        torch.set_num_threads(before)
    return None


def _made(asked: BoardRequest, entry: Entry, tell: Callable[[str], None]) -> dict[str, str]:
    """Run an entry and its twins, whose weights are there; {run folder: reason} of what failed."""
    tell(", ".join(entry.folders))
    try:
        source = _run_method(asked, entry)
    except OvbenchError as error:
        tell(f"{entry.name}: {error}")
        return dict.fromkeys(entry.folders, _line(error))
    failed = {}
    for twin in entry.twins:
        name = entry.folder(twin)
        try:
            wanted = _request(asked, entry, asked.runs, twin)
            if not _finished(make_plan(wanted)):
                _execute(replace(wanted, label_maps=source or _run_saving(asked, entry)))
        except OvbenchError as error:
            tell(f"{name}: {error}")
            failed[name] = _line(error)
    return failed


def _run_method(asked: BoardRequest, entry: Entry) -> Path | None:
    """The finished run of the method itself; returns the folder with label maps where it was used."""
    wanted = _request(asked, entry, asked.runs)
    if _finished(make_plan(wanted)):
        return None
    if not entry.twins:
        _execute(wanted)
        return None
    source = _run_saving(asked, entry)
    _publish(RunDir(source), RunDir(asked.runs / entry.name))
    return source


def _run_saving(asked: BoardRequest, entry: Entry) -> Path:
    """The run of the method with its label maps, taken up where there is one."""
    folder = asked.out / "saved"
    _execute(replace(_request(asked, entry, folder), save_predictions=True))
    return folder / entry.name


def _request(asked: BoardRequest, entry: Entry, folder: Path, twin: str = "") -> Request:
    weights = None
    if entry.seed is not None:
        trained = asked.out / "train" / entry.name / "weights.safetensors"
        weights = trained if _needs_training(asked, entry) else Path(_shipped(entry))
    return Request(
        method=_method(entry, twin),
        protocol=asked.board.protocol,
        weights=weights,
        settings=entry.settings,
        videos=asked.videos,
        device=asked.device,
        jobs=asked.jobs,
        threads=asked.threads,
        out=folder / entry.folder(twin),
        command=("ovbench", "reproduce", "world", "--run"),
    )


def _method(entry: Entry, twin: str) -> str:
    return entry.method + (twin and SIGN + twin)


def _execute(wanted: Request) -> None:
    """Run it, again from the start where an older run lies in the folder."""
    assert wanted.out is not None
    there = RunDir(wanted.out)
    plan = make_plan(wanted)
    if there.has_manifest() and there.manifest().get("run_key") != plan.run_key:
        note(f"an older run lies in {wanted.out} (other weights, options or code); it is done again")
        wanted = replace(wanted, fresh=True)
    run(wanted)


def _finished(plan: Plan) -> bool:
    """Whether this very run, over these very videos, lies in its folder."""
    there = RunDir(plan.out)
    if not (there.has_manifest() and there.summary_path.is_file()):
        return False
    manifest = there.manifest()
    same = manifest.get("run_key") == plan.run_key and _videos(manifest.get("videos")) == plan.video_ids
    return same and bool(there.summary().get("complete"))


def _videos(listed: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(listed or ())


def _publish(source: RunDir, target: RunDir) -> None:
    """Copy a finished run without its label maps. The manifest comes last: without it there is no run."""
    if target.has_manifest() or target.finished():
        target.clear()
    target.records_path.mkdir(parents=True, exist_ok=True)
    for record in sorted(source.records_path.glob("*.json")):
        shutil.copyfile(record, target.records_path / record.name)
    for name in _RESULTS:
        shutil.copyfile(source.path / name, target.path / name)
    target.write_manifest(source.manifest())


def _line(error: OvbenchError) -> str:
    return " ".join(str(error).split())
