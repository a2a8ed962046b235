"""The runs kept in results/: every summary is what its records give today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ovbench.core.paths import room
from ovbench.metrics.score import summarize
from ovbench.protocol.load import load_protocol
from ovbench.report.find import find
from ovbench.report.model import Run

KEPT = sorted(find(room("results")))


def _rounded(value: Any) -> Any:
    """Floats to nine digits: another processor may add in another order."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def test_runs_are_kept() -> None:
    assert {p.parent.name for p in KEPT} == {"world-27-9", "table3", "camvid"}


@pytest.mark.parametrize("path", KEPT, ids=[p.name for p in KEPT])
def test_summary_follows_from_the_records(path: Path) -> None:
    run = Run.open(path)
    protocol = load_protocol(run.protocol["id"])
    assert run.protocol["hash"] == protocol.hash, "the protocol changed: run it again, under a new version"
    assert run.summary is not None and run.complete and run.partial is None
    again = summarize(protocol, run.records, dict(run.summary["method"]), expected_videos=run.videos)
    assert _rounded(again) == _rounded(run.summary)
    assert not run.manifest["git"]["dirty"]
