"""How fast `ov2vss` is on a GPU, at full size: streaming against clip-wise, by input size, precision and batch.

    python benchmarks/gpu.py                                     # everything; prints a Markdown table
    python benchmarks/gpu.py --variants release --sizes 576x1024 --precisions bf16 --json gpu.json

Needs nothing but ovbench with the extra `models` and a CUDA device; without one it ends with exit code 2. Weights
are untrained, which changes no speed. Frames are 480x853 and lie in memory, so a row is method and transfers alone
(`benchmarks/overlap.py --device cuda` measures whole runs). Per row: a video of 12 frames to warm up, then one
of --frames, timed between two synchronisations. Columns:

  frames/s   of the timed video, its far frames included
  x clip     frames/s against the clip-wise row of the same size, precision and batch
  MiB        most memory that tensors took at once (and that torch reserved)
  GPU %      mean utilisation as the driver samples it (nvidia-smi, else NVML through torch), and power in watts
  same %     pixels of the first video labelled as by the first row of that variant and size
             (a lower bound: the scores of an untrained network lie close together)
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ovbench.methods.base import Segmenter

FRAME = (480, 853)
WARM_UP = 12
QUERY = "utilization.gpu,power.draw"
MAPS = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Case:
    """One row to measure."""

    variant: str
    size: str
    precision: str
    batch: int
    streaming: bool


@dataclass
class Row:
    """What was measured; None where it could not be."""

    case: Case
    fps: float | None = None
    allocated_mib: float | None = None
    reserved_mib: float | None = None
    busy: float | None = None
    watts: float | None = None
    same: float | None = None
    failed: str | None = None


def parse_sample(line: str) -> tuple[float | None, float | None]:
    """(utilisation in percent, power in watts) of a line of nvidia-smi; None for what the driver does not say."""
    found: list[float | None] = []
    for part in (line.split(",") + [""])[:2]:
        try:
            found.append(float(part))
        except ValueError:
            found.append(None)  # "[N/A]", "[Not Supported]", or no such column
    return found[0], found[1]


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of what is there."""
    there = [v for v in values if v is not None]
    return sum(there) / len(there) if there else None


@dataclass
class Sampler:
    """Samples utilisation and power in a thread while it is open; says nothing where no tool does."""

    device: str | None  # as nvidia-smi's -i takes it; None: nothing is sampled
    samples: list[tuple[float | None, float | None]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        if self.device is None:
            self._stop.set()
        elif shutil.which("nvidia-smi"):
            command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", "-lms", "100"]
            self._process = subprocess.Popen(
                [*command, "-i", self.device], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._thread.join()

    def _watch(self) -> None:
        if self._process is not None:
            assert self._process.stdout is not None
            self.samples += (parse_sample(line) for line in self._process.stdout)
            return
        import torch

        while not self._stop.wait(0.1):
            try:
                self.samples.append((float(torch.cuda.utilization()), None))
            except (ModuleNotFoundError, RuntimeError):
                return  # torch asks NVML through a package that is not installed


def frames(count: int) -> NDArray[np.uint8]:
    """(T, 480, 853, 3) noise that drifts: what is in the pictures changes no speed."""
    still = np.random.default_rng(0).integers(0, 256, (*FRAME, 3), np.uint8)
    return np.stack([np.roll(still, 3 * t, axis=1) for t in range(count)])


def built(case: Case, protocol: str, device: str) -> Segmenter:
    """The untrained method of a row, ready to segment."""
    from ovbench.methods.create import create
    from ovbench.protocol.load import load_protocol

    segmenter = create(
        "ov2vss",
        case.variant,
        device=device,
        untrained=True,
        input_size=case.size,
        precision=case.precision,
        frame_batch=case.batch,
        streaming=case.streaming,
    )
    segmenter.prepare(load_protocol(protocol).vocabulary)
    return segmenter


def measure(case: Case, timed: int, protocol: str, reference: MAPS | None) -> tuple[Row, MAPS | None]:
    """One row, and the label maps of its first video."""
    import torch

    try:
        segmenter = built(case, protocol, "cuda")
        first, row = timed_row(case, segmenter, timed)
    except torch.cuda.OutOfMemoryError:
        return Row(case, failed="out of memory"), None
    finally:
        torch.cuda.empty_cache()
    row.same = None if reference is None else float(100 * (first == reference).mean())
    return row, first


def timed_row(case: Case, segmenter: Segmenter, timed: int, device: str = "cuda") -> tuple[MAPS, Row]:
    """The label maps of the first video, and the row of the second, whose length is `timed`."""
    import torch

    from ovbench.datasets.base import ArrayVideo

    row = Row(case)
    first = np.stack(list(segmenter.segment(ArrayVideo(frames(WARM_UP), video_id="first"))))
    video = ArrayVideo(frames(timed), video_id="timed")
    on_gpu = device == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    with Sampler(device_id() if on_gpu else None) as sampler:
        began = time.perf_counter()
        for _ in segmenter.segment(video):
            pass
        if on_gpu:
            torch.cuda.synchronize()
        row.fps = timed / (time.perf_counter() - began)
    row.busy, row.watts = (
        mean(list(column)) for column in zip(*sampler.samples or [(None, None)], strict=True)
    )
    if on_gpu:
        row.allocated_mib = torch.cuda.max_memory_allocated() / 2**20
        row.reserved_mib = torch.cuda.max_memory_reserved() / 2**20
    return first, row


def device_id() -> str:
    """The device in use, as nvidia-smi knows it whatever CUDA_VISIBLE_DEVICES hides."""
    import torch

    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    return "0" if uuid is None else f"GPU-{uuid}"


def environment() -> dict[str, str]:
    """Hardware, driver and versions."""
    import torch

    import ovbench

    driver = "unknown"
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "-i", device_id()]
        done = subprocess.run(command, capture_output=True, text=True)
        driver = done.stdout.strip() or driver
    properties = torch.cuda.get_device_properties(0)
    cudnn: Any = torch.backends.cudnn  # untyped
    return {
        "GPU": f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB",
        "driver": driver,
        "CUDA": str(torch.version.cuda),
        "cuDNN": str(cudnn.version()),
        "torch": torch.__version__,
        "TF32": f"matmul {torch.backends.cuda.matmul.allow_tf32}, cudnn {cudnn.allow_tf32}",
        "ovbench": ovbench.__version__,
        "Python": platform.python_version(),
    }


def cases(args: argparse.Namespace) -> Iterator[Case]:
    """All rows asked for; the clip-wise one before the streaming one that is compared with it."""
    choices = (args.variants, args.sizes, args.precisions, args.batches, (False, True))
    return itertools.starmap(Case, itertools.product(*choices))


def line(row: Row, clip_wise: float | None) -> str:
    """A row of the table."""
    case = row.case
    how = "streaming" if case.streaming else "clip-wise"
    start = f"| {case.variant} | {case.size} | {case.precision} | {case.batch} | {how} |"
    if row.failed:
        return f"{start} {row.failed} | | | | |"
    ratio = row.fps / clip_wise if case.streaming and row.fps and clip_wise else None
    memory = f"{_shown(row.allocated_mib, 0)} ({_shown(row.reserved_mib, 0)})"
    busy = f"{_shown(row.busy, 0)} ({_shown(row.watts, 0)} W)"
    return f"{start} {_shown(row.fps, 2)} | {_shown(ratio, 2)} | {memory} | {busy} | {_shown(row.same, 2)} |"


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def run(args: argparse.Namespace) -> None:
    """Measure and print all rows, each as soon as it is there."""
    facts, rows = environment(), []
    print("\n".join(f"- {key}: {value}" for key, value in facts.items()), end="\n\n")
    print("| variant | input | precision | batch | | frames/s | x clip | MiB | GPU % | same % |")
    print("|:--|:--|:--|--:|:--|--:|--:|--:|--:|--:|", flush=True)
    references: dict[tuple[str, str], MAPS] = {}
    speed: dict[Case, float | None] = {}
    for case in cases(args):
        key = (case.variant, case.size)
        row, first = measure(case, args.frames, args.protocol, references.get(key))
        if first is not None:
            references.setdefault(key, first)
        rows.append(row)
        speed[case] = row.fps
        clip_wise = speed.get(Case(case.variant, case.size, case.precision, case.batch, False))
        print(line(row, clip_wise), flush=True)
        if args.json:
            args.json.write_text(
                json.dumps({"environment": facts, "rows": [asdict(r) for r in rows]}, indent=1)
            )


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--variants", nargs="+", default=["sam-vit-b", "release"])
    made.add_argument("--sizes", nargs="+", default=["480x853", "576x1024"], help="input sizes, height first")
    made.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "fp16"])
    made.add_argument("--batches", nargs="+", type=int, default=[1, 8], help="frames of one pass")
    made.add_argument("--frames", type=int, default=64, help="length of the timed video")
    made.add_argument("--protocol", default="vspw-124", help="whose names are looked for")
    made.add_argument("--json", type=Path, help="also write all numbers here")
    return made


def main() -> int:
    args = parser().parse_args()
    try:
        import torch
    except ModuleNotFoundError:
        print("error: torch is not installed\n  next:  pip install 'ovbench[models]'", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print(
            f"error: no CUDA device can be used here (torch {torch.__version__}, CUDA {torch.version.cuda})\n"
            "  next:  run this on a machine with an NVIDIA GPU and its driver (`nvidia-smi` lists them)",
            file=sys.stderr,
        )
        return 2
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
