"""Validation while a training goes on: the same records as a run of its own, and a line in the log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_trees import make_camvid

from ovbench.cli.main import main

_SETTINGS = ["batch=1", "input_size=64x96", "clip_size=64x96"]


def _call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    printed = capsys.readouterr()
    return int(caught.value.code or 0), printed.out, printed.err


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("open_clip", reason="needs the extra 'models'")
    root = tmp_path_factory.mktemp("camvid")
    make_camvid(root, {"0001TP": [0, 30, 60]}, split="train")
    make_camvid(root, {"0016E5": [7959, 7961], "0006R0": [930, 960]}, split="val")
    return root


def _words(tree: Path, out: Path) -> list[str]:
    words = [
        "--method",
        "ov2vss",
        "--protocol",
        "camvid-8-3-gzs",
        "--data-root",
        str(tree),
        "--out",
        str(out),
    ]
    return [*words, "--device", "cpu", *(w for s in _SETTINGS for w in ("--set", s))]


def test_the_records_are_those_of_a_run(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "training"
    words = [*_words(tree, out), "--steps", "2", "--validate-every", "1", "--validate-videos", "1"]
    code, _, stderr = _call(capsys, "train", *words)
    assert code == 0 and "step 1: validation: " in stderr and ".miou" in stderr, stderr
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [e["validation"]["run"] for e in log] == ["validation/step-0000001", "validation/step-0000002"]
    assert [p.name for p in (out / "validation").iterdir() if p.suffix] == []  # no weights are left behind
    last = out / "validation" / "step-0000002"
    run = [*_words(tree, tmp_path / "run"), "--weights", str(out / "weights.safetensors"), "--videos", "1"]
    code, printed, stderr = _call(capsys, "run", *run, "--jobs", "1")
    assert code == 0, stderr
    mine, theirs = (json.loads((f / "summary.json").read_text()) for f in (last, tmp_path / "run"))
    assert mine["scores"] == theirs["scores"] and mine["counts"] == theirs["counts"]
    assert mine["method"]["weights_sha256"] == theirs["method"]["weights_sha256"]
    assert log[1]["validation"]["all.miou"] == mine["scores"]["all"]["miou"]
    # The training itself does not notice that it was validated.
    quiet = tmp_path / "quiet"
    assert _call(capsys, "train", *_words(tree, quiet), "--steps", "2")[0] == 0
    assert (quiet / "weights.safetensors").read_bytes() == (out / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--validate-videos", "2"], "go with --validate-every"),
        (["--validate-every", "1", "--validate-protocol", "world-27-9"], "another data set (world)"),
        (["--validate-every", "1", "--validate-protocol", "camvid-8-4"], "did you mean"),
    ],
)
def test_mistakes_are_named_before_the_training_begins(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    code, _, stderr = _call(capsys, "train", *_words(tree, tmp_path / "no"), *words)
    assert code == 2 and says in stderr and "Traceback" not in stderr
    assert not (tmp_path / "no").exists()
