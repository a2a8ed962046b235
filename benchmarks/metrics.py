"""How fast scoring is, as ratios against named peers measured in the same run.

    python benchmarks/metrics.py [--data FOLDER] [--repeat 3] [--quick]

Makes the standard data in FOLDER (kept for the next time), then measures CPU time of whole `ovbench score`
commands, start-up included, and of the peers of peers.py, imports excluded (so the ratios are on the safe side).
CPU time is the smallest of the repeats; wall time is used for the gain of two jobs only. The last column says
whether the target holds.

Routes: `base` is a plain installation on a machine with a C compiler, `fast` one with the extra `fast` too;
`plain` had no compiler, so NumPy and Pillow do all the work; `plain+deflate` is that with the extra `fast`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import standard_data

HERE = Path(__file__).resolve().parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
WITHOUT_DEFLATE = "import sys; sys.modules['deflate'] = None; "
MAIN = "from ovbench.cli.main import main; main()"


@dataclass(frozen=True)
class Route:
    """One kind of installation."""

    name: str
    native: bool
    deflate: bool

    def python(self, code: str) -> list[str]:
        return [sys.executable, "-c", ("" if self.deflate else WITHOUT_DEFLATE) + code]

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, **ONE_THREAD, "OVBENCH_NATIVE": "1" if self.native else "0"}


BASE = Route("base", native=True, deflate=False)
FAST = Route("fast", native=True, deflate=True)
PLAIN = Route("plain", native=False, deflate=False)
PLAIN_DEFLATE = Route("plain+deflate", native=False, deflate=True)


@dataclass(frozen=True)
class Spent:
    """What one command cost."""

    cpu: float  # seconds, of the process and all its children
    wall: float
    mib: float  # peak of the largest process


def spend(command: list[str], environment: Mapping[str, str], stdout: Path) -> Spent:
    with open(stdout, "w") as out, open(f"{stdout}.err", "w") as err:
        began = time.perf_counter()
        child = subprocess.Popen(command, env=environment, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(command)}\nended with {child.returncode}:\n{Path(f'{stdout}.err').read_text()}")
    return Spent(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


@dataclass(frozen=True)
class Peer:
    """What a peer cost, and what it found."""

    ms: float  # CPU per frame
    scores: Mapping[str, float]
    windows: Mapping[str, list[float]]  # every window of the script, in its order


@dataclass
class Bench:
    """Runs commands in a scratch folder and keeps the smallest cost of each."""

    scratch: Path
    repeat: int
    summaries: dict[str, set[str]] = field(default_factory=dict)  # all that were ever written for a data set

    def score(self, data: Path, route: Route, jobs: int = 1) -> Spent:
        """`ovbench score` on a folder of standard_data.py, a new run each time."""
        found = []
        for _ in range(self.repeat):
            out = self.scratch / "run"
            shutil.rmtree(out, ignore_errors=True)
            arguments = ["score", "--protocol", "vspw-124", "--data-root", str(data / "gt")]
            arguments += ["--predictions", str(data / "pred"), "--jobs", str(jobs), "--out", str(out)]
            found.append(spend(route.python(MAIN) + arguments, route.environment, self.scratch / "out"))
            self.summaries.setdefault(data.name, set()).add((out / "summary.json").read_text())
        return least(found)

    def summary(self) -> dict[str, float]:
        """mIoU and script VC of the last run."""
        found = json.loads((self.scratch / "run" / "summary.json").read_text())
        temporal = found["temporal"]
        return {
            "miou": found["scores"]["all"]["miou"],
            "pacc": found["scores"]["all"]["pacc"],
            "vc8": temporal["vc8"]["script"],
            "vc16": temporal["vc16"]["script"],
        }

    def other_windows(self, theirs: Mapping[str, list[float]]) -> int:
        """How many window scores of the last run are not equal to the script's, bit for bit."""
        from ovbench.metrics.consistency import window_ratios
        from ovbench.report.model import Run

        videos = [record.counts for record in Run.open(self.scratch / "run").records]
        other = 0
        for n, expected in theirs.items():
            ours = [float(x) for v in videos for x in window_ratios(v, int(n), "script")]
            same = [a == b or (a != a and b != b) for a, b in zip(ours, expected, strict=True)]
            other += same.count(False)
        return other

    def peer(self, data: Path, name: str, route: Route = BASE) -> Peer | None:
        """A peer of peers.py in a process of its own; None where its package is not installed."""
        code = f"sys.argv = ['peers.py', {str(data)!r}, {name!r}]; sys.path.insert(0, {str(HERE)!r}); "
        command = route.python("import sys; " + code + "import peers; peers.main()")
        results = []
        for _ in range(self.repeat):
            run = subprocess.run(command, env=route.environment, capture_output=True, text=True)
            if run.returncode:
                print(f"  (peer {name} left out: {run.stderr.strip().splitlines()[-1]})")
                return None
            found = json.loads(run.stdout)
            windows = found["scores"].pop("windows", {})
            results.append(Peer(found["ms"], found["scores"], windows))
        return min(results, key=lambda r: r.ms)

    def start_up(self, route: Route) -> Spent:
        """CPU of `ovbench score` on two frames."""
        tiny = self.scratch / "tiny"
        if not tiny.exists():
            standard_data.write(tiny, "video00", standard_data.noise(0, 2))
            standard_data.finish(tiny)
        return self.score(tiny, route)


def least(found: list[Spent]) -> Spent:
    return Spent(min(s.cpu for s in found), min(s.wall for s in found), max(s.mib for s in found))


def frames(data: Path) -> int:
    return sum(1 for _ in (data / "pred").glob("*/*.png"))


def prepared(folder: Path, name: str) -> Path:
    """A data set by name, made on first use."""
    data = folder / name
    if (data / "gt" / "val.txt").exists():
        return data
    print(f"making {data} ...")
    shutil.rmtree(data, ignore_errors=True)
    if name == "standard":
        standard_data.standard(data)
    elif name == "filter0":
        _filter0(prepared(folder, "standard"), data)
    elif name == "noise":
        standard_data.write(data, "video00", standard_data.noise(1, 40))
        standard_data.finish(data)
    else:
        _repeated(prepared(folder, "standard"), data, int(name.removeprefix("long")))
    return data


def _filter0(source: Path, data: Path) -> None:
    """The same maps written by ovbench itself."""
    from ovbench.store.masks import read_mask, write_mask

    for path in sorted(source.glob("*/**/*.png")):
        target = data / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_mask(target, read_mask(path))
    standard_data.finish(data)


def _repeated(source: Path, data: Path, count: int) -> None:
    """One video of `count` frames: the first one of the source, over and over."""
    for part in ("gt/data/video00/mask", "pred/video00"):
        files = sorted((source / part).iterdir())
        (data / part).mkdir(parents=True)
        for number in range(count):
            os.link(files[number % len(files)], data / part / f"{number:08d}.png")
    standard_data.finish(data)


class Report:
    """Prints lines with their target and remembers whether all hold."""

    def __init__(self) -> None:
        self.missed = 0

    def line(self, name: str, what: str, value: float, bar: str, holds: bool | None) -> None:
        verdict = {True: "holds", False: "MISSED", None: ""}[holds]
        self.missed += holds is False
        print(f"{name:4s} {what:76s} {value:8.2f}  {bar:8s} {verdict}", flush=True)

    def at_least(self, name: str, what: str, value: float, bar: float) -> None:
        self.line(name, what, value, f">= {bar:g}", value >= bar)

    def at_most(self, name: str, what: str, value: float, bar: float) -> None:
        self.line(name, what, value, f"<= {bar:g}", value <= bar)

    def plain(self, what: str, value: float) -> None:
        self.line("", what, value, "", None)


def speed(bench: Bench, folder: Path, report: Report) -> None:
    """T1 to T6 and T10."""
    standard, filter0 = prepared(folder, "standard"), prepared(folder, "filter0")
    count = frames(standard)
    peers = {
        name: found
        for name in ("script", "detectron2", "mmseg", "torchmetrics")
        if (found := bench.peer(standard, name))
    }
    for name, found in peers.items():
        report.plain(f"{name}: CPU ms/frame (its loop)", found.ms)
    script = peers["script"].ms
    ours: dict[str, Spent] = {}
    for key, data, route in (
        ("plain", standard, PLAIN),
        ("base", standard, BASE),
        ("fast", standard, FAST),
        ("filter-0, plain+deflate", filter0, PLAIN_DEFLATE),
        ("filter-0, fast", filter0, FAST),
    ):
        ours[key] = bench.score(data, route)
        report.plain(f"ovbench score, {key}: CPU ms/frame (all of it)", 1e3 * ours[key].cpu / count)
    agree(bench.summary(), peers["script"].scores)
    report.at_most(
        "T9", "windows that are not == the script's", bench.other_windows(peers["script"].windows), 0
    )
    per_frame = {key: 1e3 * spent.cpu / count for key, spent in ours.items()}
    for name, key, bar in (
        ("T1", "base", 3.3),
        ("T1", "plain", 3.3),
        ("T2", "fast", 8.0),
        ("T3", "filter-0, fast", 10.0),
        ("T3", "filter-0, plain+deflate", 10.0),
    ):
        report.at_least(name, f"script / {key}, one job", script / per_frame[key], bar)
    for key, route, bar in (("base", BASE, 6.0), ("fast", FAST, 14.0)):
        two = bench.score(standard, route, jobs=2)
        report.at_most("T4", f"wall of 2 jobs / 1 job, {key}", two.wall / ours[key].wall, 0.58)
        report.at_least(
            "T4", f"script's wall (its CPU) / wall of 2 jobs, {key}", script * count / 1e3 / two.wall, bar
        )
    report.at_most(
        "T9", "different summaries over all routes and jobs", len(bench.summaries[standard.name]), 1
    )
    for key, route in (("base", BASE), ("fast", FAST), ("plain", PLAIN)):
        start = bench.start_up(route).cpu
        decode = bench.peer(standard, "decode_ovbench", route)
        assert decode is not None
        added = 1e3 * (ours[key].cpu - start) / count - decode.ms
        report.at_most("T5", f"ms/frame over decoding alone, {key}", added, 0.80)
    for name, bar in (("detectron2", 2.3), ("mmseg", 6.5), ("torchmetrics", 6.5)):
        if name in peers:
            ratio = peers[name].ms / per_frame["base"]
            report.at_least("T6", f"{name} (confusion only) / base (with VC8 and VC16)", ratio, bar)
    noise = prepared(folder, "noise")
    for key, route in (("base", BASE), ("fast", FAST), ("plain", PLAIN)):
        decode = bench.peer(noise, "decode_ovbench", route)
        assert decode is not None
        spent = bench.score(noise, route).cpu - bench.start_up(route).cpu
        report.at_most(
            "T10",
            f"pure noise, ms/frame over decoding alone, {key}",
            1e3 * spent / frames(noise) - decode.ms,
            2.0,
        )


def agree(ours: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    """The same numbers as the script, to the last printed digits."""
    for name, value in theirs.items():
        if abs(ours[name] - value) > 1e-9:
            sys.exit(f"{name}: ovbench {ours[name]!r}, script {value!r}")
    print(f"     same scores as the script: {', '.join(f'{k} {v:.6f}' for k, v in ours.items())}")


def memory(bench: Bench, folder: Path, report: Report) -> None:
    """T7 and T8."""
    for key, route in (("base", BASE), ("fast", FAST), ("plain", PLAIN)):
        short, long = (bench.score(prepared(folder, f"long{n}"), route).mib for n in (70, 2000))
        report.at_most("T7", f"peak MiB, a video of 70 frames, {key}", short, 60)
        report.at_most("T7", f"peak MiB, a video of 2,000 frames, {key}", long, 60)
        report.plain(f"KiB more for each frame of a longer video, {key}", 1024 * (long - short) / 1930)
        report.at_most("T8", f"CPU seconds of a score of two frames, {key}", bench.start_up(route).cpu, 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "ovbench-bench")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one repeat, no memory part")
    parser.add_argument("--only-data", action="store_true", help="make the data and stop")
    args = parser.parse_args()
    if args.only_data:
        for name in ("standard", "filter0", "noise", "long70", "long2000"):
            prepared(args.data, name)
        return
    # In a process of its own: a child's peak memory starts at that of its parent.
    subprocess.run([sys.executable, __file__, "--only-data", "--data", str(args.data)], check=True)
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), 1 if args.quick else args.repeat)
        speed(bench, args.data, report)
        if not args.quick:
            memory(bench, args.data, report)
    print(f"{report.missed} targets missed" if report.missed else "all targets hold")
    sys.exit(1 if report.missed else 0)


if __name__ == "__main__":
    main()
