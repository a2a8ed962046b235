"""The training loop: steps, log, checkpoints, exact resume."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch

from ovbench.core.errors import OvbenchError, UserError
from ovbench.nn.checkpoint import apply, load_weights, save_weights
from ovbench.store.atomic import write_bytes, write_json, write_text
from ovbench.store.lock import only_writer

from .differences import differences
from .intact import check_groups, check_state, damaged, read_json, read_pointer
from .parallel import Ranks, device_of
from .precision import Precision

_KEY, _POINTER, _LOG, _FINAL, _FOLDER = (
    "training.json",
    "checkpoint.json",
    "log.jsonl",
    "weights.safetensors",
    "checkpoints",
)

VALIDATION = "validation"
"""Folder of the runs that validate a training, below its own."""

Progress = Callable[[int, Mapping[str, Any]], None]
"""Called after each step with the number of finished steps and the step's log entry."""

Validate = Callable[[int, Path], Mapping[str, Any]]
"""Called with the number of finished steps and a file of the weights so far; what it gives goes into the log."""


class Task(Protocol):
    """What is trained. `loss(step)` must be a pure function of (seed, step) and the module's state.

    A task may have more attributes. `clip_norm` (float; None or 0: no limit): gradients are scaled to at most
    this norm. `half` (bool): the final weights are stored in half precision; checkpoints never are. `amp`: one
    of `precision.AMP`. `accumulate` (int): the batch is computed in this many parts, one after the other. With
    parts, here or in several processes, the task has `part_loss(step, part, parts)`, and the sum over the
    parts is the loss of the batch.
    """

    module: torch.nn.Module
    steps: int

    def optimizer(self) -> torch.optim.Optimizer:
        """A fresh optimiser over the trainable parameters."""

    def learning_rate(self, step: int) -> float:
        """Factor on every group's base learning rate."""

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of a batch that the task draws itself, and its parts for the log."""

    def metadata(self) -> dict[str, str]:
        """Header of the weights file."""


def train(
    task: Task,
    out: str | Path,
    key: Mapping[str, Any],
    *,
    seed: int,
    every: int = 100,
    fresh: bool = False,
    progress: Progress | None = None,
    validate: Validate | None = None,
    validate_every: int = 0,
    ranks: Ranks | None = None,
) -> Path:
    """Train `task` for `task.steps` steps and return the path of the final weights.

    The folder holds `training.json` (the key), `log.jsonl` (one line per step), the newest checkpoint
    and, at the end, `weights.safetensors`. Called again after an interruption, it goes on from the newest
    checkpoint, and every number is the same as without the interruption. Called again after the end, it
    does nothing.

    Args:
        key: JSON values that identify the training; a folder of another key is refused.
        seed: with the step number it seeds torch before each step.
        every: steps between checkpoints.
        fresh: forget what the folder holds of a training.
        validate: called in the first process every `validate_every` steps; its numbers become "validation" in
            the step's line of the log.
        ranks: the processes that share the batch; the first one writes. All see one file system.

    Raises:
        UserError: the folder belongs to another training, holds something else, or is being written.
        IntegrityError: the checkpoint, its pointer or the log is damaged.
        OvbenchError: the loss is not finite.
    """
    out, ranks = Path(out), ranks or Ranks()
    if every < 1 or task.steps < 1:
        raise UserError(f"steps ({task.steps}) and checkpoint interval ({every}) must be at least 1")
    loop = _Loop(task, out, seed, ranks)
    if validate is not None and validate_every:
        loop.validate, loop.validate_every = validate, validate_every
    with only_writer(out) if ranks.first else nullcontext():

        def finished() -> bool:
            if fresh:
                forget(out)
            return claim(out, {**key, "seed": seed, "steps": task.steps})

        if not ranks.agree(finished):
            _train(loop, every, progress)
        if ranks.first:
            _clear(out)
    return out / _FINAL


def _train(loop: _Loop, every: int, progress: Progress | None) -> None:
    task, out = loop.task, loop.out
    start = loop.resume()
    with open(out / _LOG if loop.ranks.first else os.devnull, "a", encoding="utf-8") as log:
        for step in range(start, task.steps):
            entry = loop.step(step)
            log.write(json.dumps(entry, sort_keys=True) + "\n")
            if (step + 1) % every == 0 and step + 1 < task.steps and loop.ranks.first:
                log.flush()
                os.fsync(log.fileno())
                loop.save(step + 1)
            if progress is not None:
                progress(step + 1, entry)
    if loop.ranks.first:
        save_weights(out / _FINAL, _final_state(task), task.metadata())
    loop.ranks.wait()


def _final_state(task: Task) -> dict[str, torch.Tensor]:
    state = task.module.state_dict()
    if not getattr(task, "half", False):
        return state
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def claim(out: Path, key: Mapping[str, Any]) -> bool:
    """Make `out` the folder of this training; True when the training is already finished there.

    A folder where another training was begun and has left neither a step nor a checkpoint is taken over.

    Raises:
        UserError: another training's folder (says which entries differ), or a folder with other files.
    """
    key = json.loads(json.dumps(key))
    path = out / _KEY
    if path.is_file():
        old = read_json(path)
        if old != key and not _begun(out):
            write_json(path, key)
            return False
        if old != key:
            raise UserError(
                f"this folder belongs to another training ({differences(old, key)})",
                where=out,
                hint="choose another --out, or start over with --fresh (the old training is then lost)",
            )
        return (out / _FINAL).is_file()
    if out.is_dir() and any(not p.name.startswith(".") for p in out.iterdir()):
        raise UserError(
            "this folder holds other files, but no training", where=out, hint="choose an empty or new --out"
        )
    write_json(path, key)
    return False


def _begun(out: Path) -> bool:
    """Whether a training has left anything that could be lost."""
    log = out / _LOG
    return (out / _FINAL).exists() or (out / _POINTER).exists() or (log.is_file() and log.stat().st_size > 0)


def kept(out: Path) -> int:
    """The step that a training which was interrupted in `out` goes on from; 0: none, or its pointer is damaged."""
    try:
        return read_pointer(out / _POINTER)[0]
    except (OvbenchError, OSError):
        return 0


def forget(out: Path) -> None:
    """Remove the files of a training from `out`, and nothing else."""
    for name in (_FINAL, _LOG, _KEY):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / VALIDATION, ignore_errors=True)
    _clear(out)


def step_seed(seed: int, step: int, part: int = 0) -> int:
    """The torch seed of one part of a step's batch: 63 bits of SHA-256 over (seed, step, part)."""
    text = f"{seed}:{step}:{part}" if part else f"{seed}:{step}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class _Loop:
    """One training in one folder."""

    validate: Validate | None = None
    validate_every = 0

    def __init__(self, task: Task, out: Path, seed: int, ranks: Ranks) -> None:
        self.task, self.out, self.seed, self.ranks = task, out, seed, ranks
        self.device = device_of(task.module)
        self.precision = Precision(str(getattr(task, "amp", "off")), self.device)
        self.accumulate = int(getattr(task, "accumulate", 1))
        self.optimizer = task.optimizer()
        self.base = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.before = 0.0  # CPU seconds of earlier processes
        self.started = time.process_time()

    def step(self, step: int) -> dict[str, Any]:
        """Do one step and return its log entry."""
        factor = self.task.learning_rate(step)
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = base * factor
        self.optimizer.zero_grad(set_to_none=True)
        value, parts = self._gradients(step)
        parameters = list(self.task.module.parameters())
        self.ranks.sum_gradients(parameters)
        self.precision.unscale(self.optimizer)
        limit = getattr(self.task, "clip_norm", None)
        if limit:
            torch.nn.utils.clip_grad_norm_(parameters, float(limit))
        self.precision.step(self.optimizer)
        entry = {"step": step, "loss": value, **parts, **self.precision.log(), "lr": self.base[0] * factor}
        entry["cpu_seconds"] = round(self._cpu(), 2)
        if self.validate_every and (step + 1) % self.validate_every == 0:
            entry |= self._validated(step + 1)
        return entry

    def _gradients(self, step: int) -> tuple[float, dict[str, float]]:
        """Loss of the batch and its parts; the gradients of this process's share are left in the parameters."""
        total = self.accumulate * self.ranks.size
        sums: dict[str, float] = {}
        for part in range(self.ranks.rank * self.accumulate, (self.ranks.rank + 1) * self.accumulate):
            torch.manual_seed(step_seed(self.seed, step, part))
            with self.precision.autocast():
                loss, parts = self._loss(step, part, total)
            if self.ranks.size == 1:  # a process that stops alone would leave the others waiting
                self._check_finite(float(loss.detach()), step)
            self.precision.backward(loss)
            for name, value in {"loss": float(loss.detach()), **parts}.items():
                sums[name] = sums[name] + value if name in sums else value
        sums = self.ranks.sum_values(sums, self.device)
        self._check_finite(sums["loss"], step)
        return sums.pop("loss"), sums

    def _loss(self, step: int, part: int, parts: int) -> tuple[torch.Tensor, dict[str, float]]:
        if parts == 1:
            return self.task.loss(step)
        loss: tuple[torch.Tensor, dict[str, float]] = self._part_loss()(step, part, parts)
        return loss

    def _part_loss(self) -> Callable[[int, int, int], tuple[torch.Tensor, dict[str, float]]]:
        found = getattr(self.task, "part_loss", None)
        if found is None:
            raise UserError(
                "this method's batch cannot be computed in parts",
                hint="train it in one process (no torchrun) and without accumulation",
            )
        return found  # type: ignore[no-any-return]

    def _check_finite(self, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise OvbenchError(
                f"the loss is {value} at step {step}",
                where=self.out,
                hint="lower the learning rate (--set), or look at the last steps in log.jsonl",
            )

    def _validated(self, done: int) -> dict[str, Any]:
        """What validation finds, computed by the first process; the others wait."""

        def found() -> dict[str, Any]:
            assert self.validate is not None
            since = time.process_time()
            path = self.out / VALIDATION / f"step-{done:07d}.safetensors"
            save_weights(path, _final_state(self.task), self.task.metadata())
            try:
                return {"validation": dict(self.validate(done, path))}
            finally:
                path.unlink(missing_ok=True)
                self.started += time.process_time() - since

        return self.ranks.agree(found)

    def _cpu(self) -> float:
        return self.before + time.process_time() - self.started

    def save(self, step: int) -> None:
        """Write the state after `step` steps; the pointer file comes last."""
        folder = self.out / _FOLDER
        weights, optimizer = _checkpoint_names(step)
        save_weights(folder / weights, self.task.module.state_dict(), {"step": str(step)})
        buffer = io.BytesIO()
        torch.save({**self.optimizer.state_dict(), "scaler": self.precision.state()}, buffer)
        write_bytes(folder / optimizer, buffer.getvalue())
        write_json(self.out / _POINTER, {"step": step, "cpu_seconds": round(self._cpu(), 2)})
        _remove_checkpoints(folder, keep=step)

    def resume(self) -> int:
        """Take up the newest checkpoint, if any; returns the number of finished steps."""
        step = 0
        if (self.out / _POINTER).is_file():
            step, self.before = read_pointer(self.out / _POINTER)
            if step >= self.task.steps:
                raise damaged(f"step {step} of {self.task.steps} cannot be a checkpoint", self.out / _POINTER)
            self._load(step)
        if self.ranks.first:
            _cut_log(self.out / _LOG, step)
        self.ranks.wait()
        return step

    def _load(self, step: int) -> None:
        folder = self.out / _FOLDER
        weights, optimizer = _checkpoint_names(step)
        try:
            state, _ = load_weights(folder / weights)
            apply(self.task.module, state)
            stored = torch.load(folder / optimizer, map_location="cpu", weights_only=True)
            self.precision.load(stored.pop("scaler", {}))
            check_groups(self.optimizer, stored)
            self.optimizer.load_state_dict(stored)
            check_state(self.optimizer)
        except Exception as error:  # what unpickling a damaged file may raise has no bounds
            why = next(iter(str(error).splitlines()), "")
            if not isinstance(error, OvbenchError):
                why = f"{type(error).__name__}: {why}".rstrip(": ")
            raise damaged(f"the checkpoint of step {step} cannot be taken up: {why}", folder) from error


def _clear(out: Path) -> None:
    (out / _POINTER).unlink(missing_ok=True)
    if (out / _FOLDER).is_dir():
        _remove_checkpoints(out / _FOLDER, keep=None)
        (out / _FOLDER).rmdir()


def _checkpoint_names(step: int) -> tuple[str, str]:
    return f"step-{step:07d}.safetensors", f"step-{step:07d}.optimizer.pt"


def _remove_checkpoints(folder: Path, keep: int | None) -> None:
    kept = () if keep is None else _checkpoint_names(keep)
    for path in folder.iterdir():
        if path.name not in kept and path.name.lstrip(".").startswith("step-"):
            path.unlink()


def _cut_log(path: Path, step: int) -> None:
    """Keep the log's first `step` lines: later ones are of steps that will be done again."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    except UnicodeDecodeError as error:
        raise damaged("the log is not text", path) from error
    if len(lines) < step:
        raise damaged(f"the log ends before step {step}", path)
    write_text(path, "".join(lines[:step]))
