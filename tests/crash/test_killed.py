"""Runs that are killed, interrupted or lose a worker: nothing finished is lost, nothing changes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from deadly_method import DEADLY
from engine_runs import counts, ovbench, request, start

from ovbench.core.errors import UserError
from ovbench.engine.evaluate import execute, run
from ovbench.engine.plan import Plan, make_plan
from ovbench.engine.pool import WorkerDied
from ovbench.store.lock import LOCK_NAME, only_writer
from ovbench.store.record import Record
from ovbench.store.rundir import RunDir

VIDEOS = 10
SLOW = (
    *("run", "--method", "random+vote", "--set", "vote_window=25", "--protocol", "world-27-9"),
    *("--videos", VIDEOS, "--save-predictions"),
)
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = ovbench(*SLOW, "--jobs", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def _stamps(out: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (out / "records").glob("[!.]*.json")}


@posix
@pytest.mark.parametrize("jobs", [1, 2])
def test_kill_at_random_moments_and_run_again(whole: Path, tmp_path: Path, jobs: int) -> None:
    out = tmp_path / "run"
    draw = random.Random(jobs)
    for wanted in (0, 2, 5):
        process = start(*SLOW, "--jobs", jobs, "--out", out)
        wait_until(
            lambda n=wanted: (
                (out / "manifest.json").exists()
                and RunDir(out).has_manifest()
                and len(RunDir(out).finished()) >= n
            )
        )
        time.sleep(draw.uniform(0, 0.15))
        process.kill()
        process.wait()
        before = _stamps(out)
        assert not (out / "summary.json").exists()
    done = ovbench(*SLOW, "--jobs", jobs, "--out", out)
    assert done.returncode == 0, done.stderr
    after = _stamps(out)
    assert {n: after[n] for n in before} == before  # nothing that was finished is done again
    assert (out / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()
    assert counts(out) == counts(whole)
    assert _tree(out) == _tree(whole)


def _tree(out: Path) -> dict[str, bytes]:
    """All files of a run but those that hold times; hidden leftovers would show here."""
    found = {p.relative_to(out).as_posix(): p for p in out.rglob("*") if p.is_file()}
    timed = ("manifest.json", "timing.json")
    return {
        n: b"" if n in timed or n.startswith("records/") else p.read_bytes() for n, p in sorted(found.items())
    }


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    out = tmp_path / "run"
    process = start(*SLOW, "--jobs", 2, "--out", out, OVBENCH_TEST_MARK=mark)
    wait_until(lambda: len(RunDir(out).finished()) >= 1)
    assert len(_marked(mark)) >= 3
    process.kill()
    process.wait()
    wait_until(lambda: not _marked(mark), 10)


def _marked(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


@posix
@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupt_keeps_what_is_finished(whole: Path, tmp_path: Path, jobs: int) -> None:
    out = tmp_path / "run"
    process = start(*SLOW, "--jobs", jobs, "--out", out)
    wait_until(lambda: len(RunDir(out).finished()) >= 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    finished = RunDir(out).finished()
    assert 2 <= len(finished) < VIDEOS
    assert not (out / LOCK_NAME).exists()
    everything = counts(whole)
    assert counts(out) == {v: everything[v] for v in sorted(finished)}


def _plan_with(target: str, out: Path, jobs: int) -> Plan:
    plan = make_plan(request(method="constant", videos=5, jobs=jobs, out=out))
    card = replace(plan.selection.card, segmenter=f"deadly_method:{target}")
    return replace(plan, selection=replace(plan.selection, card=card))


@posix
@pytest.mark.parametrize("target", ["build", "build_slow_first"])
def test_a_worker_that_is_killed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    plan = _plan_with(target, tmp_path / "run", 2)
    with pytest.raises(WorkerDied) as caught:
        execute(plan)
    assert "killed by signal 9" in str(caught.value)
    assert f"video '{DEADLY}'" in str(caught.value)
    assert caught.value.exit_code == 1
    finished = RunDir(plan.out).finished()
    assert finished, "who took the deadly video had finished another one, or the other worker had"
    assert DEADLY not in finished
    assert f"{len(finished)} of 5 videos are finished and kept" in capsys.readouterr().err
    healthy = replace(plan, selection=replace(plan.selection, card=make_plan(plan.request).selection.card))
    assert execute(healthy).is_file()


def test_a_bug_in_a_method_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="this method has a bug"):
        execute(_plan_with("build_raising", tmp_path / "one", 1))
    assert RunDir(tmp_path / "one").finished() == {"test-000", "test-001"}
    with pytest.raises(WorkerDied, match="exit code 1 while it worked on video 'test-002'"):
        execute(_plan_with("build_raising", tmp_path / "two", 2))


def test_two_writers_never_meet(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with only_writer(out), pytest.raises(UserError, match="another process is writing"):
        run(request(out=out))
    run(request(out=out, videos=1))
    assert not (out / LOCK_NAME).exists()


@posix
def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from ovbench.store.lock import only_writer\n"
        "with only_writer(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=repository, check=False)
    assert done.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == [LOCK_NAME]
    run(request(out=tmp_path, videos=1))


def test_what_a_worker_could_not_report_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that was committed just before the run stopped counts as kept."""
    real = RunDir.write_record

    def write_then_stop(self: RunDir, record: Record) -> None:
        real(self, record)
        if record.video_id == "test-001":
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDir, "write_record", write_then_stop)
    with pytest.raises(KeyboardInterrupt):
        run(request(out=tmp_path / "run"))
    assert RunDir(tmp_path / "run").finished() == {"test-000", "test-001"}
    assert "2 of 3 videos are finished and kept" in capsys.readouterr().err
