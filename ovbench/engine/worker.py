"""One worker: builds its method once, then takes videos one by one and commits each with a record."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovbench.core.errors import IncompleteError, IntegrityError, OvbenchError
from ovbench.datasets.base import Dataset, Video
from ovbench.datasets.open import open_dataset
from ovbench.flow.compare import FlowSet
from ovbench.flow.open import FlowSpec
from ovbench.methods.base import Segmenter
from ovbench.methods.create import build
from ovbench.methods.select import Selection
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.store.predictions import PredictionWriter
from ovbench.store.record import Record
from ovbench.store.rundir import RunDir

from .environment import peak_memory_mib
from .frames import Clock, Counted, count_video
from .overlap import Choice, FrameWriter, ReadAhead, WriteBehind
from .reuse import reusing
from .timing import quantile
from .view import MethodView

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(IncompleteError):
    """No room for what a run must write; what is finished is safe."""


@dataclass(frozen=True)
class Work:
    """Everything a worker needs to know, in a form that travels to another process."""

    protocol: str
    protocol_hash: str
    selection: Selection
    data_root: Path | None
    device: str
    frames: int | None
    threads: int
    out: Path
    run_key: str
    save_predictions: bool
    need_images: bool
    label_maps: Path | None
    flow: tuple[FlowSpec, ...] = ()
    flow_device: str = "cpu"
    overlap: str = "never"  # or "always", "measured": see `ovbench.engine.overlap.Choice`


@dataclass(frozen=True)
class Outcome:
    """What a worker reports of a finished video."""

    video_id: str
    frames: int
    peak_memory_mib: float | None
    peak_gpu_mib: float | None


class VideoWorker:
    """Segments, counts and stores videos.

    Args:
        protocol: the work's, where the caller has loaded it.

    Raises:
        UserError: when built: the method cannot be built or prepared.
    """

    def __init__(self, work: Work, protocol: Protocol | None = None) -> None:
        self.work = work
        self.protocol = protocol or load_protocol(work.protocol)
        if self.protocol.hash != work.protocol_hash:
            raise IntegrityError(
                "the protocol was edited while it is being run",
                where=work.protocol,
                hint="run the same command again",
            )
        self.run = RunDir(work.out)
        self.dataset = self._open("test")
        self.segmenter = self._segmenter()
        self.flows = FlowSet(work.flow, work.threads, work.flow_device) if work.flow else None
        self.overlap = Choice(work.overlap)
        self.first = True

    def facts(self) -> Mapping[str, Any]:
        """What the method says about itself."""
        return self.segmenter.facts()

    def process(self, video_id: str) -> Outcome:
        """Do one video; its record is written last.

        Raises:
            UserError: see `ovbench.engine.frames.count_video`.
            DiskFull: no room; nothing half-written is left.
        """
        began = time.perf_counter()
        video = self.dataset.open(video_id)
        with disk_full_is_named():
            done, frames = self._count(video)
            timing = _timing(done.clock, time.perf_counter() - began, self.first)
            if not timing["overlapped"]:
                self.overlap.learn(done.clock.reading_and_writing, timing["total_s"])
            counts = done.counts.to_json()
            self.run.forget_results()  # they must never stand beside a record they were not made from
            self.run.write_record(
                Record(
                    video_id, self.work.run_key, counts, done.frames_sha256, done.predictions_sha256, timing
                )
            )
        self.first = False
        return Outcome(video_id, frames, peak_memory_mib(), _gpu_memory_mib(self.work.device))

    def _count(self, video: Video) -> tuple[Counted, int]:
        """Count a video and store its label maps, complete or not at all; also the number of its frames."""
        work, ahead, behind = self.work, None, None
        every = work.save_predictions or self.flows is not None
        absent = self.segmenter.absent(video) if every else frozenset()
        with ExitStack() as stack:
            writer: FrameWriter | None = None
            if work.save_predictions:
                writer = stack.enter_context(PredictionWriter(self.run.predictions_path, video.id))
            if self.overlap.on:
                video = ahead = stack.enter_context(ReadAhead(video, work.frames, every))
                if writer is not None:
                    writer = behind = stack.enter_context(WriteBehind(writer))
            view = MethodView(video, work.frames, work.selection.card.needs_truth, every, absent)
            flow = None if self.flows is None else self.flows.video(video)
            done = count_video(self.protocol, work.selection.id, self.segmenter, video, view, writer, flow)
            began = time.perf_counter()
            stack.close()  # waits for label maps that are still being written
            done.clock.write += time.perf_counter() - began
        if ahead is not None:
            done.clock.background = ahead.seconds + (behind.seconds if behind is not None else 0.0)
        return done, len(view)

    def _segmenter(self) -> Segmenter:
        if "models" in self.work.selection.card.needs:
            limit_threads(self.work.threads)
        if self.work.label_maps is not None:
            return reusing(self.work.selection, self.work.label_maps, self.protocol.vocabulary)
        segmenter = build(
            self.work.selection, device=self.work.device, protocol=self.protocol, open_split=self._open
        )
        segmenter.prepare(self.protocol.vocabulary)
        return segmenter

    def _open(self, split: str) -> Dataset:
        train = split == "train"
        return open_dataset(
            self.protocol, self.work.data_root, train=train, need_images=self.work.need_images and not train
        )


def limit_threads(threads: int) -> None:
    """Give torch a fixed number of threads: the same sums in the same order for any number of workers."""
    try:
        import torch
    except ModuleNotFoundError:
        return  # building the method names the missing extra
    torch.set_num_threads(threads)


@contextmanager
def disk_full_is_named() -> Iterator[None]:
    """Turn the system's "no space" into `DiskFull`; other errors pass."""
    try:
        yield
    except (OvbenchError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in _FULL:
            where = error.where if isinstance(error, OvbenchError) else error.filename
            raise DiskFull(f"the disk is full: {cause.strerror}", where=where) from error
        raise


def _timing(clock: Clock, total: float, first: bool) -> dict[str, Any]:
    """Seconds of one video; `first`: the worker warmed up on it."""
    frames = clock.frames
    middle, slow = (quantile(frames, share) if frames else 0.0 for share in (0.5, 0.95))
    return {
        "frames": len(frames),
        "first_of_worker": first,
        "overlapped": clock.background is not None,
        "segment_s": round(sum(frames), 6),
        "decode_s": round(clock.decode, 6),
        "truth_s": round(clock.truth, 6),
        "count_s": round(clock.count, 6),
        "flow_s": round(clock.flow, 6),
        "write_s": round(clock.write, 6),
        "background_s": round(clock.background or 0.0, 6),
        "total_s": round(total, 6),
        "frame_ms_p50": round(middle * 1e3, 3) if frames else None,
        "frame_ms_p95": round(slow * 1e3, 3) if frames else None,
    }


def _gpu_memory_mib(device: str) -> float | None:
    torch = sys.modules.get("torch")
    if device != "cuda" or torch is None:
        return None
    return round(float(torch.cuda.max_memory_allocated()) / 2**20, 1)
