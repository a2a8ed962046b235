"""No room on the disk: exit code 3, what is finished stays, the same command finishes the run."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from engine_runs import command, counts, request

from ovbench.core.errors import IncompleteError
from ovbench.engine.evaluate import run
from ovbench.store import atomic
from ovbench.store import predictions as stored
from ovbench.store.rundir import RunDir


class Filling:
    """Stands for a disk that takes so many more files of a kind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name_part: str, room: int) -> None:
        self.real, self.part, self.room = atomic._write_through, name_part, room
        monkeypatch.setattr(atomic, "_write_through", self)

    def __call__(self, path: Path, data: bytes) -> None:
        if self.part in path.name:
            self.room -= 1
            if self.room < 0:
                path.write_bytes(data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        self.real(path, data)


@pytest.mark.parametrize(
    ("kind", "room", "safe"),
    [
        ("manifest.json", 0, None),
        ("test-", 0, 0),
        ("test-", 2, 2),
        ("timing.json", 0, 3),
        ("summary.json", 0, 3),
    ],
)
def test_full_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, room: int, safe: int | None
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    run(request(out=whole))
    with monkeypatch.context() as patch:
        Filling(patch, kind, room)
        with pytest.raises(IncompleteError, match="the disk is full") as caught:
            run(request(out=out))
    if safe is not None:
        assert f"{safe} of 3 videos are finished and safe" in str(caught.value)
        assert "same command" in str(caught.value)
    assert len(RunDir(out).finished()) == (safe or 0)
    assert not (out / "summary.json").exists()
    assert not [p for p in out.rglob(".*") if p.is_file()], "half-written files were left"
    run(request(out=out))
    assert (out / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()
    assert counts(out) == counts(whole)


def test_full_while_saving_label_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    real, written = stored.encode_mask, []

    def encode(label_map: object) -> bytes:
        written.append(1)
        if len(written) > 14:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(label_map)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(stored, "encode_mask", encode)
        with pytest.raises(IncompleteError, match="1 of 3 videos"):
            run(request(out=out, save_predictions=True))
    assert [p.name for p in (out / "predictions").iterdir()] == ["test-000"]
    run(request(out=out, save_predictions=True))
    assert len(list((out / "predictions").glob("*/*.png"))) == 30


@pytest.mark.skipif(sys.platform != "linux", reason="uses a limit on file sizes")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_real_limit_of_the_system(tmp_path: Path, jobs: int) -> None:
    import resource
    import subprocess

    out = tmp_path / "run"
    arguments = command(
        *(
            "run",
            "--method",
            "random",
            "--protocol",
            "world-27-9",
            "--videos",
            2,
            "--jobs",
            jobs,
            "--out",
            out,
        )
    )
    repository = Path(__file__).resolve().parents[2]
    warm = [*arguments[:-1], str(tmp_path / "other")]  # fills the cache of clips, which are larger files
    assert subprocess.run(warm, cwd=repository, capture_output=True, check=False).returncode == 0

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12000, resource.RLIM_INFINITY))

    done = subprocess.run(
        arguments, cwd=repository, capture_output=True, text=True, preexec_fn=limit, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "the disk is full" in done.stderr
    assert "0 of 2 videos are finished and safe" in done.stderr
    assert "Traceback" not in done.stderr
    assert subprocess.run(arguments, cwd=repository, capture_output=True, check=False).returncode == 0
    assert (out / "summary.json").read_bytes() == (tmp_path / "other/summary.json").read_bytes()
