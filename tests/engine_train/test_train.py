"""The training loop: log, checkpoints, exact resume after kill -9, and whose folder it is."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ovbench.core.errors import IntegrityError, OvbenchError, UserError
from ovbench.engine import train as engine
from ovbench.engine.train import train
from ovbench.nn.checkpoint import load_weights

sys.path.insert(0, str(Path(__file__).parent))
from tiny_task import TinyTask

KEY = {"method": "tiny"}


def _log(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "cpu_seconds"} for line in lines]


def _run(out: Path, steps: int, stop: int) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("tiny_task.py")
    command = [sys.executable, str(script), str(out), str(steps), str(stop)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def _interrupt(out: Path, stop: int) -> None:
    def progress(done: int, entry: object) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TinyTask(3, 45), out, KEY, seed=3, every=10, progress=progress)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    train(TinyTask(3, 45), out, KEY, seed=3, every=10)
    return out


def test_it_learns_and_leaves_a_log_and_weights(whole: Path) -> None:
    log = _log(whole)
    assert [e["step"] for e in log] == list(range(45))
    assert sum(e["loss"] for e in log[-10:]) < 0.8 * sum(e["loss"] for e in log[:10])
    assert log[0]["lr"] == pytest.approx(0.05) and log[44]["lr"] == pytest.approx(0.05 / 45)
    state, metadata = load_weights(whole / "weights.safetensors")
    assert metadata == {"method": "tiny", "seed": "3", "steps": "45", "variant": ""}
    assert set(state) == set(TinyTask(0, 1).module.state_dict())
    assert sorted(p.name for p in whole.iterdir()) == ["log.jsonl", "training.json", "weights.safetensors"]


def test_killed_twice_and_resumed_gives_the_same_bytes(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "run"
    for stop in (7, 33):  # before the first checkpoint, and between two
        assert _run(out, 45, stop).returncode == -signal.SIGKILL
        assert not (out / "weights.safetensors").exists()
    assert json.loads((out / "checkpoint.json").read_text())["step"] == 30
    last = _run(out, 45, 0)
    assert last.returncode == 0, last.stderr
    assert last.stdout.splitlines()[-1] == str(out / "weights.safetensors")
    assert _log(out) == _log(whole)
    assert (out / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert not (out / "checkpoints").exists()


@pytest.mark.parametrize("broken", ["save_weights", "write_bytes", "write_json"])
def test_a_crash_inside_a_checkpoint_loses_nothing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    out = tmp_path / "run"
    real, calls = getattr(engine, broken), []

    def crash(path: Path, *args: object) -> None:
        calls.append(path)
        if (broken != "write_json" and "0020" in str(path)) or (broken == "write_json" and len(calls) == 3):
            raise KeyboardInterrupt
        real(path, *args)

    monkeypatch.setattr(engine, broken, crash)
    with pytest.raises(KeyboardInterrupt):
        train(TinyTask(3, 45), out, KEY, seed=3, every=10)
    monkeypatch.setattr(engine, broken, real)
    assert json.loads((out / "checkpoint.json").read_text())["step"] == 10
    train(TinyTask(3, 45), out, KEY, seed=3, every=10)
    assert (out / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert _log(out) == _log(whole)


def test_a_torn_log_line_is_dropped(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "run"
    _interrupt(out, 25)
    with open(out / "log.jsonl", "a") as log:
        log.write('{"step": 25, "lo')
    train(TinyTask(3, 45), out, KEY, seed=3, every=10)
    assert _log(out) == _log(whole)


def test_a_finished_training_is_left_alone(whole: Path) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in whole.iterdir()}
    assert train(TinyTask(3, 45), whole, KEY, seed=3, every=10) == whole / "weights.safetensors"
    assert {p.name: p.stat().st_mtime_ns for p in whole.iterdir()} == before


def test_the_folder_of_another_training_is_refused(whole: Path) -> None:
    with pytest.raises(UserError, match="another training") as caught:
        train(TinyTask(4, 45), whole, KEY, seed=4)
    assert "seed: 3 there, 4 now" in str(caught.value) and "--fresh" in str(caught.value)
    with pytest.raises(UserError, match="steps: 45 there, 50 now"):
        train(TinyTask(3, 50), whole, KEY, seed=3)
    assert (whole / "weights.safetensors").exists()


def test_a_folder_with_other_files_is_refused_even_when_fresh(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for fresh in (False, True):
        with pytest.raises(UserError, match="other files"):
            train(TinyTask(3, 5), tmp_path, KEY, seed=3, fresh=fresh)
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    def intrude(done: int, entry: object) -> None:
        with pytest.raises(UserError, match="another process is writing"):
            train(TinyTask(3, 2), tmp_path / "run", KEY, seed=3)

    train(TinyTask(3, 2), tmp_path / "run", KEY, seed=3, progress=intrude)


def test_fresh_starts_over(tmp_path: Path) -> None:
    out = tmp_path / "run"
    _interrupt(out, 25)
    train(TinyTask(5, 8), out, KEY, seed=5, every=3, fresh=True)
    assert len(_log(out)) == 8
    assert load_weights(out / "weights.safetensors")[1]["seed"] == "5"


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    _interrupt(out, 25)
    (weights,) = (out / "checkpoints").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(IntegrityError, match="checkpoint of step 20"):
        train(TinyTask(3, 45), out, KEY, seed=3, every=10)


def _bytes(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _foreign(**changes: object) -> bytes:
    """An optimiser's state that fits the task, but for some entries."""
    task = TinyTask(3, 1)
    optimizer = task.optimizer()
    task.loss(0)[0].backward()
    optimizer.step()
    state = optimizer.state_dict()
    if "shape" in changes:
        state["state"][0] = {k: torch.zeros(3, 3, 3) for k in state["state"][0]}
    if "kind" in changes:
        state["state"][0] = {"momentum": torch.zeros(())}
    if "setting" in changes:
        del state["param_groups"][0]["weight_decay"]
    return _bytes(state)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\x80\x02garbage",
        _bytes([1, 2]),
        _bytes({}),
        _bytes({"state": {}, "param_groups": 5}),
        _bytes({"state": {}, "param_groups": [{"params": [0]}]}),
        _foreign(shape=1),
        _foreign(kind=1),
        _foreign(setting=1),
    ],
)
def test_any_optimiser_file_that_is_not_ours_is_damage(tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "run"
    _interrupt(out, 25)
    (optimizer,) = (out / "checkpoints").glob("*.optimizer.pt")
    optimizer.write_bytes(content)
    with pytest.raises(IntegrityError, match="checkpoint of step 20 cannot be taken up: .") as caught:
        train(TinyTask(3, 45), out, KEY, seed=3, every=10)
    assert "--fresh" in str(caught.value)


@pytest.mark.parametrize(
    "pointer",
    [
        "{}",
        "[]",
        "",
        '{"step": 20}',
        '{"step": "20", "cpu_seconds": 1}',
        '{"step": 20, "cpu_seconds": null}',
        '{"step": -10, "cpu_seconds": 1}',
        '{"step": 45, "cpu_seconds": 1}',
    ],
)
def test_a_damaged_pointer_is_named(tmp_path: Path, pointer: str) -> None:
    out = tmp_path / "run"
    _interrupt(out, 25)
    (out / "checkpoint.json").write_text(pointer)
    with pytest.raises(IntegrityError, match="checkpoint") as caught:
        train(TinyTask(3, 45), out, KEY, seed=3, every=10)
    assert "--fresh" in str(caught.value)


def test_only_options_that_differ_are_named(tmp_path: Path) -> None:
    options = dict.fromkeys("abcdefghij", 1)
    train(TinyTask(3, 2), tmp_path, {"options": {**options, "old": "x"}}, seed=3)
    with pytest.raises(UserError) as caught:
        train(TinyTask(3, 2), tmp_path, {"options": {**options, "d": 2}}, seed=3)
    assert "(d: 1 there, 2 now; old: 'x' there, nothing now)" in caught.value.what


def test_a_folder_whose_training_never_began_is_taken_over(tmp_path: Path) -> None:
    class Broken(TinyTask):
        def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
            raise UserError("no batch")

    with pytest.raises(UserError, match="no batch"):
        train(Broken(3, 2), tmp_path, {"batch": 3}, seed=3)
    assert train(TinyTask(3, 2), tmp_path, {"batch": 4}, seed=3).is_file()
    assert json.loads((tmp_path / "training.json").read_text())["batch"] == 4


def test_a_loss_that_is_not_finite_stops_with_a_message(tmp_path: Path) -> None:
    task = TinyTask(3, 5)
    with torch.no_grad():
        task.module[3].bias.fill_(float("nan"))
    with pytest.raises(OvbenchError, match="loss is nan at step 0"):
        train(task, tmp_path / "run", KEY, seed=3)


def test_half_precision_is_for_the_final_weights_only(tmp_path: Path, whole: Path) -> None:
    task = TinyTask(3, 45)
    task.half = True  # type: ignore[attr-defined]
    state, _ = load_weights(train(task, tmp_path / "run", KEY, seed=3, every=10))
    full, _ = load_weights(whole / "weights.safetensors")
    for name, value in state.items():
        assert torch.equal(value, full[name].half() if full[name].is_floating_point() else full[name])


def test_the_progress_callback_sees_every_step(tmp_path: Path) -> None:
    seen: list[int] = []
    train(TinyTask(3, 6), tmp_path / "run", KEY, seed=3, progress=lambda done, entry: seen.append(done))
    assert seen == [1, 2, 3, 4, 5, 6]
