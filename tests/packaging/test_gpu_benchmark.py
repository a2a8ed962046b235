"""benchmarks/gpu.py where there is no GPU: its refusal, its parsing, and its way through a small network."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_gpu", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so() -> None:
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, env=hidden)
    assert done.returncode == 2 and done.stdout == ""
    assert "no CUDA device can be used here" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("87, 213.45\n", (87.0, 213.45)),
        ("0, [N/A]\n", (0.0, None)),
        ("[Not Supported], 30\n", (None, 30.0)),
        ("12\n", (12.0, None)),
        ("", (None, None)),
    ],
)
def test_samples(gpu: ModuleType, said: str, meant: tuple[float | None, float | None]) -> None:
    assert gpu.parse_sample(said) == meant


def test_means_leave_out_what_was_not_said(gpu: ModuleType) -> None:
    assert gpu.mean([90.0, None, 70.0]) == 80.0
    assert gpu.mean([None]) is None and gpu.mean([]) is None


def test_every_streaming_row_follows_the_row_it_is_compared_with(gpu: ModuleType) -> None:
    rows = list(gpu.cases(gpu.parser().parse_args([])))
    assert len(rows) == len(set(rows)) == 32
    for before, row in zip(rows[::2], rows[1::2], strict=True):
        assert not before.streaming and row.streaming
        assert (before.variant, before.size, before.precision, before.batch) == (
            *(row.variant, row.size, row.precision, row.batch),
        )


def test_lines(gpu: ModuleType) -> None:
    case = gpu.Case("release", "576x1024", "bf16", 8, True)
    row = gpu.Row(case, fps=42.0, allocated_mib=1234.5, reserved_mib=2000.0, busy=91.2, same=99.987)
    start = "| release | 576x1024 | bf16 | 8 | streaming |"
    assert gpu.line(row, 10.5) == f"{start} 42.00 | 4.00 | 1234 (2000) | 91 ( W) | 99.99 |"
    assert gpu.line(gpu.Row(case, failed="out of memory"), None) == f"{start} out of memory | | | | |"
    columns = gpu.line(row, None).count("|")
    assert gpu.line(gpu.Row(case, failed="out of memory"), 1.0).count("|") == columns


def test_a_row_on_the_world_s_network(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, frames and timing, on the CPU; scores of an untrained network lie so close that a few pixels
    may fall to either side."""
    monkeypatch.setattr(gpu, "FRAME", (60, 100))
    monkeypatch.setattr(gpu, "WARM_UP", 4)
    found = []
    for streaming in (False, True):
        case = gpu.Case("world", "96x160", "fp32", 2, streaming)
        maps, row = gpu.timed_row(case, gpu.built(case, "world-27-9", "cpu"), 3, "cpu")
        assert maps.shape == (gpu.WARM_UP, *gpu.FRAME) and row.fps > 0
        assert row.busy is None and row.allocated_mib is None
        found.append(maps)
    assert (found[0] == found[1]).mean() > 0.98
