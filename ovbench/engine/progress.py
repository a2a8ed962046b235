"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from ovbench.core.words import plural

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_EVERY = 10.0  # seconds between lines where there is no terminal


class Progress:
    """Counts finished videos; use as a context manager. Nothing is ever written to stdout."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._begun_with, self._began = done, time.monotonic()
        self._spoke = self._began
        self._frames = 0
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._start_bar()
        else:
            note(f"{self.label}: {self.done} of {plural(self.total, 'video')} done")
        return self

    def advance(self, video_id: str, frames: int) -> None:
        """A video is finished."""
        self.done += 1
        self._frames += frames
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done)
            return
        now = time.monotonic()
        if now - self._spoke >= _EVERY:
            self._spoke = now
            counted = f"{self.done} of {plural(self.total, 'video')}"
            note(f"{self.label}: {counted}, {self._rate()}, {self._left()} left ({video_id})")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if kind is None and self.done > self._begun_with:
            seconds = time.monotonic() - self._began
            note(f"{self.label}: {plural(self.total, 'video')} done, {seconds:.1f} s, {self._rate()}")

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("videos"),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(self.label, total=self.total, completed=self.done)

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        return f"{self._frames / seconds:.1f} frames/s"

    def _left(self) -> str:
        finished = self.done - self._begun_with
        seconds = (time.monotonic() - self._began) / finished * (self.total - self.done)
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def note(text: str) -> None:
    """One line for the person, on stderr."""
    print(text, file=sys.stderr, flush=True)
