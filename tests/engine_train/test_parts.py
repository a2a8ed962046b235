"""A batch in parts: one after the other, or in several processes, it is the same batch."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ovbench.core.errors import OvbenchError, UserError
from ovbench.engine.parallel import Ranks
from ovbench.engine.train import train
from ovbench.nn.checkpoint import load_weights

sys.path.insert(0, str(Path(__file__).parent))
from parts_task import PartsTask
from tiny_task import TinyTask

KEY = {"method": "parts"}
SCRIPT = Path(__file__).with_name("parts_task.py")
ROOT = Path(__file__).resolve().parents[2]


def _log(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "cpu_seconds"} for line in lines]


def _losses(out: Path) -> list[float]:
    return [e["loss"] for e in _log(out)]


def start_two(*words: str) -> list[int]:
    """Two processes with the environment that torchrun gives; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in (0, 1):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
        env |= {"MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        started.append(subprocess.Popen([sys.executable, *words], env=env, stderr=subprocess.DEVNULL))
    return [process.wait(timeout=300) for process in started]


def _interrupted(task: PartsTask, out: Path, stop: int) -> None:
    def progress(done: int, entry: object) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(task, out, KEY, seed=3, every=4, progress=progress)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    train(PartsTask(3, 12), out, KEY, seed=3, every=4)
    return out


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulated_gradients_are_those_of_the_batch(tmp_path: Path, whole: Path, parts: int) -> None:
    out = tmp_path / "run"
    train(PartsTask(3, 12, accumulate=parts), out, KEY, seed=3, every=4)
    assert _losses(out) == pytest.approx(_losses(whole), rel=1e-5)
    assert [e["square"] for e in _log(out)] == pytest.approx(_losses(whole), rel=1e-5)
    state, expected = (load_weights(o / "weights.safetensors")[0] for o in (out, whole))
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def test_two_processes_train_like_one_killed_or_not(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "run"
    assert start_two(str(SCRIPT), str(out), "12", "6", "2", "off") == [-signal.SIGKILL] * 2
    assert json.loads((out / "checkpoint.json").read_text())["step"] == 4
    assert start_two(str(SCRIPT), str(out), "12", "0", "2", "off") == [0, 0]
    assert _losses(out) == pytest.approx(_losses(whole), rel=1e-5)
    state, expected = (load_weights(o / "weights.safetensors")[0] for o in (out, whole))
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    assert sorted(p.name for p in out.iterdir()) == ["log.jsonl", "training.json", "weights.safetensors"]


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_resumes_with_the_same_bytes(tmp_path: Path, whole: Path, amp: str) -> None:
    plain, killed = tmp_path / "plain", tmp_path / "killed"
    train(PartsTask(3, 12, 2, amp), plain, KEY, seed=3, every=4)
    _interrupted(PartsTask(3, 12, 2, amp), killed, stop=7)
    train(PartsTask(3, 12, 2, amp), killed, KEY, seed=3, every=4)
    assert _log(killed) == _log(plain)
    assert (killed / "weights.safetensors").read_bytes() == (plain / "weights.safetensors").read_bytes()
    assert _losses(plain) != _losses(whole)
    assert _losses(plain)[0] == pytest.approx(_losses(whole)[0], rel=0.02)
    assert all(("scale" in e) == (amp == "fp16") for e in _log(plain))


def test_a_scale_that_overflows_is_halved_and_the_step_left_out(tmp_path: Path) -> None:
    task = PartsTask(3, 3, amp="fp16")
    before = task.module[0].weight.detach().clone()
    real = task.part_loss

    def huge(step: int, part: int, parts: int) -> tuple[torch.Tensor, dict[str, float]]:
        loss, log = real(step, part, parts)
        return loss * 1e36, log

    task.part_loss = huge  # type: ignore[method-assign]
    train(task, tmp_path / "run", KEY, seed=3, every=4)
    scales = [e["scale"] for e in _log(tmp_path / "run")]
    assert scales == [2.0**15, 2.0**14, 2.0**13]
    assert torch.equal(task.module[0].weight, before)


def test_a_task_that_knows_no_parts_says_so(tmp_path: Path) -> None:
    task = TinyTask(3, 2)
    task.accumulate = 2  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="cannot be computed in parts"):
        train(task, tmp_path / "run", KEY, seed=3)


def test_an_unknown_precision_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean bf16"):
        train(PartsTask(3, 2, amp="bf61"), tmp_path / "run", KEY, seed=3)


def test_one_process_alone_agrees_with_itself() -> None:
    def broken() -> None:
        raise OvbenchError("no")

    assert Ranks().agree(lambda: 5) == 5
    with pytest.raises(OvbenchError, match="no"):
        Ranks().agree(broken)
    assert Ranks().first and not Ranks(1, 2).first
