"""Workers: in this process for one job, else processes that die with their parent."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ovbench.core.errors import OvbenchError
from ovbench.protocol.schema import Protocol

from .worker import Outcome, VideoWorker, Work, limit_threads

if TYPE_CHECKING:  # one job, the common case of a small run, needs no processes
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess

    Context: TypeAlias = ForkContext | ForkServerContext | SpawnContext

_PRELOAD = ("ovbench.engine.worker", "ovbench.metrics.score")
_PRELOAD_MODELS = ("torch", "open_clip", "timm")
_THREADED = ("torch", "cv2")  # imported, these hold threads and locks that do not survive a fork
_GRACE = 5.0  # seconds that a worker gets to end when told to

Facts = Callable[[Mapping[str, Any]], None]
Length = Callable[[str], int]


class WorkerDied(OvbenchError):
    """A worker process ended without saying why (killed, out of memory, a crash)."""


def process_videos(
    work: Work,
    video_ids: Sequence[str],
    jobs: int,
    on_facts: Facts,
    frames: Length,
    protocol: Protocol | None = None,
) -> Generator[Outcome, None, None]:
    """Do the videos with `jobs` workers; yields as they finish. Closing the iterator ends the workers.

    Args:
        on_facts: told once what the method says about itself.
        frames: length of a video; several workers begin with the longest, so that none is left with it at
            the end.
        protocol: the work's, where the caller has loaded it.

    Raises:
        OvbenchError: the first error that a worker met; the other workers are stopped.
        WorkerDied: a worker process ended on its own.
    """
    if jobs == 1:
        yield from _here(work, video_ids, on_facts, protocol)
        return
    pool = _Pool(work, video_ids, min(jobs, len(video_ids)), frames)
    try:
        yield from pool.outcomes(on_facts)
    finally:
        pool.stop()


def _here(
    work: Work, video_ids: Sequence[str], on_facts: Facts, protocol: Protocol | None
) -> Generator[Outcome, None, None]:
    before = _torch_threads() if "models" in work.selection.card.needs else None
    try:
        worker = VideoWorker(work, protocol)
        on_facts(worker.facts())
        for video_id in video_ids:
            yield worker.process(video_id)
    finally:
        if before is not None:
            limit_threads(before)  # the caller's own setting


def _torch_threads() -> int | None:
    try:
        import torch
    except ModuleNotFoundError:
        return None  # building the method names the missing extra
    return torch.get_num_threads()


def context(models: bool) -> Context:
    """How workers start: as copies of this process while it has no threads and will need no models; from a
    server that has imported what they need; afresh where there is none."""
    import multiprocessing

    bare = threading.active_count() == 1 and not any(name in sys.modules for name in _THREADED)
    if sys.platform == "linux" and not models and bare:
        return multiprocessing.get_context("fork")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([*_PRELOAD, *(_PRELOAD_MODELS if models else ())])
    return server


def start_server(models: bool) -> None:
    """Start the server that workers come from now, for several runs that may need models later."""
    if context(models).get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        ensure_running()


class _Pool:
    """One process and one pipe per worker; each worker is given a video when it has finished the last."""

    def __init__(self, work: Work, video_ids: Sequence[str], jobs: int, frames: Length) -> None:
        self.open_videos = len(video_ids)
        self.processes: dict[Connection, BaseProcess] = {}
        self.doing: dict[Connection, str | None] = {}
        starter = context("models" in work.selection.card.needs)
        for _ in range(jobs):
            ours, theirs = starter.Pipe()
            process = starter.Process(target=serve, args=(theirs, work), daemon=True)
            process.start()
            theirs.close()
            self.processes[ours], self.doing[ours] = process, None
        self.left = deque(_longest_first(video_ids, frames))

    def outcomes(self, on_facts: Facts) -> Generator[Outcome, None, None]:
        from multiprocessing.connection import Connection, wait

        told = False
        while self.open_videos:
            for ready in wait(list(self.processes)):
                assert isinstance(ready, Connection)
                kind, value = self._receive(ready)
                if kind == "error":
                    raise value
                if kind == "ready" and not told:
                    on_facts(value)
                    told = True
                self._give(ready)
                if kind == "done":
                    self.open_videos -= 1
                    yield value

    def stop(self) -> None:
        """End all workers now. They commit by rename, so nothing half-done is left in the records."""
        for connection, process in self.processes.items():
            connection.close()
            process.terminate()
        for process in self.processes.values():
            process.join(_GRACE)
            if process.is_alive():
                process.kill()
                process.join()

    def _receive(self, connection: Connection) -> tuple[str, Any]:
        try:
            kind, value = connection.recv()
            return kind, value
        except (EOFError, ConnectionResetError):
            raise self._death(connection) from None

    def _give(self, connection: Connection) -> None:
        self.doing[connection] = self.left.popleft() if self.left else None
        if self.doing[connection] is None:
            return
        try:
            connection.send(self.doing[connection])
        except (BrokenPipeError, ConnectionResetError):
            raise self._death(connection) from None

    def _death(self, connection: Connection) -> WorkerDied:
        process, video = self.processes[connection], self.doing[connection]
        process.join(_GRACE)
        code = process.exitcode
        how = (
            f"was killed by signal {-code}"
            if code is not None and code < 0
            else f"ended with exit code {code}"
        )
        doing = f"while it worked on video '{video}'" if video else "before it took a video"
        why = "out of memory? try fewer --jobs" if code == -signal.SIGKILL else "its own message stands above"
        return WorkerDied(
            f"a worker {how} {doing}",
            hint=f"{why}; finished videos are kept, the same command goes on where this one stopped",
        )


def _longest_first(video_ids: Sequence[str], frames: Length) -> list[str]:
    """Longest first, equally long ones in their order."""

    def length(video_id: str) -> int:
        try:
            return frames(video_id)
        except OvbenchError:
            return sys.maxsize  # the worker that takes it says what is wrong, and early

    return sorted(video_ids, key=length, reverse=True)


def serve(connection: Connection, work: Work) -> None:
    """The life of a worker process: say "ready", then do videos until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    die_with_parent()
    try:
        worker = VideoWorker(work)
        connection.send(("ready", dict(worker.facts())))
        while True:
            connection.send(("done", worker.process(connection.recv())))
    except OvbenchError as error:
        connection.send(("error", error))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has closed the pipe


def die_with_parent() -> None:
    """End this process when the one that started it has ended, however that came about."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="ovbench-parent-watch").start()
