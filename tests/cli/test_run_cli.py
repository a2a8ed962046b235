"""The verbs run, score, methods and doctor as a person meets them: messages and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_trees import make_vspw

from ovbench.cli.main import _run
from ovbench.methods.registry import cards


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    code = _run([str(a) for a in arguments])
    caught = capsys.readouterr()
    return code, caught.out, caught.err


def run_vspw(
    capsys: pytest.CaptureFixture[str], root: Path, out: Path, method: str = "random"
) -> tuple[int, str, str]:
    return call(
        *(capsys, "run", "--method", method, "--protocol", "vspw-80-44-gzs", "--data-root", root),
        *("--jobs", 1, "--out", out),
    )


def test_vspw_from_end_to_end(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = make_vspw(tmp_path / "data", oddities=True)
    for method in ("random", "oracle-grid+vote"):
        code, out, err = run_vspw(capsys, root, tmp_path / method, method)
        assert code == 0, err
        assert out == f"{tmp_path / method / 'summary.json'}\n"
        summary = json.loads(Path(out.strip()).read_text())
        assert summary["complete"]
        assert summary["counts"]["videos"] == 3


def test_a_truncated_photograph(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = make_vspw(tmp_path / "data", {"a": 4, "b": 4})
    victim = root / "data/b/origin/00000003.jpg"
    victim.write_bytes(victim.read_bytes()[:200])
    code, _, err = run_vspw(capsys, root, tmp_path / "run")
    assert code == 2
    assert str(victim) in err
    assert "1 of 2 videos are finished and kept" in err
    assert [p.name for p in (tmp_path / "run/records").iterdir()] == ["a.json"]
    assert not (tmp_path / "run/summary.json").exists()


def test_a_truncated_mask(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = make_vspw(tmp_path / "data", {"a": 4})
    victim = root / "data/a/mask/00000002.png"
    victim.write_bytes(victim.read_bytes()[:60])
    code, _, err = run_vspw(capsys, root, tmp_path / "run")
    assert code == 2
    assert str(victim) in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "randm", "--protocol", "world-27-9"), "did you mean random"),
        (("--method", "random", "--protocol", "wrld-27-9"), "did you mean world-27-9"),
        (("--method", "random", "--protocol", "vspw-124"), "no data root was given"),
        (("--method", "random", "--protocol", "world-27-9", "--set", "sed=1"), "did you mean seed"),
        (
            ("--method", "constant", "--protocol", "world-27-9", "--set", "label=moon"),
            "unknown class name 'moon'",
        ),
        (("--method", "random", "--protocol", "world-27-9", "--weights", "w.pt"), "takes no weights"),
        (("--method", "predictions", "--protocol", "world-27-9"), "needs a folder"),
        (("--method", "random", "--protocol", "world-27-9", "--videos", "0"), "--videos must be at least 1"),
        (("--method", "random"), "--protocol"),
    ],
)
def test_wrong_requests(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = call(capsys, "run", *arguments, "--jobs", 1, "--out", tmp_path / "run")
    assert code == 2
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_missing_predictions_are_incomplete(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    code, out, err = call(
        capsys, "score", "--predictions", tmp_path / "p", "--protocol", "world-27-9", "--videos", 2
    )
    assert (code, out) == (3, "")
    assert "40 label maps are missing, in 2 videos" in err
    code, _, err = call(capsys, "score", "--predictions", tmp_path / "q", "--protocol", "world-27-9")
    assert code == 2
    assert "no folder of predictions" in err


def test_a_device_that_changes_nothing_is_noted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ("run", "--method", "random", "--protocol", "world-27-9", "--videos", 1, "--frames", 2)
    for device, noted in (("cuda", True), ("auto", False)):
        code, _, err = call(capsys, *arguments, "--device", device, "--jobs", 1, "--out", tmp_path / "run")
        assert code == 0
        assert ("it runs on the CPU" in err) == noted


@pytest.mark.parametrize("tail", ["", "/x"])
def test_an_output_folder_that_cannot_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tail: str
) -> None:
    (tmp_path / "file").write_text("mine")
    arguments = ("run", "--method", "random", "--protocol", "world-27-9", "--videos", 1, "--jobs", 1)
    code, _, err = call(capsys, *arguments, "--out", f"{tmp_path / 'file'}{tail}")
    assert code == 2
    assert "the output folder cannot be made" in err and "another folder with --out" in err
    assert (tmp_path / "file").read_text() == "mine"


def test_methods_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "methods")
    assert code == 0
    for name in cards():
        assert f"\n{name} " in out
    code, out, _ = call(capsys, "methods", "show", "oracle-grid+vote")
    assert code == 0
    assert "stride = 4" in out
    assert "the truth" in out
    code, _, err = call(capsys, "methods", "show", "ov2vs")
    assert code == 2
    assert "did you mean ov2vss" in err


def test_doctor_reports_broken_things(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ovbench.engine import check

    monkeypatch.setattr(check, "_MODELS", ())
    monkeypatch.setattr(check, "_methods", lambda: iter([]))
    code, out, _ = call(capsys, "doctor")
    assert code == 0, out
    assert "world: clip 0" in out
    assert "protocol vspw-80-44 v" in out
    monkeypatch.setattr(check, "_BASE", ("no-such-package",))
    code, out, _ = call(capsys, "doctor")
    assert code == 1
    assert "problem  no-such-package is not installed" in out
    assert "1 problems" in out


def test_demo_prints_a_table_and_takes_finished_rows_over(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("demo", "--methods", "random,constant+vote", "--videos", 2, "--frames", 9, "--jobs", 1)
    code, first, _ = call(capsys, *arguments, "--out", tmp_path)
    assert code == 0
    assert "constant+vote" in first
    assert len(list(tmp_path.rglob("summary.json"))) == 2
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("records/*.json")}
    code, second, _ = call(capsys, *arguments, "--out", tmp_path)
    assert (code, second) == (0, first)
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("records/*.json")}


def test_demo_finds_a_mistake_before_it_works(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "demo", "--methods", "random,majorty", "--out", tmp_path)
    assert code == 2
    assert "did you mean majority" in err
    assert not list(tmp_path.iterdir())


def test_a_vote_over_stored_label_maps_equals_the_real_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("demo", "--videos", 2, "--frames", 9, "--jobs", 1, "--methods")
    assert call(capsys, *arguments, "random,random+vote", "--out", tmp_path / "reused")[0] == 0
    assert call(capsys, *arguments, "random+vote", "--out", tmp_path / "computed")[0] == 0
    reused, computed = (
        next((tmp_path / name).rglob("random+vote*/*/summary.json")) for name in ("reused", "computed")
    )
    assert reused.read_bytes() == computed.read_bytes()
    timing = json.loads((reused.parent / "timing.json").read_text())
    assert timing["label_maps_reused"] and timing["frames_per_second"] is None
