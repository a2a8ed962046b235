from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

# Without the extra 'models' there is nothing to test here.
collect_ignore_glob = [] if find_spec("torch") and find_spec("open_clip") else ["test_*.py"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVBENCH_CACHE", str(tmp_path / "cache"))
