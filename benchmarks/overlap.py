"""What reading ahead and writing behind gain: the same runs with `--overlap off` and `on`, side by side.

    python benchmarks/overlap.py [--data FOLDER] [--repeat 3] [--cases METHOD@PROTOCOL ...]
    python benchmarks/overlap.py --device cuda --cases ov2vss:sam-vit-b@vspw-124
    python benchmarks/overlap.py --data-root CamVid --cases wait-20@camvid-8-3-gzs

Makes videos of 480x853 in VSPW's layout in FOLDER (kept for the next time): the label maps of standard_data.py,
and photographs that are these in colour with grain, as JPEG of about the size that VSPW's have. Every command is
`ovbench run --jobs 1 --save-predictions` with the shipped weights or untrained, a process of its own, in turn off
and on. Wall time is that of the videos, CPU time that of the whole process, start-up included; the smallest
of the repeats counts. Both runs must store the same counts and the same files, or the benchmark fails.

The method `wait-20` stands for one that computes elsewhere: it waits 20 ms a frame and uses no processor meanwhile.
That shows what overlapping can hide, and is no measurement of a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import standard_data
from PIL import Image

from ovbench.core.types import LabelMap
from ovbench.datasets.base import Video
from ovbench.methods.base import Segmenter, Setup

ROOT = Path(__file__).resolve().parent.parent
CASES = ("wait-20@vspw-124", "constant@vspw-124", "oracle-grid@vspw-124", "ov2vss:world@world-27-9")
WAIT = "OVBENCH_BENCHMARK_WAIT_MS"
QUALITY = 85


@dataclass(frozen=True)
class Spent:
    """Seconds of one run."""

    wall: float  # of the videos, without start-up
    cpu: float  # of the whole process
    waited: float  # for reading and writing
    method: float
    frames: int


def photographs(folder: Path) -> None:
    """A JPEG beside each mask: a colour for each id, with grain of the same strength everywhere."""
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (256, 3))
    for masks in sorted((folder / "gt" / "data").glob("*/mask")):
        pictures = masks.parent / "origin"
        pictures.mkdir(exist_ok=True)
        for path in sorted(masks.iterdir()):
            truth = np.asarray(Image.open(path))
            grain = rng.normal(0, 9, (*truth.shape, 1)) + rng.normal(0, 3, (*truth.shape, 3))
            picture = np.clip(colours[truth] + grain, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(pictures / f"{path.stem}.jpg", quality=QUALITY)


def prepared(folder: Path, videos: int, frames: int) -> Path:
    """The data set's root, made where it is not there."""
    root = folder / "gt"
    if not (root / "ready").is_file():
        standard_data.standard(folder, videos, frames)
        photographs(folder)
        (root / "ready").write_text("")
    return root


def measured(case: str, root: Path, out: Path, overlap: str, args: argparse.Namespace) -> Spent:
    """One run; raises `SystemExit` with its message where it fails."""
    method, _, protocol = case.partition("@")
    waits = method.removeprefix("wait-") if method.startswith("wait-") else ""
    start = [str(Path(__file__).resolve())] if waits else ["-m", "ovbench"]
    command = [sys.executable, *start, "run", "--method", "constant" if waits else method]
    command += ["--protocol", protocol]
    command += ["--data-root", str(root), "--videos", str(args.videos), "--frames", str(args.frames)]
    command += ["--jobs", "1", "--save-predictions", "--out", str(out)]
    command += ["--overlap", overlap, "--device", args.device, "--fresh"]
    if ":" in method and not protocol.startswith("world"):
        command.append("--untrained")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", WAIT: waits, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    totals: dict[str, Any] = json.loads((out / "timing.json").read_text())["totals"]
    return Spent(
        wall=totals["total_s"],
        cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        waited=totals["decode_s"] + totals["truth_s"] + totals["write_s"],
        method=totals["segment_s"],
        frames=totals["frames"],
    )


def products(out: Path) -> dict[str, Any]:
    """What a run leaves apart from times."""
    records = {p.name: json.loads(p.read_text()) for p in sorted((out / "records").glob("*.json"))}
    for record in records.values():
        del record["timing"], record["run_key"]
    files = {str(p.relative_to(out)): p.read_bytes() for p in sorted((out / "predictions").glob("*/*.png"))}
    return {**records, **files, "summary": (out / "summary.json").read_bytes()}


def compare(case: str, root: Path, scratch: Path, args: argparse.Namespace) -> None:
    """Measure a case and print its two lines."""
    found: dict[str, list[Spent]] = {"off": [], "on": []}
    for _ in range(args.repeat):
        for choice, spent in found.items():
            spent.append(measured(case, root, scratch / choice, choice, args))
        if products(scratch / "off") != products(scratch / "on"):
            raise SystemExit(f"{case}: the two runs differ")
    least = {choice: min(s.wall for s in spent) for choice, spent in found.items()}
    for choice, spent in found.items():
        best = min(spent, key=lambda s: s.wall)
        n = best.frames / 1e3
        print(
            f"{case:26} {choice:4} {best.wall / n:9.2f} {min(s.cpu for s in spent) / n:9.2f} "
            f"{best.waited / n:9.2f} {best.method / n:9.2f}   {least['off'] / least[choice]:.2f}x",
            flush=True,
        )


class Waits(Segmenter):
    """Looks at every frame, waits, and answers in blocks of its colours."""

    def segment(self, video: Video) -> Iterator[LabelMap]:
        for image in video.images():
            time.sleep(float(os.environ[WAIT]) / 1e3)
            blocks = image[::16, ::16, 0] // np.uint8(8) % np.uint8(min(32, len(self.vocabulary)))
            yield np.repeat(np.repeat(blocks, 16, 0), 16, 1)[: image.shape[0], : image.shape[1]]


def build(setup: Setup) -> Segmenter:
    """Takes the place of the method `constant` in a process that is to wait."""
    return Waits()


def run_waiting() -> None:
    """`ovbench run` with `Waits` as its method."""
    from ovbench.cli.main import main as ovbench
    from ovbench.methods import create

    real = create.target
    create.target = lambda path, needs=(): build if "constant" in path else real(path, needs)
    ovbench()


def main() -> None:
    if os.environ.get(WAIT):
        return run_waiting()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="where the videos are kept; default: made and thrown away")
    parser.add_argument("--videos", type=int, default=3)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--data-root", type=Path, help="a data set of your own, for the protocols of the cases"
    )
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="METHOD@PROTOCOL")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = args.data_root or prepared(args.data or Path(scratch), args.videos, args.frames)
        load = os.getloadavg()[0]
        print(f"milliseconds a frame; waited: for pictures, masks and label maps; load {load:.1f}")
        print(f"{'case':26} {'':4} {'wall':>9} {'CPU':>9} {'waited':>9} {'method':>9}   off/this")
        for case in args.cases:
            compare(case, root, Path(scratch), args)


if __name__ == "__main__":
    main()
