"""`ovbench train`: train a method on a protocol's seen classes."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

if TYPE_CHECKING:
    from ovbench.engine.train import Validate
    from ovbench.engine.training import TrainingPlan
    from ovbench.engine.validate import Validation

_LINE_SECONDS = 15.0


@click.command()
@click.option("--method", required=True, help="Method to train, see `ovbench methods`.")
@click.option("--protocol", "protocol_id", required=True, help="Protocol id, or a path to a .toml.")
@click.option("--variant", help="Variant of the method; default: the one for the protocol.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option("--steps", type=click.IntRange(min=1), help="Number of steps; default: the method's own.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Default: runs/train/PROTOCOL/METHOD-VARIANT-seedS."
)
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Option of the method.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Torch threads.")
@click.option(
    "--every", type=click.IntRange(min=1), default=100, show_default=True, help="Steps per checkpoint."
)
@click.option("--fresh", is_flag=True, help="Start over: forget what the folder holds of a training.")
@click.option(
    "--validate-every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Every N steps also run the weights so far on the protocol's evaluation split, into "
    "OUT/validation/step-N as `ovbench run` would; the scores stand in the log, too.",
)
@click.option(
    "--validate-videos", type=click.IntRange(min=1), metavar="M", help="Validate on the first M videos only."
)
@click.option(
    "--validate-protocol",
    metavar="P",
    help="Validate on another protocol of the same data set; default: the training's.",
)
def command(
    method: str,
    protocol_id: str,
    variant: str | None,
    data_root: Path | None,
    steps: int | None,
    seed: int,
    out: Path | None,
    settings: tuple[str, ...],
    device: str,
    threads: int,
    every: int,
    fresh: bool,
    validate_every: int | None,
    validate_videos: int | None,
    validate_protocol: str | None,
) -> None:
    """Train a method on a protocol's seen classes; masks of unseen classes are never targets.

    Interrupted, it goes on from the newest checkpoint when the same command is given again, with the same
    numbers as without the interruption (same machine, same --threads). The last line on stdout is the path of
    the weights.

    Several processes share each batch when `torchrun --nproc-per-node G -m ovbench train ...` starts them, one
    GPU each (with --device cpu, one core each).
    """
    from ovbench.core.errors import missing_extra

    try:
        import torch
    except ImportError:
        raise missing_extra("torch", "models") from None
    from ovbench.engine.environment import resolve_device
    from ovbench.engine.parallel import ranks
    from ovbench.engine.train import train
    from ovbench.engine.training import plan_training
    from ovbench.engine.validate import Validation
    from ovbench.methods.options import split_settings

    if validate_every is None and (validate_videos or validate_protocol):
        raise click.UsageError("--validate-videos and --validate-protocol go with --validate-every")
    torch.set_num_threads(threads)
    plan = plan_training(
        method,
        protocol_id,
        variant=variant,
        data_root=data_root,
        device=resolve_device(device, ("models",)),
        settings=split_settings(settings),
    )
    folder = out or plan.folder(seed)
    validation = Validation(plan, validate_protocol or protocol_id, folder, validate_videos, threads)
    if validate_every is not None:
        validation.check()
    with _interruptible(folder, fresh), ranks(plan.device) as here:
        task = plan.build(seed, steps)
        what = f"training {plan.name} on {plan.protocol.id}: {task.steps} steps, seed {seed}, in {folder}"
        _say(what if here.size == 1 else f"{what}, by {here.size} processes", here.first)
        with _Progress(task.steps, here.first) as progress:
            path = train(
                task,
                folder,
                plan.key,
                seed=seed,
                every=every,
                fresh=fresh,
                progress=progress,
                validate=progress.beside(validation),
                validate_every=validate_every or 0,
                ranks=here,
            )
        if here.first:
            click.echo(f"use it: {_run_command(plan, protocol_id, settings, path)}", err=True)
            click.echo(str(path))


@contextmanager
def _interruptible(folder: Path, fresh: bool) -> Iterator[None]:
    """Ctrl-C: say what of this training is kept, and exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        from ovbench.engine.train import kept

        again = "the same command without --fresh" if fresh else "the same command"
        step = kept(folder)
        text = (
            f"interrupted; the checkpoint of step {step} is kept, {again} goes on from there"
            if step
            else f"interrupted before the first checkpoint; {again} begins anew (--every: steps per checkpoint)"
        )
        _say(text, os.environ.get("RANK", "0") == "0")
        raise click.exceptions.Exit(130) from None


def _say(text: str, aloud: bool) -> None:
    if aloud:
        click.echo(text, err=True)


def _run_command(plan: TrainingPlan, protocol: str, settings: tuple[str, ...], weights: Path) -> str:
    """The command that runs what was trained, with the same variant, options and data."""
    words = ["ovbench", "run", "--method", plan.selection.id, "--protocol", protocol]
    if plan.selection.variant:
        words += ["--variant", plan.selection.variant]
    for setting in settings:
        words += ["--set", setting]
    if plan.data_root is not None:
        words += ["--data-root", str(plan.data_root)]
    return shlex.join([*words, "--weights", str(weights)])


class _Progress:
    """A bar with an ETA on a terminal; else a line on stderr every 15 seconds."""

    def __init__(self, total: int, aloud: bool = True) -> None:
        self.total, self.aloud = total, aloud
        self._began = self._shown = time.monotonic()
        self._first: int | None = None
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self.aloud and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task("training", total=self.total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, entry: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if not self.aloud:
            return
        if self._first is None:
            self._first = done - 1
            if self._first:
                click.echo(f"going on from step {self._first}", err=True)
        if found := entry.get("validation"):
            self._validated(done, found)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=f"loss {entry['loss']:.4f}")
        elif done == self.total or now - self._shown >= _LINE_SECONDS:
            self._shown = now
            left = (now - self._began) / (done - self._first) * (self.total - done)
            click.echo(f"step {done}/{self.total}, loss {entry['loss']:.4f}, {left:.0f} s left", err=True)

    def beside(self, validate: Validation) -> Validate:
        """`validate`, while the bar makes room for its own."""

        def call(done: int, weights: Path) -> Mapping[str, Any]:
            if self._bar is not None:
                self._bar.stop()
            found = validate(done, weights)
            if self._bar is not None:
                self._bar.start()
            return found

        return call

    @staticmethod
    def _validated(done: int, found: Mapping[str, Any]) -> None:
        shown = [
            f"{name} {value:.2f}"
            for name, value in found.items()
            if name.endswith(".miou") and value is not None
        ]
        click.echo(f"step {done}: validation: {', '.join(shown)} ({found['run']})", err=True)
