"""A training of masks that was interrupted goes on with the very numbers that it would have had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mask_methods import ALL

from ovbench.engine.train import train
from ovbench.engine.training import plan_training

STEPS = 4


class _Killed(BaseException):
    """Nothing in the loop catches this, as nothing catches a signal."""


def _train(method: str, out: Path, stop: int = 0) -> list[dict[str, Any]]:
    """The log of four steps, through every part of the training; killed after step `stop`."""
    settings = {"batch": "1", "layers": "1", "backbone_share": "0.25"}
    if method == "san":  # its last two blocks are trained, and three of CLIP's maps go in
        settings["layers"] = "3"
    if method == "deop":
        settings |= {"second_batch": "1", "mask_share": "0.25"}
    task: Any = plan_training(method, "world-27-9", settings=settings).build(0, STEPS)

    def progress(done: int, _: Mapping[str, Any]) -> None:
        if done == stop:
            raise _Killed

    train(task, out, {"method": method}, seed=0, every=1, progress=progress)
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ALL)
def test_losses_and_weights_are_those_without_the_interruption(method: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = _train(method, whole)
    for stop in (2, 3):
        with pytest.raises(_Killed):
            _train(method, parts, stop)
    found = _train(method, parts)
    for entry in (*expected, *found):
        entry.pop("cpu_seconds")
    assert found == expected and len(found) == STEPS
    if method == "deop":
        assert "naming" in found[0] and "map" in found[2] and "map" not in found[1]
    weights = "weights.safetensors"
    assert (parts / weights).read_bytes() == (whole / weights).read_bytes()
