"""`ovbench train` from the command line, on a small tree in CamVid's layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_trees import make_camvid

from ovbench.cli.main import main
from ovbench.core.errors import UserError
from ovbench.engine.training import plan_training
from ovbench.nn.checkpoint import load_weights


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("open_clip", reason="needs the extra 'models'")
    root = tmp_path_factory.mktemp("camvid")
    make_camvid(root, {"0001TP": [0, 30, 60]}, split="train")
    return root


def _call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["train", *words])
    printed = capsys.readouterr()
    return int(caught.value.code or 0), printed.out, printed.err


def test_train_then_again(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
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
    words += ["--set", "batch=1", "--set", "input_size=64x96", "--set", "clip_size=64x96", "--seed", "4"]
    code, stdout, stderr = _call(capsys, *words, "--steps", "2", "--every", "1")
    assert code == 0, stderr
    assert stdout.splitlines()[-1] == str(out / "weights.safetensors")
    assert "training ov2vss" in stderr and "step 2/2" in stderr and "--weights" in stderr
    _, metadata = load_weights(out / "weights.safetensors")
    assert metadata["protocol"] == "camvid-8-3-gzs" and metadata["seed"] == "4"
    assert json.loads((out / "training.json").read_text())["options"]["batch"] == 1
    before = (out / "weights.safetensors").stat().st_mtime_ns
    assert _call(capsys, *words, "--steps", "2")[0] == 0
    assert (out / "weights.safetensors").stat().st_mtime_ns == before
    code, _, stderr = _call(capsys, *words, "--steps", "3")
    assert code == 2 and "another training (steps: 2 there, 3 now)" in stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--method", "ov2vs", "--protocol", "world-27-9"], "did you mean ov2vss"),
        (["--method", "ov2vss", "--protocol", "wrld-27-9"], "did you mean world-27-9"),
        (["--method", "random", "--protocol", "world-27-9"], "is not trained"),
        (["--method", "ov2vss+vote", "--protocol", "world-27-9"], "nothing to train in the vote"),
        (["--method", "ov2vss", "--protocol", "world-27-9", "--set", "bach=2"], "did you mean batch"),
        (["--method", "ov2vss", "--protocol", "world-27-9", "--set", "batch"], "key=value"),
        (["--method", "ov2vss", "--protocol", "world-27-9", "--variant", "wold"], "did you mean world"),
        (["--method", "maskclip", "--protocol", "camvid-8-3"], "no captions"),
    ],
)
def test_mistakes_get_one_message(capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    code, stdout, stderr = _call(capsys, *words)
    assert code == 2 and stdout == ""
    assert says in stderr and "Traceback" not in stderr


def test_training_cannot_open_the_test_split(tree: Path) -> None:
    plan = plan_training("ov2vss", "camvid-8-3-gzs", data_root=tree)
    with pytest.raises(UserError, match="training split only"):
        plan._open_split("test")
    assert plan.folder(3) == Path("runs/train/camvid-8-3-gzs") / f"ov2vss-{plan.selection.variant}-seed3"


@pytest.mark.parametrize(("stop", "fresh"), [(2, False), (1, False), (2, True)])
def test_ctrl_c_says_what_is_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stop: int,
    fresh: bool,
) -> None:
    pytest.importorskip("open_clip", reason="needs the extra 'models'")
    from ovbench.cli import train as verb

    class Stopped(verb._Progress):
        def __call__(self, done: int, entry: object) -> None:
            if done == stop:
                raise KeyboardInterrupt

    monkeypatch.setattr(verb, "_Progress", Stopped)
    out = tmp_path / "run"
    words = ["--method", "ov2vss:world", "--protocol", "world-27-9", "--out", str(out), "--set", "batch=1"]
    words += ["--steps", "3", "--every", "2", *(["--fresh"] if fresh else [])]
    code, _, stderr = _call(capsys, *words)
    assert code == 130 and "videos" not in stderr
    again = "the same command without --fresh" if fresh else "the same command"
    if stop == 2:
        assert f"the checkpoint of step 2 is kept, {again} goes on from there" in stderr
    else:
        assert f"before the first checkpoint; {again} begins anew" in stderr


def test_an_empty_optimiser_file_is_damage_and_no_interruption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("open_clip", reason="needs the extra 'models'")
    from ovbench.engine.train import train

    plan = plan_training("ov2vss", "world-27-9", variant="world", settings={"batch": "1"})

    def stop(done: int, entry: object) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(plan.build(0, 2), tmp_path, plan.key, seed=0, every=1, progress=stop)
    (tmp_path / "checkpoints" / "step-0000001.optimizer.pt").write_bytes(b"")
    words = ["--method", "ov2vss:world", "--protocol", "world-27-9", "--set", "batch=1", "--steps", "2"]
    code, _, stderr = _call(capsys, *words, "--out", str(tmp_path))
    assert code == 4 and "--fresh" in stderr and "interrupted" not in stderr
