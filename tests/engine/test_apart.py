"""A run is never written where it reads: `--from` and `score`; and what is said of label maps that are damaged."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from ovbench.cli.main import _run

ARGUMENTS = ("--protocol", "world-27-9", "--videos", "1", "--frames", "3", "--jobs", "1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inner") / "run"
    assert _run(["run", "--method", "random", "--out", str(out), "--save-predictions", *ARGUMENTS]) == 0
    return out


@pytest.fixture
def saved(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept, tmp_path / "a" / "run")
    return tmp_path / "a" / "run"


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("fresh", [(), ("--fresh",)])
@pytest.mark.parametrize("where", ["", "..", "sub", "predictions", "predictions/sub", "sub/.."])
@pytest.mark.parametrize("verb", ["run", "score"])
def test_what_is_read_is_not_written_to(
    verb: str, where: str, fresh: tuple[str, ...], saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, before = saved / where, files(saved)
    source = ("--method", "random+vote", "--from") if verb == "run" else ("--predictions",)
    expected = 0 if (verb, where) == ("score", "sub") else 2  # `score` reads label maps, and these lie beside
    assert _run([verb, *source, str(saved), "--out", str(out), *fresh, *ARGUMENTS]) == expected
    if expected:
        said = capsys.readouterr().err
        assert "cannot be written here" in said and "another folder with --out" in said
        assert "--fresh to delete" not in said
        assert files(saved) == before
    assert {name: digest for name, digest in files(saved).items() if name in before} == before


def test_a_link_to_what_is_read_is_found_out(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(saved, target_is_directory=True)
    before = files(saved)
    arguments = ["run", "--method", "random+vote", "--from", str(tmp_path / "link"), "--fresh", *ARGUMENTS]
    assert _run([*arguments, "--out", str(saved)]) == 2
    assert files(saved) == before
    assert _run([*arguments, "--out", str(tmp_path / "b")]) == 0


@pytest.mark.parametrize("damage", ["cut", "garbage", "changed"])
def test_damaged_and_changed_label_maps_are_one_kind_of_fault(
    damage: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_, last = sorted((saved / "predictions").rglob("*.png"))
    data = {"cut": last.read_bytes()[:-20], "garbage": b"xx\n", "changed": first.read_bytes()}[damage]
    last.write_bytes(data)
    out = tmp_path / "b"
    arguments = ["--method", "random+vote", "--from", str(saved), "--out", str(out), *ARGUMENTS]
    assert _run(["run", *arguments]) == 4
    said = capsys.readouterr().err
    assert "make that run again" in said
    assert ("damaged" in said and last.name in said) == (damage != "changed")
    assert not (out / "summary.json").exists()
