"""An ablation: every row of a card's table trained and run with several seeds, resumable at any point.

The folder of an experiment holds `ablation.json` (what it is), one run folder for each variant and seed
(`world-t3-no-ffn-seed0`) and the trainings below `train/`. Runs are all that a table needs: `train/` may be deleted.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.paths import check_id
from ovbench.methods.ablations import REFERENCE, Ablations
from ovbench.methods.card import Card
from ovbench.methods.options import resolve_options
from ovbench.methods.registry import card as card_of
from ovbench.methods.registry import cards
from ovbench.metrics.sample import run_sample
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.store.atomic import write_json
from ovbench.store.rundir import RunDir

from .differences import differences
from .intact import read_json
from .plan import public_options

_KEY = "ablation.json"


@dataclass(frozen=True)
class AblationRequest:
    """An ablation as the user asks for it; the fields are the options of `ovbench ablate`."""

    method: str
    protocol: str
    seeds: int = 3
    variant: str | None = None
    rows: tuple[str, ...] = ()
    steps: int | None = None
    out: Path | None = None
    data_root: Path | None = None
    videos: int | None = None
    frames: int | None = None
    device: str = "auto"
    threads: int = 1
    every: int = 50
    jobs: int = 1
    metric: str | None = None


@dataclass(frozen=True)
class Job:
    """One training and its run. `steps` None: as many as the method trains by itself."""

    request: AblationRequest
    row: str
    variant: str
    seed: int
    steps: int | None
    out: Path

    @property
    def name(self) -> str:
        """Variant and seed, as a file name."""
        return f"{self.variant}-seed{self.seed}"

    @property
    def training(self) -> Path:
        """The folder of the training."""
        return self.out / "train" / self.name

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.out / self.name


@dataclass(frozen=True)
class Experiment:
    """An ablation with everything decided. `rows`: what is trained, the reference first."""

    request: AblationRequest
    card: Card
    ablations: Ablations
    protocol: Protocol
    variant: str
    rows: tuple[str, ...]
    steps: int | None
    out: Path

    @property
    def jobs(self) -> list[Job]:
        """Seed by seed, so that what an interruption leaves can be compared."""
        return [
            Job(self.request, row, self.ablations.variant(self.variant, row), seed, self.steps, self.out)
            for seed in range(self.request.seeds)
            for row in self.rows
        ]

    def command(self, *extra: str) -> str:
        """The command that goes on with this experiment."""
        asked = self.request
        words = ["ovbench", "ablate", "--method", self.card.id, "--protocol", asked.protocol]
        words += ["--variant", self.variant, "--seeds", str(asked.seeds)]
        told = {
            "steps": self.steps,
            **{k: getattr(asked, k) for k in ("videos", "frames", "data_root", "out")},
        }
        for name, value in told.items():
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        if asked.rows:
            words += ["--rows", ",".join(asked.rows)]
        return shlex.join([*words, *extra])


def plan_ablation(request: AblationRequest) -> Experiment:
    """Resolve an ablation; nothing is computed or written.

    Raises:
        UserError: an unknown method, variant, protocol, row or score; a method whose card has no ablations.
    """
    for name in ("seeds", "steps", "videos", "frames", "jobs", "threads", "every"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, not {value}")
    base, _, tail = request.method.partition(":")
    if tail and request.variant not in (None, tail):
        raise UserError(f"two variants are named: '{tail}' and '{request.variant}'", where=request.method)
    card, protocol = card_of(base), load_protocol(request.protocol)
    if card.ablations is None:
        having = [name for name, other in cards().items() if other.ablations is not None]
        raise UserError(f"method '{base}' has no ablations", hint=f"methods that have: {', '.join(having)}")
    asked = tail or request.variant or card.variant_for(protocol.id, protocol.dataset.name)
    size = card.ablations.size_of(asked)
    rows = tuple(request.rows)
    for row in rows:
        if row not in (REFERENCE, *card.ablations.rows):
            raise unknown("row", row, (REFERENCE, *card.ablations.rows), where=f"ablations of {card.id}")
    scores = run_sample(protocol, []).names
    if (metric := request.metric or card.ablations.metric) not in scores:
        raise unknown("score", metric, scores, where=f"--metric, protocol {protocol.id}")
    wanted = [row for row in card.ablations.rows if not rows or row in rows]
    options = resolve_options(base, {**card.options, **card.variants[size].options}, card.choices, {})
    steps = request.steps or (int(options["steps"]) if "steps" in options else None)
    where = request.out or Path("runs", "ablate", check_id("protocol", protocol.id), f"{card.id}-{size}")
    return Experiment(request, card, card.ablations, protocol, size, (REFERENCE, *wanted), steps, where)


def claim(experiment: Experiment, *, write: bool = True) -> None:
    """Make the folder that of this experiment.

    Args:
        write: False: only check what lies there.

    Raises:
        UserError: it is the folder of another one; or nothing lies there and `write` is False.
        IntegrityError: `ablation.json` is damaged.
    """
    path = experiment.out / _KEY
    key = {
        "method": experiment.card.id,
        "variant": experiment.variant,
        "protocol": experiment.protocol.id,
        "protocol_hash": experiment.protocol.hash,
        "steps": experiment.steps,
        "videos": experiment.request.videos,
        "frames": experiment.request.frames,
    }
    if path.is_file():
        old = read_json(path, "delete it and run again")
        if found := differences(old, key):
            raise UserError(
                f"this folder belongs to another ablation ({found})",
                where=experiment.out,
                hint="give another folder with --out, or the same options as before",
            )
    elif not write:
        raise UserError(
            "no ablation lies here", where=experiment.out, hint=f"train it first: {experiment.command()}"
        )
    elif experiment.out.is_dir() and any(not p.name.startswith(".") for p in experiment.out.iterdir()):
        raise UserError(
            "this folder holds other files, but no ablation",
            where=experiment.out,
            hint="give an empty or new folder with --out",
        )
    else:
        write_json(path, key)


def recorded(experiment: Experiment) -> Experiment:
    """The experiment with steps and limits as its folder says, where the user has not said otherwise."""
    path = experiment.out / _KEY
    old = read_json(path, "delete it and run again") if path.is_file() else {}
    asked = experiment.request
    request = replace(
        asked,
        videos=old.get("videos") if asked.videos is None else asked.videos,
        frames=old.get("frames") if asked.frames is None else asked.frames,
    )
    steps = old.get("steps") if asked.steps is None and old else experiment.steps
    return replace(experiment, request=request, steps=steps)


def state(job: Job, experiment: Experiment) -> str | None:
    """Why a job has no usable run yet, in words; None where it is finished."""
    run = RunDir(job.run)
    if not run.has_manifest():
        trained = any(job.training.glob("weights.*"))
        begun = job.training.is_dir()
        return "trained, not run" if trained else "training not finished" if begun else "not trained"
    manifest = run.manifest()
    method = manifest.get("method", {})
    if manifest.get("protocol", {}).get("hash") != experiment.protocol.hash:
        return "run with another version of the protocol"
    if (method.get("id"), method.get("variant")) != (experiment.card.id, job.variant):
        return f"holds a run of {method.get('id')}:{method.get('variant')}"
    if not same_options(method.get("options", {}), experiment.card, job.variant):
        return "run with other options than the card has today"
    if not run.summary_path.is_file() or not run.summary().get("complete"):
        done, every = len(run.finished()), len(manifest.get("videos", ()))
        return f"run not finished: {done} of {every} videos"
    return None


def same_options(there: Mapping[str, Any], card: Card, variant: str) -> bool:
    """Whether options written down earlier are those that the card gives a variant today.

    Options that only one of the two knows are not compared: one that has come since must leave what the card's
    variants compute as it was. What makes a row that row must have been written down.
    """
    made = card.variants[variant]
    now = resolve_options(card.id, {**card.options, **made.options}, card.choices, {})
    now, before = (json.loads(json.dumps(public_options(side))) for side in (now, there))
    row = card.ablations.rows[made.ablation].options if card.ablations and made.ablation else {}
    return all(before[k] == now[k] for k in now if k in before) and set(row) <= set(before)
